"""What may follow what in a line of ids: one grammar for parsing, repair, constrained sampling and streaming.

    line := (text | run)*        run := start code code … end

Inside a run, all that matters is `length`, the codes so far, and `num_first`, those of them in layer 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import VocabularyError
from .layout import Layout, Segment

__all__ = ["CODE", "END", "NO_LIMIT", "START", "TEXT", "UNKNOWN", "Grammar", "legal"]

TEXT, CODE, START, END, UNKNOWN = range(5)
NO_LIMIT = 2**31 - 1


def legal(
    segment: Segment, length: Any, num_first: Any, min_frames: Any = 1, max_frames: Any = NO_LIMIT
) -> tuple[Any, Any, Any]:
    """(low, high, may_end): a code of layers low … high - 1 may come next, or the end marker, or either.

    Only arithmetic, so all counts may be ints or arrays of numpy or torch.
    """
    layers = segment.num_codebooks
    if segment.num_frames is not None:
        min_frames = max_frames = segment.num_frames
    if segment.pattern == "frame-major" or layers == 1:
        low = length % layers
        return low, low + (length < layers * max_frames), (low == 0) & (length >= layers * min_frames)
    if segment.pattern == "flat-delay":
        return _legal_delayed(layers, length, num_first, min_frames, max_frames)
    # Layer-major: while all codes are of layer 0 the run may grow, or turn to layer 1: then T = num_first.
    open_ended = (length == num_first) * 1
    low_open, high_open = (num_first >= max_frames) * 1, 1 + (num_first >= min_frames)
    layer = length // (num_first + (num_first == 0))
    low = open_ended * low_open + (1 - open_ended) * layer
    high = open_ended * high_open + (1 - open_ended) * (layer + (layer < layers))
    return low, high, (length == layers * num_first) & (num_first >= min_frames)


def _legal_delayed(layers: int, length: Any, num_first: Any, min_frames: Any, max_frames: Any) -> tuple[Any, Any, Any]:
    """`legal` for flat-delay: step s of T frames holds layers max(0, s - T + 1) … min(s, K - 1). Behind a whole step
    the run may go on with layer 0, or begin to close with layer 1: then T = num_first."""
    before, opening = (_opening(layers, num_first - (num_first > 0) * 1), _opening(layers, num_first))
    whole, closing = (length == opening) * 1, (length > opening) * 1
    within = length - before  # the layer that comes next in a step that is under way
    low = (1 - whole) * within + whole * (num_first >= max_frames)
    high = (1 - whole) * (within + 1) + whole * (1 + (num_first >= min_frames))
    layer, start = 0 * length, opening
    for step in range(1, layers):
        width = layers - step
        width = width - (width - num_first) * (width > num_first)
        layer = layer + (length >= start) * (length < start + width) * (step + length - start)
        start = start + width
    low = (1 - closing) * low + closing * layer
    high = (1 - closing) * high + closing * (layer + (length < start))
    return low, high, (length == layers * num_first) & (num_first >= min_frames)


def _opening(layers: int, num_steps: Any) -> Any:
    """Codes of the first steps of flat-delay that begin with layer 0: 1, 2, …, K, K, …"""
    beyond = (num_steps - layers) * (num_steps > layers)
    growing = num_steps - beyond
    return growing * (growing + 1) // 2 + beyond * layers


class Grammar:
    """Tables over all ids of a layout: `kind` (TEXT, CODE, START, END), `family` (the segment's place, or -1)
    and `layer` (of a code, or -1), each an array `[total + 2]`.

    Two symbols stand behind the ids: `unknown` (an id or a spelling that the layout does not have) and `text`
    (a stretch of text that has no ids yet).
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.unknown, self.text = layout.total, layout.total + 1
        size = layout.total + 2
        self.kind = np.full(size, TEXT, np.int8)
        self.family = np.full(size, -1, np.int16)
        self.layer = np.full(size, -1, np.int16)
        self.kind[self.unknown] = UNKNOWN
        for place, segment in enumerate(layout.segments):
            codes = slice(segment.first_id, segment.first_id + segment.num_ids)
            self.kind[codes] = CODE
            self.layer[codes] = np.arange(segment.num_ids) // segment.codebook_size
            self.kind[segment.start_id], self.kind[segment.end_id] = START, END
            self.family[[segment.start_id, segment.end_id]] = place
            self.family[codes] = place

    def symbols(self, ids: Any) -> np.ndarray:
        """Ids `[N]` → symbols, int64 `[N]`; raises VocabularyError on anything but a line of integers."""
        try:
            line = np.asarray(ids)
        except (TypeError, ValueError) as error:
            raise VocabularyError(f"no line of ids ({error}): expected integers [N]") from error
        if line.ndim != 1 or (line.size and line.dtype.kind not in "iu"):
            raise VocabularyError(f"ids of shape {list(line.shape)} and type {line.dtype}: expected integers [N]")
        known = (line >= 0) & (line < self.layout.total)
        return np.where(known, line, self.unknown).astype(np.int64)

    def open_run(self, symbols: np.ndarray) -> int:
        """Where in a line of symbols `[N]` a run begins that is not closed yet; N where there is none."""
        others = np.flatnonzero(self.kind[symbols] != CODE)
        is_open = len(others) and self.kind[symbols[others[-1]]] == START
        return int(others[-1]) if is_open else len(symbols)

    def spell(self, symbol: int) -> str:
        """A symbol in words, for messages."""
        if symbol == self.unknown:
            return "an unknown token"
        if self.kind[symbol] == TEXT:
            return "text"
        segment = self.layout.segments[self.family[symbol]]
        markers = {segment.start_id: segment.start, segment.end_id: segment.end}
        return markers.get(symbol) or segment.text_of(symbol - segment.first_id)

    def unknown_id(self, ids: Any, place: int) -> str:
        """The id at a place of a line, which the vocabulary does not have, in words."""
        return f"the unknown id {np.asarray(ids)[place]} ({self.layout.name} has 0 to {self.layout.total - 1})"

    def expected(self, segment: Segment, length: int, num_first: int) -> str:
        """What may come next in a run, in words."""
        low, high, may_end = legal(segment, length, num_first)
        codes = [f"a code of layer {layer}" if segment.num_codebooks > 1 else "a code" for layer in range(low, high)]
        return " or ".join([*codes, segment.end] if may_end else codes)
