"""The same functions in float64, in plain torch on any device: what the canonical precision is computed by.

Nothing here sees to the order of sums: the last bits of a row may depend on the rows beside it, and near ties that
these could decide practically do not exist (tests/test_canonical.py). compiled.py says what each function computes.

Legend: see compiled.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .portable import Codebooks, quantize
from .weights import Weights

__all__ = ["Double"]


class Double:
    """Tensors are float64; weights of linear layers stay in the type in which they come, and are widened at each call:
    float16 ones then need a quarter of the memory."""

    name = "double"
    lanes = 1
    wide = torch.float64  # of biases, gains and cells

    def pack(self, weights: Weights, dtype: torch.dtype) -> Tensor:
        return weights.plain().to(dtype).flatten(1)

    def pack_plain(self, weight_oi: Tensor) -> Tensor:
        return weight_oi.clone(memory_format=torch.contiguous_format)

    pack_gates = pack_plain

    def products(self, packed: Tensor, bias_o: Tensor, rows_ti: Tensor) -> Tensor:
        return F.linear(rows_ti, packed.double(), bias_o)

    def lstm(self, packed: Tensor, inputs_tbg: Tensor, hidden_tbc: Tensor, cell_bc: Tensor) -> None:
        for inputs_bg, before_bc, after_bc in zip(inputs_tbg, hidden_tbc[:-1], hidden_tbc[1:], strict=True):
            i_bc, f_bc, g_bc, o_bc = (F.linear(before_bc, packed) + inputs_bg).chunk(4, dim=1)
            cell_bc.mul_(f_bc.sigmoid()).add_(i_bc.sigmoid() * g_bc.tanh())
            torch.mul(o_bc.sigmoid(), cell_bc.tanh(), out=after_bc)

    def pack_codebooks(self, entries_knd: Tensor) -> Codebooks:
        return Codebooks(entries_knd, -0.5 * entries_knd.square().sum(2), entries_knd)

    def quantize(self, codebooks: Codebooks, latents_td: Tensor, count: int) -> Tensor:
        return quantize(self.products, codebooks, latents_td, count)

    def elu(self, signal: Tensor, out: Tensor) -> Tensor:
        return out.copy_(F.elu(signal))

    def snake(self, signal_tc: Tensor, out_tc: Tensor, alpha_c: Tensor, inverse_c: Tensor) -> Tensor:
        return out_tc.copy_((signal_tc * alpha_c).sin().square() * inverse_c + signal_tc)

    def moments(self, signal_tc: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(signal_tc, correction=0)
        return mean, variance

    def rescale(self, signal_tc: Tensor, gain_c: Tensor, shift_c: Tensor) -> Tensor:
        return signal_tc.mul_(gain_c).add_(shift_c)
