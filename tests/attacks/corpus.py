"""Some two hundred files as people have them, sound and pictures, each with what an independent reader makes of it.

Sound is compared with the samples that were written where the format keeps them, else with libsndfile in one call or
with FFmpeg; pictures with the pixels that were written, or with FFmpeg. A file that nothing reads has the reason.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import av
import numpy as np
import soundfile
from PIL import Image

from .pictures import bmp, chunk, packed, photo, png, tiff
from .pictures import encoded as picture
from .sounds import encoded, muxed, tone
from .tags import BEHIND, IN_FRONT, shifted

__all__ = ["Case", "pictures", "sounds"]


@dataclass(frozen=True)
class Case:
    """A file, and either what must come of it, within `tolerance`, or what the refusal says."""

    data: bytes
    expected: np.ndarray | None
    tolerance: float = 0.0
    says: str = ""


def _in_one_call(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].T


def _frames(data: bytes) -> np.ndarray:
    """FFmpeg's samples, float32 `[channels, samples]` in [-1, 1]."""
    with av.open(io.BytesIO(data)) as container:
        to_floats = av.AudioResampler(format="fltp")
        return np.concatenate(
            [piece.to_ndarray() for frame in container.decode(audio=0) for piece in to_floats.resample(frame)], 1
        )


def _steps(subtype: str) -> float:
    """How far a stored sample may lie from the one that was written."""
    bits = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 24, "DOUBLE": 24}
    return 1.01 / 2 ** (bits[subtype] - 1) if subtype in bits else 0.05  # A-law and mu-law: five bits


