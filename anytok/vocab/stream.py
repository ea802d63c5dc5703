"""Ids as they come → words and frames as soon as they are sure."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import UsageError
from ..spec import Codes, Spec
from .grammar import CODE, START, TEXT, Grammar
from .patterns import PATTERNS
from .runs import POLICIES, Report, TextIds, codes_grid, legal_length, read_symbols

__all__ = ["Frames", "Stream"]


@dataclass(frozen=True, eq=False)
class Frames:
    """Codes of an item that is under way: `values`, int64 `[K, t]`, behind all frames given before.

    `last` closes the item; t may be 0 then. Items of fixed length (pictures) come whole.
    """

    values: np.ndarray
    spec: Spec
    last: bool


class Stream:
    """Feed ids by `push`, end with `finish`; both return pieces: str (TextIds without a text tokenizer), Frames.

    However the line is cut, the words and frames, joined, are those of `Vocabulary.from_ids` under the same
    policy. Words come once no later id can change them: characters that a tokenizer writes in bytes, with the next id
    that is no byte. A frame comes out with its last id where the pattern is frame-major (after K ids), else with the
    end of its run; under "drop", which may take a whole run back, always with the end of its run. "strict"
    raises VocabularyError at the first fault; what came out before stands. `report` grows as the line does.
    """

    def __init__(
        self,
        grammar: Grammar,
        policy: str,
        decode: Callable[[np.ndarray], Any] | None,
        byte_ids: Container[int] = frozenset(),
    ) -> None:
        if policy not in POLICIES:
            raise UsageError(f"no policy is called {policy!r}; choose from {', '.join(POLICIES)}")
        self.report = Report()
        self._grammar, self._policy = grammar, policy
        self._held = np.empty(0, np.int64)  # a run that is under way, from its start marker on; or stray codes
        self._held_ids = self._held  # the same as they came
        self._given = 0  # frames of it that are out
        self._settled = 0  # ids before it
        self._words = _Words(decode, byte_ids)

    def push(self, ids: Any) -> list[str | TextIds | Frames]:
        """Take ids `[n]`, return the pieces that became sure."""
        symbols = np.concatenate([self._held, self._grammar.symbols(ids)])
        self._held_ids = np.concatenate([self._held_ids, np.asarray(ids).astype(np.int64)])
        kind = self._grammar.kind[symbols]
        markers = np.flatnonzero(kind != CODE)
        # Everything is settled but a run whose start marker is the last symbol that is no code, and codes outside of
        # runs, which wait for one another to be one fault.
        last = int(markers[-1]) if len(markers) else -1
        under_way = last >= 0 and kind[last] == START
        cut = last if under_way else len(symbols) if self._policy == "strict" else last + 1
        pieces = self._settle(symbols[:cut])
        self._held, self._held_ids = symbols[cut:], self._held_ids[cut:]
        if len(self._held):
            pieces += self._words.flush()
        return [*pieces, *self._grow()] if under_way else pieces

    def finish(self) -> list[str | TextIds | Frames]:
        """The line ends here: return what was still held."""
        pieces = self._settle(self._held)
        self._held, self._held_ids = self._held[:0], self._held_ids[:0]
        return [*pieces, *self._words.flush()]

    def _settle(self, symbols: np.ndarray) -> list[str | TextIds | Frames]:
        if not len(symbols):
            return []
        start = self._settled
        names = partial(self._grammar.unknown_id, self._held_ids)
        pieces, report = read_symbols(self._grammar, symbols, self._policy, lambda place: start + place, "id", names)
        self.report.add(report)
        self._settled += len(symbols)
        out: list[str | TextIds | Frames] = []
        if self._grammar.kind[symbols[0]] != TEXT:
            out += self._words.flush()
        for place, piece in enumerate(pieces):
            if isinstance(piece, slice):
                out += self._words.push(symbols[piece])
                if place < len(pieces) - 1 or piece.stop < len(symbols):
                    out += self._words.flush()
            elif isinstance(piece, Codes):
                out.append(Frames(piece.values[:, self._given :], piece.spec, last=True))
                self._given = 0
        return out

    def _grow(self) -> list[Frames]:
        """The frames of the run under way that have become sure."""
        segment = self._grammar.layout.segments[self._grammar.family[self._held[0]]]
        length, _ = legal_length(self._grammar, self._held)
        if self._policy == "strict" and length < len(self._held) - 1:
            self._settle(self._held)  # raises
        if self._policy == "drop" or segment.num_frames is not None:
            return []
        ready = PATTERNS[segment.pattern].ready(segment.num_codebooks, length)
        if ready == self._given:
            return []
        grid = codes_grid(segment, self._held[1 : 1 + ready * segment.num_codebooks])
        fresh = Frames(grid[:, self._given :], segment.spec, last=False)
        self._given = ready
        return [fresh]


class _Words:
    """A stretch of text ids → words, never half a character, nor bytes of which a later one makes something else."""

    def __init__(self, decode: Callable[[np.ndarray], Any] | None, byte_ids: Container[int]) -> None:
        self._decode, self._byte_ids = decode, byte_ids
        self._ids, self._given = np.empty(0, np.int64), ""

    def push(self, ids: np.ndarray) -> list[str | TextIds]:
        if self._decode is None:
            return [TextIds(ids)]
        # Decoded from the stretch's beginning each time: how an id is spelled depends on those before it.
        self._ids = np.concatenate([self._ids, ids])
        if self._ids[-1] in self._byte_ids:
            return []
        words = self._decode(self._ids)
        return [] if words.endswith("\ufffd") else self._fresh(words)

    def flush(self) -> list[str | TextIds]:
        rest: list[str | TextIds] = []
        if self._decode is not None and len(self._ids):
            rest = self._fresh(self._decode(self._ids))
        self._ids, self._given = self._ids[:0], ""
        return rest

    def _fresh(self, words: str) -> list[str | TextIds]:
        fresh, self._given = words[len(self._given) :], words
        return [fresh] if fresh else []
