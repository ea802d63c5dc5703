"""What a picture's pixels mean where Pillow's mode does not say it: bits a sample, sign, photometric interpretation.

TIFF 6.0 (Adobe, 1992), sections 3 to 8 and 16 to 21; JPEG 2000 (ISO 15444-1), A.5.1. What is refused here, Pillow opens
and shows wrongly: test_media_pixels.py has one of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from ..errors import MediaError

__all__ = ["check_jpeg2000", "check_tiff", "explain_tiff", "grey_of"]

_SUBFILE, _OLD_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 258, 259, 262
_PLANAR, _INKS, _SAMPLE_FORMAT, _SUBSAMPLING = 284, 332, 339, 530
_WHITE_IS_ZERO, _INKED, _YCBCR = 0, 5, 6
_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}


def check_tiff(tags: Mapping[int, Any]) -> None:
    """Raise MediaError on a TIFF that Pillow opens with another meaning than its tags give it."""
    bits, kinds = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
    photometric, is_raw = tags.get(_PHOTOMETRIC, 0), tags.get(_COMPRESSION, 1) == 1
    if tags.get(_SUBFILE, 0) & 1 or tags.get(_OLD_SUBFILE) == 2:
        raise MediaError("unsupported_format", "the first page of this TIFF is a preview: extract the picture itself")
    if not {*kinds} <= {1, 4} or len({*bits}) != 1 or bits[0] > 16:
        raise _unsupported(tags)
    if tags.get(_PLANAR, 1) == 2 and is_raw and bits[0] > 8:  # Pillow takes half of the bytes
        raise _unsupported(tags, "in separate planes without compression")
    if photometric == _INKED and tags.get(_INKS, 1) != 1:
        raise _unsupported(tags, "in inks other than CMYK")
    if photometric == _YCBCR and is_raw and tags.get(_SUBSAMPLING, (1, 1)) != (1, 1):
        raise _unsupported(tags, "in YCbCr, its colours stored at a lower resolution")


def _unsupported(tags: Mapping[int, Any], form: str = "") -> MediaError:
    bits, kind = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))[0]
    what = f"TIFF with {' + '.join(map(str, bits))} bits, {_FORMATS.get(kind, kind)}, photometric interpretation "
    what += f"{tags.get(_PHOTOMETRIC, 'missing')}{', ' * bool(form)}{form}"
    return MediaError("unsupported_mode", f"{what}: convert it to 8-bit RGB first")


def explain_tiff(stream: IO[bytes]) -> MediaError | None:
    """Why Pillow does not open this TIFF, if the tags of its first page say what is in it."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream.seek(0)
    header = stream.read(8)
    tags = ImageFileDirectory_v2(header + (stream.read(8) if header[2] == 43 else b""))
    stream.seek(tags.next)
    tags.load(stream)
    return _unsupported(tags) if _PHOTOMETRIC in tags else None


def check_jpeg2000(data: bytes) -> None:
    """Raise MediaError unless all components have 8 bits or more, unsigned: Pillow scales fewer to 255 minus a rest."""
    at = data.find(b"\xff\x4f\xff\x51")  # start of codestream, and the segment with the sizes
    components = data[at + 42 : at + 42 + 3 * int.from_bytes(data[at + 40 : at + 42], "big") : 3]
    for depth in components if at >= 0 else b"":
        if depth & 0x80 or depth + 1 < 8:
            what = f"{'signed' if depth & 0x80 else 'unsigned'} components of {(depth & 0x7F) + 1} bits"
            raise MediaError("unsupported_mode", f"JPEG 2000 with {what}: convert it to 8-bit RGB first")


def grey_of(image: Any) -> np.ndarray | None:
    """uint8 `[height, width]` of a picture whose grey has more than 8 bits; None if it has no single scale, or colour.

    Pillow's own conversion clips to white what is above 255.
    """
    tags = getattr(image, "tag_v2", {})
    is_sixteen = image.mode in ("I;16", "I;16L", "I;16B", "I;16N")
    # Pillow opens 16-bit PGM as 32-bit integers that it has scaled to 0 … 65535.
    if not is_sixteen and not (image.mode == "I" and image.format == "PPM"):
        return None
    largest = 2 ** tags.get(_BITS, (16,))[0] - 1
    grey = (np.asarray(image).astype(np.uint32) * 255 + largest // 2) // largest
    if tags.get(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        grey = 255 - grey
    return grey.astype(np.uint8)
