"""A SEANet's plain layers → streams over packed weights, one layer after the other.

Legend: t time, c channels, i and o input and output channels, k kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.seanet import Activation, Conv, Lstm, ResidualBlock, UpConv, unfolded
from . import kernels
from .normed import NormedConv
from .packed_conv import PackedConv, Weights
from .streams import Activate, ConvStream, ResidualStream, Stream, UpConvStream

__all__ = ["Packer", "Start"]

Start: TypeAlias = Callable[[], Stream]


class Packer:
    """Packs the layers of a codec, and keeps nothing of them."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def pack(self, layers: nn.Sequential) -> tuple[list[Start], nn.LSTM, list[Start]]:
        """The streams before the LSTM, the LSTM, and those behind it; each stream as a function that starts one."""
        before: list[Start] = []
        after: list[Start] = []
        starts, lstm = before, None
        activate: Activate = _nothing
        for layer in layers:
            if isinstance(layer, Lstm):
                lstm, starts = layer.lstm, after
            elif isinstance(layer, Activation):
                activate = self._activation(layer)
            elif isinstance(layer, ResidualBlock):
                starts.append(self._residual(layer))
            elif isinstance(layer, UpConv):
                starts.append(self._up_conv(layer, activate))
                activate = _nothing
            elif isinstance(layer, Conv):
                starts.append(self._conv(layer, activate))
                activate = _nothing
        assert lstm is not None, "every published SEANet codec has an LSTM"
        return before, lstm, after

    def _packed(self, conv: Conv) -> PackedConv:
        direction_oik, gain_o = unfolded(conv)
        weights, sizes = Weights(direction_oik, gain_o=gain_o), (conv.stride[0], conv.dilation[0])
        if conv.norm is not None:
            return NormedConv(weights, self._bias(conv), conv.norm, *sizes)
        return PackedConv(weights, self._bias(conv), *sizes)

    def _conv(self, conv: Conv, activate: Activate) -> Callable[[], ConvStream]:
        packed, sizes = self._packed(conv), (conv.kernel_size[0], conv.dilation[0])
        causal, pad_mode = conv.causal, conv.pad_mode  # of `conv` itself nothing may stay: it holds the plain weights
        return lambda: ConvStream(packed, activate, *sizes, causal, pad_mode)

    def _up_conv(self, conv: UpConv, activate: Activate) -> Start:
        stride, causal = conv.stride[0], conv.causal
        weights, bias_o = up_weights(conv), self._bias(conv).repeat(stride)
        packed = PackedConv(weights, bias_o) if conv.norm is None else NormedConv(weights, bias_o, conv.norm)
        return lambda: UpConvStream(packed, activate, stride, causal)

    def _residual(self, block: ResidualBlock) -> Start:
        act_in, conv_in, act_out, conv_out = cast(tuple[Activation, Conv, Activation, Conv], tuple(block.block))
        start_inner = self._conv(conv_in, self._activation(act_in))
        activate, outer = self._activation(act_out), self._packed(conv_out)
        shortcut = self._packed(block.shortcut) if block.shortcut is not None else None
        return lambda: ResidualStream(start_inner(), activate, outer, shortcut)

    def _activation(self, layer: Activation) -> Activate:
        if layer.alpha is None:
            return _elu
        alpha_c = layer.alpha[0, :, 0].clone()  # no view: see _conv
        inverse_c = 1 / (alpha_c + 1e-9)
        if alpha_c.device.type == "cpu" and kernels.fits(len(alpha_c)):
            return lambda signal_tc, out_tc: kernels.snake(signal_tc, alpha_c, inverse_c, out_tc)
        low_alpha_c, low_inverse_c = alpha_c.to(self._dtype), inverse_c.to(self._dtype)

        def snake(signal_tc: Tensor, out_tc: Tensor) -> Tensor:
            wave_tc = (signal_tc * low_alpha_c).sin_().square_().mul_(low_inverse_c)
            return torch.add(signal_tc, wave_tc, out=out_tc)

        return snake

    def _bias(self, conv: Conv | UpConv) -> Tensor:
        assert conv.bias is not None
        return conv.bias.to(self._dtype)


def up_weights(conv: UpConv) -> Weights:
    """A transposed convolution with kernel 2 s and stride s, as an ordinary one with kernel 2 and s c_out channels.

    Output sample n s + j hears x[n] through w[j] and x[n - 1] through w[s + j]. So the s samples of step n are one
    output row: its channels are (j, c_out), its taps x[n - 1] and x[n], and reading the rows in order reads time.
    """
    direction_iok, gain_i = unfolded(conv)
    now_and_before = direction_iok.unflatten(2, (2, -1))  # [i, o, k, j]
    return Weights(now_and_before.permute(3, 1, 0, 2), gain_i=gain_i, backwards=True)


def _elu(signal_tc: Tensor, out_tc: Tensor) -> Tensor:
    if signal_tc.device.type != "cpu":
        return out_tc.copy_(F.elu(signal_tc))
    if kernels.missing():
        return _elu_by_exp2(signal_tc, out_tc)
    return kernels.elu(signal_tc, out_tc)


def _elu_by_exp2(signal_tc: Tensor, out_tc: Tensor) -> Tensor:
    """max(x, 2^(min(x, 0) log2 e) - 1), at most 6e-8 off: exp2 is the fastest of torch's exponentials.

    Like torch's ELU it computes what is left over of 32 numbers in another way at the end of each thread's share. So it
    is always given as many numbers, the same whole share for each thread, whatever part of them is wanted.
    """
    room = torch.empty(_room(torch.get_num_threads()), dtype=torch.float32)
    rows = len(room) // signal_tc.shape[1]
    for piece_tc, out_piece_tc in zip(signal_tc.split(rows), out_tc.split(rows), strict=True):
        low_tc = room[: piece_tc.numel()].view(piece_tc.shape)
        low_tc.copy_(piece_tc).clamp_max_(0).mul_(math.log2(math.e))
        room.exp2_()
        torch.maximum(piece_tc, low_tc.sub_(1).to(piece_tc.dtype), out=out_piece_tc)
    return out_tc


def _room(threads: int) -> int:
    """Numbers that give each thread the same whole share: in its cache, and not below what torch gives one thread."""
    share = max(1 << 15, min(1 << 17, (1 << 20) // threads))
    return threads * (share // 32 * 32)


def _nothing(signal_tc: Tensor, out_tc: Tensor) -> Tensor:
    return out_tc.copy_(signal_tc)
