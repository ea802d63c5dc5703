"""What a shared machine costs: `anytok encode` of two clips, alone and beside processes that keep the cores busy.

    python benchmarks/busy.py [--checkpoint FOLDER] [--rounds N] [--spinning N] [--spin-count N …] [--out FILE]

Each run is a process of its own, start and loading included, as people run it; settings take turns, quiet and busy.
Threads of OpenMP that wait for one another spin first: 300,000 turns of a loop unless told otherwise, which is GNU's
default, and fewer with what anytok's commands set (anytok/openmp.py). Without --checkpoint the weights are seeded ones
of SpeechTokenizer's published sizes. Writes benchmarks/results/busy.json, or FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import machine

from anytok.openmp import SETTINGS

RESULT = Path(__file__).parent / "results" / "busy.json"
NAME = "speechtokenizer"
DEFAULT, OURS = "300000", SETTINGS["GOMP_SPINCOUNT"]
SECONDS = 10.0  # of each clip


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Within, so many processes do nothing but compute."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


def encode(clips: list[Path], checkpoint: str, spin_count: str) -> float:
    """Seconds that the command takes."""
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    environment["GOMP_SPINCOUNT"] = spin_count
    command = [sys.executable, "-m", "anytok", "encode", *map(str, clips), "--tokenizer", NAME, "--out", "-"]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--checkpoint", checkpoint], env=environment, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - started


def rows_of(clips: list[Path], checkpoint: str, counts: list[str], rounds: int, spinning: int) -> list[dict[str, Any]]:
    """A row for each number of turns and each state of the machine."""
    times: dict[tuple[str, int], list[float]] = {(count, beside): [] for count in counts for beside in (0, spinning)}
    encode(clips, checkpoint, counts[0])  # files come into memory
    for _ in range(rounds):
        for count, beside in times:
            with busy(beside):
                times[count, beside].append(encode(clips, checkpoint, count))
    return [
        {
            "spin_count": int(count), "spinning": beside, "rounds": rounds, "median_s": statistics.median(seconds),
            "least_s": min(seconds), "most_s": max(seconds),
        }
        for (count, beside), seconds in times.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spinning", type=int, default=2, help="processes beside, in the busy half")
    parser.add_argument("--spin-count", nargs="+", default=[DEFAULT, OURS], help="turns of the loop")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    from sounds import synthetic_waves

    import anytok
    from anytok.registry import find

    spec = find(NAME).spec
    with tempfile.TemporaryDirectory() as place:
        clips = []
        for number, wave in enumerate(synthetic_waves(spec, 2, SECONDS).values()):
            clips.append(Path(place, f"{number}.wav"))
            anytok.Audio(wave, spec.sample_rate or 0).save(clips[-1])
        checkpoint = options.checkpoint
        if checkpoint is None:
            from seeded import write_checkpoint

            checkpoint = place
            write_checkpoint(NAME, Path(place), list(synthetic_waves(spec, 1, 4.0).values()))
        rows = rows_of(clips, checkpoint, options.spin_count, options.rounds, options.spinning)
    for row in rows:
        print(json.dumps(row), flush=True)
    options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