def _plain_sounds() -> dict[str, Case]:
    cases = {}
    forms = {
        "WAV": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"],
        "WAVEX": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW"],
        "RF64": ["PCM_16", "PCM_24", "FLOAT"],
        "W64": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"],
        "AIFF": ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"],
        "FLAC": ["PCM_S8", "PCM_16", "PCM_24"],
    }
    shapes = [(1, 16000), (2, 44100), (1, 8000), (3, 48000)]
    for form, subtypes in forms.items():
        for number, subtype in enumerate(subtypes):
            channels, rate = shapes[number % len(shapes)]
            wave = tone(rate // 10, channels, rate)
            data = encoded(form, subtype, wave, rate)
            cases[f"{form} {subtype} {channels} x {rate}"] = Case(data, wave, _steps(subtype))
    return cases


def _lossy_sounds() -> dict[str, Case]:
    cases = {}
    for rate in (8000, 16000, 24000, 48000):
        for codec in ("VORBIS", "OPUS"):
            data = encoded("OGG", codec, tone(rate // 5, 2, rate), rate)
            cases[f"Ogg {codec} {rate}"] = Case(data, _in_one_call(data))
            longer = encoded("OGG", codec, tone(3 * rate, 1, rate), rate)  # several pages: one alone has no beginning
            cases[f"Ogg {codec} {rate}, an hour later"] = Case(shifted(longer, 3600 * rate), _in_one_call(longer))
        data = encoded("MP3", "MPEG_LAYER_III", tone(rate // 5, 1, rate), rate)
        cases[f"MP3 {rate}"] = Case(data, _in_one_call(data))
        for xing in (0, 1):
            mp3 = muxed("mp3", "libmp3lame", seconds=0.2, rate=rate, write_xing=str(xing), id3v2_version="0")
            cases[f"MP3 {rate}, header {xing}"] = Case(mp3, _frames(mp3), 1e-5)
            cases[f"MP3 {rate}, header {xing}, twice"] = Case(mp3 + mp3, _frames(mp3 + mp3), 1e-5)
    boxes = [("ipod", "aac"), ("mp4", "aac"), ("mov", "alac"), ("mp4", "flac"), ("webm", "libopus"), ("adts", "aac")]
    boxes += [("matroska", "aac"), ("matroska", "flac"), ("matroska", "libmp3lame"), ("ogg", "flac"), ("mp2", "mp2")]
    boxes += [("mov", "pcm_s24be"), ("matroska", "pcm_s16le"), ("mov", "pcm_u8"), ("ogg", "libopus")]
    for container, codec in boxes:
        data = muxed(container, codec, seconds=0.2)
        # FFmpeg leaves the rate of the original for Opus, and computes MP2 in integers.
        read = _in_one_call if (container, codec) in (("ogg", "libopus"), ("mp2", "mp2")) else _frames
        cases[f"{codec} in {container}"] = Case(data, read(data), 1e-5)
    return cases


def _tagged_sounds() -> dict[str, Case]:
    cases = {}
    flac, mp3 = encoded("FLAC", "PCM_16", tone(1600)), encoded("MP3", "MPEG_LAYER_III", tone(3200))
    for front, behind in zip(cycle(IN_FRONT), BEHIND, strict=False):
        for name, data in (("FLAC", flac), ("MP3", mp3)):
            tagged = IN_FRONT[front] + data + BEHIND[behind]
            cases[f"{name} between {front} and {behind}"] = Case(tagged, _in_one_call(data))
    return cases


def _refused_sounds() -> dict[str, Case]:
    whole = encoded("WAV", "PCM_16", tone(1600))
    return {
        "WAV of ADPCM": Case(encoded("WAV", "IMA_ADPCM", tone(1600)), None, says="compressed samples"),
        "WAV of 64 bits": Case(muxed("wav", "pcm_s64le", seconds=0.1), None, says="integers of 64 bits"),
        "AU": Case(encoded("AU", "PCM_16", tone(1600)), None, says="AU, which is not read"),
        "CAF": Case(encoded("CAF", "PCM_16", tone(1600)), None, says="CAF, which is not read"),
        "WAV, cut": Case(whole[:-100], None, says="the end of the file is missing"),
        "FLAC, cut": Case(encoded("FLAC", "PCM_16", tone(16000))[:-9000], None, says="FLAC|missing"),
        "two WAV": Case(whole * 2, None, says="several recordings"),
        "int16 as floats": Case(encoded("WAV", "FLOAT", tone(1600) * 32768), None, says="become wave / 32768"),
        "text": Case(b"no sound at all", None, says="not a sound of a known format"),
    }


def sounds() -> dict[str, Case]:
    return _plain_sounds() | _lossy_sounds() | _tagged_sounds() | _refused_sounds()


def _drawn(bits: int, channels: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 2**bits, (20, 30, channels))


def _colours(values: np.ndarray, largest: int) -> np.ndarray:
    """RGB of 8 bits, from one (grey), two (grey and opacity), three or four channels."""
    scaled = np.round(values * 255 / largest)
    return scaled[..., :3] if values.shape[2] > 2 else np.repeat(scaled[..., :1], 3, 2)


def _raw_pictures() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for bits in (1, 2, 4, 8, 16):
        for colour, channels in {0: 1, 2: 3, 4: 2, 6: 4}.items():
            if bits >= 8 or channels == 1:
                data = png(30, 20, packed(_drawn(bits, channels), bits, b"\0"), bits=bits, colour=colour)
                cases[f"PNG, colour {colour}, {bits} bits"] = Case(
                    data, _colours(_drawn(bits, channels), 2**bits - 1), 1
                )
        for white in (0, 1):
            expected = _colours(_drawn(bits, 1), 2**bits - 1)
            data = tiff(_drawn(bits, 1)[..., 0], bits=[bits], photometric=white)
            cases[f"TIFF of grey, {bits} bits, black is {white}"] = Case(data, expected if white else 255 - expected)
    cases["TIFF of grey, 12 bits"] = Case(
        tiff(_drawn(12, 1)[..., 0], bits=[12], photometric=1), _colours(_drawn(12, 1), 4095)
    )
    for bits in (8, 16):
        for planes in (False, True)[: 2 if bits == 8 else 1]:
            data = tiff(_drawn(bits, 3), bits=[bits] * 3, photometric=2, planes=planes)
            cases[f"TIFF of colours, {bits} bits, in planes: {planes}"] = Case(
                data, _colours(_drawn(bits, 3), 2**bits - 1), 1
            )
    for largest in (1, 15, 100, 255, 1000, 4095, 65535):
        for kind, channels in (("P5", 1), ("P6", 3)):
            values = np.random.default_rng(largest).integers(0, largest + 1, (20, 30, channels))
            body = values.astype(">u2" if largest > 255 else "u1").tobytes()
            data = b"%s 30 20 %d\n" % (kind.encode(), largest) + body
            cases[f"{kind} up to {largest}"] = Case(data, _colours(values, largest), 1)
    cases["BMP, 24 bits"] = Case(bmp(_drawn(8, 3), 24), _drawn(8, 3)[..., ::-1])
    cases["BMP, 32 bits"] = Case(bmp(_drawn(8, 4), 32), _drawn(8, 4)[..., 2::-1])
    return cases


def _shown(data: bytes, form: str) -> np.ndarray:
    """FFmpeg's RGB."""
    with av.open(io.BytesIO(data), format=form) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)


def _encoded_pictures() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    image = photo()
    pixels = np.asarray(image).astype(int)
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA"):
        converted = image.convert(mode)
        expected = np.asarray(converted.convert("RGB")).astype(int)
        for form in ("PNG", "TIFF", "GIF", "BMP")[: 4 if mode not in ("RGBA", "LA") else 2]:
            if form != "GIF" or mode in ("1", "L", "P"):
                cases[f"{form} of mode {mode}"] = Case(picture(converted, form), expected)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        cases[f"TIFF, {compression}"] = Case(picture(image, "TIFF", compression=compression), pixels)
    for form, options in {
        "WEBP": {"lossless": True},
        "QOI": {},
        "JPEG2000": {"irreversible": False},
        "PPM": {},
    }.items():
        cases[f"{form} without loss"] = Case(picture(image, form, **options), pixels)
    for quality in (50, 95):
        for options in ({}, {"progressive": True}, {"subsampling": 0}):
            data = picture(image, "JPEG", quality=quality, **options)
            # Colours of half the resolution are spread by each reader in its own way.
            cases[f"JPEG {quality} {options}"] = Case(
                data, _shown(data, "jpeg_pipe"), 4 if "subsampling" in options else 40
            )
    for form, options in {"WEBP": {"quality": 90}, "AVIF": {"quality": 95}}.items():
        cases[f"{form} with loss"] = Case(picture(image, form, **options), pixels, 60)
    grey = image.convert("L")
    cases["JPEG of grey"] = Case(picture(grey, "JPEG", quality=100), np.asarray(grey.convert("RGB")), 3)
    inks = image.convert("CMYK")
    cases["TIFF of inks"] = Case(picture(inks, "TIFF"), np.asarray(inks.convert("RGB")))
    cases["JPEG of inks"] = Case(picture(inks, "JPEG", quality=100, subsampling=0), pixels, 40)
    return cases


def _refused_pictures() -> dict[str, Case]:
    cases = {
        "TIFF of floats": Case(picture(Image.new("F", (9, 9)), "TIFF"), None, says="floating-point"),
        "TIFF of 32 bits": Case(picture(Image.new("I", (9, 9)), "TIFF"), None, says="32 bits"),
        "TIFF of 10 bits": Case(tiff(_drawn(10, 1)[..., 0], bits=[10], photometric=1), None, says="10 bits"),
        "TIFF of Lab": Case(picture(Image.new("LAB", (9, 9)), "TIFF"), None, says="LAB"),
        "PNG, cut": Case(picture(photo(), "PNG")[:900], None, says="truncated|broken"),
        "PSD": Case(b"8BPS\0\1" + bytes(90), None, says="PSD, which is not read"),
        "sound": Case(encoded("WAV", "PCM_16", tone(100)), None, says="a sound"),
    }
    return cases


def _odd_pngs() -> dict[str, Case]:
    pixels, rows = _drawn(8, 3), packed(_drawn(8, 3), 8, b"\0")
    texts: dict[str, Callable[[], bytes]] = {
        "a text of 2 MB": lambda: chunk(b"tEXt", b"Comment\0" + b"a" * 2_000_000),
        "a profile that is none": lambda: chunk(b"iCCP", b"sRGB\0\7x"),
        "gamma": lambda: chunk(b"gAMA", (45455).to_bytes(4, "big")),
        "a chunk of its own": lambda: chunk(b"vpAg", bytes(9)),
    }
    return {f"PNG with {name}": Case(png(30, 20, rows, more=make()), pixels) for name, make in texts.items()}


def pictures() -> dict[str, Case]:
    return _raw_pictures() | _encoded_pictures() | _odd_pngs() | _refused_pictures()
