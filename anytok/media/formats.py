"""What a file is, by its first bytes and never by its name; what is not in these tables reaches no decoder.

The decoder is fixed by the format, because decoders disagree on the same good file (on Vorbis by 256 samples,
on Opus by its rate): which one ran is part of what the codes mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from ..errors import MediaError

__all__ = ["Format", "kind_of", "skip_id3", "sniff"]


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
AIFF = Format("AIFF", "sound", "soundfile", ("AIFF",))
FLAC = Format("FLAC", "sound", "soundfile", ("FLAC",))
OGG = Format("Ogg", "sound", "soundfile", ("OGG",))
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
    (b"MM\0+", _picture("TIFF")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _picture("JPEG2000")),
    (b"\xff\x4f\xff\x51", _picture("JPEG2000")),
    (b"qoif", _picture("QOI")),
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"\x1aE\xdf\xa3", MATROSKA),
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
    "sound": """.wav .wave .bwf .rf64 .aif .aiff .aifc .flac .ogg .oga .ogx .opus .mp3 .mpga .aac .adts .m4a .m4b .mp4
        .m4v .mov .3gp .3g2 .webm .mka .mkv""",
}
_KINDS = {suffix: kind for kind, names in _SUFFIXES.items() for suffix in names.split()}


def kind_of(suffix: str) -> str | None:
    """Of which kind files with this suffix, in lower case, are: "picture", "sound", or None if they cannot be read."""
    return _KINDS.get(suffix)


def sniff(stream: IO[bytes], wanted: str) -> Format:
    """The Format of `stream`, which must be of the kind `wanted`; leaves the stream at its start.

    Raises MediaError (`unsupported_format`).
    """
    skip_id3(stream)
    head = stream.read(64)
    stream.seek(0)
    found = _recognise(head)
    if found is None:
        fix = {"picture": "open it with Pillow and pass the image", "sound": "convert it to WAV or FLAC"}
        raise MediaError(
            "unsupported_format",
            f"not a {wanted} of a known format (it starts with {head[:8]!r}): {fix[wanted]}",
        )
    if found.kind != wanted:
        raise MediaError("unsupported_format", f"a {found.kind} ({found.name}), where a {wanted} is wanted")
    return found


def skip_id3(stream: IO[bytes]) -> None:
    """Place the stream behind the ID3 tag that MP3 files, and some FLAC files, have in front."""
    stream.seek(0)
    head = stream.read(10)
    is_tag = head[:3] == b"ID3" and len(head) == 10
    # The size has seven bits to the byte (ID3v2.4, section 6.2).
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9] if is_tag else 0
    stream.seek(10 + size if is_tag else 0)


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
    """MP3 or AAC by a frame header (ISO 11172-3, 2.4.2.3): eleven ones, version, layer, two rates."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, bit_rate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if layer == 0:
        return AAC if head[1] & 0xF0 == 0xF0 else None
    return MP3 if version != 1 and bit_rate != 15 and rate != 3 else None
