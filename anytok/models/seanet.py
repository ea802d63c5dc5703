"""SEANet, the convolutional encoder and decoder that SpeechTokenizer and EnCodec share, in plain torch.

This is the obvious form: one clip shape at a time, every layer over the whole signal. Training uses it, and the
tests hold the fast engine (`anytok.engines.native`) against it.

Sources: EnCodec (arXiv 2210.13438, section 3.1), SpeechTokenizer (arXiv 2308.16692, section 3.2).
Legend: b batch, c channels, t time (samples or frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Activation", "Conv", "Lstm", "ResidualBlock", "SeanetDecoder", "SeanetEncoder", "UpConv", "fold_weight_norm",
    "folded", "padding", "unfolded",
]  # fmt: skip


def padding(length: int, kernel: int, stride: int, dilation: int, causal: bool) -> tuple[int, int]:
    """Samples to add on the left and right so that a convolution gives ceil(length / stride) outputs.

    The fixed part is span - stride, shared between the sides with the odd one on the left (all of it on the
    left if causal); the rest, on the right, fills the last window.
    """
    fixed = (kernel - 1) * dilation + 1 - stride
    right = 0 if causal else fixed // 2
    return fixed - right, right + -length % stride


def pad(signal_bct: Tensor, left: int, right: int, mode: str) -> Tensor:
    """Pad in time. Reflection needs more samples than it mirrors: a shorter signal is first lengthened with
    zeros, and the same number is dropped at the end, as the published models do."""
    if mode != "reflect":
        return F.pad(signal_bct, (left, right))
    missing = max(0, max(left, right) - signal_bct.shape[-1] + 1)
    padded_bct = F.pad(F.pad(signal_bct, (0, missing)), (left, right), mode="reflect")
    return padded_bct[..., : padded_bct.shape[-1] - missing]


class _Unfilled(nn.Module):
    """Layers made on the meta device: filling nothing there takes two fifths of the time to build a codec."""

    def reset_parameters(self) -> None:
        if not next(self.parameters()).is_meta:
            super().reset_parameters()  # type: ignore[misc]


class _GroupNorm(_Unfilled, nn.GroupNorm):
    pass


class _LSTM(_Unfilled, nn.LSTM):
    pass


class Conv(_Unfilled, nn.Conv1d):
    """A convolution that pads its own input: t in, ceil(t / stride) out; optionally a norm over channels and time."""

    weight_v: Tensor  # with weight norm, instead of `weight`
    weight_g: Tensor

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1,
        *, causal: bool = False, pad_mode: str = "reflect", norm: bool = False, weight_norm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(c_in, c_out, kernel, stride, dilation=dilation)
        self.causal, self.pad_mode = causal, pad_mode
        self.norm = _GroupNorm(1, c_out) if norm else None
        if weight_norm:
            _split_weight(self)

    def forward(self, signal_bct: Tensor) -> Tensor:
        sides = padding(signal_bct.shape[-1], self.kernel_size[0], self.stride[0], self.dilation[0], self.causal)
        out_bct = self._conv_forward(pad(signal_bct, *sides, self.pad_mode), folded(self), self.bias)
        return self.norm(out_bct) if self.norm is not None else out_bct


class UpConv(_Unfilled, nn.ConvTranspose1d):
    """A transposed convolution, kernel 2 * stride, trimmed so that t frames in give exactly t * stride out."""

    weight_v: Tensor  # with weight norm, instead of `weight`
    weight_g: Tensor

    def __init__(
        self, c_in: int, c_out: int, stride: int,
        *, causal: bool = False, norm: bool = False, weight_norm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(c_in, c_out, 2 * stride, stride)
        self.causal = causal
        self.norm = _GroupNorm(1, c_out) if norm else None
        if weight_norm:
            _split_weight(self)

    def forward(self, signal_bct: Tensor, output_size: list[int] | None = None) -> Tensor:
        out_bct = F.conv_transpose1d(signal_bct, folded(self), self.bias, self.stride)
        if self.norm is not None:  # its statistics cover the samples that are trimmed next, too
            out_bct = self.norm(out_bct)
        stride = self.stride[0]
        left = 0 if self.causal else stride - stride // 2
        return out_bct[..., left : left + signal_bct.shape[-1] * stride]


def unfolded(conv: Conv | UpConv) -> tuple[Tensor, Tensor | None]:
    """A convolution's weight; with weight norm v, and the g / |v| that each first index of it is to be multiplied by
    (arXiv 1602.07868, section 2)."""
    if "weight_v" not in conv._parameters:
        return conv.weight, None
    return conv.weight_v, (conv.weight_g / torch.norm_except_dim(conv.weight_v, 2, 0)).flatten()


def folded(conv: Conv | UpConv) -> Tensor:
    """A convolution's weight, multiplied out."""
    weight, gain = unfolded(conv)
    return weight if gain is None else weight * gain[:, None, None]


def fold_weight_norm(model: nn.Module) -> None:
    """Multiply out all weight norms in `model`, so that running it does so no more."""
    for module in model.modules():
        if isinstance(module, Conv | UpConv) and "weight_v" in module._parameters:
            module.weight = nn.Parameter(folded(module), requires_grad=False)
            del module.weight_v, module.weight_g


def _split_weight(conv: Conv | UpConv) -> None:
    """Weight norm as published: the weight's direction and its gain, apart; a gain of 1 until weights are loaded."""
    weight = conv.weight
    del conv.weight
    conv.weight_v, conv.weight_g = weight, nn.Parameter(weight.new_ones(len(weight), 1, 1))


