"""Recordings as people hold them → `Audio`, at their own rate and with all their channels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..errors import MediaError
from .decode_audio import decode_audio
from .limits import DEFAULT_LIMITS, Limits
from .source import key_of, naming, open_source
from .wave import Audio, check_finite, check_scale

__all__ = ["Audio", "load_audio", "warn_if_first_is_silent"]

_SILENT = 0.001  # root mean square, 60 dB below full scale
_FAINT = 0.01  # of the loudest channel: 40 dB below it


def load_audio(source: Any, *, limits: Limits = DEFAULT_LIMITS) -> Audio:
    """Audio from a path, a file object, bytes, or an Audio, at its own rate and with all its channels.

    The decoder is fixed by the format, which the first bytes behind all tags tell, never the suffix: libsndfile for WAV
    (RF64, W64), AIFF, FLAC, MP3, and Vorbis and Opus in Ogg, whatever is beside them; FFmpeg through PyAV (the `media`
    extra) for MP4/M4A/MOV, WebM/Matroska, AAC, FLAC in Ogg, FLAC that was written to a pipe, and MP3 that holds
    more than its header announces. Raises MediaError on what is broken, cut off, empty, not finite, far outside
    [-1, 1], several recordings of which decoders read the first, or beyond `limits`, and MissingExtraError where PyAV
    is needed and not there.
    """
    with naming(key_of(source)):
        if isinstance(source, Audio):
            limits.check_sound(source.sample_rate, source.channels, source.num_samples)
            return _checked(source)
        if hasattr(source, "__array__") and not isinstance(source, str):
            raise MediaError("no_rate", "samples without their rate: pass anytok.Audio(wave, sample_rate)")
        with open_source(source, limits.max_audio_bytes, "max_audio_bytes") as stream:
            return _checked(decode_audio(stream, limits))


def _checked(audio: Audio) -> Audio:
    check_finite(audio)
    check_scale(audio)
    return audio


def warn_if_first_is_silent(wave_cs: np.ndarray) -> None:
    """Warn where the first of several channels, float32 `[channels, samples]`, is silent and another is not.

    Models of speech get the first channel alone, as in AnyGPT, and its silence has codes like any other sound.
    """
    if len(wave_cs) < 2:
        return
    first, *others = (float(np.sqrt(np.vdot(channel, channel) / max(1, len(channel)))) for channel in wave_cs)
    loudest = max(others)
    if loudest > _SILENT and first < _FAINT * loudest:
        warnings.warn(  # the same words each time, so that a job of a million files says it once a process
            f"the first of {len(wave_cs)} channels is silent and another is not, but only the first is encoded, "
            f'as in AnyGPT: pass channels="mean" to mix all of them',
            stacklevel=2,
        )
