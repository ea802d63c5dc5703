"""LSTM layers over clips that arrive in pieces, many clips abreast.

State is carried from piece to piece, so the pieces equal the whole pass. A clip alone must read a layer's 13 MB of
weights for every frame; clips abreast share that reading, and each gets the very bits that it would get alone.

Legend: t time, b clips abreast, c channels, g gates (4 c).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.backends import cudnn

from . import kernels
from .packed import HAS_MATRIX_UNITS, ROWS, PackedLinear, can_pack, least_rows, linear

__all__ = ["Layer", "State", "Sweep", "layers_of", "single_layers"]

_BLOCK = 50  # frames whose inputs are projected in one product: they stay in cache
_WIDE = 1024  # from this width on a float32 step is the reading of its weights


@dataclass(frozen=True)
class State:
    """What a layer knows after some frames of one clip: two vectors [c]."""

    hidden_c: Tensor
    cell_c: Tensor


@dataclass(frozen=True)
class Sweep:
    """One clip's next piece [t, c], t >= 1, for one layer; no state at the clip's start."""

    layer: Layer
    piece_tc: Tensor
    state: State | None = None


class Layer(Protocol):
    """One LSTM layer in one direction."""

    def run(self, sweeps: Sequence[Sweep]) -> list[tuple[Tensor, State]]:
        """The output [t, c] and the state after it of each sweep, every clip as if it were alone."""


class PackedLayer(ABC):
    """All clips take each step together; the rows of a packed product never mix."""

    _width: int
    _dtype: torch.dtype

    @abstractmethod
    def _steps(self, heard_tbc: Tensor, hidden_bc: Tensor, cell_bc: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [t, b, c] of all frames, and the cells after them."""

    def run(self, sweeps: Sequence[Sweep]) -> list[tuple[Tensor, State]]:
        zeros_c = torch.zeros(self._width, dtype=torch.float32)
        states = [sweep.state or State(zeros_c.to(self._dtype), zeros_c) for sweep in sweeps]
        said: list[list[Tensor]] = [[] for _ in sweeps]
        running, begin = list(range(len(sweeps))), 0
        while running:
            end = min(begin + _BLOCK, *(len(sweeps[i].piece_tc) for i in running))
            heard_tbc = torch.stack([sweeps[i].piece_tc[begin:end] for i in running], dim=1)
            cell_bc = torch.stack([states[i].cell_c for i in running])
            hidden_bc = torch.stack([states[i].hidden_c for i in running])
            out_tbc, cell_bc = self._steps(heard_tbc.to(self._dtype), hidden_bc, cell_bc)
            last_bc = out_tbc[-1].clone()
            for row, i in enumerate(running):
                said[i].append(out_tbc[:, row].to(heard_tbc.dtype))
                states[i] = State(last_bc[row], cell_bc[row])
            running = [i for i in running if len(sweeps[i].piece_tc) > end]
            begin = end
        return [(torch.cat(pieces), state) for pieces, state in zip(said, states, strict=True)]


class _Gates:
    """Packed recurrent weights. A few clips wait for them to be read, and read them in three bytes a number; for more
    clips the very same numbers are made float32 when they first come."""

    def __init__(self, weight_hh: Tensor) -> None:
        packed = kernels.pack_gates(weight_hh)
        can_wait = weight_hh.dtype == torch.float32 and weight_hh.shape[1] >= _WIDE
        self._short = kernels.shorten(packed) if can_wait else None
        self._packed = None if self._short else packed

    def of(self, clips: int) -> Tensor | kernels.ShortGates:
        """As so many clips abreast read them."""
        if self._short and clips <= kernels.few():
            return self._short
        if self._packed is None:
            assert self._short
            self._packed = kernels.lengthen(self._short)
        return self._packed


