"""Recordings that decoders shorten, misread, or die of; all made here.

`SOUNDS` maps a name to a function that makes the file's bytes, and to what must come of it: "ok", or the kind of
MediaError.
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
import soundfile

__all__ = ["SOUNDS", "encoded", "muxed", "swelling_mp3", "tone", "wav"]

RATE = 16000


def tone(num_samples: int = 16000, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """Float32 `[channels, samples]`: a chord with some noise."""
    time = np.arange(num_samples) / rate
    noise = np.random.default_rng(0).standard_normal((channels, num_samples))
    return (0.2 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 1320 * time) + 0.01 * noise).astype("f4")


def encoded(form: str, subtype: str, wave: np.ndarray | None = None, rate: int = RATE) -> bytes:
    """A file as libsndfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, (tone() if wave is None else wave).T, rate, format=form, subtype=subtype)
    return file.getvalue()


class _Pipe:
    """A file that can only be written, from front to back."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def muxed(
    container: str,
    codec: str,
    *,
    pipe: bool = False,
    seconds: float = 1.0,
    rate: int = RATE,
    start: int | None = None,
    **options: str,
) -> bytes:
    """A file as FFmpeg writes it; `pipe`: to where it cannot go back to correct the header; `start`: the time stamp of
    the first sample, without which containers do not say what the encoder put in front of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with open(path, "wb") as file:
            frame = av.AudioFrame.from_ndarray(tone(int(seconds * rate), rate=rate), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            _mux(_Pipe(file) if pipe else str(path), container, codec, frame, options)
        return path.read_bytes()


def _mux(target: object, container: str, codec: str, frame: av.AudioFrame, options: dict[str, str]) -> None:
    with av.open(target, "w", format=container, options=options) as out:
        track = out.add_stream(codec, rate=frame.sample_rate, layout="mono")
        if frame.pts is not None:
            track.time_base = frame.time_base = Fraction(1, frame.sample_rate)
        track.codec_context.open()
        size = track.codec_context.frame_size or 0  # samples of a frame, where the codec has a fixed number
        resampler = av.AudioResampler(format=track.format, layout="mono", rate=frame.sample_rate, frame_size=size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(track.encode(piece))
        # FLAC ends with a packet that only corrects its own header, which other containers cannot take.
        out.mux([packet for packet in track.encode(None) if packet.size or container == "flac"])


def _video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        track = out.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            out.mux(track.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(track.encode(None))
    return file.getvalue()


def wav(
    samples: bytes = bytes(2000),
    *,
    codec: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    size: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A WAV put together by hand, to say what no encoder would; `more` are chunks before the samples."""
    block = max(1, channels * bits // 8)
    form = struct.pack("<HHIIHH", codec, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    data = b"data" + struct.pack("<I", len(samples) if size is None else size) + samples
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + more + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _with(change: Callable[[np.ndarray], None]) -> bytes:
    wave = tone()
    change(wave)
    return encoded("WAV", "FLOAT", wave)


def _put(value: float) -> Callable[[np.ndarray], None]:
    return lambda wave: wave.__setitem__((0, 777), value)


def _second_format(codec: int) -> bytes:
    return b"fmt " + struct.pack("<IHHIIHH", 16, codec, 1, RATE, RATE, 256, 4)


def _flac_of(total: int) -> bytes:
    """A FLAC file whose header announces `total` samples (36 bits, at the end of bytes 18 to 26)."""
    data = bytearray(encoded("FLAC", "PCM_16"))
    data[21] = data[21] & 0xF0 | total >> 32 & 0x0F
    data[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(data)


def swelling_mp3() -> bytes:
    """10 s at 48 kHz, of varying bit rate, from silence to loud."""
    file = io.BytesIO()
    wave = tone(480_000, rate=48_000)[0] * np.linspace(0, 1, 480_000) ** 6
    soundfile.write(file, wave, 48_000, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE", compression_level=0.9)
    return file.getvalue()


def _tagged_mp3() -> bytes:
    size = 10_000_000
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + length + bytes(size) + encoded("MP3", "MPEG_LAYER_III")


def _cut(make: Callable[[], bytes], part: float) -> Callable[[], bytes]:
    return lambda: (data := make())[: int(len(data) * part)]


_WHOLE: dict[str, Callable[[], bytes]] = {
    **{f"WAV {kind}": lambda kind=kind: encoded("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32")},
    **{f"WAV {kind}": lambda kind=kind: encoded("WAV", kind) for kind in ("FLOAT", "DOUBLE", "ULAW", "ALAW")},
    "WAVEX": lambda: encoded("WAVEX", "PCM_16"),
    "RF64": lambda: encoded("RF64", "PCM_16"),
    "AIFF": lambda: encoded("AIFF", "PCM_16"),
    "AIFC of floats": lambda: encoded("AIFF", "FLOAT"),
    "FLAC": lambda: encoded("FLAC", "PCM_16"),
    "FLAC of 24 bits": lambda: encoded("FLAC", "PCM_24"),
    "Ogg Vorbis": lambda: encoded("OGG", "VORBIS"),
    "Ogg Opus": lambda: encoded("OGG", "OPUS"),
    "MP3": lambda: encoded("MP3", "MPEG_LAYER_III"),
    "M4A": lambda: muxed("ipod", "aac"),
    "MP4 with its index in front": lambda: muxed("mp4", "aac", movflags="+faststart"),
    "MOV with ALAC": lambda: muxed("mov", "alac"),
    "WebM with Opus": lambda: muxed("webm", "libopus"),
    "Matroska with AAC": lambda: muxed("matroska", "aac"),
    "AAC": lambda: muxed("adts", "aac"),
}

SOUNDS: dict[str, tuple[Callable[[], bytes], str]] = {
    **{f"{name}, whole": (make, "ok") for name, make in _WHOLE.items()},
    **{f"{name}, cut at 50 %": (_cut(make, 0.5), "bad") for name, make in _WHOLE.items() if name != "AAC"},
    **{f"{name}, header only": (_cut(make, 0.002), "bad") for name, make in _WHOLE.items()},
    "WAV without its last byte": (lambda: encoded("WAV", "PCM_16")[:-1], "truncated"),
    "Ogg Vorbis without its last byte": (lambda: encoded("OGG", "VORBIS")[:-1], "truncated"),
    "Ogg Opus without its last byte": (lambda: encoded("OGG", "OPUS")[:-1], "truncated"),
    "MP3 cut at 90 %": (_cut(_WHOLE["MP3"], 0.9), "truncated"),
    "WAV of 0 samples": (lambda: wav(b""), "empty"),
    "WAV of 1 sample": (lambda: wav(b"\1\1"), "ok"),
    "FLAC of 1 sample": (lambda: encoded("FLAC", "PCM_16", tone(1)), "ok"),
    "MP3 of 1 sample": (lambda: encoded("MP3", "MPEG_LAYER_III", tone(1)), "ok"),
    "WAV that was never closed": (lambda: wav(size=0), "truncated"),
    "WAV written to a pipe": (lambda: muxed("wav", "pcm_s16le", pipe=True), "ok"),
    "FLAC written to a pipe": (lambda: muxed("flac", "flac", pipe=True), "ok"),
    "WebM written to a pipe": (lambda: muxed("webm", "libopus", pipe=True), "ok"),
    "MP3 without a length": (lambda: muxed("mp3", "libmp3lame", write_xing="0"), "ok"),
    "MP3 whose length is guessed too short": (lambda: swelling_mp3().replace(b"Xing", bytes(4)), "ok"),
    "two MP3 recordings in one file": (lambda: encoded("MP3", "MPEG_LAYER_III") * 2, "ok"),
    "MP3 with a tag behind it": (lambda: encoded("MP3", "MPEG_LAYER_III") + b"TAG" + bytes(125), "ok"),
    "WAV of 8 channels": (lambda: encoded("WAV", "PCM_16", tone(4000, 8)), "ok"),
    "WAV of 33 channels": (lambda: encoded("WAV", "PCM_16", tone(4000, 33)), "channels"),
    "WAV of 1,024 channels": (lambda: wav(bytes(2048 * 31), channels=1024), "channels"),
    "WAV of 0 channels": (lambda: wav(channels=0), "bad"),
    "WAV at 192 kHz": (lambda: encoded("WAV", "PCM_16", rate=192_000), "ok"),
    "WAV at 0 Hz": (lambda: wav(rate=0), "bad"),
    "WAV at 1 Hz": (lambda: wav(rate=1), "sample_rate"),
    "WAV at 2^31 - 1 Hz": (lambda: wav(rate=2**31 - 1), "sample_rate"),
    "WAV of 0 bits": (lambda: wav(bits=0), "bad"),
    "WAV with a NaN": (lambda: _with(_put(np.nan)), "not_finite"),
    "WAV with an infinity": (lambda: _with(_put(-np.inf)), "not_finite"),
    "WAV of denormals": (lambda: encoded("WAV", "FLOAT", tone() * np.float32(1e-42)), "ok"),
    "WAV with overs of 20 dB": (lambda: encoded("WAV", "FLOAT", tone() * 30), "ok"),
    "WAV of floats in the range of int16": (lambda: encoded("WAV", "FLOAT", tone() * 32768), "too_loud"),
    "silence": (lambda: wav(), "ok"),
    "WAV with IMA ADPCM": (lambda: encoded("WAV", "IMA_ADPCM"), "unsupported_codec"),
    "WAV with MS ADPCM": (lambda: encoded("WAV", "MS_ADPCM"), "unsupported_codec"),
    "WAV with GSM 6.10": (lambda: encoded("WAV", "GSM610"), "unsupported_codec"),
    "WAV with ADPCM behind PCM": (lambda: wav(more=_second_format(0x11)), "unsupported_codec"),
    "WAV without its format": (lambda: b"RIFF\x2c\0\0\0WAVEdata\x20\0\0\0" + bytes(32), "broken"),
    "WAV without samples": (lambda: wav()[:36], "broken"),
    "WAV with its samples in front": (
        lambda: b"RIFF\x3c\0\0\0WAVEdata\x10\0\0\0" + bytes(16) + _second_format(0x11),
        "broken",
    ),
    "WAV of a million chunks": (lambda: wav(more=(b"junk" + bytes(4)) * 1_000_000), "broken"),
    "AIFC with ADPCM": (lambda: encoded("AIFF", "IMA_ADPCM"), "unsupported_codec"),
    "FLAC that announces 2^36 - 1 samples": (lambda: _flac_of(2**36 - 1), "too_long"),
    "FLAC that announces 100 times its samples": (lambda: _flac_of(1_600_000), "bad"),
    "FLAC of 5 hours in a few KB": (
        lambda: encoded("FLAC", "PCM_16", np.zeros((1, 72_000_001), "i2"), 4000),
        "too_long",
    ),
    "MP3 behind 10 MB of tags": (_tagged_mp3, "ok"),
    "two Ogg recordings in one file": (lambda: encoded("OGG", "VORBIS") * 2, "ok"),
    "MP4 without sound": (_video, "no_sound"),
    "a list of other files": (lambda: b"ffconcat version 1.0\nfile '/etc/hostname'\n", "unsupported_format"),
    "an HLS list": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "unsupported_format"),
    "MAT4, which libsndfile would open": (lambda: encoded("MAT4", "PCM_16"), "unsupported_format"),
    "AU": (lambda: encoded("AU", "PCM_16"), "unsupported_format"),
    "text": (lambda: b"la la la\n" * 30, "unsupported_format"),
    "nothing": (lambda: b"", "empty"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(50), "unsupported_format"),
}
