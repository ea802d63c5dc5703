"""A SEANet codec whose norms hear whole segments (EnCodec at 48 kHz), for GPUs: many segments at a time.

What `TiledCodec` is to the other codecs. Segments know nothing of each other, so they stand side by side, all in the
room of a full one, and the last group is filled up with silence: every kernel sees one shape, whatever the segments.

Legend: b segments, c channels, s samples, t frames or time, d latent dimension, k codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from ....models.codec import Codec
from ....torch_settings import full_float32
from ..precision import check_latents
from .graph import Recorded
from .segment_layers import SegmentStack

__all__ = ["SEGMENTS", "SegmentCodec"]

SEGMENTS = 16  # at a time


class SegmentCodec:
    """Encode and decode segments of up to `full_samples` with the weights of a plain `Codec` with norm layers."""

    def __init__(
        self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype,
        full_samples: int, batch_size: int = SEGMENTS,
    ) -> None:  # fmt: skip
        self._quantizer, self._dtype, self._batch_size = codec.quantizer, dtype, batch_size
        self._hop_length, self._full_samples = hop_length, full_samples
        self._encoder, self._decoder = (
            Recorded(SegmentStack(part, dtype, lstm_dtype)) for part in (codec.encoder, codec.decoder)
        )
        self._searches: dict[int, Recorded] = {}  # by the number of codebooks

    def latents(self, wave_cs: Tensor) -> Tensor:
        """The encoder's output [t, d], float32, before quantization."""
        return next(self._encoded([wave_cs], lambda latents_bdt: latents_bdt)).T

    def encode(self, waves: Iterable[Tensor], num_codebooks: int) -> list[Tensor]:
        """Codes [k, t] of each segment [c, s]; they are asked for as their turn comes."""
        quantize = partial(self._quantizer.encode, num_codebooks=num_codebooks)
        search = self._searches.setdefault(num_codebooks, Recorded(quantize))

        def codes(latents_bdt: Tensor) -> Tensor:
            check_latents(latents_bdt)
            with full_float32():  # the search is, whatever the precision
                return search(latents_bdt)

        return list(self._encoded(waves, codes))

    def decode(self, items: Iterable[tuple[Tensor, int]]) -> Iterator[Tensor]:
        """Wave [c, t * hop] of each item: codes [k, t], and the codebook that row 0 belongs to."""
        device = self._quantizer.codebooks_knd.device
        latents = (self._quantizer.decode(codes_kt[None].to(device), first)[0] for codes_kt, first in items)
        for lengths, latents_bdt, length_b in self._groups(latents, self._frames(self._full_samples)):
            waves_bcs = self._decoder(latents_bdt, length_b)
            yield from (waves_bcs[i, :, : length * self._hop_length] for i, length in enumerate(lengths))

    def _encoded(self, waves: Iterable[Tensor], keep: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """Of each segment what `keep` makes of its latents, [b, ?, t]."""
        for lengths, waves_bcs, length_b in self._groups(waves, self._full_samples):
            kept_bt = keep(self._encoder(waves_bcs, length_b))
            yield from (kept_bt[i, :, : self._frames(length)] for i, length in enumerate(lengths))

    def _frames(self, samples: int) -> int:
        return -(-samples // self._hop_length)

    def _groups(self, signals: Iterable[Tensor], full: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Signals [c, t] as [b, c, full], so many at a time; how long they are, and that of all [b] where they are."""
        each = iter(signals)
        while group := list(islice(each, self._batch_size)):
            lengths = [signal_ct.shape[1] for signal_ct in group]
            room_bct = group[0].new_zeros(self._batch_size, len(group[0]), full)
            for signal_ct, its_room_ct in zip(group, room_bct, strict=False):
                its_room_ct[:, : signal_ct.shape[1]] = signal_ct
            length_b = torch.tensor(lengths + [full] * (self._batch_size - len(group)))
            device = self._quantizer.codebooks_knd.device
            yield lengths, room_bct.to(device, self._dtype), length_b.to(device)
