"""What libsndfile passes over in silence, read from the headers of a recording before it sees them.

It takes a WAV file cut in half for a shorter one, and the first of several recordings in one Ogg file for all
of it. Its ADPCM decoder has a known overflow (CVE-2026-37555), so compressed WAV and AIFF stop here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Literal

from ..errors import MediaError
from .formats import skip_id3

__all__ = ["announces_length", "check_aiff", "check_ogg", "check_wav"]

_WAV_CODECS = {1, 3, 6, 7}  # integers, floats, A-law, mu-law
_WAV_EXTENSIBLE = 0xFFFE
_AIFF_CODECS = {b"NONE", b"twos", b"sowt", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64"}
_AIFF_CODECS |= {b"alaw", b"ALAW", b"ulaw", b"ULAW"}
_MAX_CHUNKS = 10_000
# Programs that write to a pipe cannot know the size, and put down one from here on.
_UNKNOWN_SIZE = 0x7FFFF000


def check_wav(stream: IO[bytes]) -> None:
    """Raise MediaError unless this WAV (or RF64) file is whole and holds plain samples."""
    has_format, long_size = False, None
    for name, size, left in _chunks(stream, "little"):
        if name == b"ds64":  # RF64: sizes of 8 bytes; the second one is that of the samples
            long_size = int.from_bytes(stream.read(16)[8:], "little")
        elif name == b"fmt ":
            has_format = True
            _check_wav_codec(stream.read(min(size, 40)))
        elif name == b"data":
            if long_size is not None and size == 0xFFFFFFFF:
                size = long_size
            elif size >= _UNKNOWN_SIZE:
                size = min(size, left)
            if not has_format:
                raise MediaError("broken", "a WAV file whose samples come before their format")
            _check_size(size, left, "WAV")
            return
    raise MediaError("broken", "a WAV file without samples: it has no 'data' chunk")


def check_aiff(stream: IO[bytes]) -> None:
    """Raise MediaError unless this AIFF or AIFC file is whole and holds plain samples."""
    for name, size, left in _chunks(stream, "big"):
        if name == b"COMM" and size >= 22:
            codec = stream.read(22)[18:]
            if codec not in _AIFF_CODECS:
                raise MediaError("unsupported_codec", f"AIFF with codec {codec!r}: convert it to WAV or FLAC")
        elif name == b"SSND":
            _check_size(size - 8, left - 8, "AIFF")


def _chunks(stream: IO[bytes], order: Literal["little", "big"]) -> Iterator[tuple[bytes, int, int]]:
    """Name and size of each chunk and the bytes left for it in the file; the stream stands at its start."""
    end = stream.seek(0, os.SEEK_END)
    position = 12
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        header = stream.read(8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], order)
        yield header[:4], size, end - position - 8
        position += 8 + size + size % 2
    raise MediaError("broken", f"more than {_MAX_CHUNKS} chunks in one file")


def _check_wav_codec(form: bytes) -> None:
    codec = int.from_bytes(form[:2], "little")
    if codec == _WAV_EXTENSIBLE and len(form) >= 26:
        codec = int.from_bytes(form[24:26], "little")
    if codec not in _WAV_CODECS:
        raise MediaError(
            "unsupported_codec",
            f"WAV with compressed samples (codec {codec:#06x}): convert it to plain WAV or to FLAC",
        )


def _check_size(size: int, left: int, name: str) -> None:
    if size <= 0 < left:
        raise MediaError(
            "truncated",
            f"the {name} header announces no samples, but {left} bytes follow: the recording was never "
            f"finished; write it anew, for example with ffmpeg",
        )
    if size > left:
        raise MediaError("truncated", f"{left} of {size} bytes of samples: the end of the file is missing")


def check_ogg(stream: IO[bytes]) -> None:
    """Raise MediaError unless this Ogg file is whole and holds one recording (RFC 3533)."""
    end = stream.seek(0, os.SEEK_END)
    position, has_data = 0, False
    while position < end:
        stream.seek(position)
        header = stream.read(27)
        if len(header) < 27 or header[:4] != b"OggS":
            break  # what follows the last page may be a foreign tag; a cut page is caught below
        sizes = stream.read(header[26])
        is_first = bool(header[5] & 2)
        if is_first and has_data:
            raise MediaError(
                "unsupported_format", "several recordings one after another in one Ogg file: split them first"
            )
        has_data = has_data or not is_first
        position += 27 + header[26] + sum(sizes)
    if position > end or (position < end and header[:4] == b"OggS"):
        raise MediaError("truncated", "the last page of the Ogg file is not complete: its end is missing")


def announces_length(stream: IO[bytes]) -> bool:
    """Whether an MP3 file says how many samples it has (its first frame is a Xing or Info header).

    Otherwise its length is a guess from the first bit rate, at times three times too long or too short.
    """
    skip_id3(stream)
    first_frame = stream.read(256)
    return b"Xing" in first_frame or b"Info" in first_frame
