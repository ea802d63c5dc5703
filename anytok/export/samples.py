"""What an export is tried on when it is given no files: sound of four lengths, two pictures; made from a seed."""

from __future__ import annotations

import numpy as np

from ..media import Audio, Media
from ..registry import find

__all__ = ["samples_for"]

_SECONDS = (3.0, 1.017, 0.05, 0.0)  # and one sample at least


def samples_for(name: str) -> list[Media]:
    """Media for the tokenizer of that name: tones that glide and change loudness, with noise; pictures of smooth blobs.
    They are media for any model, though not what it was trained on: real files tell more."""
    spec, draw = find(name).spec, np.random.default_rng(0)
    if spec.image_size is not None:
        return [_picture(spec.image_size, draw) for _ in range(2)]
    rate, channels = int(spec.sample_rate or 0), int(spec.channels or 1)
    return [_sound(max(1, int(rate * seconds)), rate, channels, draw) for seconds in _SECONDS]


def _sound(count: int, rate: int, channels: int, draw: np.random.Generator) -> Audio:
    seconds = np.arange(count) / rate
    tones = [np.sin(2 * np.pi * (hertz + 60 * seconds) * seconds) for hertz in draw.uniform(80, 900, 4)]
    envelope = 0.3 + 0.2 * np.sin(2 * np.pi * 3 * seconds)
    wave = envelope * sum(tones) / len(tones) + draw.normal(0, 0.02, (channels, count))
    return Audio(wave.astype(np.float32), rate)


def _picture(side: int, draw: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    levels = np.zeros((side, side, 3))
    for _ in range(6):
        (y, x), size, colour = draw.uniform(0, 1, 2), draw.uniform(0.1, 0.4), draw.uniform(-160, 160, 3)
        levels += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / size**2)[..., None] * colour
    return (128 + levels).clip(0, 255).astype(np.uint8)
