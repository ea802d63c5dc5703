"""The shared vocabulary: Codes ⇄ ids ⇄ text. Pure numbers; no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError, VocabularyError
from ..spec import Codes
from .grammar import Grammar
from .hf import byte_ids, check_ids, decode_text, encode_text, encode_texts, extend, hash_text, look_up
from .layout import Layout, Segment, rewritten
from .layouts import find_layout
from .provenance import check_hash, read_layout
from .runs import Part, Parts, Special, TextIds, read_symbols
from .stream import Stream
from .text import Lexer, print_codes

__all__ = ["Vocabulary"]


class Vocabulary:
    """A layout at work. With a text tokenizer, text stretches of ids are read and written as str.

    The layout keeps a hash of the text tokenizer's tokens, once there is one; from then on, in its file, too, another
    one is refused by a VocabularyError, even if it has as many.

    >>> vocab = Vocabulary(find_layout("seed-llama"))
    >>> [codes] = vocab.from_text("<img>" + "".join(f"<img_{n:05d}>" for n in range(32)) + "</img>")
    >>> vocab.to_ids(codes)[:4].tolist()
    [40192, 32000, 32001, 32002]
    """

    def __init__(self, layout: Layout, text_tokenizer: Any = None) -> None:
        self.layout = layout
        self.text_tokenizer = text_tokenizer
        self._grammar = Grammar(layout)

    @property
    def text_tokenizer(self) -> Any:
        """The Hugging Face tokenizer of the text ids, or None."""
        return self._text

    @text_tokenizer.setter
    def text_tokenizer(self, tokenizer: Any) -> None:
        if found := hash_text(tokenizer, self.layout):
            self.layout = replace(self.layout, text_hash=found)
        self._text = tokenizer

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def hash(self) -> str:
        """SHA-256 of the layout; shards carry it, so a reader can refuse ids of another vocabulary."""
        return self.layout.hash

    @cached_property
    def dtype(self) -> np.dtype:
        """The narrowest unsigned integer type that holds every id: uint16 up to 65,536 ids, then uint32."""
        return np.min_scalar_type(self.layout.total - 1)

    def to_ids(self, parts: Part | Sequence[Part]) -> np.ndarray:
        """Ids of Codes (markers included), of text, or of a list of such parts: `[N]` of `dtype`.

        Text needs a text tokenizer, gets no begin-of-text id, and never makes ids of media or of special tokens,
        whatever it spells; where the tokenizer would make one, because its added tokens are not special, raises
        VocabularyError. Codes may have more layers than the vocabulary writes; the first are taken. Raises
        CodesError on codes of another tokenizer, with too few layers, without the first layer, or of the wrong
        length.
        """
        return np.concatenate([np.empty(0, self.dtype), *(self._ids_of(part) for part in _listed(parts))])

    def text_ids(self, texts: Sequence[str]) -> list[TextIds | VocabularyError]:
        """Each text as `to_ids` reads it, or what it raises: many texts in one call of the text tokenizer."""
        found = encode_texts(self._text_tokenizer(), self.layout, texts)
        return [one if isinstance(one, VocabularyError) else TextIds(one) for one in found]

    def to_text(self, parts: Part | Sequence[Part]) -> str:
        """The text of Codes (markers included), or of a list of parts: "<sosp><🗣️12>…<eosp>".

        Raises CodesError as `to_ids` does, and VocabularyError where words, joined, spell a media token.
        """
        groups = groupby(_listed(parts), self._is_media)
        texts = [(is_media, "".join(map(self._text_of, group))) for is_media, group in groups]
        for (is_media, text), (_, behind) in pairwise([*texts, (True, "")]):
            if not is_media and (token := self._lexer.find(text, behind)) is not None:
                raise VocabularyError(f"words that spell the media token {token}: pass codes as Codes")
        return "".join(text for _, text in texts)

    def from_ids(self, ids: Any, policy: str = "strict") -> Parts:
        """Ids `[N]` → parts in order: text (str with a text tokenizer, else TextIds) and Codes.

        Codes carry a Spec with the tokenizer's name (or pinned id) and the layers written. `policy` is
        "strict" (raise VocabularyError naming the place of the first fault), "truncate", "pad" or "drop";
        the result's `report` lists what was wrong and what was done. Raises VocabularyError on anything but
        integers `[N]`.
        """
        symbols = self._grammar.symbols(ids)
        names = partial(self._grammar.unknown_id, ids)
        pieces, report = read_symbols(self._grammar, symbols, policy, lambda place: place, "id", names)
        kept = [piece for piece in pieces if piece is not None]
        return Parts([self._text_part(symbols[p]) if isinstance(p, slice) else p for p in kept], report)

    def from_text(self, text: str, policy: str = "strict") -> Parts:
        """Text with media runs → str and Codes in order. Policies as in `from_ids`; faults name characters.

        The speech prefix of AnyGPT parses with and without its variation selector.
        """
        if not isinstance(text, str):
            raise VocabularyError(f"from_text got {type(text).__name__}: expected str")
        symbols, starts = self._lexer.scan(text)

        def name(place: int) -> str:
            token = text[starts[place] : starts[place + 1]]
            return f"the unknown token {token if len(token) <= 40 else f'{token[:40]}…'}"

        pieces, report = read_symbols(self._grammar, symbols, policy, starts.__getitem__, "character", name)
        kept = [piece for piece in pieces if piece is not None]
        return Parts([text[starts[p.start] : starts[p.stop]] if isinstance(p, slice) else p for p in kept], report)

    def open_run(self, ids: Any) -> int:
        """Where in ids `[N]` a run of media begins that is not closed yet; N where there is none."""
        return self._grammar.open_run(self._grammar.symbols(ids))

    def stream(self, policy: str = "strict") -> Stream:
        """A parser for ids that arrive piece by piece; see `Stream`."""
        if self.text_tokenizer is None:
            return Stream(self._grammar, policy, None)
        return Stream(self._grammar, policy, self._text_part, byte_ids(self.text_tokenizer))

    def extend(self, text_tokenizer: Any) -> int:
        """Add every token of the layout to a Hugging Face tokenizer and prove that the ids are the layout's.

        Returns how many were added (0 if all were there). The tokenizer becomes this vocabulary's. Raises
        VocabularyError, before anything is added, if its size is not the layout's `text_size`, or its tokens are not
        those of the text tokenizer before it.
        """
        hash_text(text_tokenizer, self.layout)
        added = extend(text_tokenizer, self.layout)
        self.text_tokenizer = text_tokenizer
        return added

    @classmethod
    def from_tokenizer(cls, text_tokenizer: Any, layout: str | Layout = "anygpt") -> Vocabulary:
        """A Vocabulary with the ids of an actual Hugging Face tokenizer; `layout` says what to look for.

        Raises VocabularyError saying which tokens are missing, where a run of codes is not contiguous, or
        which special token words could spell.
        """
        wanted = find_layout(layout) if isinstance(layout, str) else layout
        return cls(look_up(text_tokenizer, wanted), text_tokenizer)

    @classmethod
    def from_file(cls, path: str | Path, text_tokenizer: Any = None) -> Vocabulary:
        """A Vocabulary that `save` wrote; raises VocabularyError if the file was changed since, or if the text
        tokenizer is neither the base that it was laid out for, nor that one extended."""
        layout = read_layout(path)
        if text_tokenizer is not None:
            check_ids(text_tokenizer, layout)
        return cls(layout, text_tokenizer)

    def with_text(self, text_tokenizer: Any) -> Vocabulary:
        """This vocabulary with a text tokenizer: the plain base that it is laid out for, or one that has the media
        tokens, whose own ids then win over the table. Raises VocabularyError where it is neither."""
        layout = self.layout
        if len(text_tokenizer) == layout.text_size:
            return Vocabulary(layout, text_tokenizer)
        if not set(text_tokenizer.get_vocab()).intersection(layout.tokens()):
            raise VocabularyError(
                f"the text tokenizer has {len(text_tokenizer)} ids and no token of {layout.name}, which is laid out "
                f"behind {layout.text_size} text ids: give it the text tokenizer that it is for, or lay out a "
                f"vocabulary behind this one: `anytok vocab build`, anytok.vocab.build_vocabulary"
            )
        return self.from_tokenizer(text_tokenizer, layout)

    def with_runs(self, modality: str, *, num_codebooks: int | None = None, pattern: str | None = None) -> Vocabulary:
        """This vocabulary with the same ids, but runs of `modality` with fewer layers or in another codebook pattern:
        "frame-major", "layer-major" or "flat-delay". Raises VocabularyError on what it does not have.

        >>> Vocabulary(find_layout("anygpt")).with_runs("music", num_codebooks=2, pattern="flat-delay").layout.total
        49418
        """
        return Vocabulary(rewritten(self.layout, modality, num_codebooks, pattern), self.text_tokenizer)

    def save(self, path: str | Path) -> None:
        """Write the layout and its hash as JSON; the same layout always gives the same bytes."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """What `save` writes."""
        record = {"hash": self.hash, **self.layout.to_dict()}
        return json.dumps(record, ensure_ascii=False, indent=2) + "\n"

    def check(self, provenance: str | bytes | Mapping[str, Any]) -> None:
        """Raise VocabularyError unless ids were written with this vocabulary.

        `provenance` is the JSON, or the dict, that stands in the head of a job's shards (under "anytok"), or that of
        its plan.json.
        """
        check_hash(provenance, self.layout)

    def dump(self, path: str | Path) -> None:
        """Write the table of ids for human eyes."""
        Path(path).write_text(self.table() + "\n", encoding="utf-8")

    def table(self) -> str:
        """First id, last id, count and meaning of every stretch, as text."""
        head = f"{self.name}: {self.layout.total} ids, {self.dtype}, sha256 {self.hash}"
        rows = (f"{a:>8} {b - 1:>8} {b - a:>8}  {what}" for a, b, what in self.layout.stretches() if b > a)
        return "\n".join([head, *rows])

    @cached_property
    def _lexer(self) -> Lexer:
        return Lexer(self._grammar)

    @cached_property
    def _specials(self) -> dict[str, int]:
        return dict(self.layout.specials) | self._lexer.markers

    def _segment(self, codes: Codes) -> Segment:
        return self.layout.segment(codes.spec.name)

    def _ids_of(self, part: Part) -> np.ndarray:
        if isinstance(part, Codes):
            segment = self._segment(part)
            ids = segment.numbers(part) + segment.first_id
            return np.concatenate([[segment.start_id], ids, [segment.end_id]]).astype(self.dtype)
        if isinstance(part, Special):
            return np.array([self._special_id(part.token)], self.dtype)
        if isinstance(part, str):
            part = TextIds(encode_text(self._text_tokenizer(), self.layout, part))
        if not isinstance(part, TextIds):
            raise UsageError(f"to_ids got {type(part).__name__}: expected Codes, str, Special, TextIds or a list")
        if len(part.ids) and part.ids.min() >= 0 and part.ids.max() < self.layout.text_size:
            return part.ids.astype(self.dtype)  # text alone, as nearly always
        beyond = part.ids[(part.ids < 0) | (part.ids >= self.layout.total)]
        media = part.ids[self._grammar.family[np.clip(part.ids, 0, self.layout.total)] >= 0]
        if len(beyond) or len(media):
            raise VocabularyError(
                f"text with id {[*beyond, *media][0]}: that is no text id of {self.name}, which has text ids 0 to "
                f"{self.layout.text_size - 1}, and special tokens"
            )
        return part.ids.astype(self.dtype)

    def _is_media(self, part: Part) -> bool:
        """Whether a media token in the text of a part is meant as one."""
        return isinstance(part, Codes) or (isinstance(part, Special) and part.token in self._lexer.markers)

    def _text_of(self, part: Part) -> str:
        if isinstance(part, Codes):
            return print_codes(self._segment(part), part)
        if isinstance(part, Special):
            return part.token
        if isinstance(part, TextIds):
            part = decode_text(self._text_tokenizer(), self.layout, part.ids)
        if not isinstance(part, str):
            raise UsageError(f"to_text got {type(part).__name__}: expected Codes, str, Special, TextIds or a list")
        return part

    def _special_id(self, token: str) -> int:
        """A special token of the layout, a marker, or a special token of the text tokenizer."""
        known = self._specials
        if token not in known and self.text_tokenizer is not None:
            own = self.text_tokenizer
            known = known | dict(zip(own.all_special_tokens, own.all_special_ids, strict=True))
        if token not in known:
            raise VocabularyError(f"no special token is spelled {token!r}; known: {', '.join(known)}")
        return known[token]

    def _text_part(self, ids: np.ndarray) -> Part:
        if self.text_tokenizer is None:
            return TextIds(ids)
        return decode_text(self.text_tokenizer, self.layout, ids)

    def _text_tokenizer(self) -> Any:
        if self.text_tokenizer is None:
            raise UsageError(
                "text and ids meet through a text tokenizer: use Vocabulary.from_tokenizer(tokenizer), "
                "vocab.extend(tokenizer), or set vocab.text_tokenizer"
            )
        return self.text_tokenizer

    def __repr__(self) -> str:
        return f"<Vocabulary {self.name}, {self.layout.total} ids, {self.hash[:12]}>"


def _listed(parts: Part | Sequence[Part]) -> Sequence[Part]:
    return parts if isinstance(parts, (list, tuple)) else [parts]  # type: ignore[list-item]
