"""Two checkouts of anytok side by side in one run: what a change of the code does to speed, loading and memory.

    python benchmarks/before_after.py OTHER --checkpoints FOLDER [--rounds 9] [--only speechtokenizer …]

OTHER is another checkout, with its kernels compiled; FOLDER is where `speed.py --checkpoints FOLDER` has left seeded
checkpoints. For every tokenizer, way and precision each checkout has a process of its own, and they take turns, item by
item. Shown are the median of OTHER's time divided by this one's, pair by pair, their spread, and whether codes
are equal and waves equal bit for bit. The last lines are loading times and memory once loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CODECS = ("speechtokenizer", "speechtokenizer-snake", "encodec-32khz", "encodec-24khz", "encodec-48khz")
SECONDS, BATCH = 8.0, 8

# What each checkout runs: commands come by stdin, a line of JSON each, and so do the answers by stdout.
SERVER = """
import hashlib, json, sys, time
import numpy as np
import torch
torch.set_num_threads(2)
import anytok
from PIL import Image

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

def digest(results):
    found = hashlib.sha256()
    for one in results:
        found.update(np.ascontiguousarray(getattr(one, "values", getattr(one, "wave", None))).tobytes())
    return found.hexdigest()[:16]

before = resident()
given = json.loads(sys.stdin.readline())
start = time.perf_counter()
tokenizer = anytok.load_tokenizer(given["name"], checkpoint=given["checkpoint"], dtype=given["dtype"])
print(json.dumps({"seconds": time.perf_counter() - start, "megabytes": resident() - before}), flush=True)
numbers = np.random.default_rng(0)
if tokenizer.spec.modality == "image":
    media = [Image.fromarray(numbers.integers(0, 256, (224, 224, 3), dtype=np.uint8)) for _ in range(given["batch"])]
else:
    rate, channels = tokenizer.spec.sample_rate, tokenizer.spec.channels
    time_s = np.arange(int(rate * given["clip"])) / rate
    tones = [np.sin(2 * np.pi * (110 + 40 * i + 100 * time_s) * time_s) * 0.4 for i in range(given["batch"])]
    media = [anytok.Audio((np.stack([tone] * channels) + numbers.normal(0, 0.05, (channels, len(tone)))).astype(
        np.float32), rate) for tone in tones]
codes = tokenizer.encode_batch(media)
runs = {
    "encode alone": lambda: [tokenizer.encode(media[0])],
    "encode in a batch": lambda: tokenizer.encode_batch(media),
    "decode alone": lambda: [tokenizer.decode(codes[0])],
    "decode in a batch": lambda: tokenizer.decode_batch(codes),
}
for line in sys.stdin:
    run = runs[json.loads(line)]
    start = time.perf_counter()
    made = run()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "digest": digest(made)}), flush=True)
"""


class Checkout:
    """A process that runs one checkout's anytok."""

    def __init__(self, root: Path, **given: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "2"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # loading would compile modules that users have compiled
        command = [sys.executable, "-c", SERVER]
        self._process = subprocess.Popen(
            command, cwd="/", env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.loaded = self.ask(given)

    def ask(self, question: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def rows(other: Path, name: str, dtype: str, checkpoint: Path, rounds: int) -> list[dict[str, Any]]:
    here = Path(__file__).resolve().parent.parent
    given = {"name": name, "checkpoint": str(checkpoint), "dtype": dtype, "clip": SECONDS, "batch": BATCH}
    given["batch"] = 2 if name == "seed-2" else BATCH
    pair = Checkout(other, **given), Checkout(here, **given)
    found = []
    for way in ("encode alone", "encode in a batch", "decode alone", "decode in a batch"):
        if name == "seed-2" and way.startswith("decode"):
            continue  # painting is diffusers', and takes minutes
        for one in pair:
            one.ask(way)  # warm
        turns = [[one.ask(way) for one in pair] for _ in range(rounds)]
        ratios = sorted(before["seconds"] / after["seconds"] for before, after in turns)
        row = {"tokenizer": name, "dtype": dtype, "way": way, "ratio": statistics.median(ratios)}
        row |= {"least": ratios[0], "most": ratios[-1]}
        row["seconds"] = [statistics.median(turn[i]["seconds"] for turn in turns) for i in (0, 1)]
        row["equal"] = turns[0][0]["digest"] == turns[0][1]["digest"]
        found.append(row)
        print(
            f"{name:22s} {dtype:9s} {way:18s} {row['ratio']:.3f} ({row['least']:.3f} to {row['most']:.3f})  "
            f"{row['seconds'][0] * 1000:.0f} → {row['seconds'][1] * 1000:.0f} ms  equal: {row['equal']}",
            flush=True,
        )
    for one in pair:
        one.stop()
    return found


def loading(other: Path, name: str, checkpoint: Path, rounds: int) -> dict[str, Any]:
    """Seconds of loading and megabytes once loaded, in new processes that take turns."""
    here = Path(__file__).resolve().parent.parent
    given = {"name": name, "checkpoint": str(checkpoint), "dtype": "float32", "clip": 1.0, "batch": 1}
    times: list[list[dict[str, Any]]] = []
    for _ in range(rounds):
        turn = []
        for root in (other, here):
            one = Checkout(root, **given)
            turn.append(one.loaded)
            one.stop()
        times.append(turn)
    row: dict[str, Any] = {"tokenizer": name, "way": "load"}
    for key in ("seconds", "megabytes"):
        row[key] = [statistics.median(turn[i][key] for turn in times) for i in (0, 1)]
    print(f"{name:22s} load  {row['seconds']} s  {row['megabytes']} MB", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=[*CODECS, "seed-2"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, help="where the rows go as JSON")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for name in options.only:
        for dtype in options.dtypes:
            found += rows(options.other.resolve(), name, dtype, options.checkpoints / name, options.rounds)
    found += [loading(options.other.resolve(), name, options.checkpoints / name, 5) for name in options.only]
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
