"""Products whose weights lie ready in the layout that they are computed in.

A signal is a [t, c] tensor, channels contiguous (channels-last): the windows of a convolution are rows that overlap.
Our own kernel multiplies them, where outputs fill its registers and there is none better. Else oneDNN does, for which
torch, left to itself, reorders the weights at every call, or uses slower kernels; for the wide layers of a codec that
costs more than the arithmetic. So the weights are reordered once, here.

Every output row is summed in one order, whatever rows stand beside it and however many threads there are: that is
what lets tiles, batches and threads change nothing. tests/test_native_packed.py holds it to that, bit by bit.

oneDNN's half-precision kernels sum a few rows in another order than many, and matrix units (AMX) every number of rows
in its own. What is few is filled up; with matrix units products of rows are made for one number only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from . import kernels

__all__ = [
    "ROWS", "BlockedLinear", "CompiledDots", "CompiledLinear", "PackedConv", "PackedLinear", "Weights",
    "can_pack", "has_kernel", "least_rows", "linear",
]  # fmt: skip

# The length that oneDNN's convolutions are packed for; where another length wants another layout, torch reorders again.
# With AVX2 alone many lengths do, from so many output channels on: those are products of windows.
_USUAL_LENGTH = 1600
_FICKLE = 256 if torch.cpu._is_avx2_supported() and not torch.cpu._is_avx512_supported() else math.inf
# From so many channels, or products in a sum, a convolution is computed as a product of its windows: rows are few,
# and a few of them alone would otherwise be summed in another order; half-precision ones change with the number of
# threads, too. With matrix units they did not, from _HALF_WINDOWS on, and stay convolutions.
_WIDE, _LONG = 512, 1000
_FEW = 2  # outputs: those of a codec's last layer
_HAS_MATRIX_UNITS = torch.cpu._is_amx_tile_supported()
ROWS = 16  # of `PackedLinear.plus`, at most
_HALF_ROWS = 64  # of each half-precision product on matrix units
# The fewest windows of a half-precision convolution; sums were seen to change below 56, and elsewhere below 16.
_HALF_WINDOWS = 64 if _HAS_MATRIX_UNITS else 16


def can_pack(device: torch.device) -> bool:
    """Whether there is oneDNN to pack for; elsewhere (GPUs, other CPUs) torch's own products serve."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def least_rows(dtype: torch.dtype) -> int:
    """How many rows `PackedLinear.plus` must be given at least, and up to ROWS of them change nothing."""
    return ROWS if dtype != torch.float32 and _HAS_MATRIX_UNITS else 2


@dataclass(frozen=True)
class Weights:
    """A convolution's weights as a checkpoint has them: `parts` [*o, i, k], whose outputs may be several dimensions, to
    be multiplied by a gain per output and per input; with `backwards` the last tap comes first.

    They are not written down before they are packed: filling fresh memory takes longer than the arithmetic.
    """

    parts: Tensor
    gain_o: Tensor | None = None
    gain_i: Tensor | None = None
    backwards: bool = False

    def packed(self, dtype: torch.dtype) -> Tensor:
        """For our own kernel, [o, k * i]."""
        if dtype == torch.float32:
            return kernels.pack(self.parts, self.gain_o, self.gain_i, self.backwards)
        return kernels.pack_plain(self.plain().to(dtype).flatten(1))

    def plain(self) -> Tensor:
        """[o, k, i]."""
        taps = self.parts.unbind(-1)  # [*o, i] each
        made_oki = torch.stack(taps[::-1] if self.backwards else taps, dim=-2).flatten(0, -3)
        if self.gain_o is not None:
            made_oki.mul_(self.gain_o[:, None, None])
        if self.gain_i is not None:
            made_oki.mul_(self.gain_i)
        return made_oki


def linear(weight_oi: Tensor, bias_o: Tensor) -> Callable[[Tensor], Tensor]:
    """[t, c_in] → [t, c_out]: x W^T + b, in the fastest way that there is here."""
    if has_kernel(weight_oi.shape[1], bias_o):
        return CompiledLinear(kernels.pack_plain(weight_oi), bias_o)
    if not can_pack(weight_oi.device):
        return partial(F.linear, weight=weight_oi, bias=_own(bias_o))
    in_blocks = weight_oi.dtype != torch.float32 and _HAS_MATRIX_UNITS
    return (BlockedLinear if in_blocks else PackedLinear)(weight_oi, bias_o)


class CompiledLinear:
    """By our own kernel, of weights that it has packed."""

    def __init__(self, packed: Tensor, bias_o: Tensor) -> None:
        self._weight, self._bias = packed, _own(bias_o).float()

    def __call__(self, rows_tc: Tensor) -> Tensor:
        return kernels.products(self._weight, self._bias, rows_tc)


class CompiledDots:
    """By our own kernel for few outputs, whose weights need no packing."""

    def __init__(self, weight_oi: Tensor, bias_o: Tensor) -> None:
        self._weight, self._bias = weight_oi.contiguous(), _own(bias_o).float()

    def __call__(self, rows_tc: Tensor) -> Tensor:
        return kernels.dots(self._weight, self._bias, rows_tc)


