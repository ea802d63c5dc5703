"""What decoders pass over in silence, read from the headers of a recording before they see them.

libsndfile takes a WAV file cut in half for a shorter one, and what stands behind the samples of a W64 file for more of
them; of several recordings one after another in a file, decoders read the first. libsndfile's ADPCM decoder has a known
overflow (CVE-2026-37555), so compressed WAV, W64 and AIFF stop here. Each check returns where the recording ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Literal

from ..errors import MediaError

__all__ = ["check_aiff", "check_flac", "check_mp4", "check_w64", "check_wav"]

_INTEGERS = 1
_WAV_CODECS = {_INTEGERS, 3, 6, 7}  # and floats, A-law, mu-law
_WAV_EXTENSIBLE = 0xFFFE
_AIFF_CODECS = {b"NONE", b"twos", b"sowt", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64"}
_AIFF_CODECS |= {b"alaw", b"ALAW", b"ulaw", b"ULAW"}
_FLAC_START = b"fLaC\0\0\0\x22"  # with the head of its first block: never in compressed samples by chance
_BLOCK = 1 << 20
_MAX_CHUNKS = 10_000
# Programs that write to a pipe cannot know the size, and put down one from here on.
_UNKNOWN_SIZE = 0x7FFFF000


def check_wav(stream: IO[bytes]) -> int:
    """Raise MediaError unless this WAV (or RF64) file is whole and holds plain samples of one recording."""
    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "little")
    has_format, long_size = False, None
    for name, size, left in _chunks(stream, "little"):
        if name == b"ds64":  # RF64: sizes of 8 bytes, of the file and of the samples
            end = 8 + int.from_bytes(stream.read(8), "little")
            long_size = int.from_bytes(stream.read(8), "little")
        elif name == b"fmt ":
            has_format = True
            _check_wav_codec(stream.read(min(size, 40)), "WAV")
        elif name == b"data":
            if long_size is not None and size == 0xFFFFFFFF:
                size = long_size
            elif size >= _UNKNOWN_SIZE:
                size = min(size, left)
            if not has_format:
                raise MediaError("broken", "a WAV file whose samples come before their format")
            _check_size(size, left, "WAV")
            return _alone(stream, end + end % 2, "WAV")
    raise MediaError("broken", "a WAV file without samples: it has no 'data' chunk")


def check_w64(stream: IO[bytes]) -> int:
    """The same for Sony's W64: chunks with names of 16 bytes and sizes of 8, their own 24 bytes included."""
    end, position, has_format = stream.seek(0, os.SEEK_END), 40, False
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        header = stream.read(24)
        size = int.from_bytes(header[16:], "little")
        if len(header) < 24 or size < 24:
            break
        if header[:4] == b"fmt ":
            has_format = True
            _check_wav_codec(stream.read(40), "W64")
        elif header[:4] == b"data":
            if not has_format:
                raise MediaError("broken", "a W64 file whose samples come before their format")
            _check_size(0 if size >= 2**62 else size - 24, end - position - 24, "W64")
            stream.seek(16)
            _alone(stream, int.from_bytes(stream.read(8), "little"), "W64")
            return position + size
        position += size + -size % 8
    raise MediaError("broken", "a W64 file without samples: it has no 'data' chunk")


def check_aiff(stream: IO[bytes]) -> int:
    """Raise MediaError unless this AIFF or AIFC file is whole and holds plain samples of one recording."""
    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "big")
    for name, size, left in _chunks(stream, "big"):
        if name == b"COMM" and size >= 22:
            codec = stream.read(22)[18:]
            if codec not in _AIFF_CODECS:
                raise MediaError("unsupported_codec", f"AIFF with codec {codec!r}: convert it to WAV or FLAC")
        elif name == b"SSND":
            _check_size(size - 8, left - 8, "AIFF")
    return _alone(stream, end + end % 2, "AIFF")


def check_flac(stream: IO[bytes]) -> int:
    """Raise MediaError where a second FLAC recording follows the first."""
    stream.seek(4)
    position, overlap = 4, b""
    while block := stream.read(_BLOCK):
        if _FLAC_START in overlap + block:
            raise _several("FLAC")
        position, overlap = position + len(block), block[-len(_FLAC_START) :]
    return position


def check_mp4(stream: IO[bytes]) -> int:
    """Raise MediaError where a second MP4 recording follows the first (ISO 14496-12, 4.2)."""
    end, position = stream.seek(0, os.SEEK_END), 0
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        header = stream.read(16)
        if header[4:8] == b"ftyp" and position:
            raise _several("MP4")
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if len(header) < 8 or size < 8:
            break
        position += size
    return end


def _alone(stream: IO[bytes], end: int, name: str) -> int:
    """The end of the file, unless another one like it begins where the header says that this one ends."""
    stream.seek(0)
    magic = stream.read(4)
    stream.seek(end)
    if stream.read(4) == magic:
        raise _several(name)
    return stream.seek(0, os.SEEK_END)


def _several(name: str) -> MediaError:
    return MediaError(
        "unsupported_format", f"several recordings one after another in one {name} file: split them first"
    )


def _chunks(stream: IO[bytes], order: Literal["little", "big"]) -> Iterator[tuple[bytes, int, int]]:
    """Name and size of each chunk and the bytes left for it in the file; the stream stands at its start."""
    end = stream.seek(0, os.SEEK_END)
    position = 12
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        header = stream.read(8)
        if len(header) < 8 or header[:4] == bytes(4):  # the end, or padding behind it
            return
        size = int.from_bytes(header[4:], order)
        yield header[:4], size, end - position - 8
        position += 8 + size + size % 2
    raise MediaError("broken", f"more than {_MAX_CHUNKS} chunks in one file")


def _check_wav_codec(form: bytes, name: str) -> None:
    codec = int.from_bytes(form[:2], "little")
    if codec == _WAV_EXTENSIBLE and len(form) >= 26:
        codec = int.from_bytes(form[24:26], "little")
    bits = int.from_bytes(form[14:16], "little")
    if codec == _INTEGERS and bits > 32:
        raise MediaError("unsupported_codec", f"{name} with integers of {bits} bits: convert it to 32 bits or floats")
    if codec not in _WAV_CODECS:
        raise MediaError(
            "unsupported_codec",
            f"{name} with compressed samples (codec {codec:#06x}): convert it to plain WAV or to FLAC",
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
