"""The kernels in plain torch: for installations without compiled ones, and for other devices than CPUs.

The same functions as in compiled.py, which says what each computes; `packed` weights are opaque in both. On a CPU a
row's bits must not depend on the rows beside it or on the number of threads, and torch's libraries choose their order
of summation by shape. So all products of a layer have one shape: a number of rows that only its size decides, the last
ones padded with zeros, and a multiple of COLUMNS outputs. Elementwise functions run on whole vectors in one thread.
That is slow, and right (tests/test_kernel_layers.py). bfloat16 is computed in float32 and rounded once, at the cost of
float32.

On other devices nothing rests on single bits, and torch's own product of all rows serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .weights import Weights

__all__ = ["Codebooks", "Portable", "moments_of_batch", "quantize"]

ROWS, LSTM_ROWS = (64, 1024), 8  # of each product: of the largest and the smallest layers; of a step
COLUMNS = 32  # with other numbers of outputs, three threads were seen to sum in another order than one
PIECE = 1 << 14  # numbers of an elementwise function: torch splits no fewer than twice as many among threads


class Codebooks(NamedTuple):
    """What `quantize` searches, in one type: packed entries, -|e|^2 / 2 of each, and the entries [k, n, d]."""

    packed: Tensor
    bias_kn: Tensor
    entries_knd: Tensor


class Portable:
    """See compiled.Compiled."""

    name = "portable"
    lanes = 1
    wide = torch.float32

    def pack(self, weights: Weights, dtype: torch.dtype) -> Tensor:
        return self.pack_plain(weights.plain().flatten(1).to(dtype))

    def pack_plain(self, weight_oi: Tensor) -> Tensor:
        if not weight_oi.is_cpu:
            return weight_oi.contiguous()
        return F.pad(weight_oi.float(), (0, 0, 0, -len(weight_oi) % COLUMNS)).contiguous()

    pack_gates = pack_plain

    def products(self, packed: Tensor, bias_o: Tensor, rows_ti: Tensor) -> Tensor:
        if not rows_ti.is_cpu:
            return F.linear(rows_ti, packed, bias_o.to(rows_ti.dtype))
        bias_o, outputs = F.pad(bias_o, (0, len(packed) - len(bias_o))), len(bias_o)
        made_to = rows_ti.new_empty(len(rows_ti), outputs)
        count = max(ROWS[0], min(ROWS[1], (1 << 21) // packed.numel()))
        for begin in range(0, len(rows_ti), count):
            block_ti = rows_ti[begin : begin + count]
            product_to = F.linear(_filled(block_ti.float(), count), packed, bias_o)
            made_to[begin : begin + count] = product_to[: len(block_ti), :outputs]
        return made_to

    def lstm(self, packed: Tensor, inputs_tbg: Tensor, hidden_tbc: Tensor, cell_bc: Tensor) -> None:
        packed = packed.float()  # on other devices it is in the layer's type
        for begin in range(0, len(cell_bc), LSTM_ROWS):
            rows = slice(begin, begin + LSTM_ROWS)
            inputs = _filled(inputs_tbg[:, rows].float(), LSTM_ROWS)
            hidden_bc, now_bc = (_filled(one.float(), LSTM_ROWS) for one in (hidden_tbc[0, rows], cell_bc[rows]))
            for inputs_bg, after_bc in zip(inputs, hidden_tbc[1:, rows], strict=True):
                gates_bg = F.linear(hidden_bc, packed)[:, : inputs.shape[2]] + inputs_bg
                i_bc, f_bc, _, o_bc = _elementwise(torch.sigmoid, gates_bg).chunk(4, dim=1)
                g_bc = _elementwise(torch.tanh, gates_bg.chunk(4, dim=1)[2])
                now_bc = f_bc * now_bc + i_bc * g_bc
                hidden_bc = (o_bc * _elementwise(torch.tanh, now_bc)).to(after_bc.dtype).float()
                after_bc.copy_(hidden_bc[: len(after_bc)])
            cell_bc[rows] = now_bc[: len(cell_bc[rows])]

    def pack_codebooks(self, entries_knd: Tensor) -> Codebooks:
        bias_kn = torch.stack([-0.5 * entries_nd.square().sum(1) for entries_nd in entries_knd])
        packed = torch.stack([self.pack_plain(entries_nd) for entries_nd in entries_knd])
        return Codebooks(packed, bias_kn, entries_knd)

    def quantize(self, codebooks: Codebooks, latents_td: Tensor, count: int) -> Tensor:
        return quantize(self.products, codebooks, latents_td, count)

    def elu(self, signal: Tensor, out: Tensor) -> Tensor:
        return out.copy_(_elementwise(F.elu, signal))

    def snake(self, signal_tc: Tensor, out_tc: Tensor, alpha_c: Tensor, inverse_c: Tensor) -> Tensor:
        return out_tc.copy_(_elementwise(torch.sin, signal_tc * alpha_c).square() * inverse_c + signal_tc)

    def moments(self, signal_tc: Tensor) -> tuple[Tensor, Tensor]:
        length_b = torch.tensor([len(signal_tc)], device=signal_tc.device)
        mean_b, variance_b = moments_of_batch(signal_tc[None], length_b)
        return mean_b[0], variance_b[0]

    def rescale(self, signal_tc: Tensor, gain_c: Tensor, shift_c: Tensor) -> Tensor:
        return signal_tc.copy_(signal_tc * gain_c + shift_c)


def quantize(
    products: Callable[[Tensor, Tensor, Tensor], Tensor], codebooks: Codebooks, latents_td: Tensor, count: int
) -> Tensor:
    """Codes [k, t] of the first `count` codebooks, by a `products` as the kernels have it."""
    codes = []
    for packed, bias_n, entries_nd in zip(*(of_all[:count] for of_all in codebooks), strict=True):
        codes.append(products(packed, bias_n, latents_td).argmax(1))
        latents_td = latents_td - entries_nd[codes[-1]]
    return torch.stack(codes)


def moments_of_batch(signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [b], float64, of the first `length_b` steps of each signal [t, c].

    Each step is summed by one thread, and the steps in float64, so any number of threads gives the same bits.
    """
    squares_bt = torch.linalg.vector_norm(signal_btc, dim=2, dtype=torch.float32).square()
    sums_2bt = torch.stack([signal_btc.sum(2, dtype=torch.float32), squares_bt]).double()
    within_bt = torch.arange(signal_btc.shape[1], device=length_b.device) < length_b[:, None]
    mean_b, square_b = sums_2bt.where(within_bt, 0).sum(2) / (length_b * signal_btc.shape[2])
    return mean_b, (square_b - mean_b.square()).clamp_min(0)


def _filled(rows: Tensor, count: int) -> Tensor:
    """[…, up to `count` rows, numbers], with rows of zeros behind, in one block of memory."""
    missing = count - rows.shape[-2]
    return F.pad(rows, (0, 0, 0, missing)) if missing else rows.contiguous()


def _elementwise(function: Callable[[Tensor], Tensor], numbers: Tensor) -> Tensor:
    """In float32. torch computes what is left over of a vector in another way than the rest; here nothing is."""
    numbers = numbers.float().contiguous()
    if not numbers.is_cpu or (numbers.numel() % 64 == 0 and numbers.numel() <= PIECE):
        return function(numbers)
    flat = F.pad(numbers.flatten(), (0, -numbers.numel() % 64))
    return torch.cat([function(piece) for piece in flat.split(PIECE)])[: numbers.numel()].view(numbers.shape)
