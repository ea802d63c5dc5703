"""Conversations of words and media in the forms that models were trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..arguments import did_you_mean
from ..errors import UsageError
from .runs import Special

__all__ = ["TEMPLATES", "Message", "Template", "common_length", "find_template", "merged"]

# Who speaks ("user" or "assistant") and what: words, or parts in order. They take turns; the user begins.
Message: TypeAlias = tuple[str, Any]


@dataclass(frozen=True)
class Template:
    """A conversation's fixed words. `user` and `answer` hold a message at `{}`; a prompt ends where `answer` would
    begin. `between` stands before every further question, `closing` behind the last answer.

    `specials` are the special tokens in these words. In messages, nothing is one: a user cannot speak for
    the model.
    """

    user: str
    answer: str
    opening: str = ""
    between: str = ""
    closing: str = ""
    bos: str = "<s>"
    specials: tuple[str, ...] = ()

    def render(self, messages: Sequence[Message], *, bos: bool = True) -> list[Any]:
        """The whole conversation as parts for `Vocabulary.to_ids` or `Multimodal.encode`.

        If the last message is the user's, the model's answer comes next. `bos` begins with the begin-of-text
        token, which the published strings leave to the text tokenizer. Raises UsageError on a wrong turn.
        """
        parts: list[Any] = [Special(self.bos)] if bos else []
        parts += self._fixed(self.opening)
        for place, (role, content) in enumerate(messages):
            expected = ("user", "assistant")[place % 2]
            if role != expected:
                raise UsageError(f"message {place} is of {role!r}: {expected!r} is to speak")
            before, after = (self.user if role == "user" else self.answer).split("{}")
            if place and role == "user":
                parts += self._fixed(self.between)
            parts += self._fixed(before)
            parts += content if isinstance(content, (list, tuple)) else [content]
            parts += self._fixed(after)
        if len(messages) % 2 == 0:
            parts += self._fixed(self.closing)
        return merged(parts)

    def learned(
        self, messages: Sequence[Message], to_ids: Callable[[list[Any]], np.ndarray], *, bos: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids `[N]` of a conversation and a bool mask `[N]`, True on answers (their end token included): what a
        model is to learn."""
        ids = to_ids(self.render(messages, bos=bos))
        mask = np.zeros(len(ids), bool)
        for place in range(1, len(messages), 2):
            # Where words run together, their ids may too; what the prompt alone also has is not learned.
            start, end = (common_length(ids, to_ids(self.render(messages[:n], bos=bos))) for n in (place, place + 1))
            mask[start:end] = True
        return ids, mask

    def _fixed(self, words: str) -> list[str | Special]:
        if not self.specials:
            return [words]
        pieces = re.split(f"({'|'.join(map(re.escape, self.specials))})", words)
        return [Special(piece) if piece in self.specials else piece for piece in pieces]


_ANYGPT = ("[Human]", "[MMGPT]", "<eoh>", "<eos>")
TEMPLATES = {
    # AnyGPT's pre-training: one question, one answer.
    "anygpt": Template("[Human]: {}<eoh> [MMGPT]:", " {}<eos>", specials=_ANYGPT),
    "anygpt-chat": Template(
        "[Human]: {}<eoh>\n[MMGPT]:",
        " {}<eos>",
        opening="You are an AI assistant named MMGPT who can understand and generate multimodal content, "
        "including text, speech, images and audio.\n",
        between="\n",
        specials=_ANYGPT,
    ),
    "mini": Template("<user>{}<assistant>", "{}</s>", specials=("<user>", "<assistant>", "</s>")),
    "seed-llama-8b": Template("USER: {}\nASSISTANT:", "{}", between="\n", closing="</s>", specials=("</s>",)),
    # How a second question follows is not published for 14B; here it follows as the first began.
    "seed-llama-14b": Template("[INST] {} [/INST]\n", "{}", between="\n", closing="</s>", specials=("</s>",)),
}


def find_template(name: str) -> Template:
    """A published template by name; raises UsageError listing the known names."""
    if name not in TEMPLATES:
        raise UsageError(
            f"no template is called {name!r}; known: {', '.join(TEMPLATES)}{did_you_mean(name, TEMPLATES)}"
        )
    return TEMPLATES[name]


def merged(parts: list[Any]) -> list[Any]:
    """Neighbouring strings joined: text tokenizers see words in context. Empty ones are left out."""
    joined: list[Any] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return joined


def common_length(one: np.ndarray, other: np.ndarray) -> int:
    """How many ids two lines have in common from the start."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length
