"""Clips that advance side by side, so that their LSTM sweeps can be run as one batch.

A clip's work is a generator: it computes what concerns it alone, and yields a Sweep wherever an LSTM layer must hear
a piece; it is sent the layer's output and state. A clip alone, a stream and a batch run the same generator.

Legend: t time, c channels.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from .packed import ROWS
from .pieces import Pieces
from .recurrent import Layer, State, Sweep

__all__ = ["Carried", "Work", "abreast", "both_ways"]

T = TypeVar("T")
Answer: TypeAlias = tuple[Tensor, State]
Work: TypeAlias = Generator[Sweep, Answer, T]

AT_ONCE = ROWS  # clips side by side; more do not help, since by then arithmetic is the limit


def abreast(clips: Iterable[Work[T]]) -> Iterator[T]:
    """Run all clips, up to AT_ONCE of them side by side; results in the clips' order, as soon as they are known."""
    results: dict[int, T] = {}
    asking: dict[int, tuple[Work[T], Sweep]] = {}
    waiting = enumerate(clips)
    due = 0

    def advance(number: int, clip: Work[T], answer: Answer | None) -> None:
        try:
            asking[number] = (clip, clip.send(answer) if answer else next(clip))
        except StopIteration as stop:
            results[number] = stop.value

    while True:
        while len(asking) < AT_ONCE and (following := next(waiting, None)):
            advance(*following, None)
        while due in results:
            yield results.pop(due)
            due += 1
        if not asking:
            return
        layer = next(iter(asking.values()))[1].layer  # the clip that has waited longest goes first
        group = {number: one for number, one in asking.items() if one[1].layer is layer}
        for number in group:
            del asking[number]
        answers = layer.run([sweep for _, sweep in group.values()])
        for (number, (clip, _)), answer in zip(group.items(), answers, strict=True):
            advance(number, clip, answer)


class Carried:
    """A one-directional LSTM added to its input, its state carried from piece to piece of one clip."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._states: list[State | None] = [None] * len(layers)

    def push(self, piece_tc: Tensor) -> Work[Tensor]:
        if not len(piece_tc):
            return piece_tc
        heard_tc = piece_tc
        for depth, layer in enumerate(self._layers):
            heard_tc, self._states[depth] = yield Sweep(layer, heard_tc, self._states[depth])
        return heard_tc + piece_tc


def both_ways(layers: Sequence[Sequence[Layer]], signal: Pieces) -> Work[Pieces]:
    """A two-directional LSTM added to its input, twice side by side: pieces [t, c] → pieces [t, 2 c].

    Each layer hears both directions of the one below, so each sweeps the whole clip forwards and backwards.
    """
    heard = signal
    for forward, backward in layers:
        ahead = yield from _sweep(forward, heard, reverse=False)
        back = yield from _sweep(backward, heard, reverse=True)
        heard = Pieces()
        for place in range(len(signal)):
            heard.append(torch.cat([ahead[place], back[place]], dim=1))
    for place in range(len(signal)):
        skip_tc = signal[place]
        heard[place] = heard[place] + torch.cat([skip_tc, skip_tc], dim=1)
    return heard


def _sweep(layer: Layer, heard: Pieces, reverse: bool) -> Work[Pieces]:
    said = Pieces.like(heard)
    state: State | None = None
    places = range(len(heard))
    for place in reversed(places) if reverse else places:
        piece_tc = heard[place].flip(0) if reverse else heard[place]
        out_tc, state = yield Sweep(layer, piece_tc, state)
        said[place] = out_tc.flip(0) if reverse else out_tc
    return said
