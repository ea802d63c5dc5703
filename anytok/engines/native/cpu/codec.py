"""A SEANet codec for CPUs: convolutions as streams over short stretches, LSTMs in lockstep over clips.

Clips share nothing but the reading of weights, so a clip's codes do not depend on the others in a batch; short
stretches keep the working set in the cache and the memory bounded, however long the clip. On GPUs the same code decodes
streams.

Legend: c channels, s samples, k codebooks, t frames, d latent dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from ....kernels.layers import Search
from ....models.codec import Codec
from ....models.quantize import Quantized, joined, margins_of
from ....torch_settings import full_float32
from ..precision import overflow
from .build import Builder, lstm_layers
from .lockstep import StatefulLstm, Work, bidirectional, lockstep
from .spill import SpillBuffer
from .streams import Chain

__all__ = ["DecoderStream", "FastCodec"]

# Frames that the convolutions take at a time: a second at 50 Hz stays in the cache; bfloat16 computes so fast that the
# price of a call shows.
TILE_FRAMES, HALF_TILE_FRAMES = 50, 200
CHUNK_FRAMES = 1000  # that the LSTMs take at a time
_ALL = 1 << 40

Kept = TypeVar("Kept")


class FastCodec:
    """Encode and decode with the weights of a plain `Codec`, which it does not keep; `dtype` is the convolutions',
    `lstm_dtype` the LSTMs'. Latents and the search have the type of the codec's codebooks: float32, or float64 where
    all of it is float64, which needs no kernels and runs on GPUs, too."""

    def __init__(self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype) -> None:
        self.hop_length, self.dtype = hop_length, dtype
        # The statistics of a norm need the whole signal.
        self._whole = any(isinstance(module, nn.GroupNorm) for module in codec.modules())
        self.codebooks_knd = codec.quantizer.codebooks_knd
        self._search = Search(self.codebooks_knd)
        builder = Builder(self.codebooks_knd.device, dtype)
        self._front, lstm, self._back = builder.build(codec.encoder)
        self._first, decoder_lstm, self._up = builder.build(codec.decoder)
        self._bidirectional = lstm.bidirectional
        self._layers = lstm_layers(lstm.to(lstm_dtype))
        self._decoder_layers = [layer for (layer,) in lstm_layers(decoder_lstm.to(lstm_dtype))]

    @property
    def tile_frames(self) -> int:
        return _ALL if self._whole else HALF_TILE_FRAMES if self.dtype.itemsize == 2 else TILE_FRAMES

    @property
    def _chunk_frames(self) -> int:
        return _ALL if self._whole else CHUNK_FRAMES

    def latents(self, wave_cs: Tensor) -> Tensor:
        """The encoder's output [t, d] before quantization, in the codebooks' type."""
        return torch.cat(next(lockstep([self._encoded(wave_cs, lambda latents_td: latents_td)])))

    def encode(self, waves: Iterable[Tensor], num_codebooks: int, margins: bool = False) -> list[Quantized]:
        """Codes [k, t] of each wave [c, s], and their margins if asked for; waves are asked for as their turn comes."""

        def quantize(latents_td: Tensor) -> Quantized:
            if not math.isfinite(latents_td.sum()):
                raise overflow()
            with full_float32():  # the search is, whatever the precision
                codes_kt = self._search(latents_td, num_codebooks)
            return codes_kt, margins_of(latents_td, codes_kt, self.codebooks_knd) if margins else None

        works = (self._encoded(wave_cs, quantize) for wave_cs in waves)
        return [joined(pieces) for pieces in lockstep(works)]

    def decode(self, items: Iterable[tuple[Tensor, int]]) -> Iterator[Tensor]:
        """Wave [c, t * hop] of each item: codes [k, t], and the codebook that row 0 belongs to."""
        return lockstep(self._decoded(*item) for item in items)

    def _encoded(self, wave_cs: Tensor, keep: Callable[[Tensor], Kept]) -> Work[list[Kept]]:
        """What `keep` makes of the latents [t, d], piece by piece."""
        back = Chain([start() for start in self._back])
        kept: list[Kept] = []

        def put(signal_tc: Tensor, last: bool) -> None:
            latents_td = back.push(signal_tc, last).to(self.codebooks_knd.dtype)
            if len(latents_td):
                kept.append(keep(latents_td))

        if not self._bidirectional:
            lstm = StatefulLstm([layer for (layer,) in self._layers])
            for piece_tc, last in self._fronts(wave_cs):
                put((yield from lstm.push(piece_tc)), last)
            return kept
        pieces = SpillBuffer()
        for piece_tc, _ in self._fronts(wave_cs):
            if len(piece_tc):
                pieces[len(pieces)] = piece_tc
        for number, signal_tc in enumerate((yield from bidirectional(self._layers, pieces))):
            put(signal_tc, number == len(pieces) - 1)
        return kept

    def _decoded(self, codes_kt: Tensor, first: int) -> Work[Tensor]:
        stream = DecoderStream(self, first)
        pieces = codes_kt.split(self._chunk_frames, dim=1)
        wave_cs, settled = torch.empty(0), 0
        for piece_kt in pieces:
            piece_cs = yield from stream.work(piece_kt, piece_kt is pieces[-1])
            if not settled:  # the whole wave, once: an hour in pieces, and joined, would be there twice
                wave_cs = piece_cs.new_empty(len(piece_cs), codes_kt.shape[1] * self.hop_length)
            wave_cs[:, settled : settled + piece_cs.shape[1]] = piece_cs
            settled += piece_cs.shape[1]
        return wave_cs[:, :settled]

    def _fronts(self, wave_cs: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """The convolutions before the LSTM, in chunks [t, c], and whether each is the last."""
        front = Chain([start() for start in self._front])
        chunks = wave_cs.T.split(self._chunk_frames * self.hop_length)
        for chunk_sc in chunks:
            last = chunk_sc is chunks[-1]
            tiles = chunk_sc.to(self.codebooks_knd.device, self.dtype).split(self.tile_frames * self.hop_length)
            out = [front.push(tile_sc, last and tile_sc is tiles[-1]) for tile_sc in tiles]
            yield torch.cat(out), last

    def dequantize(self, codes_kt: Tensor, first: int) -> Tensor:
        """Latents [t, d]: the sum of the chosen rows, in layer order."""
        latents_td = self.codebooks_knd[first][codes_kt[0]]
        for layer in range(1, len(codes_kt)):
            latents_td = latents_td + self.codebooks_knd[first + layer][codes_kt[layer]]
        return latents_td


class DecoderStream:
    """Codes in as they come, wave out as soon as it is settled; the pieces add up to `FastCodec.decode`."""

    def __init__(self, codec: FastCodec, first: int = 0) -> None:
        self._codec, self._first_codebook = codec, first
        self._first = Chain([start() for start in codec._first])
        self._lstm = StatefulLstm(codec._decoder_layers)
        self._up = Chain([start() for start in codec._up])

    @torch.inference_mode()
    @full_float32()
    def push(self, codes_kt: Tensor, last: bool = False) -> Tensor:
        """Wave [c, samples] that these codes [k, t] settle; with `last`, all that is left."""
        return next(lockstep([self.work(codes_kt, last)]))

    def work(self, codes_kt: Tensor, last: bool) -> Work[Tensor]:
        """`push` as a work that runs in lockstep with others."""
        codec = self._codec
        latents_td = codec.dequantize(codes_kt.to(codec.codebooks_knd.device), self._first_codebook)
        signal_tc = yield from self._lstm.push(self._first.push(latents_td.to(codec.dtype), last))
        tiles = signal_tc.split(codec.tile_frames)
        wave_sc = torch.cat([self._up.push(tile_tc, last and tile_tc is tiles[-1]) for tile_tc in tiles])
        return wave_sc.T.to(codec.codebooks_knd.dtype)
