"""A short hash of the codes that tokenizers give to a fixed set of media, to compare machines by.

The media are made by integer arithmetic, so they are the same everywhere. The codes in float64 have to be, too; those
in float32 rest on the order in which this CPU sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from .media import Audio, Media
from .registry import find, load_tokenizer
from .spec import Spec

__all__ = ["RECORDED", "Fingerprint", "fingerprints", "fixed_media"]

# In float64, of the small models, whose weights are in the package.
RECORDED: Mapping[str, str] = MappingProxyType(
    {"seed-mini": "6eb53184ef21", "music-mini": "795f3a7c00ae", "speech-mini": "64120f035fbe"}
)

_SOUNDS = ((70_000, 44_100, 2), (20_000, 0, 1), (7, 48_000, 1))  # samples, their rate (0: the model's), channels


@dataclass(frozen=True)
class Fingerprint:
    """Of one tokenizer in one dtype; `recorded` is the hash that it must be, where there is one."""

    tokenizer: str  # its id
    dtype: str
    codes: int
    least_margin: float  # see Codes.margins
    hash: str
    recorded: str | None

    @property
    def ok(self) -> bool:
        """Whether the hash is the recorded one; True where there is none."""
        return self.recorded in (None, self.hash)


def fingerprints(
    names: Sequence[str] = (), dtypes: Sequence[str] = ("float64", "float32"), **options: Any
) -> Iterator[Fingerprint]:
    """Encode the fixed media with each tokenizer, by default the small models in the package; `options` go to
    `load_tokenizer`. Those that are fetched or seeded have no recorded hash: compare two machines' by eye."""
    for name in names or RECORDED:
        media = fixed_media(find(name).spec)
        for dtype in dtypes:
            tokenizer = load_tokenizer(name, dtype=dtype, **options)
            codes = tokenizer.encode_batch(media, margins=True)
            margins = [item.margins.min() for item in codes if item.margins is not None]
            recorded = RECORDED.get(name) if dtype == "float64" and not options.get("checkpoint") else None
            size, least = sum(item.values.size for item in codes), float(min(margins))
            yield Fingerprint(tokenizer.spec.id, dtype, size, least, _hash([item.values for item in codes]), recorded)


def fixed_media(spec: Spec) -> list[Media]:
    """Media for the tokenizer of `spec`: pictures of its size, which Pillow leaves as they are, or sounds of several
    rates, channels and lengths."""
    if spec.is_image:
        return [_picture(spec.image_size or 0, seed) for seed in range(4)]
    return [
        Audio(_levels(samples, channels, seed) / np.float32(32768), rate or spec.sample_rate or 0)
        for seed, (samples, rate, channels) in enumerate(_SOUNDS)
    ]


def _levels(samples: int, channels: int, seed: int) -> np.ndarray:
    """Triangle waves that glide and swell, and noise: float32 integers `[channels, samples]` in the range of int16."""
    times = np.arange(samples, dtype=np.int64)
    waves = []
    for channel in range(channels):
        voice_s = np.zeros(samples, np.int64)
        for overtone in (1, 2, 3, 5):
            steps = overtone * (200_000 + 37_000 * seed + 11_000 * channel + 3 * times)  # of a period of 2^26
            voice_s += np.abs((np.cumsum(steps) >> 10) % 65_536 - 32_768) // overtone - 16_384 // overtone
        swell_s = np.abs(times % 9_000 - 4_500)  # 0 to 4500
        waves.append(voice_s * swell_s // 9_000 + _noise(samples, 2 * seed + channel) % 2_001 - 1_000)
    return np.clip(np.stack(waves), -32_768, 32_767).astype(np.float32)


def _picture(size: int, seed: int) -> np.ndarray:
    """Slopes of colour, a disc, and noise: uint8 `[size, size, 3]`."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.int64)
    colours = [rows * 255 // size, columns * 255 // size, (rows + (seed + 1) * columns) % 256]
    inside = (rows - size // 2) ** 2 + (columns - size // (2 + seed)) ** 2 < (size // 4) ** 2
    noise = _noise(size * size, 100 + seed).reshape(size, size) % 24
    levels = [np.where(inside, (80 * index + 60 * seed) % 256, one) + noise for index, one in enumerate(colours)]
    return np.clip(np.stack(levels, axis=-1), 0, 255).astype(np.uint8)


def _noise(count: int, seed: int) -> np.ndarray:
    """Numbers from 0 to 2^31, int64 [count], by SplitMix64 (Steele et al., OOPSLA 2014)."""
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed << 32)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(33)).astype(np.int64)


def _hash(values: Sequence[np.ndarray]) -> str:
    """Twelve hex digits over shapes and codes."""
    digest = hashlib.sha256()
    for one in values:
        digest.update(repr(one.shape).encode() + np.ascontiguousarray(one, "<i8").tobytes())
    return digest.hexdigest()[:12]
