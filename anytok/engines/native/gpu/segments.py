"""A SEANet codec whose norms cover whole segments (EnCodec at 48 kHz) on a GPU: batches of segments of one shape.

Segments do not depend on each other. Each is padded to a full one, and the last batch with zeros, so every kernel sees
one shape, and a segment gets the same bits alone and in any batch: tests/test_gpu_segments.py.

Legend: b segments of a batch, c channels, s samples, t frames, d latent dimension, k codebooks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from ....models.codec import Codec
from ....models.quantize import Quantized, margins_of
from ....torch_settings import full_float32
from ..precision import overflow
from .graph import GraphedFunction
from .segment_layers import SegmentStack

__all__ = ["SEGMENTS", "SegmentCodec"]

SEGMENTS = 16  # in a batch


class SegmentCodec:
    """Encode and decode segments of up to `full_samples` with the weights of a plain `Codec` with norm layers.

    A frame is `hop_length` samples. `dtype` is that of the convolutions, `lstm_dtype` that of the LSTMs.
    """

    def __init__(
        self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype,
        full_samples: int, batch_size: int = SEGMENTS,
    ) -> None:  # fmt: skip
        self._quantizer, self._dtype, self._batch_size = codec.quantizer, dtype, batch_size
        self._hop_length, self._full_samples = hop_length, full_samples
        self._encoder, self._decoder = (
            GraphedFunction(SegmentStack(layers, dtype, lstm_dtype)) for layers in (codec.encoder, codec.decoder)
        )
        self._searches: dict[int, GraphedFunction] = {}  # by the number of codebooks

    def latents(self, wave_cs: Tensor) -> Tensor:
        """The encoder's output before quantization, float32 [t, d], of a segment [c, s]."""
        [(latents_bdt, [frames])] = self._latents([wave_cs])
        return latents_bdt[0, :, :frames].T

    def encode(self, waves: Iterable[Tensor], num_codebooks: int, margins: bool = False) -> list[Quantized]:
        """Codes, int64 [k, t], of each segment [c, s], and their margins if asked for. Raises MediaError if the encoder
        overflows."""
        quantize = partial(self._quantizer.encode, num_codebooks=num_codebooks)
        search = self._searches.setdefault(num_codebooks, GraphedFunction(quantize))
        result: list[Quantized] = []
        for latents_bdt, frames in self._latents(waves):
            if not math.isfinite(latents_bdt.sum()):
                raise overflow()
            with full_float32():  # in every precision: test_tf32_is_where_it_is_asked_for
                codes_bkt = search(latents_bdt)
            for latents_dt, codes_kt, count in zip(latents_bdt, codes_bkt, frames, strict=False):
                latents_td, codes_kt = latents_dt[:, :count].T, codes_kt[:, :count]
                measured = margins_of(latents_td, codes_kt, self._quantizer.codebooks_knd) if margins else None
                result.append((codes_kt, measured))
        return result

    def decode(self, items: Iterable[tuple[Tensor, int]]) -> Iterator[Tensor]:
        """Wave, float32 [c, t * hop_length], of each item: codes [k, t], and the codebook that row 0 belongs to."""
        device = self._quantizer.codebooks_knd.device
        latents = (self._quantizer.decode(codes_kt[None].to(device), first)[0] for codes_kt, first in items)
        for lengths, latents_bdt, length_b in self._batches(latents, self._frames(self._full_samples)):
            waves_bcs = self._decoder(latents_bdt, length_b)
            yield from (waves_bcs[i, :, : length * self._hop_length] for i, length in enumerate(lengths))

    def _latents(self, waves: Iterable[Tensor]) -> Iterator[tuple[Tensor, list[int]]]:
        """Batch by batch the latents [b, d, t], and of each segment in it the number of frames."""
        for lengths, waves_bcs, length_b in self._batches(waves, self._full_samples):
            yield self._encoder(waves_bcs, length_b), [self._frames(length) for length in lengths]

    def _frames(self, samples: int) -> int:
        return -(-samples // self._hop_length)

    def _batches(self, signals: Iterable[Tensor], full: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Signals [c, t], taken batch by batch → their lengths; padded to [b, c, full] on the device; and lengths [b]
        with those of the rows that are only padding."""
        remaining, device = iter(signals), self._quantizer.codebooks_knd.device
        while batch := list(islice(remaining, self._batch_size)):
            lengths = [signal_ct.shape[1] for signal_ct in batch]
            padded_bct = batch[0].new_zeros(self._batch_size, len(batch[0]), full)
            for padded_ct, signal_ct in zip(padded_bct, batch, strict=False):
                padded_ct[:, : signal_ct.shape[1]] = signal_ct
            length_b = torch.tensor(lengths + [full] * (self._batch_size - len(batch)))
            yield lengths, padded_bct.to(device, self._dtype), length_b.to(device)
