"""Pictures that a careless reader shows wrongly, chokes on, or runs as a program; all made here.

`PICTURES` maps a name to a function that makes the file's bytes, and to what must come of it: "ok", or the kind
of MediaError.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

__all__ = ["PICTURES", "bmp", "chunk", "encoded", "packed", "photo", "png", "tiff"]


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth colours with some noise, so that every codec has something to do."""
    down, across = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    colours = np.stack([5 * down, 4 * across, 100 + down - across], -1)
    return Image.fromarray((colours + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(width: int, height: int, pixels: bytes = b"", *, bits: int = 8, colour: int = 2, more: bytes = b"") -> bytes:
    """A PNG put together by hand, to say what no encoder would; `more` are chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(values: np.ndarray, bits: int, before: bytes = b"") -> bytes:
    """Rows of samples of `bits`, the highest first, each row padded to a byte and begun with `before`."""
    rows = values.reshape(len(values), -1)
    digits = (rows[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(len(rows), -1)
    return b"".join(before + np.packbits(row).tobytes() for row in digits)


def tiff(
    values: np.ndarray,
    *,
    bits: list[int],
    photometric: int,
    planes: bool = False,
    more: dict[int, tuple[int, list[int]]] | None = None,
) -> bytes:
    """An uncompressed little-endian TIFF by hand; `more` tags as (type, values): 3 has 16 bits, 4 has 32."""
    height, width = values.shape[:2]
    parts = [values[..., i] for i in range(len(bits))] if planes else [values]
    whole = bits[0] in (16, 32)  # bytes in the order of the file; other depths are packed as they stand
    strips = [part.astype(f"<u{bits[0] // 8}").tobytes() if whole else packed(part, bits[0]) for part in parts]
    starts = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags = {256: (3, [width]), 257: (3, [height]), 258: (3, bits), 259: (3, [1]), 262: (3, [photometric])}
    tags |= {273: (4, starts), 277: (3, [len(bits)]), 278: (3, [height]), 279: (4, [len(strip) for strip in strips])}
    tags |= {284: (3, [2 if planes else 1])} | (more or {})
    body, directory = b"".join(strips), b""
    for tag, (kind, numbers) in sorted(tags.items()):
        data = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(data) > 4:
            body, data = body + data, struct.pack("<I", 8 + len(body))
        directory += struct.pack("<HHI", tag, kind, len(numbers)) + data.ljust(4, b"\0")
    body += bytes(len(body) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + directory + bytes(4)


def bmp(values: np.ndarray, bits: int, masks: tuple[int, ...] = ()) -> bytes:
    """A bitmap by hand, from the lowest row up; `masks` of red, green, blue (and opacity) in each pixel."""
    rows = values.astype("<u2" if bits == 16 else "u1").reshape(len(values), -1)[::-1]
    body = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in rows)
    size = 56 if len(masks) == 4 else 40
    fields = struct.pack(f"<{len(masks)}I", *masks)
    info = (size, values.shape[1], len(values), 1, bits, 3 if masks else 0, len(body), 0, 0, 0, 0)
    head = struct.pack("<IiiHHIIiiII", *info) + fields
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


def _black(side: int) -> bytes:
    """A square of one bit a pixel: 12 KB hold 100 million pixels."""
    return png(side, side, bytes((1 + (side + 7) // 8) * side), bits=1, colour=0)


def _flipped(data: bytes, place: float) -> bytes:
    at = int(len(data) * place)
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def _tiff(mode: str, values: np.ndarray | None = None) -> bytes:
    image = Image.fromarray(values) if values is not None else photo().convert(mode)
    return encoded(image, "TIFF")


_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000", "QOI")
_FLOATS = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
_FRAMES = [photo().rotate(90 * i) for i in range(3)]


def _by_format(form: str) -> dict[str, tuple[Callable[[], bytes], str]]:
    whole = lambda: encoded(photo(), form)  # noqa: E731
    return {
        f"{form} whole": (whole, "ok"),
        f"{form} header only": (lambda: whole()[:20], "bad"),
        f"{form} cut at 25 %": (lambda: whole()[: len(whole()) // 4], "bad"),
        f"{form} cut at 50 %": (lambda: whole()[: len(whole()) // 2], "bad"),
    }


PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    **{name: case for form in _FORMATS for name, case in _by_format(form).items()},
    "nothing": (lambda: b"", "empty"),
    "one byte": (lambda: b"\x89", "unsupported_format"),
    "text": (lambda: b"a picture of a cat\n" * 20, "unsupported_format"),
    "HTML": (lambda: b"<!doctype html><title>404</title>", "unsupported_format"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
    "EPS, for which Pillow starts Ghostscript": (lambda: encoded(photo(), "EPS"), "unsupported_format"),
    "PDF": (lambda: encoded(photo(), "PDF"), "unsupported_format"),
    "PSD": (lambda: b"8BPS\0\1" + bytes(100), "unsupported_format"),
    "JPEG XL": (lambda: b"\xff\x0a" + bytes(100), "unsupported_format"),
    "EXR": (lambda: b"v/1\x01" + bytes(100), "unsupported_format"),
    "sound": (lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), "unsupported_format"),
    "video": (lambda: b"\0\0\0\x18ftypisom\0\0\2\0isommp42" + bytes(50), "unsupported_format"),
    "PNG with a broken stream": (lambda: _flipped(encoded(photo(), "PNG"), 0.5), "broken"),
    "PNG without its end": (lambda: encoded(photo(), "PNG")[:-12], "ok"),
    "PNG with a ZIP behind it": (lambda: encoded(photo(), "PNG") + b"PK\5\6" + bytes(18), "ok"),
    "PNG of 0 x 0": (lambda: png(0, 0), "bad"),
    "PNG of 1 x 1": (lambda: png(1, 1, b"\0abc"), "ok"),
    "PNG of 1 x 10,000": (lambda: png(1, 10_000, b"\0abc" * 10_000), "ok"),
    "PNG of 1 x 40,000": (lambda: png(1, 40_000, b"\0abc" * 40_000), "too_large"),
    "PNG of 100 megapixels in 12 KB": (lambda: _black(10_000), "too_large"),
    "PNG of 400 megapixels in 49 KB": (lambda: _black(20_000), "too_large"),
    "PNG that says 2^31 x 2^31": (lambda: png(2**31 - 1, 2**31 - 1), "too_large"),
    "PNG that says 7,000 x 7,000 and holds nothing": (lambda: png(7000, 7000), "truncated"),
    "PNG with 200 MB of text": (
        lambda: png(1, 1, b"\0abc", more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))),
        "ok",
    ),
    "TIFF of floats": (lambda: _tiff("F", _FLOATS), "unsupported_mode"),
    "TIFF of floats with a NaN": (lambda: _tiff("F", np.where(_FLOATS > 0.5, np.nan, _FLOATS)), "unsupported_mode"),
    "TIFF of 32-bit integers": (lambda: _tiff("I", np.arange(64, dtype=np.int32).reshape(8, 8)), "unsupported_mode"),
    "TIFF of Lab": (lambda: _tiff("LAB"), "unsupported_mode"),
    "TIFF of CMYK": (lambda: _tiff("CMYK"), "ok"),
    "TIFF of three pages": (lambda: encoded(photo(), "TIFF", save_all=True, append_images=_FRAMES), "ok"),
    "JPEG of CMYK": (lambda: encoded(photo().convert("CMYK"), "JPEG"), "ok"),
    "JPEG, progressive": (lambda: encoded(photo(), "JPEG", progressive=True), "ok"),
    "JPEG without its end": (lambda: encoded(photo(), "JPEG")[:-2], "truncated"),
    "GIF that moves": (lambda: encoded(photo(), "GIF", save_all=True, append_images=_FRAMES), "ok"),
    "WEBP that moves": (lambda: encoded(photo(), "WEBP", save_all=True, append_images=_FRAMES), "ok"),
    "PNG that moves": (lambda: encoded(photo(), "PNG", save_all=True, append_images=_FRAMES), "ok"),
}
