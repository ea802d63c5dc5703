"""What speed.py and its tables of codecs and pictures share: rows of times, and checkpoints kept for the next run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clock import side_by_side

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
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as place:
        folder = kept / name if kept else Path(place) / name
        if not folder.exists():
            aside = Path(place) / "aside"  # what an interrupted run leaves is not taken for whole
            write(aside)
            aside.rename(folder)
        yield folder
