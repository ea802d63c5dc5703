"""A binary stream → a wave, through the one decoder that its format is bound to, block by block."""

from __future__ import annotations

import os
from typing import IO, Any, TypeAlias

import numpy as np

from ..errors import AnytokError, MediaError, MissingExtraError
from . import formats, headers
from .limits import Limits
from .mpeg import find_frames
from .ogg import OggSound, read_ogg
from .source import window
from .tags import MARKS, end_of_tags, start_of_tags

__all__ = ["decode_audio"]

Wave: TypeAlias = tuple[np.ndarray, int]  # float32 [channels, samples], and samples a second

_BLOCK = 1 << 17  # samples a channel, read at a time
_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's value for a FLAC file that was written to a pipe
_PLAIN = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW", "VORBIS", "OPUS", "MPEG_LAYER_")
_TICKS = 0.25  # seconds: containers count in ticks of their own and round the ends; this is more
_NO_DECODER = 4  # libsndfile's error code for "unsupported encoding"
_ENDS = {
    formats.WAV: headers.check_wav,
    formats.W64: headers.check_w64,
    formats.AIFF: headers.check_aiff,
    formats.FLAC: headers.check_flac,
    formats.MP4: headers.check_mp4,
    formats.AAC: start_of_tags,
}
_AV_CODECS = {"aac", "alac", "flac", "mp3", "mp3float", "opus", "vorbis", "ac3", "eac3"}
_FULL_SCALE = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "s64": 2**63, "flt": 1, "dbl": 1}


