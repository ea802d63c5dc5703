"""A PNG without its texts and its colour profile, for whose size Pillow refuses the pixels (W3C PNG, section 11.3)."""

from __future__ import annotations

import zlib

__all__ = ["without_texts"]

_TEXTS = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
_OF_EXIF = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # where ImageMagick and Adobe put the orientation
_MAX_TEXT = 1 << 20  # bytes, Pillow's own limit of one text


def without_texts(data: bytes) -> bytes:
    """The same picture; of its texts the first of each kind that tells the orientation, if they are not too large."""
    kept, position, wanted = [data[:8]], 8, {*_OF_EXIF}
    while position < len(data):
        size = 12 + int.from_bytes(data[position : position + 4], "big")
        name, body = data[position + 4 : position + 8], data[position + 8 : position + size - 4]
        keyword = next((keyword for keyword in wanted if body.startswith(keyword)), None)
        if name not in _TEXTS:
            kept.append(data[position : position + size])
        elif keyword:
            wanted.remove(keyword)
            if _is_small(body[len(keyword) :]):
                kept.append(data[position : position + size])
        position += size
    return b"".join(kept)


def _is_small(text: bytes) -> bool:
    """Whether a text is within Pillow's limit, decompressing no more than that."""
    zlib_stream = text[max(0, text.find(b"\x78")) :]
    try:
        return len(text) < _MAX_TEXT and len(zlib.decompressobj().decompress(zlib_stream, _MAX_TEXT)) < _MAX_TEXT
    except zlib.error:  # not compressed
        return True
