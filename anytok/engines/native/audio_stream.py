"""Decoding one recording piece by piece, as a language model writes its codes.

Legend: c channels, s samples.
"""

from __future__ import annotations

import numpy as np
import torch

from ...errors import CodesError, UsageError
from ...media import Audio
from ...spec import Codes, Spec
from ...torch_settings import shielded
from .cpu.codec import DecoderStream

__all__ = ["AudioStream"]


class AudioStream:
    """Codes in by `push`, sound out as soon as it is settled; all pieces joined are what `decode` returns."""

    def __init__(self, stream: DecoderStream, spec: Spec, first_codebook: int) -> None:
        self._stream, self._spec, self._first_codebook = stream, spec, first_codebook
        self._rows = 0  # of what was pushed
        self._ended = False

    def push(self, codes: np.ndarray) -> Audio:
        """Take codes `[K, t]`; return the sound that they settle, up to a few frames behind (maybe no sample).

        Raises CodesError on codes that `decode` would refuse, or of another K than before; UsageError after the end.
        """
        values = Codes(codes, self._spec, first_codebook=self._first_codebook).values
        if self._rows not in (0, len(values)):
            raise CodesError(f"codes of {len(values)} codebooks in a stream of {self._rows}")
        self._rows = len(values)
        return self._piece(values, last=False)

    def finish(self) -> Audio:
        """The item ends here: return the sound that was held back for what might have followed.

        Raises UsageError where nothing was pushed, and after the end.
        """
        if not self._rows:
            raise UsageError("nothing was pushed into this stream: an item has at least one frame")
        wave = self._piece(np.empty((1, 0), np.int64), last=True)
        self._ended = True
        return wave

    @shielded()
    def _piece(self, values: np.ndarray, last: bool) -> Audio:
        if self._ended:
            raise UsageError("this stream has ended: take a new decoder_stream() for the next item")
        wave_cs = self._stream.push(torch.tensor(values), last)
        return Audio(wave_cs.cpu().numpy(), self._spec.sample_rate or 0)
