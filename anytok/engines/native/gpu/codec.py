"""A SEANet codec on a GPU: convolutions over tiles of one shape, LSTMs and the quantizer over batches of one shape.

A clip gets the same bits alone and in any batch, since every kernel sees the same shape in both, and rows of a batch do
not interact: tests/test_gpu_bits.py.

Legend: c channels, s samples, k codebooks, t frames of a clip, f frames of all clips, d latent dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.codec import Codec
from ....models.quantize import Quantized, margins_of
from ....models.seanet import Lstm, fold_weight_norm
from ....torch_settings import full_float32
from ..precision import overflow
from .lstm import BatchedLstm
from .tiles import BATCH_SIZE, TiledStack

__all__ = ["TiledCodec"]

LSTM_CLIPS, SEARCH_FRAMES = 2, 256  # in a batch of the LSTM and of the codebook search, for each tile in a batch


class TiledCodec:
    """Encode and decode with the weights of `codec`, a plain codec without norm layers, whose memory it shares.

    A frame is `hop_length` samples. `dtype` is that of the convolutions, `lstm_dtype` that of the LSTMs; latents and
    the codebook search are float32. TiledStack explains the other options.
    """

    def __init__(
        self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype,
        channels_last: bool = False, compile: bool = False, batch_size: int = BATCH_SIZE,
    ) -> None:  # fmt: skip
        fold_weight_norm(codec)  # once, not at every call
        self.plain, self.form = codec, (hop_length, dtype, lstm_dtype)  # for a codec that streams: StreamingCodec
        self._quantizer, self._search_frames = codec.quantizer, SEARCH_FRAMES * batch_size

        def stages(layers: Iterable[nn.Module]) -> nn.Sequential:
            """Convolutions, LSTM, convolutions: a list of clips [c, t] → a list of clips."""
            each = list(layers)
            [(at, lstm)] = ((i, layer.lstm) for i, layer in enumerate(each) if isinstance(layer, Lstm))
            before, after = (
                TiledStack(part, dtype, channels_last, compile, batch_size) for part in (each[:at], each[at + 1 :])
            )
            return nn.Sequential(before, BatchedLstm(lstm.to(lstm_dtype), LSTM_CLIPS * batch_size), after)

        self._encoder, self._decoder = stages(codec.encoder), stages(codec.decoder)

    def latents(self, wave_cs: Tensor) -> Tensor:
        """The encoder's output before quantization, float32 [t, d], of a wave [c, s]."""
        return self._latents([wave_cs])[0].T

    def encode(self, waves: Iterable[Tensor], num_codebooks: int, margins: bool = False) -> list[Quantized]:
        """Codes, int64 [k, t], of each float wave [c, s], and their margins if asked for. Raises MediaError if the
        encoder overflows."""
        latents = self._latents(list(waves))
        if not latents:
            return []
        codes, latents_df = [], torch.cat(latents, dim=1)
        if not math.isfinite(latents_df.sum()):
            raise overflow()
        for batch_df in latents_df.split(self._search_frames, dim=1):
            frames = batch_df.shape[1]
            padded_1df = F.pad(batch_df, (0, self._search_frames - frames))[None]
            with full_float32():  # in every precision: test_tf32_is_where_it_is_asked_for
                codes.append(self._quantizer.encode(padded_1df, num_codebooks)[0, :, :frames])
        each = torch.cat(codes, dim=1).split([latents_dt.shape[1] for latents_dt in latents], dim=1)
        books_knd = self._quantizer.codebooks_knd
        return [
            (codes_kt, margins_of(latents_dt.T, codes_kt, books_knd) if margins else None)
            for latents_dt, codes_kt in zip(latents, each, strict=True)
        ]

    def decode(self, items: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
        """Wave, float32 [c, t * hop_length], of each item: codes [k, t], and the codebook that row 0 belongs to."""
        device = self._quantizer.codebooks_knd.device
        latents = [self._quantizer.decode(codes_kt[None].to(device), first)[0] for codes_kt, first in items]
        return self._decoder(latents) if latents else []

    def _latents(self, waves: Sequence[Tensor]) -> list[Tensor]:
        device = self._quantizer.codebooks_knd.device
        return self._encoder([wave_cs.to(device) for wave_cs in waves]) if waves else []
