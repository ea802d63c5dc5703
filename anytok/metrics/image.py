"""How close a decoded picture is to the original, and whether one would know it again.

Legend: n pictures, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["lab", "psnr", "retrieved", "thumbnail"]

# Linear sRGB to CIE XYZ (IEC 61966-2-1), each row divided by the white point D65.
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_XYZ /= _TO_XYZ.sum(axis=1, keepdims=True)


def psnr(made: np.ndarray, wanted: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 pictures [h, w, 3] of the same size; infinite if equal."""
    if made.shape != wanted.shape:
        raise UsageError(f"pictures of shapes {made.shape} and {wanted.shape}: resize one of them first")
    if not made.dtype == wanted.dtype == np.uint8:  # of levels from 0 to 1 the ratio would be high, whatever they are
        raise UsageError(f"pictures of types {made.dtype} and {wanted.dtype}: expected uint8, levels from 0 to 255")
    error = np.square(made.astype(np.float64) - wanted).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (L 0 to 100) of sRGB levels 0 to 255 in the last axis (CIE 15:2004, white point D65)."""
    values = np.asarray(rgb, np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T
    curved = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(curved, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def thumbnail(picture: Image) -> np.ndarray:
    """A picture from afar: 8 x 8 means, squashed to a square, in Lab; float64 [8, 8, 3]."""
    from PIL import Image

    return lab(np.asarray(picture.convert("RGB").resize((8, 8), Image.Resampling.BOX)))


def retrieved(made: Sequence[Image], originals: Sequence[Image]) -> np.ndarray:
    """For each made picture, the index of the original whose thumbnail is nearest (mean squared Lab difference).

    Perfect retrieval is [0, 1, 2, …]: of originals equally near, as copies of one picture are, the one with the made
    picture's own index counts as nearest, and otherwise the first. Where all originals look different, by chance one
    in `len(originals)` is right; copies raise that, and a single original is always found. Raises UsageError without
    originals.
    """
    if not originals:
        raise UsageError("no originals to find pictures among: give at least one")
    thumbs_nd = np.stack([thumbnail(picture).ravel() for picture in originals])
    nearest = np.zeros(len(made), np.int64)
    for place, picture in enumerate(made):
        distances = np.square(thumbs_nd - thumbnail(picture).ravel()).mean(1)
        own = place < len(originals) and distances[place] == distances.min()
        nearest[place] = place if own else distances.argmin()
    return nearest
