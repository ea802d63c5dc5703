"""What float64 costs beside float32, in time and memory: called by `canonical.py --parts cost`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
SECONDS = 10.0  # of sound
DTYPES = ("float32", "float64")


def cost_row(name: str, folder: Path | None, rounds: int, threads: int, kept: Path | None = None) -> Row:
    """Seconds (median, least, most) of encoding and, for sound, decoding one item in each precision, and the peak of
    memory in MB; the item comes from `folder`, or is synthetic."""
    from seeded import write_checkpoint
    from seeded_seed import write_seed_checkpoint
    from speed_rows import cut, kept_checkpoint

    import anytok

    with tempfile.TemporaryDirectory() as place:
        if name == "seed-2":
            from pictures import crops, real_pictures, synthetic_pictures

            cropped = crops(real_pictures(folder) if folder else synthetic_pictures(4), 33)
            cropped[-1].save(path := Path(place) / "item.png")
            write: Any = lambda place: write_seed_checkpoint(place, cropped[:4], cropped[:32])  # noqa: E731
        else:
            first, second = cut(name, folder, SECONDS, 1)
            anytok.Audio(second.wave, second.sample_rate).save(path := Path(place) / "item.wav", "FLOAT")
            write = lambda place: write_checkpoint(name, place, [first.wave])  # noqa: E731
        with kept_checkpoint(name, kept, write) as checkpoint:
            found = turns(name, checkpoint, path, rounds, threads)
    item = "a picture" if name == "seed-2" else f"{SECONDS:g} s"
    return {"part": "cost", "tokenizer": name, "item": item, "threads": threads, **found}


def turns(name: str, checkpoint: Path, item: Path, rounds: int, threads: int) -> Row:
    """A process for each precision; in every round each does everything once."""
    command = [sys.executable, __file__, name, str(checkpoint), str(item), str(threads)]
    processes = {dtype: _Process([*command, dtype]) for dtype in DTYPES}
    ways = ["encode"] if name == "seed-2" else ["encode", "decode"]
    times: dict[str, dict[str, list[float]]] = {way: {dtype: [] for dtype in DTYPES} for way in ways}
    try:
        for number in range(rounds + 1):
            for way in ways:
                for dtype, process in processes.items():
                    seconds = process.ask(way)
                    if number:  # the first is to warm up
                        times[way][dtype].append(seconds)
        peaks = {dtype: round(process.ask("peak_mb")) for dtype, process in processes.items()}
    finally:
        for process in processes.values():
            process.stop()
    found: Row = {way: {dtype: _figures(each) for dtype, each in times[way].items()} for way in ways}
    return found | {"peak_mb": peaks}


def _figures(seconds: list[float]) -> Row:
    return {"median_s": statistics.median(seconds), "least_s": min(seconds), "most_s": max(seconds)}


class _Process:
    """A process that runs `serve`."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, question: str) -> float:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{' '.join(self._process.args)} ended with {self._process.wait()}")  # type: ignore[arg-type]
        return float(json.loads(answer))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(name: str, checkpoint: str, item: str, threads: int, dtype: str) -> None:
    """Load a tokenizer; then answer "encode" and "decode" with seconds, "peak_mb" with the largest memory since it was
    loaded, above that before loading."""
    import torch
    from clock import status

    import anytok
    from anytok.registry import find

    torch.set_num_threads(threads)
    spec = find(name).spec
    anytok.load_tokenizer({"image": "seed-mini", "speech": "speech-mini", "music": "music-mini"}[spec.modality])
    before = status("VmRSS")  # with what loading imports, which is not the model's
    tokenizer = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype=dtype)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    codes = tokenizer.encode(item)
    assert len(np.unique(codes.values)) > 1, f"{name}: one code for everything"
    for line in sys.stdin:
        if line.strip() == "peak_mb":
            answer = (status("VmHWM") - before) / 1024
        else:
            run = {"encode": lambda: tokenizer.encode(item), "decode": lambda: tokenizer.decode(codes)}[line.strip()]
            started = time.perf_counter()
            run()
            answer = time.perf_counter() - started
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:4], int(sys.argv[4]), sys.argv[5])  # type: ignore[misc]
