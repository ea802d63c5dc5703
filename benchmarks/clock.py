"""Timing side by side: warm up, take turns, report the median, the spread and the memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def side_by_side(runs: Mapping[Any, Callable[[], Any]], rounds: int) -> dict[Any, dict[str, float]]:
    """Each run once to warm up, then all in turn, `rounds` times: seconds (median, least, most) and peak memory.

    Turns keep a drifting machine from favouring anyone. `peak_mb` is what a run needs above the loaded models.
    """
    peaks = {name: _peak_mb(run) for name, run in runs.items()}
    times: dict[Any, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            _synchronize()
            start = time.perf_counter()
            run()
            _synchronize()
            times[name].append(time.perf_counter() - start)
    return {
        name: {
            "median_s": statistics.median(seconds),
            "least_s": min(seconds),
            "most_s": max(seconds),
            "peak_mb": peaks[name],
        }
        for name, seconds in times.items()
    }


def _peak_mb(run: Callable[[], Any]) -> float:
    """Growth of memory during a run: on a GPU of what torch has there, else of what is resident (Linux; else NaN)."""
    import torch

    if torch.cuda.is_available() and torch.cuda.memory_allocated():  # the models are there
        torch.cuda.reset_peak_memory_stats()
        loaded = torch.cuda.memory_allocated()
        run()
        return round((torch.cuda.max_memory_allocated() - loaded) / 1024**2, 1)
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        run()
        return float("nan")
    reset.write_text("5")  # forgets the peak so far
    before = status("VmRSS")
    run()
    return round((status("VmHWM") - before) / 1024, 1)


def status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise KeyError(field)


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