def decode_audio(stream: IO[bytes], limits: Limits) -> Wave:
    """Decode a recording; see `load_audio`. Tags, container, format and so the decoder are told by content."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    begin = end_of_tags(stream) if stream.read(8).startswith(MARKS) else 0
    content = window(stream, begin, size)
    form = formats.sniff(content, "sound")
    try:
        if form is formats.MP3:
            return _decode_mp3(content, limits)
        if form is formats.OGG:
            return _decode_ogg(content, limits)
        if form in _ENDS:
            content = window(content, 0, _ENDS[form](content))
        sound = _decode_soundfile(content, form, limits) if form.decoder == "soundfile" else None
        return sound or _decode_av(content, form, limits)
    except AnytokError:
        raise
    except Exception as error:  # decoders raise some fifteen classes on broken files, MemoryError among them
        kind = "unsupported_codec" if getattr(error, "code", None) == _NO_DECODER else "broken"
        raise MediaError(kind, f"this {form.name} file cannot be decoded ({error!r})") from error


def _decode_ogg(stream: IO[bytes], limits: Limits) -> Wave:
    """All recordings that are chained in the file, one after another, as FFmpeg reads them; but each from its first
    sample to its last, where FFmpeg adds the padding of a block between two."""
    waves_cs: list[np.ndarray] = []
    first: tuple[int, int] | None = None
    for sound in read_ogg(stream):
        wave_cs, sample_rate = _decode_ogg_sound(sound, limits)
        first = first or (sample_rate, len(wave_cs))
        if (sample_rate, len(wave_cs)) != first:
            raise MediaError(
                "unsupported_format",
                f"several recordings one after another in one Ogg file, of {first[0]} Hz and {first[1]} channels and "
                f"of {sample_rate} Hz and {len(wave_cs)}: split them first",
            )
        waves_cs.append(wave_cs)
        limits.check_sound(*first, sum(one.shape[1] for one in waves_cs))
    return waves_cs[0] if len(waves_cs) == 1 else np.concatenate(waves_cs, axis=1), sample_rate


def _decode_ogg_sound(sound: OggSound, limits: Limits) -> Wave:
    """The sound alone, whatever is beside it: libsndfile for Vorbis and Opus, FFmpeg for FLAC."""
    if sound.codec == "FLAC":
        return _decode_av(sound.stream, formats.OGG_FLAC, limits)
    if sound.codec is None:
        raise MediaError("no_sound", "this Ogg file holds no sound of a known codec")
    decoded = _decode_soundfile(sound.stream, formats.OGG, limits) if sound.codec in ("Vorbis", "Opus") else None
    if decoded is None:
        raise MediaError("unsupported_codec", f"Ogg with codec {sound.codec}: convert it to WAV or FLAC")
    return decoded


def _decode_mp3(stream: IO[bytes], limits: Limits) -> Wave:
    """libsndfile where it reads every frame; FFmpeg where the file's own header or libsndfile's guess is too short."""
    sound = find_frames(stream, start_of_tags(stream))
    if sound.announced is not None and sound.frames + 1 < sound.announced:  # some encoders count their header, too
        raise MediaError("truncated", f"{sound.frames} of {sound.announced} frames: the end of the file is missing")
    if sound.is_contiguous and (sound.announced is None or sound.announced >= sound.frames):
        decoded = _decode_soundfile(sound.stream, formats.MP3, limits, 0)
        if decoded and decoded[0].shape[1] >= sound.num_samples:
            return decoded
    wave_cs, sample_rate = _decode_av(sound.stream, formats.MP3, limits)
    if wave_cs.shape[1] < sound.num_samples - 2 * sound.frame_length:
        raise MediaError("broken", f"{wave_cs.shape[1]} of {sound.num_samples} samples can be decoded")
    return wave_cs, sample_rate


class _Blocks:
    """A wave that grows block by block, within the limits, whatever number of samples its header announced."""

    def __init__(self, sample_rate: int, channels: int, announced: int, limits: Limits) -> None:
        limits.check_sound(sample_rate, channels, announced)
        self.sample_rate, self.limits = sample_rate, limits
        self.wave = np.empty((channels, max(announced, _BLOCK)), np.float32)
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

    def finish(self) -> Wave:
        return self.wave[:, : self.num_samples], self.sample_rate


def _decode_soundfile(
    stream: IO[bytes], form: formats.Format, limits: Limits, required: int | None = None
) -> Wave | None:
    """All that libsndfile reads; None where it does not know the length, and so misses the end.

    Raises MediaError where less than the `required` samples come, by default those that the header announces.
    """
    import soundfile

    stream.seek(0)
    with soundfile.SoundFile(stream) as file:
        if file.format not in form.pinned or not file.subtype.startswith(_PLAIN):
            raise MediaError("unsupported_codec", f"{file.format} with {file.subtype}: convert it to WAV or FLAC")
        if file.frames == _UNKNOWN_LENGTH:
            return None
        # Opus is not at sample 0 when it is opened. And soundfile seeks to where it stands after every block, which
        # costs MP3 the bits that a frame has in those before it: test_blocks_are_read_as_a_whole_file_is.
        file.seek(0)
        file.seekable = lambda: False
        required = file.frames if required is None else required
        blocks = _Blocks(file.samplerate, file.channels, required, limits)
        while blocks.num_samples < file.frames:  # beyond, libsndfile takes a tag behind FLAC for sound
            block = file.read(min(_BLOCK, file.frames - blocks.num_samples), dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.add(block.T)
    if blocks.num_samples < required:
        raise MediaError("truncated", f"{blocks.num_samples} of {required} samples: the end of the file is missing")
    return blocks.finish()


def _decode_av(stream: IO[bytes], form: formats.Format, limits: Limits) -> Wave:
    """All that FFmpeg reads of the first track with sound."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtraError("av", "media", f"reading this {form.name} file") from error

    stream.seek(0)
    # The format is pinned, so that no playlist in disguise makes FFmpeg open another file.
    with av.open(stream, "r", format=form.pinned[0].lower(), metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise MediaError("no_sound", f"this {form.name} file holds no sound")
        track = container.streams.audio[0]
        codec = track.codec_context.name
        if codec not in _AV_CODECS and not codec.startswith("pcm_"):
            raise MediaError("unsupported_codec", f"{form.name} with codec {codec}: convert it to WAV or FLAC")
        end = 0 if form in (formats.AAC, formats.MP3) else _announced_end(container, track)
        blocks = None
        for frame in container.decode(track):
            if blocks is None:  # only a frame knows: AAC may double the rate that its header states
                announced = int((end - (frame.time or 0)) * frame.sample_rate)
                blocks = _Blocks(frame.sample_rate, frame.layout.nb_channels, max(0, announced), limits)
            if frame.sample_rate != blocks.sample_rate:
                raise MediaError("broken", f"{blocks.sample_rate} Hz become {frame.sample_rate} on the way")
            blocks.add(_floats(frame))
    if blocks is None:
        raise MediaError("empty", "0 samples of sound: at least 1 is needed")
    reached = (frame.time or 0) + frame.samples / frame.sample_rate
    if reached < end - _TICKS:
        raise MediaError("truncated", f"the sound ends at {reached:.2f} of {end:.2f} s: the end of the file is missing")
    return blocks.finish()


def _announced_end(container: Any, track: Any) -> float:
    """Seconds at which the track ends by its container's header; 0 where that says nothing."""
    if track.duration is not None:
        return float(((track.start_time or 0) + track.duration) * track.time_base)
    # Matroska knows the end of the longest track only; it may begin later than at 0, and have gaps.
    return (container.duration or 0) / 1_000_000 if len(container.streams) == 1 else 0


def _floats(frame: Any) -> np.ndarray:
    """The samples of a decoded frame, float32 `[channels, samples]`; integers divided by their full scale."""
    samples = frame.to_ndarray()
    if frame.format.is_packed:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    kind = frame.format.name.removesuffix("p")
    zero = 128 if kind == "u8" else 0
    return ((samples.astype(np.float64) - zero) / _FULL_SCALE[kind]).astype(np.float32)
