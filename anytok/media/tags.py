"""Tags around a recording: ID3v2 and APEv2 in front; ID3v1, ID3v2, APEv2 and Lyrics3 behind.

MP3 and AAC files have no length of their own, so what is a frame and what is a tag must be told by content. Sources:
id3.org (ID3v2.4 structure, ID3v1, the enhanced TAG, Lyrics3v2), the APE tags specification of Hydrogenaudio.
"""

from __future__ import annotations

import os
from typing import IO

__all__ = ["MARKS", "end_of_tags", "start_of_tags", "tag_at"]

MARKS = (b"ID3", b"APETAGEX", b"TAG")  # a tag in front of a recording begins with one of them

_BLOCK = 1 << 16
_MAX_TAGS = 1000  # in front or behind; more would be an attack


def end_of_tags(stream: IO[bytes]) -> int:
    """Where the content begins, behind all tags that stand in front of it, and the zeros that fill them up."""
    position = 0
    for _ in range(_MAX_TAGS):
        stream.seek(position)
        head = stream.read(32)
        size = tag_at(head)
        if not size and position and head[:8] == bytes(8):  # no format begins with so many
            size = _zeros_from(stream, position)
        if not size:
            break
        position += size
    return position


def tag_at(head: bytes) -> int:
    """Bytes of the tag that begins with `head` (32 bytes are enough), 0 if none does."""
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[3:5]) < 0xFF and max(head[6:10]) < 0x80:
        footer = 10 if head[5] & 0x10 else 0
        return 10 + _seven_bits(head[6:10]) + footer
    if head[:8] == b"APETAGEX" and len(head) >= 24 and head[23] & 0x20:  # a header, not a footer
        return 32 + int.from_bytes(head[12:16], "little")
    if head[:3] == b"TAG" and len(head) >= 4:  # ID3v1, which ended a recording to which another was joined
        return 227 if head[3:4] == b"+" else 128
    return 0


def start_of_tags(stream: IO[bytes]) -> int:
    """Where the content ends, in front of all tags that stand behind it, and of the padding between these.

    Zeros without a tag in front of them are left, since the last frame of sound may end with zeros.
    """
    end = stream.seek(0, os.SEEK_END)
    for _ in range(_MAX_TAGS):
        tag_end, size = end, _tag_before(stream, end)
        if not size:
            tag_end = _before_zeros(stream, end)
            size = _tag_before(stream, tag_end)
        if not 0 < size <= tag_end:
            break
        end = tag_end - size
    return end


def _tag_before(stream: IO[bytes], end: int) -> int:
    """Bytes of the tag that ends at `end`, 0 if none does."""
    tail = _last(stream, end, 128)
    if tail[:3] == b"TAG" and len(tail) == 128:
        is_enhanced = _last(stream, end - 128, 227)[:4] == b"TAG+"
        return 128 + (227 if is_enhanced else 0)
    if tail[-32:-24] == b"APETAGEX":
        has_header = tail[-9] & 0x80
        return int.from_bytes(tail[-20:-16], "little") + (32 if has_header else 0)
    if tail[-10:-7] == b"3DI":
        return 20 + _seven_bits(tail[-4:])
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return 15 + int(tail[-15:-9])
    if tail[-9:] == b"LYRICSEND":  # Lyrics3v1: up to 5100 bytes, without a size
        text = _last(stream, end, 5120)
        return len(text) - max(text.rfind(b"LYRICSBEGIN"), 0)
    return 0


def _before_zeros(stream: IO[bytes], end: int) -> int:
    while end:
        block = _last(stream, end, _BLOCK)
        kept = len(block.rstrip(b"\0"))
        end -= len(block) - kept
        if kept:
            break
    return end


def _zeros_from(stream: IO[bytes], position: int) -> int:
    stream.seek(position)
    count = 0
    while block := stream.read(_BLOCK):
        rest = len(block.lstrip(b"\0"))
        count += len(block) - rest
        if rest:
            stream.seek(position + count)
            return count - 3 * (stream.read(5)[1:] == b"ftyp")  # MP4 begins with three zeros of its own
    return count


def _last(stream: IO[bytes], end: int, size: int) -> bytes:
    """The last `size` bytes in front of `end`, fewer at the start of the stream."""
    start = max(0, end - size)
    stream.seek(start)
    return stream.read(max(0, end - start))


def _seven_bits(size: bytes) -> int:
    """ID3v2.4, section 6.2: seven bits to the byte."""
    return size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]
