"""Symbols → text stretches and Codes, under a policy for what a language model really emits.

| policy   | a faulty run …                                                                              |
|----------|---------------------------------------------------------------------------------------------|
| strict   | raises VocabularyError naming the place of the first fault                                  |
| truncate | keeps the whole frames before the fault; a run of fixed length that is too short is dropped |
| pad      | keeps them, and completes the last frame and a fixed length by repeating codes of its layer |
| drop     | is dropped                                                                                  |

Codes and end markers outside a run, and unknown tokens, are dropped by all but strict. Whatever is not kept
as it came stands in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ..errors import UsageError, VocabularyError
from ..spec import Codes
from .grammar import CODE, END, START, TEXT, UNKNOWN, Grammar, legal
from .layout import Segment
from .patterns import flat_cells

__all__ = [
    "POLICIES", "Fault", "Part", "Parts", "Report", "Special", "TextIds", "codes_grid", "legal_length", "read_symbols",
]  # fmt: skip

POLICIES = ("strict", "truncate", "pad", "drop")


@dataclass(frozen=True, eq=False)
class TextIds:
    """A stretch of text ids where no text tokenizer is at hand to spell them: `ids`, int64 `[N]`."""

    ids: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", np.asarray(self.ids, np.int64))

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self.ids, other.ids) if isinstance(other, TextIds) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Special:
    """A special token that is meant as one, such as `Special("<eoh>")`; in a plain str it would be words."""

    token: str


Part: TypeAlias = str | Special | TextIds | Codes


@dataclass(frozen=True)
class Fault:
    """One thing that was wrong: where (place of the id or character), what, and what was done about it."""

    position: int
    problem: str
    action: str

    def __str__(self) -> str:
        return f"{self.position}: {self.problem} ({self.action})"


@dataclass
class Report:
    """How a line of ids or a text parsed: runs met, kept whole, repaired and dropped, and every fault."""

    num_runs: int = 0
    num_whole: int = 0
    num_repaired: int = 0
    num_dropped: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults

    def add(self, later: Report) -> None:
        """Take over what a later stretch of the same line had."""
        for count in ("num_runs", "num_whole", "num_repaired", "num_dropped"):
            setattr(self, count, getattr(self, count) + getattr(later, count))
        self.faults += later.faults

    def __str__(self) -> str:
        counts = f"{self.num_whole} whole, {self.num_repaired} repaired, {self.num_dropped} dropped"
        return "\n".join([f"{self.num_runs} runs: {counts}; {len(self.faults)} faults", *map(str, self.faults)])


class Parts(list[Any]):
    """Parts in order, a plain list; `report` says how well they parsed."""

    def __init__(self, parts: Sequence[Any], report: Report) -> None:
        super().__init__(parts)
        self.report = report

    def __radd__(self, text: str) -> Parts:
        """What a text-generation pipeline does with its prompt."""
        return Parts([text, *self], self.report)


def read_symbols(
    grammar: Grammar,
    symbols: np.ndarray,
    policy: str,
    where: Callable[[int], int],
    unit: str,
    unknown: Callable[[int], str] | None = None,
) -> tuple[list[slice | Codes | None], Report]:
    """Text stretches (as slices of `symbols`) and Codes, None where a run was dropped; and the report.

    `where` turns a place among the symbols into the caller's, counted in `unit`s ("id", "character"); `unknown` says
    what the unknown token at a place among the symbols is.
    """
    if policy not in POLICIES:
        raise UsageError(f"no policy is called {policy!r}; choose from {', '.join(POLICIES)}")
    reader = _Reader(grammar, symbols, policy, where, unit, unknown)
    return reader.read(), reader.report


def legal_length(grammar: Grammar, run: np.ndarray) -> tuple[int, int]:
    """How many codes behind the start marker, which comes first in `run`, are legal, and how many of these
    belong to layer 0."""
    family = grammar.family[run[0]]
    layer = np.where(grammar.family[run[1:]] == family, grammar.layer[run[1:]], -1)
    # first[i]: how many of the i codes before place i belong to layer 0.
    first = np.concatenate([[0], np.cumsum(layer == 0)])
    low, high, _ = legal(grammar.layout.segments[family], np.arange(len(layer)), first[:-1])
    wrong = (layer < low) | (layer >= high)
    length = int(wrong.argmax()) if wrong.any() else len(layer)
    return length, int(first[length])


class _Reader:
    def __init__(
        self,
        grammar: Grammar,
        symbols: np.ndarray,
        policy: str,
        where: Callable[[int], int],
        unit: str,
        unknown: Callable[[int], str] | None,
    ) -> None:
        self.grammar, self.symbols, self.policy, self.where, self.unit = grammar, symbols, policy, where, unit
        self.unknown = unknown
        self.report = Report()

    def read(self) -> list[slice | Codes | None]:
        kind = self.grammar.kind[self.symbols]
        # A chunk is a stretch of text, a stretch of codes, or one symbol of another kind.
        cuts = np.flatnonzero((kind[1:] != kind[:-1]) | (kind[1:] >= START)) + 1
        edges = [0, *cuts.tolist(), len(kind)] if len(kind) else [0]
        chunks = [(int(kind[first]), first, last) for first, last in pairwise(edges)]
        chunks.append((UNKNOWN, len(kind), len(kind)))  # so that a run may look ahead
        pieces: list[slice | Codes | None] = []
        place = 0
        while place < len(chunks) - 1:
            what, first, last = chunks[place]
            place += 1
            if what == TEXT:
                pieces.append(slice(first, last))
            elif what == START:
                end = first + 1
                for wanted in (CODE, END):
                    if chunks[place][0] == wanted:
                        end = chunks[place][2]
                        place += 1
                pieces.append(self._run(first, end))
            else:
                self._fault(first, f"{self._spell(first)} outside a run", "dropped")
        return pieces

    def _run(self, start: int, stop: int) -> Codes | None:
        """The run in [start, stop): its start marker, codes of whatever kind, and perhaps an end marker."""
        grammar, report = self.grammar, self.report
        segment = grammar.layout.segments[grammar.family[self.symbols[start]]]
        closed = grammar.kind[self.symbols[stop - 1]] == END
        body = self.symbols[start + 1 : stop - 1 if closed else stop]
        length, num_first = legal_length(grammar, self.symbols[start : start + 1 + len(body)])
        may_end = bool(legal(segment, length, num_first)[2])
        report.num_runs += 1
        if length == len(body) and may_end and closed and self.symbols[stop - 1] == segment.end_id:
            report.num_whole += 1
            return Codes(codes_grid(segment, body), segment.spec)
        at = start + 1 + length
        came = self._spell(at) if at < len(self.symbols) else "nothing"
        wanted = grammar.expected(segment, length, num_first)
        problem = f"a run of {segment.modality} has {came} after {length} codes; expected {wanted}"
        codes, action = self._settle(segment, body[:length], len(body))
        self._fault(at, problem, action)
        report.num_repaired += codes is not None
        report.num_dropped += codes is None
        return codes

    def _spell(self, place: int) -> str:
        symbol = int(self.symbols[place])
        return self.unknown(place) if self.unknown and symbol == self.grammar.unknown else self.grammar.spell(symbol)

    def _settle(self, segment: Segment, kept: np.ndarray, length: int) -> tuple[Codes | None, str]:
        """What the policy makes of a faulty run whose first codes are right."""
        if self.policy in ("strict", "drop") or not len(kept):
            return None, "run dropped"
        grid = codes_grid(segment, kept)
        if self.policy == "truncate":
            partial = (grid < 0).any(axis=0)
            grid = grid[:, : int(partial.argmax()) if partial.any() else None]
        else:
            grid = _repeat_last(grid, segment.num_frames)
        num_frames = grid.shape[1]
        if num_frames == 0 or num_frames != (segment.num_frames or num_frames):
            return None, "run dropped"
        made_up, lost = max(0, grid.size - len(kept)), length - min(len(kept), grid.size)
        return Codes(grid, segment.spec), f"run kept, {made_up} codes made up, {lost} dropped"

    def _fault(self, place: int, problem: str, action: str) -> None:
        position = self.where(place)
        if self.policy == "strict":
            raise VocabularyError(
                f"{self.unit} {position}: {problem}. To repair what a model wrote, with a report of what was "
                f"wrong, pass policy='truncate', 'pad' or 'drop'"
            )
        self.report.faults.append(Fault(position, problem, action))


def codes_grid(segment: Segment, ids: np.ndarray) -> np.ndarray:
    """The legal beginning of a run → codes `[K, T]`, with -1 where they have not come yet."""
    numbers = ids.astype(np.int64) - segment.first_id
    num_frames = int((numbers < segment.codebook_size).sum())
    grid = np.full(segment.num_codebooks * num_frames, -1)
    cells = flat_cells(segment.pattern, segment.num_codebooks, num_frames)
    grid[cells[: len(numbers)]] = numbers % segment.codebook_size
    return grid.reshape(segment.num_codebooks, num_frames)


def _repeat_last(grid: np.ndarray, num_frames: int | None) -> np.ndarray:
    """Fill every -1 with the code before it in its layer (0 where a layer has none), up to num_frames."""
    missing = max(0, (num_frames or 0) - grid.shape[1])
    grid = np.pad(grid, ((0, 0), (0, missing)), constant_values=-1)
    last = np.maximum.accumulate(np.where(grid >= 0, np.arange(grid.shape[1]), -1), axis=1)
    filled = np.take_along_axis(grid, np.maximum(last, 0), axis=1)
    return np.maximum(filled, 0)
