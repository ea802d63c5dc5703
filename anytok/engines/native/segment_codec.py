"""A SEANet codec whose norms hear whole segments (EnCodec at 48 kHz), for GPUs: many segments at a time.

What `TiledCodec` is to the other codecs. Segments know nothing of each other, so full ones go so many at a time, the
last group filled up with silence, and shorter ones, of which a clip has one at most, alone: a segment's kernels see one
shape, whatever its company.

Legend: b segments, c channels, t time, s samples, d latent dimension, k codebooks or kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.codec import Codec
from ...models.seanet import Activation, Conv, Lstm, ResidualBlock, UpConv, pad, padding, unfolded
from ..settings import full_float32
from .normed import moments
from .packed_conv import Weights
from .packing import up_weights
from .precision import check_latents
from .recurrent import single_layers

__all__ = ["SEGMENTS", "SegmentCodec"]

SEGMENTS = 16  # at a time


class SegmentCodec:
    """Encode and decode segments of up to `full_samples` with the weights of a plain `Codec` with norm layers."""

    def __init__(
        self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype,
        full_samples: int | None, batch_size: int = SEGMENTS,
    ) -> None:  # fmt: skip
        assert full_samples is not None, "norms come with segments"
        self._full_samples, self._full_frames = full_samples, -(-full_samples // hop_length)
        self._dtype, self._quantizer, self._batch_size = dtype, codec.quantizer, batch_size
        self._encoder, self._decoder = (_whole(part, dtype, lstm_dtype) for part in (codec.encoder, codec.decoder))

    def latents(self, wave_cs: Tensor) -> Tensor:
        """The encoder's output [t, d], float32, before quantization."""
        return next(self._grouped([wave_cs.T], self._full_samples, self._latents))

    def encode(self, waves: Iterable[Tensor], num_codebooks: int) -> list[Tensor]:
        """Codes [k, t] of each segment [c, s]; they are asked for as their turn comes."""

        def codes(wave_bsc: Tensor) -> Tensor:
            latents_btd = self._latents(wave_bsc)
            check_latents(latents_btd)
            with full_float32():  # the search is, whatever the precision
                return self._quantizer.encode(latents_btd.transpose(1, 2), num_codebooks)

        return list(self._grouped((wave_cs.T for wave_cs in waves), self._full_samples, codes))

    def decode(self, items: Iterable[tuple[Tensor, int]]) -> Iterator[Tensor]:
        """Wave [c, t * hop] of each item: codes [k, t], and the codebook that row 0 belongs to."""
        device = self._quantizer.codebooks_knd.device
        latents = (self._quantizer.decode(codes_kt[None].to(device), first)[0].T for codes_kt, first in items)
        return (wave_sc.T.float() for wave_sc in self._grouped(latents, self._full_frames, self._decoder))

    def _latents(self, wave_bsc: Tensor) -> Tensor:
        return self._encoder(wave_bsc).float()

    def _grouped(self, signals: Iterable[Tensor], full: int, compute: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """What `compute` makes of each [t, c], in order: of those of `full` length together, of others alone."""
        device = self._quantizer.codebooks_knd.device
        each = (signal_tc.to(device, self._dtype) for signal_tc in signals)
        while group := list(islice(each, self._batch_size)):
            long = [signal_tc for signal_tc in group if len(signal_tc) == full]
            silence = (0, 0, 0, 0, 0, self._batch_size - len(long))
            made = iter(compute(F.pad(torch.stack(long), silence)) if long else ())
            for signal_tc in group:
                yield next(made) if len(signal_tc) == full else compute(signal_tc[None])[0]


def _whole(layers: Iterable[nn.Module], dtype: torch.dtype, lstm_dtype: torch.dtype) -> nn.Sequential:
    """The layers for whole segments [b, t, c]."""
    made: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            shortcut = [] if layer.shortcut is None else [layer.shortcut]
            made.append(_Sum(_whole(layer.block, dtype, lstm_dtype), _whole(shortcut, dtype, lstm_dtype)))
        elif isinstance(layer, Conv):
            made.append(_Conv(layer, dtype))
        elif isinstance(layer, UpConv):
            made.append(_UpConv(layer, dtype))
        elif isinstance(layer, Lstm):
            made.append(_Lstm(layer.lstm.to(lstm_dtype)))
        else:
            assert isinstance(layer, Activation) and layer.alpha is None, "Snake comes with no norms"
            made.append(nn.ELU())
    return nn.Sequential(*made)


class _Product(nn.Module):
    """What each output hears, laid out and multiplied, and the norm behind it.

    cuDNN's convolutions give an item other bits in another place, or take 1,500 times as long: see tiled_layers.py.
    """

    def __init__(self, conv: Conv | UpConv, weights: Weights, bias_o: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        weight_oki = weights.plain().to(dtype)
        self._kernel, self._norm = weight_oki.shape[1], conv.norm
        self.weight, self.bias = (
            nn.Parameter(part, requires_grad=False) for part in (weight_oki.flatten(1), bias_o.to(dtype))
        )

    def product(self, padded_btc: Tensor, stride: int) -> Tensor:
        heard_bnck = padded_btc.unfold(1, self._kernel, stride)
        return F.linear(heard_bnck.transpose(2, 3).flatten(2), self.weight, self.bias)

    def normed(self, signal_btc: Tensor) -> Tensor:
        if self._norm is None:
            return signal_btc
        mean_b11, variance_b11 = (of_b[:, None, None].float() for of_b in moments(signal_btc))
        gain_b1c = self._norm.weight / (variance_b11 + self._norm.eps).sqrt()
        shift_b1c = self._norm.bias - mean_b11 * gain_b1c
        return torch.addcmul(shift_b1c.to(signal_btc.dtype), signal_btc, gain_b1c.to(signal_btc.dtype))


class _Conv(_Product):
    def __init__(self, conv: Conv, dtype: torch.dtype) -> None:
        assert conv.bias is not None and conv.dilation[0] == 1, "segments' codecs have no dilations"
        direction_oik, gain_o = unfolded(conv)
        super().__init__(conv, Weights(direction_oik, gain_o=gain_o), conv.bias, dtype)
        self._stride, self._causal, self._mode = conv.stride[0], conv.causal, conv.pad_mode

    def forward(self, signal_btc: Tensor) -> Tensor:
        sides = padding(signal_btc.shape[1], self._kernel, self._stride, 1, self._causal)
        padded_bct = pad(signal_btc.transpose(1, 2), *sides, self._mode)
        return self.normed(self.product(padded_bct.transpose(1, 2), self._stride))


class _UpConv(_Product):
    """`up_weights` says how a transposed convolution is an ordinary one."""

    def __init__(self, conv: UpConv, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        super().__init__(conv, up_weights(conv), conv.bias.repeat(conv.stride[0]), dtype)
        self._stride, self._causal = conv.stride[0], conv.causal

    def forward(self, signal_btc: Tensor) -> Tensor:
        stride, samples = self._stride, signal_btc.shape[1] * self._stride
        together_bno = self.product(F.pad(signal_btc, (0, 0, 1, 1)), 1)
        out_btc = self.normed(together_bno.unflatten(2, (stride, -1)).flatten(1, 2))
        left = 0 if self._causal else stride - stride // 2
        return out_btc[:, left : left + samples]


class _Sum(nn.Module):
    """A residual block: what comes through is added to what comes by."""

    def __init__(self, inner: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, signal_btc: Tensor) -> Tensor:
        return self.shortcut(signal_btc) + self.inner(signal_btc)


class _Lstm(nn.Module):
    """Added to its input, in float32."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer.module for (layer,) in single_layers(lstm))
        self._dtype = next(lstm.parameters()).dtype

    def forward(self, signal_btc: Tensor) -> Tensor:
        heard_tbc = signal_btc.transpose(0, 1).to(self._dtype)
        for layer in self.layers:
            heard_tbc, _ = layer(heard_tbc)
        return (heard_tbc.transpose(0, 1).float() + signal_btc).to(signal_btc.dtype)
