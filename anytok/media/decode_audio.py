"""A binary stream → Audio, through the one decoder that its format is bound to, block by block."""

from __future__ import annotations

import contextlib
import os
from typing import IO, Any

import numpy as np

from ..errors import AnytokError, MediaError, MissingExtraError
from . import formats, headers
from .audio import Audio
from .limits import Limits

__all__ = ["decode_audio"]

_BLOCK = 1 << 17  # samples a channel, read at a time
_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's word for a FLAC file that was written to a pipe
_MPEG_FRAME = 1152  # samples; an MP3 file that lacks less than one passes as whole
_TAG = 4096  # bytes that may follow the last frame of an MP3 file
_PLAIN = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW", "VORBIS", "OPUS", "MPEG_LAYER_")
_CHECKS = {formats.WAV: headers.check_wav, formats.AIFF: headers.check_aiff, formats.OGG: headers.check_ogg}
_AV_CODECS = {"aac", "alac", "flac", "mp3", "mp3float", "opus", "vorbis", "ac3", "eac3"}
_FULL_SCALE = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "flt": 1, "dbl": 1}


def decode_audio(stream: IO[bytes], limits: Limits) -> Audio:
    """Decode a recording; see `load_audio`."""
    form = formats.sniff(stream, "sound")
    try:
        if form in _CHECKS:
            _CHECKS[form](stream)
            stream.seek(0)
        if form.decoder == "av":
            return _decode_av(stream, form, limits)
        return _decode_soundfile(stream, form, limits)
    except AnytokError:
        raise
    except Exception as error:  # decoders raise some fifteen classes on broken files, MemoryError among them
        raise MediaError("broken", f"this {form.name} file cannot be decoded ({error!r})") from error


class _Blocks:
    """A wave that grows block by block, within the limits, whatever its header promised."""

    def __init__(self, sample_rate: int, channels: int, promised: int, limits: Limits) -> None:
        limits.check_sound(sample_rate, channels, promised)
        self.sample_rate, self.promised, self.limits = sample_rate, promised, limits
        self.wave = np.empty((channels, max(promised, _BLOCK)), np.float32)
        self.num_samples = 0

    def add(self, block_ct: np.ndarray) -> None:
        channels, capacity = self.wave.shape
        if len(block_ct) != channels:
            raise MediaError("broken", f"{channels} channels become {len(block_ct)} on the way")
        end = self.num_samples + block_ct.shape[1]
        self.limits.check_sound(self.sample_rate, channels, end)
        if end > capacity:
            larger = np.empty((channels, end + end // 2), np.float32)
            larger[:, : self.num_samples] = self.wave[:, : self.num_samples]
            self.wave = larger
        self.wave[:, self.num_samples : end] = block_ct
        self.num_samples = end

    def finish(self, slack: int) -> Audio:
        """The wave; MediaError if more than `slack` of the promised samples are missing."""
        if self.num_samples < self.promised - slack:
            raise MediaError(
                "truncated", f"{self.num_samples} of {self.promised} samples: the end of the file is missing"
            )
        return Audio(self.wave[:, : self.num_samples], self.sample_rate)


def _decode_soundfile(stream: IO[bytes], form: formats.Format, limits: Limits) -> Audio:
    import soundfile

    is_guess = form is formats.MP3 and not headers.announces_length(stream)
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with soundfile.SoundFile(_Seekable(stream)) as file:
        if file.format not in form.pinned or not file.subtype.startswith(_PLAIN):
            raise MediaError("unsupported_codec", f"{file.format} with {file.subtype}: convert it to WAV or FLAC")
        if file.frames < _UNKNOWN_LENGTH:
            blocks = _Blocks(file.samplerate, file.channels, 0 if is_guess else file.frames, limits)
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.add(block.T)
            if form is not formats.MP3:
                return blocks.finish(slack=0)
            if end - stream.tell() <= _TAG:
                return blocks.finish(slack=_MPEG_FRAME)
    # The length was unknown, or libsndfile took it to be less than it is, and stopped there.
    stream.seek(0)
    return _decode_av(stream, form, limits)


class _Seekable:
    """The stream for libsndfile, which on broken files seeks in front of the start: that then does nothing."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.read, self.tell, self._stream = stream.read, stream.tell, stream

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        with contextlib.suppress(ValueError, OSError):
            self._stream.seek(offset, whence)


def _decode_av(stream: IO[bytes], form: formats.Format, limits: Limits) -> Audio:
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtraError("av", "media", f"reading this {form.name} file") from error

    # The format is pinned, so that no playlist in disguise makes FFmpeg open another file.
    with av.open(stream, "r", format=form.pinned[0].lower(), metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise MediaError("no_sound", f"this {form.name} file holds no sound")
        track = container.streams.audio[0]
        codec = track.codec_context.name
        if codec not in _AV_CODECS and not codec.startswith("pcm_"):
            raise MediaError("unsupported_codec", f"{form.name} with codec {codec}: convert it to WAV or FLAC")
        blocks = None
        for frame in container.decode(track):
            if blocks is None:  # only a frame knows: AAC may double the rate that its header states
                promised = int(_seconds(container, track, form) * frame.sample_rate)
                blocks = _Blocks(frame.sample_rate, frame.layout.nb_channels, promised, limits)
            if frame.sample_rate != blocks.sample_rate:
                raise MediaError("broken", f"{blocks.sample_rate} Hz become {frame.sample_rate} on the way")
            blocks.add(_floats(frame))
    if blocks is None:
        raise MediaError("empty", "0 samples of sound: at least 1 is needed")
    # Containers count in ticks of their own and round the ends; a quarter of a second is more than either.
    return blocks.finish(slack=blocks.sample_rate // 4)


def _seconds(container: Any, track: Any, form: formats.Format) -> float:
    """The duration that a container announces; 0 where it does not, or only guesses."""
    if form in (formats.AAC, formats.MP3):
        return 0
    if track.duration is not None:
        return float(track.duration * track.time_base)
    return (container.duration or 0) / 1_000_000 if len(container.streams) == 1 else 0


def _floats(frame: Any) -> np.ndarray:
    """The samples of a decoded frame, float32 `[channels, samples]`; integers divided by their full scale."""
    samples = frame.to_ndarray()
    if frame.format.is_packed:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    kind = frame.format.name.removesuffix("p")
    zero = 128 if kind == "u8" else 0
    return ((samples.astype(np.float64) - zero) / _FULL_SCALE[kind]).astype(np.float32)
