"""Lockstep batching: clips that are encoded at the same time take their LSTM steps as one batch.

A clip alone reads a layer's 17 MB of weights at every step; clips in lockstep share that reading, and each gets the
very bits that it would get alone. So a clip's work is a generator (`Work`) that computes what concerns the clip alone.
Where an LSTM layer is needed it yields an `LstmRequest`; `lockstep` collects the requests of all clips, lets
`run_layer` compute those for one layer together, and sends each generator its result. The arithmetic is in
`kernels.layers.Lstm`. A lone clip, a stream and a batch take the same way.

Legend: t time, b clips, c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from ....kernels.layers import Lstm
from .spill import SpillBuffer

__all__ = ["LstmRequest", "LstmState", "StatefulLstm", "Work", "bidirectional", "lockstep", "run_layer"]

CLIPS = 16  # in lockstep; more gain nothing, since arithmetic is the limit by then
BLOCK = 50  # steps whose inputs are projected in one product, so that these stay in the cache


@dataclass(frozen=True)
class LstmState:
    """One clip's state in one layer, [units] each: hidden in the layer's type, cell in its `cell_dtype`."""

    hidden_c: Tensor
    cell_c: Tensor


@dataclass(frozen=True)
class LstmRequest:
    """One clip's next inputs [t, c], t >= 1, for one layer, and the state before them; None at the clip's start."""

    layer: Lstm
    inputs_tc: Tensor
    state: LstmState | None = None


T = TypeVar("T")
Result: TypeAlias = tuple[Tensor, LstmState]  # the layer's outputs [t, c], and the state after them
Work: TypeAlias = Generator[LstmRequest, Result, T]


def lockstep(works: Iterable[Work[T]]) -> Iterator[T]:
    """Run all works, up to CLIPS of them at a time; yields their results in order, as soon as they are known. A work is
    taken from `works` only when its turn comes."""
    results: dict[int, T] = {}
    pending: dict[int, tuple[Work[T], LstmRequest]] = {}
    following = enumerate(works)
    due = 0

    def advance(number: int, work: Work[T], result: Result | None) -> None:
        try:
            pending[number] = (work, work.send(result) if result else next(work))
        except StopIteration as stop:
            results[number] = stop.value

    while True:
        while len(pending) < CLIPS and (new := next(following, None)):
            advance(*new, None)
        while due in results:
            yield results.pop(due)
            due += 1
        if not pending:
            return
        layer = next(iter(pending.values()))[1].layer  # of the request that has waited longest
        batch = {number: one for number, one in pending.items() if one[1].layer is layer}
        for number in batch:
            del pending[number]
        made = run_layer(layer, [request for _, request in batch.values()])
        for (number, (work, _)), result in zip(batch.items(), made, strict=True):
            advance(number, work, result)


def run_layer(layer: Lstm, requests: Sequence[LstmRequest]) -> list[Result]:
    """The result of each request, in one batch as long as the shortest lasts, then in a smaller one."""
    zeros_c = torch.zeros(layer.units, dtype=layer.cell_dtype, device=layer.device)
    states = [request.state or LstmState(zeros_c.to(layer.dtype), zeros_c) for request in requests]
    outputs: list[list[Tensor]] = [[] for _ in requests]
    running, begin = list(range(len(requests))), 0
    while running:
        end = min(begin + BLOCK, *(len(requests[i].inputs_tc) for i in running))
        inputs_tbc = torch.stack([requests[i].inputs_tc[begin:end] for i in running], dim=1)
        cell_bc = torch.stack([states[i].cell_c for i in running])
        hidden_bc = torch.stack([states[i].hidden_c for i in running])
        out_tbc, cell_bc = layer(inputs_tbc.to(layer.dtype), hidden_bc, cell_bc)
        last_bc = out_tbc[-1].clone()
        for row, i in enumerate(running):
            outputs[i].append(out_tbc[:, row, : layer.width].to(inputs_tbc.dtype))
            states[i] = LstmState(last_bc[row], cell_bc[row])
        running = [i for i in running if len(requests[i].inputs_tc) > end]
        begin = end
    return [(torch.cat(pieces), state) for pieces, state in zip(outputs, states, strict=True)]


class StatefulLstm:
    """A one-directional LSTM plus its input, over one clip that comes in pieces [t, c]."""

    def __init__(self, layers: Sequence[Lstm]) -> None:
        self._layers = layers
        self._states: list[LstmState | None] = [None] * len(layers)

    def push(self, piece_tc: Tensor) -> Work[Tensor]:
        if not len(piece_tc):
            return piece_tc
        signal_tc = piece_tc
        for depth, layer in enumerate(self._layers):
            signal_tc, self._states[depth] = yield LstmRequest(layer, signal_tc, self._states[depth])
        return signal_tc + piece_tc


def bidirectional(layers: Sequence[Sequence[Lstm]], signal: SpillBuffer) -> Work[Iterator[Tensor]]:
    """A two-directional LSTM plus its input twice side by side: pieces [t, c] → [t, 2 c], made as they are taken.

    Each layer takes both directions of the one below, so each goes over the whole clip, forwards and backwards.
    """
    read: Callable[[int], Tensor] = signal.__getitem__
    for forward_layer, backward_layer in layers:
        forward = yield from _one_direction(forward_layer, read, range(len(signal)))
        backward = yield from _one_direction(backward_layer, read, range(len(signal))[::-1])
        read = partial(_joined, forward, backward)
    return (read(number) + _joined(signal, signal, number) for number in range(len(signal)))


def _one_direction(layer: Lstm, read: Callable[[int], Tensor], numbers: range) -> Work[SpillBuffer]:
    """One layer over all pieces, in the order of `numbers`; where these fall, time runs backwards."""
    made = SpillBuffer()
    state: LstmState | None = None
    backwards = numbers.step < 0
    for number in numbers:
        piece_tc = read(number)
        out_tc, state = yield LstmRequest(layer, piece_tc.flip(0) if backwards else piece_tc, state)
        made[number] = out_tc.flip(0) if backwards else out_tc
    return made


def _joined(left: SpillBuffer, right: SpillBuffer, number: int) -> Tensor:
    return torch.cat([left[number], right[number]], dim=1)
