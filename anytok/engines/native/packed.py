"""Products whose weights lie ready in the layout that they are computed in.

Our own kernels multiply, where outputs fill their registers and there is none better. Else oneDNN does, for which
torch, left to itself, reorders the weights at every call, or uses slower kernels; for the wide layers of a codec that
costs more than the arithmetic. So the weights are reordered once, here.

Every output row is summed in one order, whatever rows stand beside it and however many threads there are: that is
what lets tiles, batches and threads change nothing. tests/test_native_packed.py holds it to that, bit by bit.

oneDNN's half-precision kernels sum a few rows in another order than many, and matrix units (AMX) every number of rows
in its own. What is few is filled up; with matrix units products of rows are made for one number only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from . import kernels

__all__ = [
    "HAS_MATRIX_UNITS", "ROWS", "BlockedLinear", "CompiledDots", "CompiledLinear", "PackedLinear",
    "can_pack", "filled", "has_dots", "has_kernel", "least_rows", "linear", "own",
]  # fmt: skip

HAS_MATRIX_UNITS = torch.cpu._is_amx_tile_supported()
ROWS = 16  # of `PackedLinear.plus`, at most
_FEW = 2  # outputs: those of a codec's last layer
_HALF_ROWS = 32  # of each half-precision product on matrix units; long sums of 64 are split among threads


def can_pack(device: torch.device) -> bool:
    """Whether there is oneDNN to pack for; elsewhere (GPUs, other CPUs) torch's own products serve."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def has_kernel(inputs: int, bias_o: Tensor) -> bool:
    """Whether our own kernel computes products of so many inputs, or taps of them, with this bias and in its type."""
    if bias_o.device.type != "cpu" or not kernels.fits_outputs(len(bias_o)):
        return False
    if bias_o.dtype == torch.float32:
        return True
    return bias_o.dtype == torch.bfloat16 and inputs % 2 == 0 and kernels.has_half()


def has_dots(depth: int, bias_o: Tensor) -> bool:
    """The same for few outputs, which are sums of so many products."""
    if bias_o.device.type != "cpu" or len(bias_o) > _FEW:
        return False
    return bias_o.dtype in (torch.float32, torch.bfloat16) and kernels.fits_dots(depth)


def least_rows(dtype: torch.dtype) -> int:
    """How many rows `PackedLinear.plus` must be given at least, and up to ROWS of them change nothing."""
    return ROWS if dtype != torch.float32 and HAS_MATRIX_UNITS else 2


def linear(weight_oi: Tensor, bias_o: Tensor) -> Callable[[Tensor], Tensor]:
    """[t, c_in] → [t, c_out]: x W^T + b, in the fastest way that there is here."""
    if has_kernel(weight_oi.shape[1], bias_o):
        return CompiledLinear(kernels.pack_plain(weight_oi), bias_o)
    if not can_pack(weight_oi.device):
        return partial(F.linear, weight=weight_oi, bias=own(bias_o))
    in_blocks = weight_oi.dtype != torch.float32 and HAS_MATRIX_UNITS
    return (BlockedLinear if in_blocks else PackedLinear)(weight_oi, bias_o)


class CompiledLinear:
    """By our own kernel, of weights that it has packed."""

    def __init__(self, packed: Tensor, bias_o: Tensor) -> None:
        self._weight, self._bias = packed, own(bias_o).float()

    def __call__(self, rows_tc: Tensor) -> Tensor:
        return kernels.products(self._weight, self._bias, rows_tc)


class CompiledDots:
    """By our own kernel for few outputs, whose weights need no packing."""

    def __init__(self, weight_oi: Tensor, bias_o: Tensor) -> None:
        self._weight, self._bias = weight_oi.contiguous(), own(bias_o).float()

    def __call__(self, rows_tc: Tensor) -> Tensor:
        return kernels.dots(self._weight, self._bias, rows_tc)


class PackedLinear:
    """By oneDNN; also x W^T + y."""

    def __init__(self, weight_oi: Tensor, bias_o: Tensor | None = None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_oi.contiguous())
        self._bias = None if bias_o is None else own(bias_o)

    def __call__(self, rows_tc: Tensor) -> Tensor:
        if len(rows_tc) == 1:  # a lone row of a long sum would be split among threads
            return self(rows_tc.expand(2, -1).contiguous())[:1]
        return torch.ops.mkldnn._linear_pointwise(rows_tc, self._weight, self._bias, "none", [], "")

    def plus(self, rows_tc: Tensor, other_tc: Tensor) -> Tensor:
        """x W^T + y in one pass, if there is no bias; for `least_rows` to ROWS rows."""
        return torch.ops.mkldnn._linear_pointwise.binary(rows_tc, other_tc, self._weight, None, "add")


class BlockedLinear:
    """By oneDNN and matrix units, for which rows come in one number only."""

    def __init__(self, weight_oi: Tensor, bias_o: Tensor) -> None:
        self._linear = PackedLinear(weight_oi, bias_o)

    def __call__(self, rows_tc: Tensor) -> Tensor:
        blocks = rows_tc.split(_HALF_ROWS)
        return torch.cat([self._linear(filled(block_tc, _HALF_ROWS))[: len(block_tc)] for block_tc in blocks])


def filled(rows_tc: Tensor, count: int) -> Tensor:
    """With rows of zeros behind, up to `count`."""
    return F.pad(rows_tc, (0, 0, 0, count - len(rows_tc))) if len(rows_tc) < count else rows_tc


def own(bias_o: Tensor) -> Tensor:
    """A copy: one small view into a mapped checkpoint would keep all of it in memory."""
    return bias_o.clone()
