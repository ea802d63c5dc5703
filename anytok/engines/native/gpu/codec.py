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

from ....models.codec import Codec
from ....models.seanet import Lstm, fold_weight_norm
from ....torch_settings import full_float32
from ..fast_codec import FastCodec
from ..precision import check_latents
from ..recurrent import single_layers
from .tiles import BATCH_SIZE, TiledStack

__all__ = ["TiledCodec"]

CLIPS, ROWS = 2, 256  # for each tile of a batch: clips in an LSTM, and latents in the search of a codebook
STEPS = 250  # of one LSTM call


class TiledCodec:
    """Encode and decode with the weights of a plain `Codec` (without norm layers)."""

    def __init__(
        self, codec: Codec, hop_length: int, dtype: torch.dtype, lstm_dtype: torch.dtype,
        channels_last: bool = False, compile: bool = False, batch_size: int = BATCH_SIZE,
    ) -> None:  # fmt: skip
        fold_weight_norm(codec)  # once, not at every call
        self._plain, self._options = codec, (hop_length, dtype, lstm_dtype)
        self._quantizer = codec.quantizer
        self._streaming: FastCodec | None = None
        self._rows = ROWS * batch_size
        form = {"channels_last": channels_last, "compile": compile}
        self._front, self._lstm, self._back = _split(codec.encoder, dtype, lstm_dtype, batch_size, **form)
        self._first, self._decoder_lstm, self._up = _split(codec.decoder, dtype, lstm_dtype, batch_size, **form)

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
        clips = list(waves)
        if not clips:
            return []
        latents = self._latents(clips)
        lengths = [latents_dt.shape[1] for latents_dt in latents]
        found, all_dt = [], torch.cat(latents, dim=1)
        check_latents(all_dt)
        for rows_dt in all_dt.split(self._rows, dim=1):
            count = rows_dt.shape[1]
            full_1dt = F.pad(rows_dt, (0, self._rows - count))[None]
            with full_float32():  # the search is, whatever the precision
                found.append(self._quantizer.encode(full_1dt, num_codebooks)[0, :, :count])
        return list(torch.cat(found, dim=1).split(lengths, dim=1))

    def decode(self, items: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
        """Wave [c, t * hop] of each item: codes [k, t], and the codebook that row 0 belongs to."""
        if not items:
            return []
        device = self._quantizer.codebooks_knd.device
        latents = [self._quantizer.decode(codes_kt[None].to(device), first)[0] for codes_kt, first in items]
        return self._up.run(self._decoder_lstm.run(self._first.run(latents)))

    def _latents(self, waves: Sequence[Tensor]) -> list[Tensor]:
        device = self._quantizer.codebooks_knd.device
        return self._back.run(self._lstm.run(self._front.run([wave_cs.to(device) for wave_cs in waves])))


class BatchedLstm:
    """A SEANet's LSTM, added to its input, over clips [c, t] of any lengths, `batch_size` and STEPS at a time."""

    def __init__(self, lstm: nn.LSTM, batch_size: int) -> None:
        self._batch_size = batch_size
        self._depths = [[layer.module for layer in directions] for directions in single_layers(lstm)]

    def run(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """[c, t] → float32 [c, t] of each clip, or [2 c, t] from a two-directional LSTM."""
        lengths = [clip_ct.shape[1] for clip_ct in clips]
        frames_fc = torch.cat([clip_ct.T for clip_ct in clips])  # of all clips, one behind the other
        ways = [
            [turn_tb.to(frames_fc.device) for turn_tb in turns(lengths, self._batch_size, backwards)]
            for backwards in range(len(self._depths[0]))
        ]
        heard_fc = frames_fc
        for directions in self._depths:
            said = [_sweep(lstm, heard_fc, way) for lstm, way in zip(directions, ways, strict=True)]
            heard_fc = torch.cat(said, dim=1)
        out_fc = heard_fc.float() + frames_fc.repeat(1, len(ways))
        return [out_tc.T for out_tc in out_fc.split(lengths)]


def turns(lengths: Sequence[int], batch_size: int, backwards: int) -> list[Tensor]:
    """Which frame is heard at which step [t, batch_size]: clips of like length go together, and the rest is silence,
    a row behind all frames."""
    begin_b = torch.tensor([0, *lengths]).cumsum(0)
    found = []
    for group_b in torch.tensor(lengths).argsort(descending=True, stable=True).split(batch_size):
        length_b = F.pad(torch.tensor(lengths)[group_b], (0, batch_size - len(group_b)))
        step_t1 = torch.arange(-(-int(length_b.max()) // STEPS) * STEPS)[:, None]
        frame_tb = length_b - 1 - step_t1 if backwards else step_t1
        frame_tb = frame_tb + F.pad(begin_b[group_b], (0, batch_size - len(group_b)))
        found.append(frame_tb.where(step_t1 < length_b, begin_b[-1]))
    return found


def _sweep(lstm: nn.LSTM, heard_fc: Tensor, way: Sequence[Tensor]) -> Tensor:
    """One layer's output for each frame."""
    heard_fc = F.pad(heard_fc.to(next(lstm.parameters()).dtype), (0, 0, 0, 1))
    said_fc = heard_fc.new_empty(len(heard_fc), lstm.hidden_size)
    for turn_tb in way:
        state = None
        for step_tb in turn_tb.split(STEPS):
            out_tbc, state = lstm(heard_fc[step_tb], state)
            said_fc.index_copy_(0, step_tb.flatten(), out_tbc.flatten(0, 1))
    return said_fc[:-1]


def _split(
    layers: Iterable[nn.Module], dtype: torch.dtype, lstm_dtype: torch.dtype, batch_size: int, **form: bool
) -> tuple[TiledStack, BatchedLstm, TiledStack]:
    """The layers before the LSTM, the LSTM, and those behind it."""
    each = list(layers)
    place = next(i for i, layer in enumerate(each) if isinstance(layer, Lstm))
    before, after = (
        TiledStack(part, dtype, batch_size=batch_size, **form) for part in (each[:place], each[place + 1 :])
    )
    lstm = cast(Lstm, each[place]).lstm.to(lstm_dtype)
    return before, BatchedLstm(lstm, CLIPS * batch_size), after
