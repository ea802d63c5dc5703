"""Sound as people hold it, `Audio`, and the way into it from files of any kind, at their own rate."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..drawing import audio_uri
from ..errors import MediaError
from .limits import DEFAULT_LIMITS, Limits
from .source import key_of, naming, open_source, plain_array

__all__ = ["Audio", "DoubleAudio", "load_audio", "warn_if_first_is_silent"]

_PLAYED = 60  # seconds in a notebook, which keeps them as text
_SILENT = 0.001  # root mean square, 60 dB below full scale
_FAINT = 0.01  # of the loudest channel: 40 dB below it


@dataclass(frozen=True, eq=False)
class Audio:
    """A wave and its rate.

    `wave`: float32 `[channels, samples]`, nominally in [-1, 1]; `[samples]` is taken as one channel, other
    floats and torch's tensors are converted. `sample_rate`: Hz. Raises MediaError on other types and shapes.
    """

    wave: np.ndarray
    sample_rate: int
    dtype: ClassVar[type[np.floating[Any]]] = np.float32

    def __post_init__(self) -> None:
        rate = self.sample_rate
        if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or rate < 1:
            raise MediaError("sample_rate", f"sample_rate={rate!r}: expected whole Hz, such as 16000")
        object.__setattr__(self, "wave", _as_wave(self.wave, self.dtype))
        object.__setattr__(self, "sample_rate", int(rate))

    @property
    def channels(self) -> int:
        return int(self.wave.shape[0])

    @property
    def num_samples(self) -> int:
        """Samples of each channel."""
        return int(self.wave.shape[1])

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sample_rate

    def save(self, path: str | os.PathLike[str], subtype: str = "PCM_16") -> None:
        """Write a .wav or .flac file, by the suffix of `path`.

        The default has 16-bit samples, which every player takes: values beyond [-1, 1] are cut off there, as
        a loudspeaker would, others rounded to 1/32768; what was loaded from 16 bits comes back bit for bit.
        `subtype` is libsndfile's name of another kind: "PCM_24" is finer, "FLOAT" (.wav) keeps every value.
        Raises MediaError.
        """
        with naming(os.fsdecode(path)):
            check_finite(self)
            _write(path, self, subtype)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Audio):
            return NotImplemented
        return self.sample_rate == other.sample_rate and np.array_equal(self.wave, other.wave)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Audio({self.channels} x {self.num_samples} samples at {self.sample_rate} Hz)"

    def _repr_html_(self) -> str:
        """A player, as notebooks show it; of long sound, one of the first minute."""
        shown = self.wave[:, : _PLAYED * self.sample_rate]
        facts = f"{self.channels} × {self.duration:.2f} s at {self.sample_rate} Hz"
        part = f", of which the first {_PLAYED} s" if shown.shape[1] < self.num_samples else ""
        if not shown.size or not np.isfinite(shown).all():
            return f"<div>{facts}: nothing that can be played</div>"
        uri = audio_uri(Audio(shown, self.sample_rate))
        return f'<div><audio controls src="{uri}"></audio><br>{facts}{part}</div>'


class DoubleAudio(Audio):
    """An Audio with a float64 wave: what `prepare` makes for a tokenizer that computes in float64."""

    dtype = np.float64


def load_audio(source: Any, *, limits: Limits = DEFAULT_LIMITS) -> Audio:
    """Audio from a path, a file object, bytes, or an Audio, at its own rate and with all its channels.

    The decoder is fixed by the format, which the first bytes behind all tags tell, never the suffix: libsndfile for WAV
    (RF64, W64), AIFF, FLAC, MP3, and Vorbis and Opus in Ogg, whatever is beside them; FFmpeg through PyAV (the `media`
    extra) for MP4/M4A/MOV, WebM/Matroska, AAC, FLAC in Ogg, FLAC that was written to a pipe, and MP3 that holds
    more than its header announces. Recordings that are chained in Ogg are read one after another, like joined MP3.
    Raises MediaError on what is broken, cut off, empty, not finite, far outside [-1, 1], several recordings of which
    decoders read the first, or that differ in rate or channels, or beyond `limits`, and MissingExtraError where PyAV
    is needed and not there.
    """
    from .decode_audio import decode_audio  # here, since loading a tokenizer needs no decoders

    with naming(key_of(source)):
        if isinstance(source, Audio):
            limits.check_sound(source.sample_rate, source.channels, source.num_samples)
            return _checked(source)
        if hasattr(source, "__array__") and not isinstance(source, str):
            raise MediaError("no_rate", "samples without their rate: pass anytok.Audio(wave, sample_rate)")
        with open_source(source, limits.max_audio_bytes, "max_audio_bytes") as stream:
            return _checked(Audio(*decode_audio(stream, limits)))


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


def check_finite(audio: Audio) -> None:
    """Raise MediaError unless there are samples, and all of them are finite.

    One NaN would reach every code of the clip, and no model would complain.
    """
    if audio.num_samples == 0:
        raise MediaError("empty", "0 samples of sound: at least 1 is needed")
    if not np.isfinite(_peak(audio.wave)):
        bad = np.argwhere(~np.isfinite(audio.wave))
        raise MediaError(
            "not_finite",
            f"{len(bad)} samples are NaN or infinite, the first is sample {bad[0, 1]} of channel "
            f"{bad[0, 0]}: repair the recording, since one of them changes every code",
        )


# 30 dB above full scale. Masters clip at 1, decoded MP3 and AAC exceed it by a factor of 2, floats that were recorded
# or mixed too loud by 4 or 8; a wave in the range of int16 stays below 32 only where it is quieter than -60 dB.
_LOUDEST = 32


def check_scale(audio: Audio) -> None:
    """Raise MediaError where finite samples lie so far outside [-1, 1] that they have another scale.

    Integers in files are scaled by the decoder, so this happens to floats only: an array, or a WAV file of floats, that
    holds the values of int16. Below the limit they are told by being whole numbers, which no recording in floats is.
    """
    peak = float(_peak(audio.wave))
    if peak <= 1:
        return
    if peak > _LOUDEST or np.array_equal(audio.wave, np.rint(audio.wave)):
        scale = next((scale for scale in (128, 32768, 8388608, 2147483648) if peak <= scale), None)
        advice = f"those of int{scale.bit_length()} become wave / {scale}" if scale else "scale the recording"
        raise MediaError("too_loud", f"samples up to {peak:.6g}: expected floats in [-1, 1]; {advice}")


def _peak(wave_ct: np.ndarray) -> np.float32:
    return np.maximum(wave_ct.max(), -wave_ct.min())  # NaN, if one sample is


def _as_wave(wave: Any, dtype: type[np.floating[Any]]) -> np.ndarray:
    try:
        array = plain_array(wave)
    except Exception as error:  # rows of different lengths, or anyone's __array__
        raise MediaError("wrong_type", f"not an array ({error})") from error
    if array.dtype.kind != "f":
        raise MediaError(
            "sample_type",
            f"samples of type {array.dtype}: expected floats in [-1, 1]; int16 becomes wave / 32768",
        )
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[0] == 0:
        raise MediaError("shape", f"a wave of shape {list(array.shape)}: expected [channels, samples]")
    if array.shape[0] > DEFAULT_LIMITS.max_channels and array.shape[0] > array.shape[1]:
        raise MediaError("shape", f"a wave of shape {list(array.shape)}: expected [channels, samples]; pass wave.T")
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.writeable else array.copy()  # torch warns about arrays it may not write to


def _write(path: str | os.PathLike[str], audio: Audio, subtype: str) -> None:
    import soundfile

    form = Path(path).suffix[1:].upper()
    if form not in ("WAV", "FLAC"):
        raise MediaError("suffix", f"cannot write {form or 'a file without suffix'}: use .wav or .flac")
    if not soundfile.check_format(form, subtype):
        raise MediaError("subtype", f"{form} has no {subtype}: {', '.join(soundfile.available_subtypes(form))}")
    samples = audio.wave.T
    if subtype == "PCM_16":  # rounded here, because libsndfile scales by 32767 and would lose the last bit
        samples = np.rint(samples * np.float32(32768)).clip(-32768, 32767).astype(np.int16)
    try:
        with open(path, "wb") as file:
            soundfile.write(file, samples, audio.sample_rate, subtype, format=form)
    except (OSError, RuntimeError) as error:
        raise MediaError("unwritable", f"cannot write the file ({error})") from error
