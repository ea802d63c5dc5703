"""A SEANet's plain layers → streams over packed weights, one layer after the other.

Legend: t time, c channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from ....kernels import serving
from ....kernels.layers import Conv as PackedConv
from ....kernels.layers import Lstm as PackedLstm
from ....kernels.layers import NormedConv
from ....models.seanet import Activation, Conv, Lstm, ResidualBlock, UpConv, padding, unfolded
from ..weights import Weights, up_weights
from .streams import Activate, ConvStream, ResidualStream, Stream, UpConvStream, identity

__all__ = ["Builder", "Start", "lstm_layers"]

Start: TypeAlias = Callable[[], Stream]


class Builder:
    """Packs the layers of a codec, and keeps nothing of them: not even a view, which would hold the plain weights."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._kernels, self._dtype = serving(device, dtype), dtype

    def build(self, layers: nn.Sequential) -> tuple[list[Start], nn.LSTM, list[Start]]:
        """The streams before the LSTM, the LSTM, and those behind it; each stream as a function that starts one."""
        before: list[Start] = []
        after: list[Start] = []
        starts, lstm = before, None
        activate: Activate = identity
        for layer in layers:
            if isinstance(layer, Lstm):
                lstm, starts = layer.lstm, after
            elif isinstance(layer, Activation):
                activate = self._activation(layer)
            elif isinstance(layer, ResidualBlock):
                starts.append(self._residual(layer))
            elif isinstance(layer, UpConv):
                starts.append(self._up_conv(layer, activate))
                activate = identity
            elif isinstance(layer, Conv):
                starts.append(self._conv(layer, activate))
                activate = identity
        assert lstm is not None, "every published SEANet codec has an LSTM"
        return before, lstm, after

    def _packed(self, conv: Conv) -> PackedConv:
        direction_oik, gain_o = unfolded(conv)
        weights, sizes = Weights(direction_oik, gain_o=gain_o), (conv.stride[0], conv.dilation[0])
        if conv.norm is not None:
            return NormedConv(weights, self._bias(conv), conv.norm, *sizes)
        return PackedConv(weights, self._bias(conv), *sizes)

    def _conv(self, conv: Conv, activate: Activate) -> Callable[[], ConvStream]:
        sides = padding(0, conv.kernel_size[0], conv.stride[0], conv.dilation[0], conv.causal)
        return partial(ConvStream, self._packed(conv), activate, *sides, conv.pad_mode)

    def _up_conv(self, conv: UpConv, activate: Activate) -> Start:
        weights, bias_o = up_weights(conv), self._bias(conv).repeat(conv.stride[0])
        packed = PackedConv(weights, bias_o) if conv.norm is None else NormedConv(weights, bias_o, conv.norm)
        return partial(UpConvStream, packed, activate, conv.stride[0], conv.causal)

    def _residual(self, block: ResidualBlock) -> Start:
        act_in, conv_in, act_out, conv_out = cast(tuple[Activation, Conv, Activation, Conv], tuple(block.block))
        start_inner = self._conv(conv_in, self._activation(act_in))
        shortcut = self._packed(block.shortcut) if block.shortcut is not None else None
        return partial(ResidualStream, start_inner, self._activation(act_out), self._packed(conv_out), shortcut)

    def _activation(self, layer: Activation) -> Activate:
        if layer.alpha is None:
            return self._kernels.elu
        alpha_c = layer.alpha[0, :, 0].clone()
        return partial(self._kernels.snake, alpha_c=alpha_c, inverse_c=1 / (alpha_c + 1e-9))

    def _bias(self, conv: Conv | UpConv) -> Tensor:
        assert conv.bias is not None
        return conv.bias.to(self._dtype)


def lstm_layers(lstm: nn.LSTM) -> list[list[PackedLstm]]:
    """An LSTM as single layers: [depth][0 forward, and 1 backward if it is bidirectional]."""
    suffixes = ("", "_reverse") if lstm.bidirectional else ("",)
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [
        [PackedLstm(*(getattr(lstm, f"{part}_l{depth}{suffix}") for part in parts)) for suffix in suffixes]
        for depth in range(lstm.num_layers)
    ]
