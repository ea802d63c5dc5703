"""What speed.py and its tables of codecs, peers and pictures share: clips, rows of times, shares of equal codes, and
checkpoints kept for the next run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from clock import side_by_side
from sounds import real_waves, synthetic_waves

import anytok
from anytok.registry import find

ALONE = 8  # items of a batch that are held against themselves alone
GPU_POLICIES = ("float32", "tf32", "bfloat16", "float16")
Row = dict[str, Any]
Run = tuple[int, Callable[[], Any]]  # how many items it does, and how


def measured(name: str, way: str, runs: dict[str, Run], rounds: int, seconds: float | None) -> list[Row]:
    """A row a run, times per item."""
    times = side_by_side({engine: run for engine, (_, run) in runs.items()}, rounds)
    rows = []
    for engine, figures in times.items():
        count = runs[engine][0]
        each = {key: value / count if key.endswith("_s") else value for key, value in figures.items()}
        row = {"tokenizer": name, "way": way, "engine": engine, "items": count, **each}
        row["ratio"] = times["original"]["median_s"] / each["median_s"]
        if seconds is not None:
            row["times_realtime"] = seconds / each["median_s"]
        rows.append(row)
    return rows


@contextmanager
def kept_checkpoint(name: str, kept: Path | None, write: Callable[[Path], Any]) -> Iterator[Path]:
    """A folder that `write` has filled: below `kept`, where it may be from before, or one that goes again."""
    if kept and (kept / name).exists():
        yield kept / name
        return
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as place:
        aside, folder = Path(place) / "aside", (kept or Path(place)) / name
        write(aside)
        aside.rename(folder)  # so what an interrupted run leaves is not taken for whole
        yield folder


def cut(name: str, folder: Path | None, seconds: float, batch: int) -> list[anytok.Audio]:
    """1 + `batch` stretches of `seconds`, from all files in turn: the first to calibrate on, the others to measure."""
    spec = find(name).spec
    rate, samples = spec.sample_rate or 0, int(seconds * (spec.sample_rate or 0))
    waves = real_waves(folder, spec) if folder else synthetic_waves(spec, 4, (1 + batch) * seconds / 4 + seconds)
    whole = np.concatenate(list(waves.values()), axis=1)
    count = 1 + batch
    step = (whole.shape[1] - samples) // (count - 1)
    if step < samples // 4:
        raise SystemExit(
            f"{folder}: {whole.shape[1] / rate:.0f} s of sound are too few for {count} clips of {seconds} s"
        )
    return [anytok.Audio(whole[:, i * step : i * step + samples], rate) for i in range(count)]


def agreement(theirs: list[anytok.Codes], ours: list[anytok.Codes]) -> list[float]:
    """Share of equal codes, layer by layer, over all items."""
    layers = ours[0].num_codebooks
    equal = [one.values[:layers] == other.values for one, other in zip(theirs, ours, strict=True)]
    return [round(float(share), 5) for share in np.concatenate(equal, axis=1).mean(axis=1)]
