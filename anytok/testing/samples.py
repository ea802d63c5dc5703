"""Sounds and pictures to try tokenizers on, made from numbers."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["picture", "sounds"]


def sounds(num_samples: int, rate: int, channels: int, seed: int) -> np.ndarray:
    """A rising tone, an echo of it in the other channel, and noise: float32 `[channels, samples]` in [-1, 1]."""
    time = np.arange(num_samples) / rate
    tone = 0.5 * np.sin(2 * np.pi * (110 * (1 + seed % 7) + 300 * time) * time)
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, (channels, num_samples))
    return (np.stack([np.roll(tone, 40 * channel) for channel in range(channels)]) + noise).astype(np.float32)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """A slope of colour with two shapes on it."""
    rows, columns = np.mgrid[0:height, 0:width]
    slope = np.stack([rows * 255 / height, columns * 255 / width, (rows + columns + 40 * seed) % 256], axis=-1)
    image = Image.fromarray(slope.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse([width // 5, height // 5, width // 2, height // 2], fill=(250, 40 * seed % 256, 30))
    draw.rectangle([width // 2, height // 2, width * 4 // 5, height * 3 // 4], fill=(20, 90, 40 * seed % 256))
    return image
