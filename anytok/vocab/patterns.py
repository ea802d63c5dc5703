"""The order in which a model meets the codes of an item: `[K, T]` to steps, and back, also piece by piece.

Legend: K codebooks, T frames, S steps, R rows (streams that a model reads in parallel; 1 for a plain LLM).

A pattern is one array: `cells(K, T)`, int64 `[R, S]`, holds at each place the cell `k * T + t` that stands
there, or -1 where nothing does. Applying it is indexing, inverting it is indexing from the other side.

| name        | rows | order                                                    | known from             |
|-------------|------|----------------------------------------------------------|------------------------|
| frame-major | 1    | all layers of frame 0, all layers of frame 1, …          | AnyGPT (music)         |
| layer-major | 1    | layer 0 of all frames, layer 1 of all frames, …          | MIO (speech)           |
| parallel    | K    | step s holds frame s of every layer                      | Moshi                  |
| delay       | K    | layer k lags k steps: step s holds its frame s - k       | MusicGen (2306.05284)  |
| flat-delay  | 1    | the steps of delay one after the other, gaps left out    | the same, as one line  |

Fewer layers need no pattern of their own: pass `values[:k]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import CodesError, UsageError

__all__ = ["FLAT", "PATTERNS", "Inverse", "Pattern", "apply", "flat_cells", "invert"]


@dataclass(frozen=True)
class Pattern:
    """`cells(K, T)` as above. `frames(K, S)` is T for a finished item of S steps, or -1 where no T gives S.

    `ready(K, S)` counts the frames that the first S steps hold whatever follows.
    """

    cells: Callable[[int, int], np.ndarray]
    frames: Callable[[int, int], int]
    ready: Callable[[int, int], int]


def _grid(num_codebooks: int, num_frames: int) -> np.ndarray:
    return np.arange(num_codebooks * num_frames).reshape(num_codebooks, num_frames)


def _delayed(num_codebooks: int, num_frames: int) -> np.ndarray:
    cells = np.full((num_codebooks, num_frames + num_codebooks - 1), -1)
    for layer, row in enumerate(_grid(num_codebooks, num_frames)):
        cells[layer, layer : layer + num_frames] = row
    return cells


def _delayed_flat(num_codebooks: int, num_frames: int) -> np.ndarray:
    steps = _delayed(num_codebooks, num_frames).T.reshape(-1)
    return steps[steps >= 0].reshape(1, -1)


def _divide(num_codebooks: int, num_steps: int) -> int:
    return num_steps // num_codebooks if num_steps % num_codebooks == 0 else -1


PATTERNS = {
    "frame-major": Pattern(lambda k, t: _grid(k, t).T.reshape(1, -1), _divide, lambda k, s: s // k),
    # Where layer 0 ends is known only when layer 1 begins, so nothing is sure before the end (K = 1 aside).
    "layer-major": Pattern(lambda k, t: _grid(k, t).reshape(1, -1), _divide, lambda k, s: s if k == 1 else 0),
    "parallel": Pattern(_grid, lambda k, s: s, lambda k, s: s),
    "delay": Pattern(_delayed, lambda k, s: s - k + 1, lambda k, s: max(0, s - k + 1)),
    # Whether a step without layer 0 has begun to close the item depends on what follows.
    "flat-delay": Pattern(_delayed_flat, _divide, lambda k, s: s if k == 1 else 0),
}

FLAT = ("frame-major", "layer-major", "flat-delay")  # one row: what a run of ids can hold


def _pattern(name: str) -> Pattern:
    if name not in PATTERNS:
        raise UsageError(f"no codebook pattern is called {name!r}; known: {', '.join(PATTERNS)}")
    return PATTERNS[name]


@lru_cache(maxsize=64)  # items of a corpus share their lengths
def flat_cells(name: str, num_codebooks: int, num_frames: int) -> np.ndarray:
    """The cells of a flat pattern in order, int64 `[K·T]`, read only; see `FLAT`."""
    cells = _pattern(name).cells(num_codebooks, num_frames)[0]
    cells.setflags(write=False)
    return cells


def apply(name: str, values: np.ndarray, empty: int = -1) -> np.ndarray:
    """Codes `[K, T]` → steps `[R, S]`, with `empty` where the pattern has no code."""
    cells = _pattern(name).cells(*values.shape)
    return np.where(cells >= 0, values.reshape(-1)[cells], empty)


def invert(name: str, steps: np.ndarray, num_codebooks: int) -> np.ndarray:
    """Steps `[R, S]` → codes `[K, T]`; raises CodesError where no item has that many rows and steps."""
    pattern = _pattern(name)
    num_rows, num_steps = steps.shape
    num_frames = pattern.frames(num_codebooks, num_steps)
    cells = pattern.cells(num_codebooks, max(num_frames, 1))
    if num_frames < 1 or num_rows != cells.shape[0]:
        raise CodesError(
            f"{num_rows} x {num_steps} steps are no whole item of {num_codebooks} codebooks in {name} order, "
            f"which has {cells.shape[0]} row(s) and whole frames"
        )
    return _place(cells, steps, num_codebooks)


def _place(cells: np.ndarray, steps: np.ndarray, num_codebooks: int) -> np.ndarray:
    values = np.empty((cells >= 0).sum(), steps.dtype)
    values[cells[cells >= 0]] = steps[cells >= 0]
    return values.reshape(num_codebooks, -1)


class Inverse:
    """`invert`, piece by piece: frames come out as soon as they are sure.

    What all `push`es and `finish` return, joined along T, equals `invert` of everything that was pushed.
    """

    def __init__(self, name: str, num_codebooks: int) -> None:
        self.name, self.num_codebooks = name, num_codebooks
        self._pattern = _pattern(name)
        self._steps = np.empty((self._pattern.cells(num_codebooks, 1).shape[0], 0), np.int64)
        self._given = 0

    def push(self, steps: np.ndarray) -> np.ndarray:
        """Take steps `[R, s]`, return the frames `[K, t]` that became sure (t may be 0)."""
        self._steps = np.concatenate([self._steps, steps], axis=1)
        ready = self._pattern.ready(self.num_codebooks, self._steps.shape[1])
        if ready == self._given:
            return np.empty((self.num_codebooks, 0), np.int64)
        cells = self._pattern.cells(self.num_codebooks, ready)
        return self._rest(_place(cells, self._steps[:, : cells.shape[1]], self.num_codebooks))

    def finish(self) -> np.ndarray:
        """The remaining frames `[K, t]`; raises CodesError where the last frame is not whole."""
        return self._rest(invert(self.name, self._steps, self.num_codebooks))

    def _rest(self, values: np.ndarray) -> np.ndarray:
        fresh = values[:, self._given :]
        self._given = values.shape[1]
        return fresh
