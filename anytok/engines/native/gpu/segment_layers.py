"""SEANet's layers with norms over segments padded to one length: modules of (signal [b, t, c], lengths [b]) → the same.

Before every layer there are zeros after each segment's end. A layer pads there as it would pad the segment alone, and
norms leave out what is after the end. All convolutions are products: cuDNN's give a segment other bits in another place
of the batch, and one of them took 1,500 times as long in full float32 (convolution.py says more).

Legend: b segments, t time, c channels, r columns after a segment's end, k kernel, o and i output and input channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....kernels.portable import moments_of_batch
from ....models.seanet import Activation, Conv, Lstm, ResidualBlock, UpConv, folded, padding
from ..weights import up_weights
from .convolution import conv_as_product
from .lstm import single_layers

__all__ = ["SegmentStack"]

Signal: TypeAlias = tuple[Tensor, Tensor]


class SegmentStack(nn.Module):
    """[b, c, t], with zeros after each segment's end, and lengths, int64 [b] → float32 [b, c_out, t_out]."""

    def __init__(self, layers: Iterable[nn.Module], dtype: torch.dtype, lstm_dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = _layers(layers, dtype, lstm_dtype)

    def forward(self, signal_bct: Tensor, length_b: Tensor) -> Tensor:
        output_btc, _ = self.layers((signal_bct.transpose(1, 2).contiguous(), length_b))
        return output_btc.transpose(1, 2).float()


def _layers(layers: Iterable[nn.Module], dtype: torch.dtype, lstm_dtype: torch.dtype) -> nn.Sequential:
    made = nn.Sequential()
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            shortcut = [] if layer.shortcut is None else [layer.shortcut]
            made.append(_Residual(*(_layers(path, dtype, lstm_dtype) for path in (layer.block, shortcut))))
        elif isinstance(layer, Conv):
            made.append(_Conv(layer, dtype))
        elif isinstance(layer, UpConv):
            made.append(_UpConv(layer, dtype))
        elif isinstance(layer, Lstm):
            made.append(_Lstm(layer.lstm.to(lstm_dtype)))
        else:
            assert isinstance(layer, Activation) and layer.alpha is None, "no published codec has Snake and norms"
            made.append(_Elu())
    return made


class _Residual(nn.Module):
    def __init__(self, block: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.block, self.shortcut = block, shortcut

    def forward(self, signal: Signal) -> Signal:
        (shortcut_btc, length_b), (block_btc, _) = self.shortcut(signal), self.block(signal)
        return shortcut_btc + block_btc, length_b


class _Elu(nn.Module):
    def forward(self, signal: Signal) -> Signal:
        return F.elu(signal[0]), signal[1]


class _Lstm(nn.Module):
    """Its output plus its input. It runs forward only, so the padding after a segment's end changes nothing before."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer for (layer,) in single_layers(lstm))
        self._dtype = next(lstm.parameters()).dtype

    def forward(self, signal: Signal) -> Signal:
        signal_btc, length_b = signal
        output_tbc = signal_btc.transpose(0, 1).to(self._dtype)
        for layer in self.layers:
            output_tbc, _ = layer(output_tbc)
        output_btc = (output_tbc.transpose(0, 1).float() + signal_btc).to(signal_btc.dtype)
        return _zero_after_end(output_btc, length_b), length_b


class _NormedProduct(nn.Module):
    """A convolution as a product, and the norm after it."""

    def __init__(self, conv: Conv | UpConv, weight_oki: Tensor, bias_o: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        assert conv.norm is not None
        self.kernel, self.stride, self.dilation = weight_oki.shape[1], conv.stride[0], conv.dilation[0]
        self.causal, self.norm = conv.causal, conv.norm
        self.weight, self.bias = (
            nn.Parameter(part.to(dtype), requires_grad=False) for part in (weight_oki.flatten(1), bias_o)
        )

    def product(self, signal_btc: Tensor, stride: int) -> Tensor:
        return conv_as_product(signal_btc, self.weight, self.bias, self.kernel, stride, self.dilation)

    def normed(self, signal_btc: Tensor, length_b: Tensor) -> Tensor:
        mean_b, variance_b = moments_of_batch(signal_btc, length_b)
        gain_b1c = self.norm.weight / (variance_b[:, None, None].float() + self.norm.eps).sqrt()
        shift_b1c = self.norm.bias - mean_b[:, None, None].float() * gain_b1c
        return torch.addcmul(shift_b1c.to(signal_btc.dtype), signal_btc, gain_b1c.to(signal_btc.dtype))


class _Conv(_NormedProduct):
    def __init__(self, conv: Conv, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        super().__init__(conv, folded(conv).transpose(1, 2), conv.bias, dtype)
        self._span, self._pad_mode = (self.kernel - 1) * self.dilation + 1, conv.pad_mode

    def forward(self, signal: Signal) -> Signal:
        signal_btc, length_b = signal
        padded_btc = signal_btc if self._span == self.stride == 1 else self._padded(signal_btc, length_b)
        length_b = (length_b + self.stride - 1) // self.stride
        output_btc = self.normed(self.product(padded_btc, self.stride), length_b)
        return _zero_after_end(output_btc, length_b), length_b

    def _padded(self, signal_btc: Tensor, length_b: Tensor) -> Tensor:
        """Padded at each segment's own end. Reflection as `pad` of models/seanet.py has it: a segment shorter than what
        is mirrored of it is first lengthened with zeros."""
        steps = signal_btc.shape[1]
        left, right = padding(steps, self._span, self.stride, 1, self.causal)
        padded_btc = F.pad(signal_btc, (0, 0, left, right), self._pad_mode)
        if self._pad_mode != "reflect":
            return padded_btc
        right_b = self._span - self.stride - left + -length_b % self.stride
        mirror_b1 = torch.maximum(length_b - 1, right_b.clamp_min(left))[:, None]
        after_r = torch.arange(self._span - 1, device=length_b.device)
        target_br = (length_b[:, None] + after_r).clamp_max(steps + right - 1)  # a column written twice gets one value
        source_br = (mirror_b1 - (mirror_b1 - target_br).abs()).clamp_min(0)
        shape = (-1, -1, signal_btc.shape[2])
        mirrored_brc = signal_btc.gather(1, source_br[..., None].expand(shape))
        return padded_btc.scatter_(1, (left + target_br)[..., None].expand(shape), mirrored_brc)


class _UpConv(_NormedProduct):
    """A transposed convolution, computed as `up_weights` explains; its norm covers what is trimmed, too."""

    def __init__(self, conv: UpConv, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        super().__init__(conv, up_weights(conv).plain(), conv.bias.repeat(conv.stride[0]), dtype)

    def forward(self, signal: Signal) -> Signal:
        signal_btc, length_b = signal
        stride, steps = self.stride, signal_btc.shape[1] * self.stride
        product_bto = self.product(F.pad(signal_btc, (0, 0, 1, 1)), 1)
        output_btc = self.normed(product_bto.unflatten(2, (stride, -1)).flatten(1, 2), (length_b + 1) * stride)
        left = 0 if self.causal else stride - stride // 2
        length_b = length_b * stride
        return _zero_after_end(output_btc[:, left : left + steps], length_b), length_b


def _zero_after_end(signal_btc: Tensor, length_b: Tensor) -> Tensor:
    is_after_bt = torch.arange(signal_btc.shape[1], device=length_b.device) >= length_b[:, None]
    return signal_btc.masked_fill(is_after_bt[..., None], 0)
