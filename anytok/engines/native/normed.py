"""A convolution and the norm behind it, whose statistics cover the whole signal: it must come in one piece.

Legend: b signals, t time, c channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import kernels
from .packed_conv import PackedConv, Weights

__all__ = ["NormedConv", "moments"]


class NormedConv(PackedConv):
    """A PackedConv, then one mean and variance over all channels and time, then a gain and a shift per channel.

    `norm` may have fewer channels than the convolution: those of an UpConv stand `stride` times side by side.
    """

    def __init__(
        self, weights: Weights, bias_o: Tensor, norm: nn.GroupNorm, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(weights, bias_o, stride, dilation)
        self._eps, repeats = norm.eps, self.channels // norm.num_channels
        self._gain_c, self._shift_c = (
            torch.cat([part.detach().float()] * repeats) for part in (norm.weight, norm.bias)
        )

    def __call__(self, signal_tc: Tensor) -> Tensor:
        out_tc = super().__call__(signal_tc).contiguous()
        compiled = out_tc.device.type == "cpu" and not kernels.missing()
        mean, variance = kernels.moments(out_tc) if compiled else self._moments(out_tc)
        gain_c = self._gain_c / (variance + self._eps) ** 0.5
        shift_c = self._shift_c - mean * gain_c
        if compiled:
            return kernels.rescale(out_tc, gain_c, shift_c)
        return torch.addcmul(shift_c.to(self.dtype), out_tc, gain_c.to(self.dtype), out=out_tc)

    def _moments(self, signal_tc: Tensor) -> tuple[Tensor, Tensor]:
        mean_b, variance_b = moments(signal_tc[None], torch.tensor([len(signal_tc)], device=signal_tc.device))
        return mean_b[0], variance_b[0]


def moments(signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [b], float64, of all numbers of each signal, so long as it is.

    Each step is summed by one thread, the second time in float64: any number of threads gives the same bits.
    """
    squares_bt = torch.linalg.vector_norm(signal_btc, dim=2, dtype=torch.float32).square()
    sums_2bt = torch.stack([signal_btc.sum(2, dtype=torch.float32), squares_bt]).double()
    within_bt = torch.arange(signal_btc.shape[1], device=length_b.device) < length_b[:, None]
    mean_b, square_b = sums_2bt.where(within_bt, 0).sum(2) / (length_b * signal_btc.shape[2])
    return mean_b, (square_b - mean_b.square()).clamp_min(0)
