"""Pictures to measure on: real files from a folder, or, where there are none, scenes drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def real_pictures(folder: Path) -> list[Path]:
    """Every picture file below `folder`, sorted; there must be some."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{folder}: no pictures there; expected files named {', '.join(sorted(SUFFIXES))}")
    return files


def synthetic_pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Scenes with the gross shape of photographs: clouds of colour, edges, texture."""
    rng = np.random.default_rng(seed)
    return [_scene(rng) for _ in range(count)]


def _scene(rng: np.random.Generator) -> Image.Image:
    width, height = rng.integers(200, 400, 2)
    clouds = Image.fromarray(rng.integers(0, 256, (rng.integers(2, 7), rng.integers(2, 7), 3), np.uint8))
    image = clouds.resize((int(width), int(height)), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 12)):
        left, top = rng.integers(0, width), rng.integers(0, height)
        box = [int(left), int(top), int(left + rng.integers(10, 200)), int(top + rng.integers(10, 200))]
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))
    grain = rng.normal(0, rng.uniform(0, 25), (int(height), int(width), 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def crops(pictures: Sequence[Path | Image.Image], count: int, seed: int = 0) -> list[Image.Image]:
    """`count` random pieces of the pictures in turn, half of them mirrored."""
    rng = np.random.default_rng(seed)
    pieces = []
    for index in range(count):
        picture = pictures[index % len(pictures)]
        image = (Image.open(picture) if isinstance(picture, Path) else picture).convert("RGB")
        width, height = (int(side * rng.uniform(0.4, 0.9)) for side in image.size)
        left, top = int(rng.integers(image.width - width)), int(rng.integers(image.height - height))
        piece = image.crop((left, top, left + width, top + height))
        pieces.append(piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece)
    return pieces
