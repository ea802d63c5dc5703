"""SEANet's layers over segments of several lengths, all in the room of a full one: see segment_codec.py.

Behind a segment's end there are zeros before every layer. It is mirrored there, as it would be alone, and norms leave
out what is behind. Convolutions are products of what each output hears: cuDNN's give an item other bits in another
place, and one of them took 1,500 times as long in full float32 (tiled_layers.py says more).

Legend: b segments, t time, c channels, n outputs, k kernel, r columns behind the end, o and i outputs and inputs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.seanet import Activation, Conv, Lstm, ResidualBlock, UpConv, padding, unfolded
from ..normed import moments
from ..packed_conv import Weights
from ..packing import up_weights
from ..recurrent import single_layers

__all__ = ["SegmentStack"]


class SegmentStack(nn.Module):
    """[b, c, t], with zeros behind each segment's end, and how long they are [b] → float32 [b, c_out, t_out]."""

    def __init__(self, layers: Iterable[nn.Module], dtype: torch.dtype, lstm_dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = _layers(layers, dtype, lstm_dtype)

    def forward(self, signal_bct: Tensor, length_b: Tensor) -> Tensor:
        signal_btc = signal_bct.transpose(1, 2).contiguous()
        return _through(self.layers, signal_btc, length_b)[0].transpose(1, 2).float()


def _layers(layers: Iterable[nn.Module], dtype: torch.dtype, lstm_dtype: torch.dtype) -> nn.ModuleList:
    """Modules from a signal and its lengths to another and its own."""
    made = nn.ModuleList()
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            shortcut = [] if layer.shortcut is None else [layer.shortcut]
            made.append(_Sum(*(_layers(part, dtype, lstm_dtype) for part in (layer.block, shortcut))))
        elif isinstance(layer, Conv):
            made.append(_Conv(layer, dtype))
        elif isinstance(layer, UpConv):
            made.append(_UpConv(layer, dtype))
        elif isinstance(layer, Lstm):
            made.append(_Lstm(layer.lstm.to(lstm_dtype)))
        else:
            assert isinstance(layer, Activation) and layer.alpha is None, "Snake comes with no norms"
            made.append(_Elu())
    return made


def _through(layers: nn.ModuleList, signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
    for layer in layers:
        signal_btc, length_b = layer(signal_btc, length_b)
    return signal_btc, length_b


class _Sum(nn.Module):
    """A residual block: what comes through is added to what comes by."""

    def __init__(self, inner: nn.ModuleList, shortcut: nn.ModuleList) -> None:
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
        side_btc, _ = _through(self.shortcut, signal_btc, length_b)
        return side_btc + _through(self.inner, signal_btc, length_b)[0], length_b


class _Elu(nn.Module):
    def forward(self, signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
        return F.elu(signal_btc), length_b


class _Lstm(nn.Module):
    """Added to its input, in float32. It hears no later steps, so what is behind an end does not matter."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer.module for (layer,) in single_layers(lstm))
        self._dtype = next(lstm.parameters()).dtype

    def forward(self, signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
        heard_tbc = signal_btc.transpose(0, 1).to(self._dtype)
        for layer in self.layers:
            heard_tbc, _ = layer(heard_tbc)
        out_btc = (heard_tbc.transpose(0, 1).float() + signal_btc).to(signal_btc.dtype)
        return _ended(out_btc, length_b), length_b


class _Normed(nn.Module):
    """A product of what lies within `span` steps, `dilation` apart, and the norm behind it."""

    def __init__(self, conv: Conv | UpConv, weights: Weights, bias_o: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        assert conv.norm is not None
        weight_oki = weights.plain().to(dtype)
        self.stride, self.dilation, self.causal, self.norm = conv.stride[0], conv.dilation[0], conv.causal, conv.norm
        self.span = (weight_oki.shape[1] - 1) * self.dilation + 1
        self.weight, self.bias = (
            nn.Parameter(part, requires_grad=False) for part in (weight_oki.flatten(1), bias_o.to(dtype))
        )

    def product(self, heard_btc: Tensor, stride: int) -> Tensor:
        heard_bnck = heard_btc.unfold(1, self.span, stride)[..., :: self.dilation]
        return F.linear(heard_bnck.transpose(2, 3).flatten(2), self.weight, self.bias)

    def normed(self, signal_btc: Tensor, length_b: Tensor) -> Tensor:
        mean_b, variance_b = moments(signal_btc, length_b)
        gain_b1c = self.norm.weight / (variance_b[:, None, None].float() + self.norm.eps).sqrt()
        shift_b1c = self.norm.bias - mean_b[:, None, None].float() * gain_b1c
        return torch.addcmul(shift_b1c.to(signal_btc.dtype), signal_btc, gain_b1c.to(signal_btc.dtype))


class _Conv(_Normed):
    def __init__(self, conv: Conv, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        direction_oik, gain_o = unfolded(conv)
        super().__init__(conv, Weights(direction_oik, gain_o=gain_o), conv.bias, dtype)
        self._mode = conv.pad_mode

    def forward(self, signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
        heard_btc = signal_btc if self.span == self.stride == 1 else self._padded(signal_btc, length_b)
        length_b = (length_b + self.stride - 1) // self.stride
        return _ended(self.normed(self.product(heard_btc, self.stride), length_b), length_b), length_b

    def _padded(self, signal_btc: Tensor, length_b: Tensor) -> Tensor:
        """As if each segment were alone; where it is shorter than its mirror image, zeros first make it longer."""
        room = signal_btc.shape[1]
        left, right = padding(room, self.span, self.stride, 1, self.causal)
        padded_btc = F.pad(signal_btc, (0, 0, left, right), self._mode)
        if self._mode != "reflect":
            return padded_btc
        right_b = self.span - self.stride - left + -length_b % self.stride
        mirror_b1 = torch.maximum(length_b - 1, right_b.clamp_min(left))[:, None]
        behind_r = torch.arange(self.span - 1, device=length_b.device)
        place_br = (length_b[:, None] + behind_r).clamp_max(room + right - 1)  # one that is written twice gets the same
        source_br = (mirror_b1 - (mirror_b1 - place_br).abs()).clamp_min(0)
        shape = (-1, -1, signal_btc.shape[2])
        heard_brc = signal_btc.gather(1, source_br[..., None].expand(shape))
        return padded_btc.scatter_(1, (left + place_br)[..., None].expand(shape), heard_brc)


class _UpConv(_Normed):
    """`up_weights` says how a transposed convolution is an ordinary one; its norm hears what is trimmed then, too."""

    def __init__(self, conv: UpConv, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        super().__init__(conv, up_weights(conv), conv.bias.repeat(conv.stride[0]), dtype)

    def forward(self, signal_btc: Tensor, length_b: Tensor) -> tuple[Tensor, Tensor]:
        stride, steps = self.stride, signal_btc.shape[1] * self.stride
        together_bno = self.product(F.pad(signal_btc, (0, 0, 1, 1)), 1)
        out_btc = self.normed(together_bno.unflatten(2, (stride, -1)).flatten(1, 2), (length_b + 1) * stride)
        left = 0 if self.causal else stride - stride // 2
        return _ended(out_btc[:, left : left + steps], length_b * stride), length_b * stride


def _ended(signal_btc: Tensor, length_b: Tensor) -> Tensor:
    """With zeros behind the ends."""
    behind_bt = torch.arange(signal_btc.shape[1], device=length_b.device) >= length_b[:, None]
    return signal_btc.masked_fill(behind_bt[..., None], 0)
