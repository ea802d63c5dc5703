"""A document: one line of ids and which of them are learned; and a sequence: documents one after the other.

Legend: N ids, M documents in a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import CodesError, UsageError
from ..vocab import Segment
from ..vocab.grammar import CODE, START, Grammar

__all__ = ["IGNORED", "Document", "Sequence", "cut"]

IGNORED = -100  # what losses skip, in torch and in transformers


@dataclass(frozen=True, eq=False)
class Document:
    """`ids`, `[N]` of the vocabulary's dtype, and `learned`, bool `[N]`: which of them the loss counts. `key` names it;
    `offset` is where it begins in the whole document, above 0 only where that was cut."""

    key: str
    ids: np.ndarray
    learned: np.ndarray
    offset: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Sequence:
    """Documents one after the other, as a model is trained on them; a document that is not packed is one of itself.

    All arrays are int32. Nothing is padded.
    """

    documents: tuple[Document, ...]

    def __len__(self) -> int:
        return sum(map(len, self.documents))

    @property
    def input_ids(self) -> np.ndarray:
        """`[N]`."""
        return self._joined([document.ids for document in self.documents])

    @property
    def labels(self) -> np.ndarray:
        """`[N]`: the ids, but `IGNORED` where nothing is learned, and at the first id of each document, which nothing
        before it predicts. As in transformers, they are not shifted: the model does that."""
        labels = [np.where(one.learned, one.ids.astype(np.int32), IGNORED) for one in self.documents]
        for one in labels:
            one[:1] = IGNORED
        return self._joined(labels)

    @property
    def position_ids(self) -> np.ndarray:
        """`[N]`: from 0 in each document."""
        return self._joined([np.arange(len(document)) for document in self.documents])

    @property
    def segment_ids(self) -> np.ndarray:
        """`[N]`: the number of the document that an id is of, from 0."""
        return np.repeat(np.arange(len(self.documents), dtype=np.int32), list(map(len, self.documents)))

    @property
    def cu_seqlens(self) -> np.ndarray:
        """`[M + 1]`: where each document begins, and the end, as attention over variable lengths takes it."""
        return np.cumsum([0, *map(len, self.documents)], dtype=np.int32)

    @staticmethod
    def _joined(lines: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(lines).astype(np.int32) if lines else np.empty(0, np.int32)


def cut(document: Document, length: int, grammar: Grammar) -> Iterator[Document]:
    """A document as pieces of at most `length` ids, which joined are the document; as it is, where it is no longer.

    A cut lies outside of runs, or in one of free length between two frames that are written one after the other, as
    late as it may. Raises CodesError where a run leaves no such place: it is longer than `length`, and of fixed length
    or not frame-major.
    """
    if length < 1:
        raise UsageError(f"length={length}: expected at least 1")
    if len(document) <= length:
        yield document
        return
    places = np.append(_places(document.ids, grammar), len(document))
    start = 0
    while start < len(document):
        end = int(places[np.searchsorted(places, start + length, "right") - 1])
        if end <= start:
            symbol = int(document.ids[min(start + length, len(document) - 1)])
            raise CodesError(
                f"{document.key} has {len(document)} ids, and in the {length} from {start} on no place to cut it, at "
                f"{grammar.spell(symbol)}: a sequence must hold a whole picture, and a whole run that is not "
                f"frame-major; use a longer length"
            )
        yield Document(document.key, document.ids[start:end], document.learned[start:end], document.offset + start)
        start = end


def _places(ids: np.ndarray, grammar: Grammar) -> np.ndarray:
    """Where a document may be cut, as numbers of the ids that begin a piece, in order; 0 among them."""
    kind, layer, family = grammar.kind[ids], grammar.layer[ids], grammar.family[ids]
    last = np.array([_last_layer(segment) for segment in grammar.layout.segments] + [-2])
    inside = (kind[:-1] == CODE) & (kind[1:] == CODE) & (layer[:-1] == last[family[:-1]])
    outside = (kind[:-1] != CODE) & (kind[:-1] != START)
    return np.concatenate([[0], np.flatnonzero(inside | outside) + 1])


def _last_layer(segment: Segment) -> int:
    """The layer that ends a frame; -2 where no frame ends before the run does."""
    whole_frames = segment.pattern == "frame-major" or segment.num_codebooks == 1
    free = segment.num_frames is None
    return segment.num_codebooks - 1 if whole_frames and free else -2
