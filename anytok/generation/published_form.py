"""Conversations in the published form of a model whose text tokenizer has no chat template of its own → ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UsageError
from ..vocab import Template, Vocabulary
from .messages import Turn

__all__ = ["PublishedForm"]


class PublishedForm:
    """One of `anytok.vocab.TEMPLATES` at work, as `ChatTemplate` is for the text tokenizer's own. `bos` begins every
    conversation with the begin-of-text token."""

    def __init__(self, vocabulary: Vocabulary, template: Template, bos: bool) -> None:
        self._vocabulary, self._template, self._bos = vocabulary, template, bos

    def row(self, turns: Sequence[Turn], prompt: bool, unfinished: bool, learn: bool) -> tuple[np.ndarray, np.ndarray]:
        """Ids `[N]`, and a bool mask `[N]`, True on the answers; see `Template.learned`."""
        messages = self._messages(turns, prompt, unfinished)
        return self._template.learned(messages, self._vocabulary.to_ids, bos=self._bos)

    def text(self, turns: Sequence[Turn], prompt: bool, unfinished: bool) -> str:
        """The conversation as text, with media spelled as the vocabulary does."""
        return self._vocabulary.to_text(self._template.render(self._messages(turns, prompt, unfinished), bos=self._bos))

    def _messages(self, turns: Sequence[Turn], prompt: bool, unfinished: bool) -> list[tuple[str, list[object]]]:
        last = turns[-1].role
        if unfinished or prompt != (last == "user"):
            given = "continue_final_message=True" if unfinished else f"add_generation_prompt={prompt}"
            raise UsageError(f"{given} behind the {last}'s message: the model answers the user, and only the user")
        for place, turn in enumerate(turns):
            if turn.more or turn.parts is None:
                raise UsageError(
                    f"message {place} has {', '.join(map(repr, turn.more))}: expected 'role' and 'content' alone, "
                    f"since this form of conversation has a place for nothing else"
                )
        return [(turn.role, turn.parts or []) for turn in turns]
