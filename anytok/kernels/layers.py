"""Layers over the kernels: each keeps its weights packed for the implementation that served when it was made.

A signal is a [t, c] tensor, channels contiguous, so that the windows of a convolution are rows that overlap in memory.
Every output row is summed in one order, whatever rows are computed beside it (tests/test_kernel_layers.py).

Legend: t rows or time, b clips, c channels, o outputs, i inputs, k codebooks, n entries, d dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import serving
from .compiled import Compiled
from .weights import Weights

__all__ = ["Conv", "Linear", "Lstm", "NormedConv", "Search"]

_INT24_UNITS = 1024  # from so many on, a small batch waits for its weights to be read


class Linear:
    """x W^T + b: [t, i] → [t, o], in the bias's type, float32, bfloat16 or float64.

    float16 weights stay so in memory where the implementation multiplies float32 rows by them.
    """

    def __init__(self, weight_oi: Tensor, bias_o: Tensor) -> None:
        self._kernels = serving(weight_oi.device, bias_o.dtype)
        self._weight, self._bias_o = self._kernels.pack_plain(weight_oi), bias_o.to(self._kernels.wide).clone()

    def __call__(self, rows_ti: Tensor) -> Tensor:
        return self._kernels.products(self._weight, self._bias_o, rows_ti)


class Conv:
    """A convolution without padding, as a product of windows: [t, i] → [(t - span) // stride + 1, o], in the bias's
    type, where span = (kernel - 1) * dilation + 1."""

    def __init__(self, weights: Weights, bias_o: Tensor, stride: int = 1, dilation: int = 1) -> None:
        self._kernels = serving(bias_o.device, bias_o.dtype)
        self._weight = self._kernels.pack(weights, bias_o.dtype)
        self._bias_o = bias_o.to(self._kernels.wide).clone()
        self.kernel, self.stride, self._dilation = weights.parts_oik.shape[-1], stride, dilation
        self.channels, self.span = len(bias_o), (self.kernel - 1) * dilation + 1

    def __call__(self, signal_tc: Tensor) -> Tensor:
        signal_tc = signal_tc.contiguous()
        samples, width = signal_tc.shape
        shape = ((samples - self.span) // self.stride + 1, self.kernel, width)
        windows_tki = signal_tc.as_strided(shape, (self.stride * width, self._dilation * width, 1))
        return self._kernels.products(self._weight, self._bias_o, windows_tki.flatten(1))  # dilated ones are copied


class NormedConv(Conv):
    """A Conv, then one mean and variance over all channels and time (GroupNorm with one group), then a gain and a shift
    per channel. The statistics need the whole signal, so it must come in one piece.

    `norm` may have fewer channels than the convolution: those of a transposed one are `stride` times side by side.
    """

    def __init__(
        self, weights: Weights, bias_o: Tensor, norm: nn.GroupNorm, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(weights, bias_o, stride, dilation)
        self._eps, repeats = norm.eps, self.channels // norm.num_channels
        self._gain_c, self._shift_c = (
            torch.cat([part.detach().to(self._kernels.wide)] * repeats) for part in (norm.weight, norm.bias)
        )

    def __call__(self, signal_tc: Tensor) -> Tensor:
        out_tc = super().__call__(signal_tc)
        mean, variance = self._kernels.moments(out_tc)
        gain_c = self._gain_c / (variance + self._eps) ** 0.5
        return self._kernels.rescale(out_tc, gain_c, self._shift_c - mean * gain_c)


class Lstm:
    """One LSTM layer in one direction, of the four weights of nn.LSTM, float32, bfloat16 or float64.

    States have `units` channels: the layer's own, `width`, padded to whole registers with units that stay zero.
    Small batches read wide float32 layers in 24 bits, where that loses nothing that counts; for larger ones the very
    same numbers are made float32, so that a clip's bits are the same in any batch (tests/test_kernel_int24.py).
    """

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        self._kernels = serving(weight_hh.device, weight_hh.dtype)
        self.cell_dtype = self._kernels.wide
        self.width, self.dtype, self.device = weight_hh.shape[1], weight_hh.dtype, weight_hh.device
        self.units = -(-self.width // self._kernels.lanes) * self._kernels.lanes
        if missing := self.units - self.width:
            weight_ih, weight_hh, bias_ih, bias_hh = (
                F.pad(one.unflatten(0, (4, -1)), (0, 0) * (one.ndim - 1) + (0, missing)).flatten(0, 1)
                for one in (weight_ih, F.pad(weight_hh, (0, missing)), bias_ih, bias_hh)
            )
        self._input_projection = Linear(weight_ih, bias_ih + bias_hh)
        packed, wide = self._kernels.pack_gates(weight_hh), self.dtype == torch.float32 and self.width >= _INT24_UNITS
        self._int24 = self._kernels.quantize_gates(packed) if wide and isinstance(self._kernels, Compiled) else None
        self._recurrent = None if self._int24 else packed

    def __call__(self, inputs_tbi: Tensor, hidden_bc: Tensor, cell_bc: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states [t, b, units] after each step, in the layer's type, and cells [b, units] after the last one,
        in `cell_dtype`; `hidden_bc` and `cell_bc` are those before. One product projects the inputs of all steps."""
        frames, clips, _ = inputs_tbi.shape
        gates_tbg = self._input_projection(inputs_tbi.flatten(0, 1)).view(frames, clips, -1)
        hidden_tbc, cell_bc = hidden_bc.new_empty(frames + 1, clips, self.units), cell_bc.clone()
        hidden_tbc[0] = hidden_bc
        self._steps(gates_tbg, hidden_tbc, cell_bc)
        return hidden_tbc[1:], cell_bc

    def _steps(self, gates_tbg: Tensor, hidden_tbc: Tensor, cell_bc: Tensor) -> None:
        if self._int24 and isinstance(self._kernels, Compiled):
            if len(cell_bc) <= self._kernels.int24_rows:
                return self._kernels.lstm(self._int24, gates_tbg, hidden_tbc, cell_bc)
            if self._recurrent is None:
                self._recurrent = self._kernels.dequantize_gates(self._int24)
        assert self._recurrent is not None
        self._kernels.lstm(self._recurrent, gates_tbg, hidden_tbc, cell_bc)


class Search:
    """Residual vector quantization by codebooks [k, n, d], float32 or float64."""

    def __init__(self, codebooks_knd: Tensor) -> None:
        self._kernels = serving(codebooks_knd.device, codebooks_knd.dtype)
        self._codebooks = self._kernels.pack_codebooks(codebooks_knd)

    def __call__(self, latents_td: Tensor, num_codebooks: int) -> Tensor:
        """Latents of the codebooks' type → codes [k, t], int64, of the first `num_codebooks`."""
        return self._kernels.quantize(self._codebooks, latents_td, num_codebooks)
