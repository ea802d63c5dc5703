"""Memories to test on, with the small tokenizers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import anytok
from anytok.memory import Memory


@cache
def any2any() -> anytok.multimodal.Multimodal:
    return anytok.load_multimodal("mini")


def remember(folder: Path, user: str = "alice", **given: Any) -> Memory:
    return anytok.load_memory(folder / "memories", any2any(), user=user, **given)


def scene(seed: int) -> anytok.Image:
    """A picture of its own for each seed: coarse patches, enlarged."""
    levels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return anytok.Image(Image.fromarray(levels).resize((240, 240), Image.Resampling.BICUBIC))


def recording(seed: int, seconds: float = 1.0) -> anytok.Speech:
    """Syllables of tones: another melody for each seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(1600) / 16000
    tones = [np.sin(2 * np.pi * pitch * time) * np.hanning(1600) for pitch in rng.uniform(100, 900, int(10 * seconds))]
    return anytok.Speech(anytok.Audio(0.5 * np.concatenate(tones), 16000))


def codes_of(medium: anytok.Medium) -> anytok.Codes:
    [codes] = any2any().to_codes(medium)
    assert isinstance(codes, anytok.Codes)
    return codes


@cache
def shown(seed: int) -> anytok.Codes:
    """The codes of a scene, read once."""
    return codes_of(scene(seed))


@cache
def spoken(seed: int) -> anytok.Codes:
    """The codes of a recording, read once."""
    return codes_of(recording(seed))
