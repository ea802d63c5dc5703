"""Codes in float64: native against the original modules in float64, and what the canonical precision costs.

    python benchmarks/canonical.py --speech FOLDER --music FOLDER [--codes 1000000]

Clips of 1 sample to 60 seconds (log-uniform, as in exact.py) at published sizes, on seeded and calibrated weights. Of
each codec: how many of at least `--codes` codes the native engine and the original give otherwise in float64; how many
native float32 gives otherwise; how far the latents of native float32 are off, as a share of their length, which is what
margins are held against; the share of codes and of ten-second stretches with a margin below each bound; and time and
peak memory of encoding and decoding in float64 and float32.

A million codes are 42 minutes of speech, 83 minutes at 32 kHz, 7 at 24 and 48 kHz. On two cores, about five hours in
all. SEED is out of reach: a million codes are 31,250 pictures of 0.53 TFLOP, which is ten days for each of the two
engines at some 20 GFLOP/s; benchmarks/parity.py compares some.
Writes benchmarks/results/canonical.json; exits 1 if a code differs in float64.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from exact import CODECS, cut, differing
from machine import machine, rows_before
from seeded import write_checkpoint

import anytok

RESULT = Path(__file__).parent / "results" / "canonical.json"
BOUNDS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
STRETCH = 10.0  # seconds, for the share of items that `anytok verify --canonical` would encode again
TIMED = 10.0  # seconds of sound for time and memory
ROUNDS = 3
Row = dict[str, Any]


def codec_row(name: str, folder: Path | None, wanted: int) -> Row:
    """Codes, margins and cost of one codec over at least `wanted` codes."""
    clips, calibration = cut(name, folder, wanted)
    with tempfile.TemporaryDirectory() as place:
        checkpoint = write_checkpoint(name, Path(place), calibration)
        exact = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype="float64")
        plain = anytok.load_tokenizer(name, checkpoint=checkpoint)
        codes = [exact.encode(clip, margins=True) for clip in clips]
        single = [plain.encode(clip) for clip in clips]
        errors = np.concatenate([latent_errors(exact, plain, clip) for clip in clips])
        del plain
        original = anytok.load_tokenizer(name, checkpoint=checkpoint, engine="reference", dtype="float64")
        theirs = [original.encode(clip) for clip in clips]
        del exact, original
        longest = max(clips, key=lambda clip: clip.num_samples)
        cost = {dtype: measured(name, checkpoint, dtype, longest) for dtype in ("float64", "float32")}
    return {
        "tokenizer": name,
        "clips": len(clips),
        "codes": sum(item.values.size for item in codes),
        "original_differs": differing(theirs, codes),
        "float32_differs": differing(single, codes),
        "latent_error": {"median": float(np.median(errors)), "largest": float(errors.max())},
        "least_margin": min(float(item.margins.min()) for item in codes if item.margins is not None),
        "below": shares(codes),
        "cost": cost,
    }


def latent_errors(exact: Any, plain: Any, clip: anytok.Audio) -> np.ndarray:
    """|x' - x| / |x| of each frame: x the latent in float64, x' that in float32."""
    expected_dt, found_dt = exact.latents(clip), plain.latents(clip).astype(np.float64)
    return np.linalg.norm(found_dt - expected_dt, axis=0) / np.linalg.norm(expected_dt, axis=0)


def shares(codes: list[anytok.Codes]) -> dict[str, dict[str, float]]:
    """By bound: the share of codes with a smaller margin, and of stretches of STRETCH seconds with such a code."""
    frames = int(STRETCH * (codes[0].spec.frame_rate or 0))
    each = [item.margins for item in codes if item.margins is not None]
    stretches = [one[:, i : i + frames] for one in each for i in range(0, one.shape[1] - frames + 1, frames)]
    everything = np.concatenate([one.ravel() for one in each])
    least = np.array([one.min() for one in stretches])
    return {
        f"{bound:g}": {"codes": float((everything < bound).mean()), "stretches": float((least < bound).mean())}
        for bound in BOUNDS if len(least)
    }  # fmt: skip


def measured(name: str, checkpoint: Path, dtype: str, clip: anytok.Audio) -> Row:
    """Time and memory in a process of its own, of the first TIMED seconds of a clip."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        anytok.Audio(clip.wave[:, : int(TIMED * clip.sample_rate)], clip.sample_rate).save(path, "FLOAT")
        task = json.dumps([name, str(checkpoint), dtype, str(path)])
        done = subprocess.run([sys.executable, __file__, "--measure", task], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, checkpoint: str, dtype: str, path: str) -> Row:
    """Least of ROUNDS times (seconds) and the process's peak memory (MB)."""
    tokenizer = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype=dtype)
    codes = tokenizer.encode(path)
    times: dict[str, list[float]] = {"encode": [], "decode": []}
    for _ in range(ROUNDS):
        for way, run in (("encode", lambda: tokenizer.encode(path)), ("decode", lambda: tokenizer.decode(codes))):
            begin = time.perf_counter()
            run()
            times[way].append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {**{way: round(min(each), 4) for way, each in times.items()}, "peak_mb": round(peak)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("speech", "music"):
        parser.add_argument(f"--{kind}", type=Path, help=f"a folder of real {kind} (default: synthetic)")
    parser.add_argument("--codes", type=int, default=1_000_000, help="codes for each codec, at least")
    parser.add_argument("--only", nargs="+", choices=CODECS, default=CODECS)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # what `measured` starts
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return
    rows = rows_before(options.out, lambda row: row["tokenizer"] not in options.only)
    for name in options.only:
        rows.append(codec_row(name, options.speech if name.startswith("speech") else options.music, options.codes))
        print(json.dumps(rows[-1]), flush=True)
        options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    if bad := [row["tokenizer"] for row in rows if row["original_differs"]]:
        raise SystemExit(f"other codes in float64: {', '.join(bad)}")


if __name__ == "__main__":
    main()
