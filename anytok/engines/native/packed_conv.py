"""Convolutions without padding, as products of their windows or as oneDNN's own: see packed.py.

A signal is a [t, c] tensor, channels contiguous (channels-last), so that windows are rows, which overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import kernels
from .packed import HAS_MATRIX_UNITS, CompiledDots, CompiledLinear, can_pack, filled, has_dots, has_kernel, linear, own

__all__ = ["PackedConv", "Weights"]

# The length that oneDNN's convolutions are packed for; where another length wants another layout, torch reorders again.
# With AVX2 alone many lengths do, from so many output channels on: those are products of windows.
_USUAL_LENGTH = 1600
_FICKLE = 256 if torch.cpu._is_avx2_supported() and not torch.cpu._is_avx512_supported() else math.inf
# From so many channels, or products in a sum, a convolution is computed as a product of its windows: rows are few,
# and a few of them alone would otherwise be summed in another order; half-precision ones change with the number of
# threads, too. With matrix units they did not, from _HALF_WINDOWS on, and stay convolutions.
_WIDE, _LONG = 512, 1000
# The fewest windows of a half-precision convolution; sums were seen to change below 56, and elsewhere below 16.
_HALF_WINDOWS = 64 if HAS_MATRIX_UNITS else 16


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


class PackedConv:
    """[t, c_in] → [(t - span) // stride + 1, c_out], in the bias's type."""

    def __init__(self, weights: Weights, bias_o: Tensor, stride: int = 1, dilation: int = 1) -> None:
        *_, _, self._kernel = weights.parts.shape
        self.channels, self.stride, self.dtype, self.device = len(bias_o), stride, bias_o.dtype, bias_o.device
        self.span = (self._kernel - 1) * dilation + 1
        product = _product(weights, bias_o, stride)
        self._compute = (
            _Windowed(product, self._kernel, stride, dilation)
            if product
            else _Convolution(weights, bias_o, stride, dilation)
        )

    def __call__(self, signal_tc: Tensor) -> Tensor:
        return self._compute(signal_tc)


@dataclass(frozen=True)
class _Windowed:
    """By a product of the windows [n, kernel * c_in]; they overlap in memory, and nothing is copied unless they
    are dilated."""

    product: Callable[[Tensor], Tensor]
    kernel: int
    stride: int
    dilation: int

    def __call__(self, signal_tc: Tensor) -> Tensor:
        signal_tc = signal_tc.contiguous()
        samples, width = signal_tc.shape
        shape = ((samples - (self.kernel - 1) * self.dilation - 1) // self.stride + 1, self.kernel, width)
        return self.product(signal_tc.as_strided(shape, (self.stride * width, self.dilation * width, 1)).flatten(1))


def _product(weights: Weights, bias_o: Tensor, stride: int) -> Callable[[Tensor], Tensor] | None:
    """What computes the outputs [n, c_out] of windows [n, kernel * c_in], where that is the best way."""
    (*_, c_in, kernel), c_out, dtype = weights.parts.shape, len(bias_o), bias_o.dtype
    if has_kernel(c_in, bias_o):
        return CompiledLinear(weights.packed(dtype), bias_o)
    if has_dots(c_in * kernel, bias_o):
        return CompiledDots(weights.plain().to(dtype).flatten(1), bias_o)
    if not can_pack(bias_o.device) or (dtype != torch.float32 and HAS_MATRIX_UNITS):
        return None
    if c_in >= _WIDE or c_in * kernel > _LONG or kernel == stride or c_out >= _FICKLE:
        return linear(weights.plain().to(dtype).flatten(1), bias_o)
    return None


class _Convolution:
    """By oneDNN, or by torch where there is none."""

    def __init__(self, weights: Weights, bias_o: Tensor, stride: int, dilation: int) -> None:
        *_, c_in, kernel = weights.parts.shape
        self._stride, self._span, self._packed = stride, (kernel - 1) * dilation + 1, can_pack(bias_o.device)
        self._strides, self._dilations = [1, stride], [1, dilation]
        weight_oik = weights.plain().to(bias_o.dtype).permute(0, 2, 1)
        self._weight, self._bias = weight_oik.contiguous().unsqueeze(2), own(bias_o)
        if self._packed:
            shape = [1, c_in, 1, max(_USUAL_LENGTH, self._span)]
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, [0, 0], self._strides, self._dilations, 1, shape
            )

    def __call__(self, signal_tc: Tensor) -> Tensor:
        count = (len(signal_tc) - self._span) // self._stride + 1
        if self._packed and signal_tc.dtype != torch.float32:
            signal_tc = filled(signal_tc, (_half_windows(count) - 1) * self._stride + self._span)
        image_bchw = signal_tc.T[None, :, None, :]
        if self._packed:
            out_bchw = torch.ops.mkldnn._convolution_pointwise(
                image_bchw, self._weight, self._bias, [0, 0], self._strides, self._dilations, 1, "none", [], ""
            )
        else:
            out_bchw = F.conv2d(image_bchw, self._weight, self._bias, self._strides, 0, self._dilations)
        return out_bchw[0, :, 0, :count].T


def _half_windows(count: int) -> int:
    """How many windows to compute instead: matrix units are up to twice as slow for a few that are not 16, 32, ..."""
    even = -(-count // 16) * 16 if HAS_MATRIX_UNITS and count < 1000 else count
    return max(_HALF_WINDOWS, even)