class Activation(nn.Module):
    """ELU, or Snake with one learned frequency per channel: x + sin(alpha x)^2 / alpha."""

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        if kind.lower() not in ("elu", "snake"):
            raise ValueError(f"activation {kind!r}: expected 'ELU' or 'Snake'")
        self.alpha = nn.Parameter(torch.ones(1, channels, 1)) if kind.lower() == "snake" else None

    def forward(self, signal_bct: Tensor) -> Tensor:
        if self.alpha is None:
            return F.elu(signal_bct)
        return signal_bct + torch.sin(self.alpha * signal_bct).square() / (self.alpha + 1e-9)


class ResidualBlock(nn.Module):
    """x → act, conv k3, act, conv k1 → added to x, or to a 1x1 convolution of x."""

    def __init__(
        self, channels: int, kernel: int, dilation: int, compress: int, activation: str, shortcut: bool, **conv: Any
    ) -> None:
        super().__init__()
        hidden = channels // compress
        self.block = nn.Sequential(
            Activation(activation, channels),
            Conv(channels, hidden, kernel, dilation=dilation, **conv),
            Activation(activation, hidden),
            Conv(hidden, channels, 1, **conv),
        )
        self.shortcut = Conv(channels, channels, 1, **conv) if shortcut else None

    def forward(self, signal_bct: Tensor) -> Tensor:
        side_bct = signal_bct if self.shortcut is None else self.shortcut(signal_bct)
        return side_bct + self.block(signal_bct)


class Lstm(nn.Module):
    """LSTM over time, added to its input (twice side by side where it runs in both directions)."""

    def __init__(self, channels: int, num_layers: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.lstm = _LSTM(channels, channels, num_layers, bidirectional=bidirectional)

    def forward(self, signal_bct: Tensor) -> Tensor:
        signal_tbc = signal_bct.permute(2, 0, 1)
        out_tbc, _ = self.lstm(signal_tbc)
        skip_tbc = torch.cat([signal_tbc, signal_tbc], dim=-1) if self.lstm.bidirectional else signal_tbc
        return (out_tbc + skip_tbc).permute(1, 2, 0)


class SeanetEncoder(nn.Sequential):
    """Wave [b, channels, samples] → latents [b, dimension, ceil(samples / prod(ratios))].

    `ratios` are in the decoder's order, as configs give them; the encoder walks them backwards.
    """

    def __init__(
        self, *, channels: int = 1, dimension: int, num_filters: int, ratios: Sequence[int], kernel: int = 7,
        last_kernel: int = 7, residual_kernel: int = 3, num_residual_layers: int = 1, dilation_base: int = 2,
        compress: int = 2, num_lstm_layers: int = 2, bidirectional: bool = False, activation: str = "ELU",
        shortcut: bool = True, causal: bool = False, pad_mode: str = "reflect", norm: bool = False,
        weight_norm: bool = False,
    ) -> None:  # fmt: skip
        norms = {"norm": norm, "weight_norm": weight_norm}
        conv: dict[str, Any] = {"causal": causal, "pad_mode": pad_mode, **norms}
        width = num_filters
        layers: list[nn.Module] = [Conv(channels, width, kernel, **conv)]
        for ratio in reversed(ratios):
            for j in range(num_residual_layers):
                layers.append(
                    ResidualBlock(width, residual_kernel, dilation_base**j, compress, activation, shortcut, **conv)
                )
            layers += [Activation(activation, width), Conv(width, 2 * width, 2 * ratio, ratio, **conv)]
            width *= 2
        if num_lstm_layers:
            layers.append(Lstm(width, num_lstm_layers, bidirectional))
            width *= 2 if bidirectional else 1
        layers += [Activation(activation, width), Conv(width, dimension, last_kernel, **conv)]
        super().__init__(*layers)


class SeanetDecoder(nn.Sequential):
    """Latents [b, dimension, frames] → wave [b, channels, frames * prod(ratios)]; its LSTM looks back only."""

    def __init__(
        self, *, channels: int = 1, dimension: int, num_filters: int, ratios: Sequence[int], kernel: int = 7,
        last_kernel: int = 7, residual_kernel: int = 3, num_residual_layers: int = 1, dilation_base: int = 2,
        compress: int = 2, num_lstm_layers: int = 2, activation: str = "ELU", shortcut: bool = True,
        causal: bool = False, pad_mode: str = "reflect", norm: bool = False, weight_norm: bool = False,
    ) -> None:  # fmt: skip
        norms = {"norm": norm, "weight_norm": weight_norm}
        conv: dict[str, Any] = {"causal": causal, "pad_mode": pad_mode, **norms}
        width = num_filters * 2 ** len(ratios)
        layers: list[nn.Module] = [Conv(dimension, width, kernel, **conv)]
        if num_lstm_layers:
            layers.append(Lstm(width, num_lstm_layers))
        for ratio in ratios:
            layers += [Activation(activation, width), UpConv(width, width // 2, ratio, causal=causal, **norms)]
            width //= 2
            for j in range(num_residual_layers):
                layers.append(
                    ResidualBlock(width, residual_kernel, dilation_base**j, compress, activation, shortcut, **conv)
                )
        layers += [Activation(activation, width), Conv(width, channels, last_kernel, **conv)]
        super().__init__(*layers)
