"""What a file is, by its first bytes and never by its name; what is not in these tables reaches no decoder.

The decoder is fixed by the format, because decoders disagree on the same good file (on Vorbis by 256 samples,
on Opus by its rate): which one ran is part of what the codes mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from ..errors import MediaError
from .mpeg import frame_size

__all__ = ["Format", "kind_of", "sniff"]


@dataclass(frozen=True)
class Format:
    """`name` as people say it; `kind`: "picture" or "sound"; `decoder`, and what it calls such files."""

    name: str
    kind: str
    decoder: str  # "pillow" | "pillow_heif" | "soundfile" | "av"
    pinned: tuple[str, ...]


def _picture(name: str) -> Format:
    return Format(name, "picture", "pillow", (name,))


HEIC = Format("HEIC", "picture", "pillow_heif", ())
WAV = Format("WAV", "sound", "soundfile", ("WAV", "WAVEX", "RF64"))
W64 = Format("W64", "sound", "soundfile", ("W64",))
AIFF = Format("AIFF", "sound", "soundfile", ("AIFF",))
FLAC = Format("FLAC", "sound", "soundfile", ("FLAC",))
OGG = Format("Ogg", "sound", "soundfile", ("OGG",))
OGG_FLAC = Format("Ogg", "sound", "av", ("ogg",))  # known by what the first page holds
MP3 = Format("MP3", "sound", "soundfile", ("MP3",))
AAC = Format("AAC", "sound", "av", ("aac",))
MP4 = Format("MP4", "sound", "av", ("mov",))
MATROSKA = Format("WebM/Matroska", "sound", "av", ("matroska",))

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", _picture("PNG")),
    (b"\xff\xd8\xff", _picture("JPEG")),
    (b"GIF87a", _picture("GIF")),
    (b"GIF89a", _picture("GIF")),
    (b"BM", _picture("BMP")),
    (b"II*\0", _picture("TIFF")),
    (b"MM\0*", _picture("TIFF")),
    (b"II+\0", _picture("TIFF")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _picture("JPEG2000")),
    (b"\xff\x4f\xff\x51", _picture("JPEG2000")),
    (b"qoif", _picture("QOI")),
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"\x1aE\xdf\xa3", MATROSKA),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", W64),
)
# Known, to say what came; no decoder is promised for them.
_NOT_READ = (
    (b"MM\0+", "big-endian BigTIFF"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"v/1\x01", "OpenEXR"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"<svg", "SVG"),
    (b"DDS ", "DDS"),
    (b"\0\0\1\0", "ICO"),
    (b"caff", "CAF"),
    (b".snd", "AU"),
    (b"RIFX", "big-endian WAV"),
    (b"BW64", "BW64"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (b"#!AMR", "AMR"),
    (b"MAC ", "Monkey's Audio"),
    (b"wvpk", "WavPack"),
    (b"TTA1", "True Audio"),
    (b"DSD ", "DSF"),
    (b"NIST_1A", "NIST Sphere"),
    (b"Creative Voice", "VOC"),
    (b"MThd", "MIDI"),
    (b"FLV\1", "FLV"),
)
# Containers that say at byte 8 what they hold.
_CONTENTS = {
    (b"RIFF", b"WEBP"): _picture("WEBP"),
    (b"RIFF", b"WAVE"): WAV,
    (b"RF64", b"WAVE"): WAV,
    (b"FORM", b"AIFF"): AIFF,
    (b"FORM", b"AIFC"): AIFF,
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


# What files of these formats are called: a job's folders are read by it, while `sniff` looks at what they hold.
_SUFFIXES = {
    "picture": """.png .apng .jpg .jpeg .jpe .jfif .jif .gif .bmp .dib .tif .tiff .webp .jp2 .j2k .j2c .jpc .jpf .jpx
        .qoi .ppm .pgm .pbm .pnm .avif .avifs .heic .heif .hif""",
    "sound": """.wav .wave .bwf .rf64 .w64 .aif .aiff .aifc .flac .ogg .oga .ogx .opus .mp3 .mp2 .mpga .aac .adts .m4a
        .m4b .mp4 .m4v .mov .3gp .3g2 .webm .mka .mkv""",
}
_KINDS = {suffix: kind for kind, names in _SUFFIXES.items() for suffix in names.split()}


def kind_of(suffix: str) -> str | None:
    """Of which kind files with this suffix, in lower case, are: "picture", "sound", or None if they cannot be read."""
    return _KINDS.get(suffix)


def sniff(stream: IO[bytes], wanted: str) -> Format:
    """The Format of `stream`, which must be of the kind `wanted`; leaves the stream at its start.

    Raises MediaError (`unsupported_format`).
    """
    stream.seek(0)
    head = stream.read(64)
    stream.seek(0)
    found = _recognise(head)
    if found is None:
        fix = {"picture": "open it with Pillow and pass the image", "sound": "convert it to WAV or FLAC"}
        name = next((name for beginning, name in _NOT_READ if head.startswith(beginning)), None)
        what = f"{name}, which is not read" if name else f"not a {wanted} of a known format"
        raise MediaError("unsupported_format", f"{what} (it starts with {head[:8]!r}): {fix[wanted]}")
    if found.kind != wanted:
        raise MediaError("unsupported_format", f"a {found.kind} ({found.name}), where a {wanted} is wanted")
    return found


def _recognise(head: bytes) -> Format | None:
    for beginning, found in _BEGINNINGS:
        if head.startswith(beginning):
            return found
    if (head[:4], head[8:12]) in _CONTENTS:
        return _CONTENTS[head[:4], head[8:12]]
    if head[4:8] == b"ftyp":
        size = min(len(head), int.from_bytes(head[:4], "big"))
        return _of_brands({head[8:12], *(head[i : i + 4] for i in range(16, size, 4))})
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace():
        return _picture("PPM")
    return _of_mpeg_frame(head)


def _of_brands(brands: set[bytes]) -> Format:
    if brands & _AVIF_BRANDS:
        return _picture("AVIF")
    return HEIC if brands & _HEIC_BRANDS else MP4


def _of_mpeg_frame(head: bytes) -> Format | None:
    """MP3 or AAC (ADTS, ISO 13818-7, 6.2) by a frame header."""
    is_aac = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return AAC if is_aac else MP3 if frame_size(head)[0] else None
