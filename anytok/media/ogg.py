"""The pages of an Ogg file (RFC 3533), checked before a decoder sees them: libsndfile passes over damaged and missing
pages, and takes the first of several recordings for all of it, which is why each is cut out for it.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from ..errors import MediaError
from .source import joined

__all__ = ["OggSound", "read_ogg"]

# The first packet of each stream names its codec.
_SOUND = {
    b"OpusHead": "Opus",
    b"\x01vorbis": "Vorbis",
    b"\x7fFLAC": "FLAC",
    b"Speex   ": "Speex",
    b"PCM     ": "PCM",
    b"CELT    ": "CELT",
}
_FIRST, _LAST = 2, 4  # flags of a page: beginning and end of stream
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class OggSound:
    """The codec of a recording's first stream of sound, None where there is none, and the pages of this stream."""

    codec: str | None
    stream: IO[bytes]


@dataclass(frozen=True)
class _Page:
    start: int
    data: bytes

    @property
    def flags(self) -> int:
        return self.data[5]

    @property
    def granule(self) -> int:
        return int.from_bytes(self.data[6:14], "little", signed=True)

    @property
    def serial(self) -> bytes:
        return self.data[14:18]

    @property
    def number(self) -> int:
        return int.from_bytes(self.data[18:22], "little")

    @property
    def body(self) -> bytes:
        return self.data[27 + self.data[26] :]


class _Link:
    """One recording of those that are chained in a file (RFC 3533, section 4): streams that begin together."""

    def __init__(self, is_first: bool) -> None:
        self._is_first = is_first
        self._codecs: dict[bytes, str | None] = {}
        self._last: dict[bytes, _Page] = {}
        self._runs: dict[bytes, list[tuple[int, int]]] = {}

    def ends_before(self, page: _Page) -> bool:
        """All streams of a link begin before any of them goes on."""
        return bool(page.flags & _FIRST) and any(not other.flags & _FIRST for other in self._last.values())

    def add(self, page: _Page) -> None:
        before = self._last.get(page.serial)
        if page.flags & _FIRST:
            codec = next((name for mark, name in _SOUND.items() if page.body.startswith(mark)), None)
            self._codecs[page.serial] = codec
        # A recording of a broadcast begins anywhere: pages may be missing behind the headers, but not later.
        elif before and before.granule > 0 and page.number != (before.number + 1) % 2**32:
            raise MediaError("broken", f"page {before.number} of the Ogg file is followed by page {page.number}")
        elif page.serial not in self._codecs and not self._is_first:
            raise MediaError("broken", f"the page at byte {page.start} of the Ogg file goes on with what has ended")
        self._last[page.serial] = page
        spans = self._runs.setdefault(page.serial, [])
        start = spans.pop()[0] if spans and spans[-1][1] == page.start else page.start
        spans.append((start, page.start + len(page.data)))

    def sound(self, stream: IO[bytes]) -> OggSound:
        serial = next((serial for serial, codec in self._codecs.items() if codec), None)
        if serial is None:
            return OggSound(None, stream)
        codec, sound = self._codecs[serial], joined(stream, self._runs[serial])
        return OggSound(codec, _ended(sound, self._last[serial]) if codec == "Opus" else sound)


def read_ogg(stream: IO[bytes]) -> list[OggSound]:
    """The sound of each recording that is chained in an Ogg file: one, as a rule. Raises MediaError unless the file is
    whole."""
    links = [_Link(True)]
    for page in _pages(stream):
        if links[-1].ends_before(page):
            links.append(_Link(False))
        links[-1].add(page)
    return [link.sound(stream) for link in links]


def _ended(stream: IO[bytes], last: _Page) -> IO[bytes]:
    """The same pages, the last one flagged as such.

    libsndfile refuses Opus without the flag, which a cut or streamed recording lacks; no sample depends on it.
    """
    if last.flags & _LAST:
        return stream
    stream.seek(0)
    flagged = last.data[:5] + bytes([last.flags | _LAST]) + last.data[6:]
    return io.BytesIO(stream.read()[: -len(flagged)] + flagged[:22] + _checksum(flagged) + flagged[26:])


def _pages(stream: IO[bytes]) -> Iterator[_Page]:
    end, position = stream.seek(0, os.SEEK_END), 0
    while position < end:
        stream.seek(position)
        header = stream.read(27)
        if header[:4] != b"OggS":
            stream.seek(position)
            if b"OggS" in stream.read():
                raise MediaError("broken", f"no page at byte {position} of the Ogg file, but more of them behind it")
            return  # a foreign tag behind the last page
        sizes = stream.read(header[26]) if len(header) == 27 else b""
        data = header + sizes + stream.read(sum(sizes))
        if len(header) < 27 or len(data) < 27 + header[26] + sum(sizes):
            raise MediaError("truncated", "the last page of the Ogg file is not complete: its end is missing")
        if _checksum(data) != data[22:26]:
            raise MediaError("broken", f"the page at byte {position} of the Ogg file has another checksum than it says")
        yield _Page(position, data)
        position += len(data)


def _checksum(page: bytes) -> bytes:
    """CRC-32 with zlib's polynomial, but with the highest bit first and without inversion (RFC 3533, section 6)."""
    blank = page[:22] + bytes(4) + page[26:]
    crc = ~zlib.crc32(blank.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED)
