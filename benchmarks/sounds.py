"""Sound to measure on: real files from a folder, or, where there are none, voice-like and music-like synthesis."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import anytok
from anytok.media import prepare

SUFFIXES = {".wav", ".flac", ".mp3", ".ogg"}


def real_waves(folder: Path, spec: anytok.Spec, seconds: float | None = None) -> dict[str, np.ndarray]:
    """Every sound file below `folder`, prepared for `spec`: name → float32 [channels, samples]; there must be some."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{folder}: no sound there; expected files named {', '.join(sorted(SUFFIXES))}")
    length = None if seconds is None else int(seconds * (spec.sample_rate or 0))
    return {path.name: np.array(prepare(path, spec).wave[:, :length]) for path in files}


def synthetic_waves(spec: anytok.Spec, count: int, seconds: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Clips with the gross shape of speech or music: gliding harmonics, notes, noise bursts, pauses."""
    rng = np.random.default_rng(seed)
    rate, channels = spec.sample_rate or 0, spec.channels or 1
    return {f"synthetic-{i}": _clip(rng, int(seconds * rate), rate, channels) for i in range(count)}


def _clip(rng: np.random.Generator, samples: int, rate: int, channels: int) -> np.ndarray:
    wave_ct = np.zeros((channels, samples))
    start = 0
    while start < samples:
        length = int(rate * rng.uniform(0.08, 0.4))
        time = np.arange(length) / rate
        envelope = np.sin(np.pi * np.arange(length) / length) ** 0.5 * rng.uniform(0, 1)
        pitch = rng.uniform(90, 700) * (1 + rng.uniform(-0.2, 0.2) * time / time[-1])
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        tilt = rng.uniform(0.5, 2)
        tone = sum(np.sin(k * phase + rng.uniform(0, 6)) / k**tilt for k in range(1, 12))
        noise = np.diff(rng.standard_normal(length + 1)) * rng.uniform(0, 0.6)
        piece = (envelope * (tone + noise))[: samples - start]
        for channel in range(channels):
            wave_ct[channel, start : start + length] += piece * rng.uniform(0.5, 1)
        start += int(length * rng.uniform(0.5, 1.2))
    return (0.3 * wave_ct / np.abs(wave_ct).max()).astype(np.float32)
