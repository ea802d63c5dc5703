"""Pictures to train on: photographs in a folder, cut and coloured anew each time, and drawn ones without end: shapes on
a gradient, and scenes of the small world, which come with the truth about them.

Every seventh photograph is held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MediaError, UsageError
from ..media.image import load_image
from ..records import Share, Text
from .world import Scene, World

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Pictures", "WorldConfig", "held_out", "photographs"]

_HOLD_EVERY = 7


@dataclass(frozen=True)
class WorldConfig:
    """How many of the pictures are scenes of the small world, the file of Noto Color Emoji ("": fontconfig's), and the
    groups of objects that it has (none named: all; "shapes" alone needs no font)."""

    share: Share = 0.7
    font: str = ""
    groups: tuple[Text, ...] = ()

    def make(self) -> World:
        return World(self.font, self.groups)


def held_out(folder: str | Path) -> list[Path]:
    """The photographs that training never sees."""
    return photographs(folder)[::_HOLD_EVERY]


def photographs(folder: str | Path) -> list[Path]:
    """All photographs in a folder, in the order of their names; raises UsageError where there are none."""
    if not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder; set `data` to a folder of photographs")
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        raise UsageError(f"{folder}: no .jpg or .png pictures here; set `data` to a folder of photographs")
    return paths


class Pictures:
    """Random square pictures, uint8 [side, side, 3]: with `world` its share of scenes; of the others a share of `drawn`
    is drawn, the rest cut from photographs. `files` is all that they depend on.

    Raises UsageError where a folder has too few of them or the font is missing, MediaError naming a photograph that
    cannot be read.
    """

    def __init__(self, folder: str | Path, side: int, drawn: float, world: WorldConfig | None = None) -> None:
        self.side, self.drawn = side, drawn
        self.share = world.share if world else 0.0
        self.world = world.make() if world else None
        self.files = photographs(folder)  # those held out, too: they say which the others are
        self.photographs = [_read(path) for i, path in enumerate(self.files) if i % _HOLD_EVERY]
        if not self.photographs and drawn < 1:
            raise UsageError(
                f"{folder}: one picture only, and the first of every {_HOLD_EVERY} is held out; "
                "put at least one more here"
            )
        self.files += [self.world.font] if self.world and self.world.font else []

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """uint8 [size, side, side, 3]."""
        return self.labelled(rng, size)[0]

    def labelled(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[Scene | None]]:
        """The same, and the truth about those that are scenes."""
        items = [self._item(rng) for _ in range(size)]
        return np.stack([levels for levels, _ in items]), [scene for _, scene in items]

    def _item(self, rng: np.random.Generator) -> tuple[np.ndarray, Scene | None]:
        if self.world is not None and rng.random() < self.share:
            scene = self.world.scene(rng)
            return self.world.draw(scene, self.side)[0], scene
        return self._draw(rng) if rng.random() < self.drawn else self._cut(rng), None

    def _cut(self, rng: np.random.Generator) -> np.ndarray:
        from PIL import Image

        picture = self.photographs[rng.integers(len(self.photographs))]
        # a quarter to all of each side; often all, as it will be at inference
        width, height = (round(n * rng.uniform(0.35, 1.0)) if rng.random() < 0.7 else n for n in picture.size)
        left, top = rng.integers(0, picture.width - width + 1), rng.integers(0, picture.height - height + 1)
        box = (int(left), int(top), int(left + width), int(top + height))
        levels = np.asarray(picture.resize((self.side, self.side), Image.Resampling.BICUBIC, box=box))
        levels = levels[:, ::-1] if rng.random() < 0.5 else levels
        return _recolour(rng, levels) if rng.random() < 0.5 else levels

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """A gradient with a few shapes on it, at random colours."""
        from PIL import Image, ImageDraw

        corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
        picture = Image.fromarray(corners).resize((self.side, self.side), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(picture)
        for _ in range(int(rng.integers(0, 7))):
            box = np.sort(rng.uniform(-0.2, 1.2, (2, 2)) * self.side, axis=0)
            shape: Any = (pen.rectangle, pen.ellipse)[rng.integers(2)]
            shape([tuple(box[0]), tuple(box[1])], fill=tuple(rng.integers(0, 256, 3).tolist()))
        return np.asarray(picture)


def _read(path: Path) -> Image:
    try:
        return load_image(path)
    except MediaError as error:
        raise MediaError(error.kind, f"{error.detail}; replace this photograph, or take it away", error.key) from error


def _recolour(rng: np.random.Generator, levels: np.ndarray) -> np.ndarray:
    """Other brightness, contrast, saturation and tint."""
    values = levels.astype(np.float32)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * rng.uniform(0.3, 1.6)
    values = (values - 128) * rng.uniform(0.6, 1.2) + 128 + rng.uniform(-40, 40) + rng.uniform(-15, 15, 3)
    return values.clip(0, 255).astype(np.uint8)
