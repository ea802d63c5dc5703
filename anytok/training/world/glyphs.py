"""Objects as pictures with transparency: emoji from Noto's colour font, shapes from polygons.

Legend: h height, w width, c channels.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UsageError
from .kinds import KINDS
from .shapes import SHAPES

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Glyphs", "find_font"]

_SIDES = (128, 96, 64, 48, 32, 24)  # each glyph is kept at these, so that it is never shrunk by much
_PIXELS = 109  # the one size of the bitmaps in the font
_INSTALL = "apt-get install fonts-noto-color-emoji, or give the file of Noto Color Emoji by `font`"


def find_font(font: str = "") -> Path:
    """The file of Noto Color Emoji: `font`, or what fontconfig knows. Raises UsageError where there is none."""
    if font:
        found = font
    else:
        command = ["fc-match", "-f", "%{file}", "Noto Color Emoji"]
        try:
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            found = ""
    path = Path(found)
    if not path.is_file() or (not font and "emoji" not in path.name.lower()):
        raise UsageError(f"{font or 'Noto Color Emoji'}: no such font here; {_INSTALL}")
    return path


class Glyphs:
    """Objects upright, cut to what is to be seen of them and centred in a square; without a font shapes only.

    Raises UsageError for a font that has no bitmaps of Noto Color Emoji.
    """

    def __init__(self, font: Path | None) -> None:
        from PIL import ImageFont

        self._emoji: dict[tuple[int, int], Image] = {}
        self._font = None
        if font is not None:
            try:
                self._font = ImageFont.truetype(str(font), _PIXELS)
            except OSError as error:
                raise UsageError(f"{font}: not a font with emoji of {_PIXELS} pixels ({error}); {_INSTALL}") from error

    def glyph(self, kind: int, least: float, tints: Sequence[tuple[int, int, int]]) -> Image:
        """RGBA picture of an object, of the smallest side that is kept and has `least` pixels. `tints`: the colours of
        a shape; emoji have their own."""
        from PIL import Image

        side = min((side for side in _SIDES if side >= least), default=_SIDES[0])
        if KINDS[kind].drawn:
            picture = Image.new("RGBA", (side, side))
            for layer, mask in enumerate(_masks(KINDS[kind].name, side)):
                picture.paste((*tints[layer % len(tints)], 255), mask=mask)
            return picture
        if (kind, side) not in self._emoji:
            self._emoji[kind, side] = _square(self._render(KINDS[kind].name), side)
        return self._emoji[kind, side]

    def _render(self, emoji: str) -> Image:
        from PIL import Image, ImageDraw

        if self._font is None:
            raise UsageError(f"{emoji}: this world was made without emoji, of shapes alone")
        drawn = []
        for ground in (0, 255):  # on transparency Pillow would darken edges: what shows through tells how much does
            canvas = Image.new("RGB", (192, 192), (ground,) * 3)
            ImageDraw.Draw(canvas).text((16, 16), emoji, font=self._font, embedded_color=True)
            drawn.append(np.asarray(canvas, np.float32))
        alpha_hw1 = 255 - (drawn[1] - drawn[0]).mean(2, keepdims=True)
        colours_hwc = np.where(alpha_hw1 > 0, drawn[0] * 255 / np.maximum(alpha_hw1, 1), 0).clip(0, 255)
        picture = Image.fromarray(np.concatenate([colours_hwc, alpha_hw1], axis=2).round().astype(np.uint8))
        box = picture.getchannel("A").getbbox()
        if box is None:
            raise UsageError(f"the font draws nothing for {emoji}: it is too old, or another one; {_INSTALL}")
        return picture.crop(box)


@cache
def _masks(name: str, side: int) -> list[Image]:
    """The layers of a shape, from the lowest up, each as a mask."""
    from PIL import Image, ImageDraw

    scale, masks = 4 * side, []
    for corners_or_discs in SHAPES[name]:
        mask = Image.new("L", (scale, scale))
        pen = ImageDraw.Draw(mask)
        for part in corners_or_discs:
            points = [(scale * x, scale * y) for x, y in part]
            if len(points) == 2:  # the corners of the box around an ellipse
                pen.ellipse(points, fill=255)
            else:
                pen.polygon(points, fill=255)
        masks.append(mask.reduce(4))
    return masks


def _square(picture: Image, side: int) -> Image:
    from PIL import Image

    whole = Image.new("RGBA", (max(picture.size),) * 2)
    whole.paste(picture, ((whole.width - picture.width) // 2, (whole.height - picture.height) // 2))
    return whole.resize((side, side), Image.Resampling.LANCZOS)
