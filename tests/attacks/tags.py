"""Tags and pages around sound, put together by hand: what taggers, cutters and broadcasts leave in files."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

__all__ = ["BEHIND", "IN_FRONT", "ape", "changed", "id3", "page", "pages", "shifted"]


def _seven_bits(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def id3(size: int, *, fill: int = 0, footer: bool = False) -> bytes:
    """ID3v2.4 with a frame of `size` bytes."""
    head = b"\4\0" + (b"\x10" if footer else b"\0") + _seven_bits(size)
    return b"ID3" + head + bytes([fill]) * size + (b"3DI" + head if footer else b"")


def ape(size: int, *, header: bool = True) -> bytes:
    """APEv2 with a cover of `size` bytes of noise, in which frames of MP3 seem to begin."""
    cover = np.random.default_rng(1).bytes(size)
    body = struct.pack("<II", size, 2) + b"Cover Art (Front)\0" + cover

    def end(is_header: bool) -> bytes:
        flags = header << 31 | is_header << 29
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(body) + 32, 1, flags) + bytes(8)

    return (end(True) if header else b"") + body + end(False)


def _lyrics3(size: int) -> bytes:
    body = b"LYRICSBEGIN" + b"LYR%05d" % size + b"a" * size
    return body + b"%06d" % len(body) + b"LYRICS200"


_V1 = b"TAG" + b"\xff" * 125
IN_FRONT = {
    "nothing": b"",
    "ID3": id3(1000, fill=0xFF),
    "two ID3": id3(100) + id3(999, fill=0xFF),
    "ID3 with a footer, and another": id3(3000, footer=True) + id3(20),
    "ID3 and zeros behind it": id3(300) + bytes(70_000),
    "APE": ape(500),
    "ID3 and APE": id3(300) + ape(5000),
}
BEHIND = {
    "nothing": b"",
    "ID3v1": _V1,
    "ID3v1, enhanced": b"TAG+" + b"\xff\xfb\x90" * 70 + b"x" * 13 + _V1,
    "APE cover of 100 KB": ape(100_000),
    "APE without a header": ape(100_000, header=False),
    "Lyrics3v1 and ID3v1": b"LYRICSBEGIN" + b"la " * 400 + b"LYRICSEND" + _V1,
    "APE, Lyrics3v2 and ID3v1": ape(30_000) + _lyrics3(6000) + _V1,
    "zeros": bytes(100_000),
    "ID3v1 behind zeros": bytes(9000) + _V1,
    "zeros behind ID3v1": _V1 + bytes(9000),
    "ID3v2 with a footer": id3(50_000, footer=True),
    "ID3v2": id3(50_000, fill=0xFF),
}


def _table() -> list[int]:
    entries = []
    for crc in range(0, 1 << 32, 1 << 24):
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        entries.append(crc)
    return entries


_CRC = _table()


def _checksum(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = crc << 8 & 0xFFFFFFFF ^ _CRC[crc >> 24 ^ byte]
    return crc


def _sealed(data: bytes) -> bytes:
    blank = data[:22] + bytes(4) + data[26:]
    return data[:22] + struct.pack("<I", _checksum(blank)) + data[26:]


def page(serial: int, number: int, flags: int, granule: int, packet: bytes) -> bytes:
    """A page of Ogg with one packet of up to 254 bytes."""
    head = b"OggS\0" + struct.pack("<BqIII", flags, granule, serial, number, 0)
    return _sealed(head + b"\1" + bytes([len(packet)]) + packet)


def pages(data: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    found, at = [], 0
    while at < len(data):
        size = 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        found.append(data[at : at + size])
        at += size
    return found


def changed(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """An Ogg file with every page changed, its checksum made anew."""
    out = b""
    for one in pages(data):
        copy = bytearray(one)
        change(copy)
        out += _sealed(bytes(copy))
    return out


def shifted(data: bytes, samples: int, *, flags: int = 0xFF) -> bytes:
    """An Ogg file whose time began `samples` before its first page, without the flags of pages that `flags` lacks."""

    def change(one: bytearray) -> None:
        [granule] = struct.unpack("<q", one[6:14])
        one[6:14] = struct.pack("<q", granule + samples * (granule > 0))
        one[5] &= flags

    return changed(data, change)