class CompiledLayer(PackedLayer):
    """One product for all steps' inputs, and our own kernel for the steps, of a width and type that it fits."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        self._width, self._dtype = weight_hh.shape[1], weight_hh.dtype
        self._hear = linear(weight_ih, bias_ih + bias_hh)
        self._recall = _Gates(weight_hh)

    def _steps(self, heard_tbc: Tensor, hidden_bc: Tensor, cell_bc: Tensor) -> tuple[Tensor, Tensor]:
        frames, clips, _ = heard_tbc.shape
        gates_tbg = self._hear(heard_tbc.flatten(0, 1)).view(frames, clips, -1)
        out_tbc, cell_bc = hidden_bc.new_empty(frames + 1, clips, self._width), cell_bc.clone()
        out_tbc[0] = hidden_bc
        kernels.lstm(self._recall.of(clips), gates_tbg, out_tbc, cell_bc)
        return out_tbc[1:], cell_bc


class SteppedLayer(PackedLayer):
    """One product for all steps' inputs, and one a step for what is recalled."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        self._width, self._dtype = weight_hh.shape[1], weight_hh.dtype
        self._hear = linear(weight_ih, bias_ih + bias_hh)
        self._recall = PackedLinear(weight_hh)
        self._compiled = kernels.fits(self._width)
        # At the end of each thread's share torch's sigmoid computes what is left over of 32 numbers in another way. The
        # share is all of up to 2^15 numbers, and half of up to 2^16; rows that are no whole 32 must go one by one.
        self._rows_at_once = max(1, (1 << 16) // (4 * self._width)) if self._width % 8 == 0 else 1

    def _steps(self, heard_tbc: Tensor, hidden_bc: Tensor, cell_bc: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [t, b, c] of all frames, and the cells after them: only by functions that give a number the same bits
        wherever it lies."""
        frames, clips, _ = heard_tbc.shape
        rows = max(clips, least_rows(self._dtype))
        gates_tbg = self._hear(heard_tbc.flatten(0, 1)).view(frames, clips, -1)
        if clips < rows:
            gates_tbg = F.pad(gates_tbg, (0, 0, 0, rows - clips))
        out_tbc = hidden_bc.new_zeros(frames + 1, rows, self._width)
        out_tbc[0, :clips] = hidden_bc
        said_tbc, cell_bc = out_tbc[1:, :clips], cell_bc.clone()
        for heard_bg, before_bc, after_bc in zip(gates_tbg.unbind(), out_tbc.unbind(), said_tbc.unbind(), strict=False):
            self._say(self._recall.plus(before_bc, heard_bg)[:clips], cell_bc, after_bc)
        return said_tbc, cell_bc

    def _say(self, gates_bg: Tensor, cell_bc: Tensor, after_bc: Tensor) -> None:
        """The states after a step, of which the products are done; the cells take the place of the old ones."""
        if self._compiled:
            return kernels.lstm_say(gates_bg, cell_bc, after_bc)
        gates_bg = gates_bg.float()
        entry_bc, forget_bc, candidate_bc, output_bc = gates_bg.chunk(4, dim=1)
        candidate_bc = candidate_bc.tanh()
        for rows_bg in gates_bg.split(self._rows_at_once):
            rows_bg.sigmoid_()
        cell_bc.mul_(forget_bc).add_(candidate_bc.mul_(entry_bc))
        torch.mul(torch.tanh(cell_bc), output_bc, out=after_bc)


class FusedLayer(PackedLayer):
    """oneDNN's LSTM, all steps in one call. It sums a lone row in another order, so a lone clip gets a second row."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        self._width, self._dtype = weight_hh.shape[1], weight_hh.dtype
        shape = [_BLOCK, ROWS, weight_ih.shape[1]]
        weights = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
            weight_ih, weight_hh, self._width, reverse=False, has_biases=True, batch_first=False, input_size=shape
        )
        self._parameters = (*weights, bias_ih.clone(), bias_hh.clone())

    def _steps(self, heard_tbc: Tensor, hidden_bc: Tensor, cell_bc: Tensor) -> tuple[Tensor, Tensor]:
        clips = heard_tbc.shape[1]
        if clips == 1:
            heard_tbc, hidden_bc, cell_bc = (F.pad(one, (0, 0, 0, 1)) for one in (heard_tbc, hidden_bc, cell_bc))
        out_tbc, _, cell_1bc, _ = torch.ops.aten.mkldnn_rnn_layer(
            heard_tbc,
            *self._parameters,
            hidden_bc[None],
            cell_bc[None],
            reverse=False,
            batch_sizes=[],
            mode=2,  # LSTM
            hidden_size=self._width,
            num_layers=1,
            has_biases=True,
            bidirectional=False,
            batch_first=False,
            train=False,
        )
        return out_tbc[:, :clips], cell_1bc[0, :clips]


class TorchLayer:
    """The same with torch's own LSTM, for devices that there is nothing to pack for. On a GPU sweeps of one length go
    together, filled up with silence: one shape for any number of clips, in which rows do not mix."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        with torch.device("meta"):
            self.module = nn.LSTM(weight_ih.shape[1], weight_hh.shape[1])
        weights = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}
        self.module.load_state_dict({f"{name}_l0": weight for name, weight in weights.items()}, assign=True)
        self.module.requires_grad_(False)
        _flatten(self.module)
        self._dtype = weight_hh.dtype
        self._rows = 1 if weight_hh.device.type == "cpu" else ROWS

    def run(self, sweeps: Sequence[Sweep]) -> list[tuple[Tensor, State]]:
        places: dict[int, list[int]] = {}
        for place, sweep in enumerate(sweeps):
            places.setdefault(len(sweep.piece_tc), []).append(place)
        answers: dict[int, tuple[Tensor, State]] = {}
        for same in places.values():
            for begin in range(0, len(same), self._rows):
                some = same[begin : begin + self._rows]
                answers.update(zip(some, self._run([sweeps[place] for place in some]), strict=True))
        return [answers[place] for place in range(len(sweeps))]

    def _run(self, sweeps: Sequence[Sweep]) -> list[tuple[Tensor, State]]:
        heard_tbc = torch.stack([sweep.piece_tc for sweep in sweeps], dim=1)
        zeros_c = heard_tbc.new_zeros(self.module.hidden_size, dtype=self._dtype)
        states = [sweep.state or State(zeros_c, zeros_c) for sweep in sweeps]
        before_bc = (torch.stack([one.hidden_c for one in states]), torch.stack([one.cell_c for one in states]))
        silent = (0, 0, 0, self._rows - len(sweeps))
        hidden_1bc, cell_1bc = (F.pad(one_bc, silent)[None] for one_bc in before_bc)
        out_tbc, (hidden_1bc, cell_1bc) = self.module(F.pad(heard_tbc.to(self._dtype), silent), (hidden_1bc, cell_1bc))
        return [
            (out_tbc[:, row].to(heard_tbc.dtype), State(hidden_1bc[0, row], cell_1bc[0, row]))
            for row in range(len(sweeps))
        ]


@torch.no_grad()
def _flatten(lstm: nn.LSTM) -> None:
    """Lay the weights into one piece of memory, or cuDNN copies them at every call, and says so. This is the module's
    own `flatten_parameters`, which leaves bfloat16 out."""
    weights = tuple(lstm.parameters())
    if weights[0].is_cuda and torch._use_cudnn_rnn_flatten_weight():  # AMD's MIOpen, which torch calls cuDNN, has none
        sizes = (lstm.input_size, cudnn.rnn.get_cudnn_mode(lstm.mode), lstm.hidden_size, 0, 1, False, False)
        torch._cudnn_rnn_flatten_weight(weights, 4, *sizes)


def layers_of(lstm: nn.LSTM) -> list[list[Layer]]:
    """An LSTM as single layers: [depth][0 forward, and 1 backward if it hears both ways]."""
    if not can_pack(next(lstm.parameters()).device):
        return [list(directions) for directions in single_layers(lstm)]
    return [[_packed(*weights) for weights in directions] for directions in _weights(lstm)]


def _packed(weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> PackedLayer:
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if _has_kernel(weight_hh):
        return CompiledLayer(*weights)
    return FusedLayer(*weights) if _is_fused_better(weight_ih, weight_hh) else SteppedLayer(*weights)


def _has_kernel(weight_hh: Tensor) -> bool:
    """Whether our own kernel computes such steps."""
    return kernels.fits(weight_hh.shape[1]) and (weight_hh.dtype == torch.float32 or kernels.has_half())


def _is_fused_better(weight_ih: Tensor, weight_hh: Tensor) -> bool:
    """Without kernels of our own: in half precision, and where weights are so small that a step's many operations show;
    never for inputs wider than the layer, which it does not project for all steps at once.

    It must have kernels here, and none for matrix units, which sum every number of rows in an order of their own.
    """
    if weight_ih.shape != weight_hh.shape:
        return False
    if weight_hh.dtype == torch.float32:
        return weight_hh.shape[1] < _WIDE and torch.cpu._is_avx2_supported()
    return torch.cpu._is_avx512_bf16_supported() and not HAS_MATRIX_UNITS


def single_layers(lstm: nn.LSTM) -> list[list[TorchLayer]]:
    """The same with torch's own layers on any device."""
    return [[TorchLayer(*weights) for weights in directions] for directions in _weights(lstm)]


def _weights(lstm: nn.LSTM) -> list[list[list[Tensor]]]:
    """[depth][direction][the four of nn.LSTM]."""
    suffixes = ("", "_reverse") if lstm.bidirectional else ("",)
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [
        [[getattr(lstm, f"{part}_l{depth}{suffix}") for part in parts] for suffix in suffixes]
        for depth in range(lstm.num_layers)
    ]
