"""Conversations in a text tokenizer's own chat template (Jinja), with media in their places, → ids.

The template sees messages whose media, and whose words that spell special tokens, are marks that nobody can guess.
What it writes is read as transformers reads it, then the marks are replaced: words stay words, whatever they spell.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UsageError, VocabularyError, first_line
from ..spec import Codes
from ..vocab import TEMPLATES, TextIds, Vocabulary
from ..vocab.templates import common_length, merged
from .messages import Turn
from .special_tokens import control_pattern, special_tokens

__all__ = ["ChatTemplate"]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")  # transformers' tag around what a model is to learn


class ChatTemplate:
    """The form of a call's conversations. `source` is Jinja, or the name of one of the text tokenizer's templates, None
    for its default; `tools`, `documents` and `variables` are what else the template reads.

    Raises UsageError where there is no template, where it does, on variables that it does not have, and where it leaves
    media out.
    """

    def __init__(
        self, vocabulary: Vocabulary, source: str | None, tools: Any = None, documents: Any = None, **variables: Any
    ) -> None:
        source = _find(vocabulary.text_tokenizer, source, tools)
        for name in variables:
            if not re.search(rf"\b{re.escape(name)}\b", source):
                raise UsageError(f"apply_chat_template has no {name}={variables[name]!r}, nor has the chat template")
        self._vocabulary, self._source = vocabulary, source
        self._control, self._own = control_pattern(vocabulary), special_tokens(vocabulary)
        self._key, self._held = secrets.token_hex(8), list[Any]()
        self._mark = re.compile(f"\ue000{self._key}:([0-9]+)\ue001")
        self._tools, self._documents = self._marked(tools), self._marked(documents)
        self._variables = {**vocabulary.text_tokenizer.special_tokens_map, **self._marked(variables)}
        self._takes_parts = self._is_typed()

    def row(self, turns: Sequence[Turn], prompt: bool, unfinished: bool, learn: bool) -> tuple[np.ndarray, np.ndarray]:
        """Ids `[N]` of a conversation whose media are Codes, and a bool mask `[N]`: with `learn`, True on the answers
        and the special token that ends each. `prompt` ends where the model's answer would begin; `unfinished` within
        the last message."""
        messages = [self._message(turn) for turn in turns]
        how = prompt, unfinished
        text, spans = self._render(messages, *how)
        ids = self._ids(text)
        mask = np.zeros(len(ids), bool)
        if learn and not _GENERATION.search(self._source):
            spans = [self._answer(messages, n, text, *how) for n, turn in enumerate(turns) if turn.role == "assistant"]
        for start, end in spans if learn else ():
            # Where words run together, their ids may too; what stands before the answer is not learned.
            first, last = (common_length(ids, self._ids(text[:cut])) for cut in (start, end))
            mask[first:last] = True
        return ids, mask

    def text(self, turns: Sequence[Turn], prompt: bool, unfinished: bool) -> str:
        """The conversation as text, with media spelled as the vocabulary does."""
        rendered, _ = self._render([self._message(turn) for turn in turns], prompt, unfinished)
        return self._vocabulary.to_text(self._pieces(rendered))

    def _message(self, turn: Turn) -> dict[str, Any]:
        """A message as the template is to see it."""
        message = self._marked({"role": turn.role, **turn.more})
        if turn.parts is not None:
            words = "".join(
                self._marked(part) if isinstance(part, str) else self._hold(part) for part in merged(turn.parts)
            )
            message["content"] = self._content(words)
        return message

    def _content(self, words: str) -> Any:
        return [{"type": "text", "text": words}] if self._takes_parts else words

    def _is_typed(self) -> bool:
        """Whether the template wants typed parts: given a string, it loses it."""
        self._takes_parts = False
        for takes_parts in (False, True):
            self._takes_parts = takes_parts
            try:
                if self._key in self._render([{"role": "user", "content": self._content(self._key)}])[0]:
                    return takes_parts
            except UsageError:  # the conversation itself, which may be of another form, will say why
                continue
        return False

    def _marked(self, value: Any) -> Any:
        """Words, or those within lists and mappings, with a mark for all that spells a special token."""
        if isinstance(value, str):
            return self._control.sub(lambda match: self._hold(match[0]), value)
        if isinstance(value, Mapping):
            return {key: self._marked(item) for key, item in value.items()}
        return [self._marked(item) for item in value] if isinstance(value, (list, tuple)) else value

    def _hold(self, part: Any) -> str:
        self._held.append(part)
        return f"\ue000{self._key}:{len(self._held) - 1}\ue001"

    def _render(
        self, messages: list[dict[str, Any]], prompt: bool = False, unfinished: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """What the template writes, and the spans of characters that it calls generated."""
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            rendered, spans = render_jinja_template(
                conversations=[messages], tools=self._tools, documents=self._documents, chat_template=self._source,
                return_assistant_tokens_mask=bool(_GENERATION.search(self._source)), add_generation_prompt=prompt,
                continue_final_message=unfinished, **self._variables,
            )  # fmt: skip
        except Exception as error:  # whatever is in a stranger's template
            raise UsageError(f"the text tokenizer's chat template does not take this: {first_line(error)}") from error
        self._check_media(messages, rendered[0])
        return rendered[0], spans[0] if spans else []

    def _check_media(self, messages: list[dict[str, Any]], rendered: str) -> None:
        """Raise UsageError unless every picture and sound of the messages stands in the text once."""
        found = self._mark.findall(rendered)
        for place, message in enumerate(messages):
            content = message.get("content", "")
            for number in self._mark.findall(content if isinstance(content, str) else content[0]["text"]):
                if not isinstance(part := self._held[int(number)], str) and found.count(number) != 1:
                    what = part.spec.modality if isinstance(part, Codes) else part
                    raise UsageError(
                        f"the text tokenizer's chat template writes the {what} of message {place} "
                        f"{found.count(number)} times: expected once; is it made for this role and content?"
                    )

    def _answer(self, messages: list[dict[str, Any]], place: int, text: str, *how: bool) -> tuple[int, int]:
        """Where the answer of a message stands in the text, found by putting another in its place, with the special
        token behind it; from where the prompt for it would end, if the text begins with that."""
        strange = f"\ue002{self._key}\ue003"
        others = [*messages[:place], {**messages[place], "content": self._content(strange)}, *messages[place + 1 :]]
        changed, _ = self._render(others, *how)
        start = changed.find(strange)
        behind = changed[start + len(strange) :]
        end = len(text) - len(behind)
        whole = changed[:start] == text[:start] and text[end:] == behind and start <= end
        if start < 0 or not whole or "tool_calls" in messages[place]:
            raise UsageError(
                f"the text tokenizer's chat template does not tell where the answer of message {place} begins and "
                f"ends: put {{% generation %}} and {{% endgeneration %}} around it there"
            )
        if closing := re.compile(rf"\s*(?:{self._control.pattern})").match(text, end):
            end = closing.end()
        asked = self._render(messages[:place], prompt=True)[0] if place else ""
        return (len(asked) if len(asked) <= start and text.startswith(asked) else start), end

    def _pieces(self, text: str) -> list[Any]:
        """The text with its marks replaced: at even places what the template wrote, with ordinary words in it."""
        pieces: list[Any] = self._mark.split(text)
        if any(self._key in piece for piece in pieces[::2]):
            raise UsageError("the text tokenizer's chat template changes the letters of what it is given")
        pieces[1::2] = [self._held[int(number)] for number in pieces[1::2]]
        return pieces

    def _ids(self, text: str) -> np.ndarray:
        pieces = self._pieces(text)
        pieces[::2] = [TextIds(self._read(piece)) for piece in pieces[::2]]
        return self._vocabulary.to_ids(pieces)

    def _read(self, text: str) -> np.ndarray:
        """Ids of what the template wrote, its special tokens included."""
        tokenizer, layout = self._vocabulary.text_tokenizer, self._vocabulary.layout
        beside = dict(layout.specials) if len(tokenizer) <= layout.text_size else {}  # not the text tokenizer's
        pattern = "|".join(map(re.escape, sorted(beside, key=len, reverse=True))) or "(?!)"
        ids: list[int] = []
        for piece in filter(None, re.split(f"({pattern})", text)):
            ids += [beside[piece]] if piece in beside else tokenizer(piece, add_special_tokens=False)["input_ids"]
        own = {number for token, number in self._own.items() if token != tokenizer.unk_token}
        if sum(number in own for number in ids) > len(self._control.findall(text)):
            raise VocabularyError("words in a message that the text tokenizer itself turns into a special token")
        return np.array(ids, np.int64)


def _find(tokenizer: Any, source: str | None, tools: Any) -> str:
    """The Jinja source of a text tokenizer's template."""
    if not hasattr(tokenizer, "get_chat_template"):
        raise UsageError(
            f"no conversation form: name a published one, Processor(…, template=…): {', '.join(TEMPLATES)}"
        )
    try:
        return tokenizer.get_chat_template(source, tools)
    except ValueError as error:
        raise UsageError(
            f"no conversation form: set chat_template of the text tokenizer, or name a published form, "
            f"Processor(…, template=…): {', '.join(TEMPLATES)} ({first_line(error)})"
        ) from error
