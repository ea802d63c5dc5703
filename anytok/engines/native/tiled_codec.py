"""A SEANet codec for GPUs: fixed-shape tiles for the convolutions, fixed-shape batches for LSTMs and the quantizer.

What `FastCodec` is to a CPU. A clip gets the same numbers alone and in any batch, because every kernel sees the same
shape in both, and rows of a batch do not mix.

Legend: c channels, s samples, k codebooks, t frames, b clips, d latent dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.codec import Codec
from ...models.seanet import Lstm, fold_weight_norm
from ..settings import full_float32
from .fast_codec import FastCodec
from .precision import check_latents
from .recurrent import single_layers
from .tiles import TiledStack

__all__ = ["TiledCodec"]

CLIPS, STEPS = 64, 250  # of one LSTM call
ROWS = 8192  # latents of one codebook search


class TiledCodec:
    """Encode and decode with the weights of a plain `Codec` (without norm layers)."""

    def __init__(
        self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype, compile: bool = False
    ) -> None:
        fold_weight_norm(codec)  # once, not at every call
        self._plain, self._options = codec, (hop_length, dtype, lstm_dtype)
        self._quantizer = codec.quantizer
        self._streaming: FastCodec | None = None
        self._front, self._lstm, self._back = _split(codec.encoder, dtype, lstm_dtype, compile)
        self._first, self._decoder_lstm, self._up = _split(codec.decoder, dtype, lstm_dtype, compile)

    def streaming(self) -> FastCodec:
        """The form that can also decode codes as they come."""
        if self._streaming is None:  # most never stream
            self._streaming = FastCodec(self._plain, *self._options)
        return self._streaming

    def latents(self, wave_cs: Tensor) -> Tensor:
        """The encoder's output [t, d], float32, before quantization."""
        return self._latents([wave_cs])[0].T

    def encode(self, waves: Iterable[Tensor], num_codebooks: int) -> list[Tensor]:
        """Codes [k, t] of each wave [c, s]."""
        latents = self._latents(list(waves))
        if not latents:
            return []
        lengths = [latents_dt.shape[1] for latents_dt in latents]
        found = []
        check_latents(torch.stack([latents_dt.sum() for latents_dt in latents]))
        for rows_dt in torch.cat(latents, dim=1).split(ROWS, dim=1):
            count = rows_dt.shape[1]
            full_1dt = F.pad(rows_dt, (0, ROWS - count))[None]
            with full_float32():  # the search is, whatever the precision
                found.append(self._quantizer.encode(full_1dt, num_codebooks)[0, :, :count])
        return list(torch.cat(found, dim=1).split(lengths, dim=1))

    def decode(self, items: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
        """Wave [c, t * hop] of each item: codes [k, t], and the codebook that row 0 belongs to."""
        device = self._quantizer.codebooks_knd.device
        latents = [self._quantizer.decode(codes_kt[None].to(device), first)[0] for codes_kt, first in items]
        return self._up.run(self._decoder_lstm.run(self._first.run(latents)))

    def _latents(self, waves: Sequence[Tensor]) -> list[Tensor]:
        device = self._quantizer.codebooks_knd.device
        return self._back.run(self._lstm.run(self._front.run([wave_cs.to(device) for wave_cs in waves])))


class BatchedLstm:
    """A SEANet's LSTM, added to its input, over clips [c, t] of any lengths: CLIPS at a time, STEPS at a time."""

    def __init__(self, lstm: nn.LSTM) -> None:
        self._depths = [[layer.module for layer in directions] for directions in single_layers(lstm)]

    def run(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """[c, t] → [c, t] of each clip, or [2 c, t] from a two-directional LSTM."""
        signals = [clip_ct.T for clip_ct in clips]
        heard = signals
        for directions in self._depths:
            said = [_sweep(directions[0], heard)]
            if len(directions) == 2:
                back = _sweep(directions[1], [heard_tc.flip(0) for heard_tc in heard])
                said.append([back_tc.flip(0) for back_tc in back])
            heard = [torch.cat(both, dim=1) for both in zip(*said, strict=True)]
        repeats = len(self._depths[0])
        return [(out_tc + in_tc.repeat(1, repeats)).T for out_tc, in_tc in zip(heard, signals, strict=True)]


def _sweep(lstm: nn.LSTM, heard: Sequence[Tensor]) -> list[Tensor]:
    """One layer's outputs, in order of time; clips of like length go together."""
    order = sorted(range(len(heard)), key=lambda i: len(heard[i]), reverse=True)
    said: dict[int, Tensor] = {}
    for begin in range(0, len(order), CLIPS):
        group = order[begin : begin + CLIPS]
        said.update(zip(group, _together(lstm, [heard[i] for i in group]), strict=True))
    return [said[i] for i in range(len(heard))]


def _together(lstm: nn.LSTM, heard: Sequence[Tensor]) -> list[Tensor]:
    """Up to CLIPS clips, the longest first; the batch is filled up with zeros in both directions."""
    dtype, state = next(lstm.parameters()).dtype, None
    said: list[list[Tensor]] = [[] for _ in heard]
    for begin in range(0, len(heard[0]), STEPS):
        batch_tbc = heard[0].new_zeros(STEPS, CLIPS, heard[0].shape[1], dtype=dtype)
        pieces = [heard_tc[begin : begin + STEPS] for heard_tc in heard]
        for row, piece_tc in enumerate(pieces):
            batch_tbc[: len(piece_tc), row] = piece_tc
        out_tbc, state = lstm(batch_tbc, state)
        for row, piece_tc in enumerate(pieces):
            said[row].append(out_tbc[: len(piece_tc), row].float())
    return [torch.cat(pieces) for pieces in said]


def _split(
    layers: Iterable[nn.Module], dtype: torch.dtype, lstm_dtype: torch.dtype, compile: bool
) -> tuple[TiledStack, BatchedLstm, TiledStack]:
    """The layers before the LSTM, the LSTM, and those behind it."""
    each = list(layers)
    place = next(i for i, layer in enumerate(each) if isinstance(layer, Lstm))
    before, after = (TiledStack(part, dtype, compile) for part in (each[:place], each[place + 1 :]))
    return before, BatchedLstm(cast(Lstm, each[place]).lstm.to(lstm_dtype)), after
