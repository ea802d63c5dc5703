"""Stored codes → documents of ids, through the same `Vocabulary.to_ids` as `Multimodal.encode` and `Processor`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import AnytokError, UsageError, VocabularyError
from ..spec import Codes
from ..vocab import Message, Part, Special, TextIds, Vocabulary
from ..vocab.grammar import Grammar
from ..vocab.templates import find_template
from .document import Document, cut
from .form import Form

__all__ = ["Composer", "StoredItem", "draw"]


@dataclass(frozen=True, eq=False)
class StoredItem:
    """What `anytok run` has kept of one medium: its codes, and the text and metadata beside it."""

    key: str
    codes: Codes
    text: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


class Composer:
    """Makes documents of stored items, in the `form` asked for. It draws by the form's seed and the document's key
    alone, so a document is the same in every order, shard and process."""

    def __init__(self, vocabulary: Vocabulary, form: Form) -> None:
        self.vocabulary, self.form = vocabulary, form
        self._grammar = Grammar(vocabulary.layout)
        self._template = find_template(form.template) if form.template else None

    def compose(self, items: Sequence[StoredItem], key: str = "") -> Document:
        """One document: of one item, or of all items of one, in the order of storage. `key` names it; by default as
        `key_of`. Raises UsageError where the items lack what the form needs, CodesError and VocabularyError where the
        vocabulary does not have them."""
        [found] = self.compose_batch([items], [key or self.key_of(items[0])])
        if isinstance(found, AnytokError):
            raise found
        return found

    def compose_batch(
        self, groups: Sequence[Sequence[StoredItem]], keys: Sequence[str]
    ) -> list[Document | AnytokError]:
        """Many documents, or why there is none: `compose` of each, with one call of the text tokenizer for all."""
        words = _Words(self.vocabulary)
        drafts = [_or_error(self._draft, items, key) for items, key in zip(groups, keys, strict=True)]
        for draft in drafts:
            if not isinstance(draft, AnytokError):
                draft(words.note)
        words.read()
        return [
            draft if isinstance(draft, AnytokError) else _or_error(self._document, key, draft, words)
            for draft, key in zip(drafts, keys, strict=True)
        ]

    def cut(self, document: Document, length: int) -> list[Document]:
        """Pieces of at most `length` ids that joined are the document; see `anytok.compose.document.cut`."""
        return list(cut(document, length, self._grammar))

    def key_of(self, item: StoredItem) -> str:
        """What the document of an item is called: the item's key, or what stands in the column of documents. Raises
        UsageError where nothing stands there."""
        name = self.form.document
        return str(_of_meta(item, name, "which document it is of")) if name else item.key

    def _document(self, key: str, draft: _Draft, words: _Words) -> Document:
        ids, answers = draft(words.to_ids)
        if self.form.loss == "answers":
            learned = answers
        elif self.form.loss == "media":
            learned = self._grammar.family[ids] >= 0
        else:
            learned = np.ones(len(ids), bool)
        return Document(key, ids, learned)

    def _draft(self, items: Sequence[StoredItem], key: str) -> _Draft:
        """What to make ids of; raises UsageError where something is missing."""
        form = self.form
        if not items or (len(items) > 1 and not form.is_grouped):
            raise UsageError(f"{key}: {len(items)} items in a document of kind {form.kind!r}: expected one")
        if form.position:
            items = sorted(items, key=lambda item: _place(_of_meta(item, form.position, "where in its document it is")))
        if self._template is not None:
            messages = self._messages(items, key)
            return lambda to_ids: self._template.learned(messages, to_ids, bos=bool(form.bos))  # type: ignore[union-attr]
        parts = [part for item in items for part in self._parts(item, key)]
        first = [Special(form.bos)] * bool(form.bos)
        last = [Special(form.eos)] * bool(form.eos)
        split = len(first) + 1  # behind the first of two parts

        def line(to_ids: Callable[[list[Part]], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            ids = to_ids([*first, *parts, *last])
            prompt = len(to_ids([*first, *parts][:split])) if form.loss == "answers" else 0
            return ids, np.arange(len(ids)) >= prompt

        return line

    def _parts(self, item: StoredItem, key: str) -> list[Part]:
        """An item's parts in order."""
        if self.form.kind == "item":
            return [item.codes]
        if item.text is None and not self.form.is_grouped:
            raise UsageError(f"{item.key} has no text: a document of kind {self.form.kind!r} needs one")
        both: list[Part] = [item.codes] if item.text is None else [item.text, item.codes]
        return both if self._is_text_first(key) else both[::-1]

    def _is_text_first(self, key: str) -> bool:
        order = self.form.order or ("text-first" if self.form.is_grouped else "drawn")
        return draw(self.form.seed, key, "order", 2) == 0 if order == "drawn" else order == "text-first"

    def _messages(self, items: Sequence[StoredItem], key: str) -> list[Message]:
        if not self.form.role:
            [question, answer] = self._parts(items[0], key)
            asks = self.form.ask_medium if isinstance(question, str) else self.form.ask_text
            ask = [asks[draw(self.form.seed, key, "ask", len(asks))]] if asks else []
            return [("user", [*ask, question]), ("assistant", [answer])]
        messages: list[tuple[str, list[Part]]] = []
        for item in items:
            role = _of_meta(item, self.form.role, "who speaks")
            if not messages or messages[-1][0] != role:
                messages.append((role, []))
            messages[-1][1].extend(self._parts(item, key))
        return messages


_Draft = Callable[[Callable[[list[Part]], np.ndarray]], tuple[np.ndarray, np.ndarray]]


class _Words:
    """Parts → ids for many documents: each part through `Vocabulary.to_ids` once, all texts through the text tokenizer
    together."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._texts: dict[str, TextIds | VocabularyError] = {}
        self._ids: dict[Any, np.ndarray] = {}
        self._kept: list[Codes] = []  # for as long as they are known by their address

    def note(self, parts: list[Part]) -> np.ndarray:
        """Remember the texts; there are no ids yet."""
        self._texts.update((part, TextIds(np.empty(0))) for part in parts if isinstance(part, str))
        return np.empty(0, np.int64)

    def read(self) -> None:
        texts = list(self._texts)
        self._texts = dict(zip(texts, self._vocabulary.text_ids(texts), strict=True)) if texts else {}

    def to_ids(self, parts: list[Part]) -> np.ndarray:
        return np.concatenate([np.empty(0, self._vocabulary.dtype), *map(self._of, parts)])

    def _of(self, part: Part) -> np.ndarray:
        name = id(part) if isinstance(part, Codes) else part
        if name not in self._ids:
            if isinstance(part, Codes):
                self._kept.append(part)
            found = self._texts[part] if isinstance(part, str) else part
            if isinstance(found, VocabularyError):
                raise found
            self._ids[name] = self._vocabulary.to_ids(found)
        return self._ids[name]


def draw(seed: int, key: str, what: str, count: int) -> int:
    """A number from 0 to count - 1 that depends on nothing else: 64 bits of SHA-256, modulo `count`."""
    digest = hashlib.sha256(f"{seed}\0{what}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % count


def _or_error(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except AnytokError as error:
        return error


def _of_meta(item: StoredItem, name: str, what: str) -> Any:
    value = item.meta.get(name)
    if value is None:
        raise UsageError(f"{item.key} has no {name!r} in its metadata, which says {what}")
    return value


def _place(value: Any) -> tuple[int, Any]:
    """A position as it is ordered: numbers as numbers, also where they are written as text, before other text."""
    try:
        return 0, float(value)
    except (TypeError, ValueError):
        return 1, str(value)