class PackedLinear:
    """By oneDNN; also x W^T + y."""

    def __init__(self, weight_oi: Tensor, bias_o: Tensor | None = None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_oi.contiguous())
        self._bias = None if bias_o is None else _own(bias_o)

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
        return torch.cat([self._linear(_filled(block_tc, _HALF_ROWS))[: len(block_tc)] for block_tc in blocks])


class PackedConv:
    """A convolution without padding: [t, c_in] → [(t - span) // stride + 1, c_out], in the bias's type."""

    def __init__(self, weights: Weights, bias_o: Tensor, stride: int = 1, dilation: int = 1) -> None:
        *_, c_in, self._kernel = weights.parts.shape
        self.channels, self.stride, self.dtype, self.device = len(bias_o), stride, bias_o.dtype, bias_o.device
        self.span = (self._kernel - 1) * dilation + 1
        self._strides, self._dilations = [1, stride], [1, dilation]
        self._linear: Callable[[Tensor], Tensor] | None = None
        self._packed = can_pack(self.device)
        self._is_half = self.dtype != torch.float32
        as_rows = c_in >= _WIDE or c_in * self._kernel > _LONG or self._kernel == stride or self.channels >= _FICKLE
        as_rows = as_rows and self._packed and not (self._is_half and _HAS_MATRIX_UNITS)
        if has_kernel(c_in, bias_o):
            self._linear = CompiledLinear(weights.packed(self.dtype), bias_o)
            return
        weight_oki = weights.plain().to(self.dtype)
        if self.channels <= _FEW and _has_dots(c_in * self._kernel, bias_o):
            self._linear = CompiledDots(weight_oki.flatten(1), bias_o)
            return
        if as_rows:
            self._linear = linear(weight_oki.flatten(1), bias_o)
            return
        self._weight, self._bias = weight_oki.permute(0, 2, 1).contiguous().unsqueeze(2), _own(bias_o)
        if self._packed:
            shape = [1, c_in, 1, max(_USUAL_LENGTH, self.span)]
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, [0, 0], self._strides, self._dilations, 1, shape
            )

    def __call__(self, signal_tc: Tensor) -> Tensor:
        if self._linear is not None:
            return self._linear(self._windows(signal_tc))
        count = (len(signal_tc) - self.span) // self.stride + 1
        if self._packed and self._is_half:
            signal_tc = _filled(signal_tc, (_half_windows(count) - 1) * self.stride + self.span)
        image_bchw = signal_tc.T[None, :, None, :]
        if self._packed:
            out_bchw = torch.ops.mkldnn._convolution_pointwise(
                image_bchw, self._weight, self._bias, [0, 0], self._strides, self._dilations, 1, "none", [], ""
            )
        else:
            out_bchw = F.conv2d(image_bchw, self._weight, self._bias, self._strides, 0, self._dilations)
        return out_bchw[0, :, 0, :count].T

    def _windows(self, signal_tc: Tensor) -> Tensor:
        """The windows [n, kernel * c_in] as rows; they overlap in memory, nothing is copied unless they are dilated."""
        signal_tc = signal_tc.contiguous()
        samples, width = signal_tc.shape
        shape = ((samples - self.span) // self.stride + 1, self._kernel, width)
        return signal_tc.as_strided(shape, (self.stride * width, self._dilations[1] * width, 1)).flatten(1)


def has_kernel(inputs: int, bias_o: Tensor) -> bool:
    """Whether our own kernel computes products of so many inputs, or taps of them, with this bias and in its type."""
    if bias_o.device.type != "cpu" or not kernels.fits_outputs(len(bias_o)):
        return False
    if bias_o.dtype == torch.float32:
        return True
    return bias_o.dtype == torch.bfloat16 and inputs % 2 == 0 and kernels.has_half() and not _HAS_MATRIX_UNITS


def _has_dots(depth: int, bias_o: Tensor) -> bool:
    """The same for few outputs, which are sums of so many products."""
    on_cpu, dtypes = bias_o.device.type == "cpu", (torch.float32, torch.bfloat16)
    return on_cpu and bias_o.dtype in dtypes and kernels.fits_dots(depth)


def _half_windows(count: int) -> int:
    """How many windows to compute instead: matrix units are up to twice as slow for a few that are not 16, 32, ..."""
    even = -(-count // 16) * 16 if _HAS_MATRIX_UNITS and count < 1000 else count
    return max(_HALF_WINDOWS, even)


def _filled(rows_tc: Tensor, count: int) -> Tensor:
    """With rows of zeros behind, up to `count`."""
    return F.pad(rows_tc, (0, 0, 0, count - len(rows_tc))) if len(rows_tc) < count else rows_tc


def _own(bias_o: Tensor) -> Tensor:
    """A copy: one small view into a mapped checkpoint would keep all of it in memory."""
    return bias_o.clone()
