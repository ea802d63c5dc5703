"""The fast form of a SEANet codec: packed convolutions, streamed in tiles, and LSTMs that serve many clips at once.

Clips share nothing but the reading of weights, so a clip's codes cannot depend on its neighbours; tiles keep the
working set in cache and the memory flat, however long the clip.

Legend: c channels, s samples, k codebooks, t frames, d latent dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from ...models.codec import Codec
from ...torch_settings import full_float32
from .abreast import Carried, Work, abreast, both_ways
from .packing import Packer
from .pieces import Pieces
from .precision import check_latents
from .recurrent import layers_of
from .search import search
from .streams import Chain

__all__ = ["DecoderStream", "FastCodec"]

# Convolutions: a second at 50 Hz stays in cache; half precision computes so fast that each call's price shows.
TILE_FRAMES, HALF_TILE_FRAMES = 50, 200
CHUNK_FRAMES = 1000  # LSTMs: each call has a price
_ALL = 1 << 40


class FastCodec:
    """Encode and decode with the weights of a plain `Codec`, which it does not keep."""

    def __init__(self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype) -> None:
        self.hop_length, self.dtype = hop_length, dtype
        self._whole = any(isinstance(module, nn.GroupNorm) for module in codec.modules())  # which must hear all at once
        self.codebooks_knd = codec.quantizer.codebooks_knd
        self._search = search(self.codebooks_knd)
        packer = Packer(dtype)
        self._front, lstm, self._back = packer.pack(codec.encoder)
        self._first, decoder_lstm, self._up = packer.pack(codec.decoder)
        self._bidirectional = lstm.bidirectional
        self._layers = layers_of(lstm.to(lstm_dtype))
        self._decoder_layers = [layer for (layer,) in layers_of(decoder_lstm.to(lstm_dtype))]

    @property
    def tile_frames(self) -> int:
        return _ALL if self._whole else TILE_FRAMES if self.dtype == torch.float32 else HALF_TILE_FRAMES

    @property
    def _chunk_frames(self) -> int:
        return _ALL if self._whole else CHUNK_FRAMES

    def streaming(self) -> FastCodec:
        """The form that can also decode codes as they come: this one."""
        return self

    def latents(self, wave_cs: Tensor) -> Tensor:
        """The encoder's output [t, d], float32, before quantization."""
        return torch.cat(next(abreast([self._encoded(wave_cs, lambda latents_td: latents_td)])))

    def encode(self, waves: Iterable[Tensor], num_codebooks: int) -> list[Tensor]:
        """Codes [k, t] of each wave [c, s]; waves are asked for as their turn comes."""

        def quantize(latents_td: Tensor) -> Tensor:
            check_latents(latents_td)
            with full_float32():  # the search is, whatever the precision
                return self._search(latents_td, num_codebooks)

        return [torch.cat(pieces, dim=1) for pieces in abreast(self._encoded(wave_cs, quantize) for wave_cs in waves)]

    def decode(self, items: Iterable[tuple[Tensor, int]]) -> Iterator[Tensor]:
        """Wave [c, t * hop] of each item: codes [k, t], and the codebook that row 0 belongs to."""
        return abreast(self._decoded(*item) for item in items)

    def _encoded(self, wave_cs: Tensor, keep: Callable[[Tensor], Tensor]) -> Work[list[Tensor]]:
        """What `keep` makes of the latents [t, d], piece by piece."""
        back = Chain([start() for start in self._back])
        kept: list[Tensor] = []

        def put(heard_tc: Tensor, last: bool) -> None:
            latents_td = back.push(heard_tc, last).float()
            if len(latents_td):
                kept.append(keep(latents_td))

        if not self._bidirectional:
            lstm = Carried([layer for (layer,) in self._layers])
            for piece_tc, last in self._fronts(wave_cs):
                put((yield from lstm.push(piece_tc)), last)
            return kept
        pieces = Pieces()
        for piece_tc, _ in self._fronts(wave_cs):
            if len(piece_tc):
                pieces.append(piece_tc)
        heard = yield from both_ways(self._layers, pieces)
        for place in range(len(heard)):
            put(heard[place], place == len(heard) - 1)
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
        self._lstm = Carried(codec._decoder_layers)
        self._up = Chain([start() for start in codec._up])

    @torch.inference_mode()
    @full_float32()
    def push(self, codes_kt: Tensor, last: bool = False) -> Tensor:
        """Wave [c, samples] that these codes [k, t] settle; with `last`, all that is left."""
        return next(abreast([self.work(codes_kt, last)]))

    def work(self, codes_kt: Tensor, last: bool) -> Work[Tensor]:
        """`push` as a clip's work among others'."""
        codec = self._codec
        latents_td = codec.dequantize(codes_kt.to(codec.codebooks_knd.device), self._first_codebook)
        heard_tc = yield from self._lstm.push(self._first.push(latents_td.to(codec.dtype), last))
        tiles = heard_tc.split(codec.tile_frames)
        return torch.cat([self._up.push(tile_tc, last and tile_tc is tiles[-1]) for tile_tc in tiles]).T.float()
