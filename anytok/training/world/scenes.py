"""Scenes: one object at a place, of a size and turned, on a background. The truth is drawn first, then the picture.

Kept aside from training are, beside some kinds, some pairs of a kind and a background (`is_aside`): a scene of such a
pair was never seen, though its object and its background were.

Legend: b batch, h height, w width, c red, green, blue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arguments import choice
from .backgrounds import BACKGROUNDS, draw_background, draw_colours
from .glyphs import Glyphs, find_font
from .kinds import KINDS, kinds_of

__all__ = ["MAX_TURN", "SIZES", "Scene", "World", "is_aside"]

SIZES = (0.55, 0.85)  # an object's side, of the picture's
MAX_TURN = 10.0  # degrees
_ASIDE_EVERY = 7

Colours = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Scene:
    """The truth about a picture. `kind` and `background` are places in KINDS and BACKGROUNDS; `x`, `y` (to the right,
    down) is the middle of the object and `size` its side, all of the picture's side; `turn` is in degrees, clockwise.
    `tints` are the colours of a shape; `seed` decides the rest of the background."""

    kind: int
    x: float
    y: float
    size: float
    turn: float
    background: int
    colours: Colours
    tints: Colours
    seed: int


def is_aside(kind: int, background: int) -> bool:
    """Whether training never sees this kind of object on this kind of background."""
    return KINDS[kind].aside or (kind + background) % _ASIDE_EVERY == 0


class World:
    """Draws scenes with objects of some groups, by default of all; shapes alone need no font. `font` is the file of
    Noto Color Emoji, by default what fontconfig finds.

    `kinds` and `kinds_aside` are those that training sees and those that it never does.

    Raises UsageError for an unknown group, or where there is no such font.
    """

    def __init__(self, font: str = "", groups: Sequence[str] = ()) -> None:
        known = dict.fromkeys(kind.group for kind in KINDS)
        for group in groups:
            choice("groups", group, known)
        self.kinds, self.kinds_aside = (
            [index for index in kinds_of(aside=aside) if not groups or KINDS[index].group in groups]
            for aside in (False, True)
        )
        self.font = None if all(KINDS[index].drawn for index in self.kinds) else find_font(font)
        self._glyphs = Glyphs(self.font)

    def scene(self, rng: np.random.Generator, *, aside: bool = False, kinds: Sequence[int] | None = None) -> Scene:
        """A scene that training may see, or one kept aside: of `kinds`, by default those that training sees."""
        kinds = self.kinds if kinds is None else kinds
        while True:
            kind, background = int(rng.choice(kinds)), int(rng.integers(len(BACKGROUNDS)))
            if is_aside(kind, background) == aside:
                break
        colours, size = draw_colours(rng, background), rng.uniform(*SIZES)
        x, y = rng.uniform(0.46 * size, 1 - 0.46 * size, 2)  # a corner may be cut off
        return Scene(
            kind, float(x), float(y), float(size), float(rng.uniform(-MAX_TURN, MAX_TURN)), background,
            _plain(colours), _plain(_tints(rng, colours[:2])), int(rng.integers(1 << 31)),
        )  # fmt: skip

    def draw(self, scene: Scene, side: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture, uint8 [side, side, 3], and how much of each pixel the object covers, uint8 [side, side]."""
        from PIL import Image

        behind = draw_background(scene.background, np.array(scene.colours, np.float32), scene.seed, side)
        picture = Image.fromarray(behind.round().astype(np.uint8))
        glyph = self._glyphs.glyph(scene.kind, scene.size * side, scene.tints)
        scale, angle = glyph.width / (scene.size * side), math.radians(scene.turn)
        cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
        x, y, middle = scene.x * side, scene.y * side, glyph.width / 2
        # from a pixel of the picture to one of the glyph, which Pillow asks for
        back = (cosine, sine, middle - cosine * x - sine * y, -sine, cosine, middle + sine * x - cosine * y)
        affine: Any = Image.Transform.AFFINE
        placed = glyph.transform((side, side), affine, back, Image.Resampling.BILINEAR)
        mask = placed.getchannel("A")
        picture.paste(placed.convert("RGB"), mask=mask)
        return np.asarray(picture), np.asarray(mask)


def _tints(rng: np.random.Generator, behind_nc: np.ndarray) -> np.ndarray:
    """Three strong colours [3, 3]; the first differs from what is behind."""
    while True:
        tints = rng.uniform(0, 1, (3, 3))
        tints = (tints - tints.min(axis=1, keepdims=True)) / np.ptp(tints, axis=1, keepdims=True)
        tints = 255 * (0.1 + 0.85 * tints)
        if all(np.linalg.norm(tints[0] - colour) > 90 for colour in behind_nc):
            return tints.round()


def _plain(colours: np.ndarray) -> Colours:
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colours)
