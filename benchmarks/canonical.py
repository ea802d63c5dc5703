"""Codes in float64: native against the original modules in float64, and what the canonical precision costs.

    python benchmarks/canonical.py --parts cost [--checkpoints FOLDER]
    python benchmarks/canonical.py --parts codes --speech FOLDER --music FOLDER [--codes 1000000]

Published sizes, seeded and calibrated weights. Results are kept by part and tokenizer: what one run measures stands
beside what others have measured.

`cost`, some minutes: time and memory of encoding and decoding one item in float64 and float32, of each codec and of
SEED's encoder. Each precision has a process of its own, and the two take turns in every round. Memory is that above the
process before loading.

`codes`: clips of 1 sample to 60 seconds (log-uniform, as in exact.py). Of each codec: how many of at least `--codes`
codes the native engine and the original give otherwise in float64; how many native float32 gives otherwise; how far
the latents of native float32 are off in every fifth clip, as a share of their length, which is what margins are held
against; the share of codes and of ten-second stretches with a margin below each bound. A million codes are 42 minutes
of speech, 83 minutes at 32 kHz, 7 at 24 and 48 kHz: three to four hours on two cores. SEED is out of reach: a million
codes are 31,250 pictures of 0.53 TFLOP, which is ten days for each of the two engines at some 20 GFLOP/s;
benchmarks/parity.py compares some.

Writes benchmarks/results/canonical.json; exits 1 if a code differs in float64.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from canonical_cost import cost_row
from exact import CODECS, cut, differing
from machine import machine, rows_before, write_record
from seeded import write_checkpoint

import anytok

RESULT = Path(__file__).parent / "results" / "canonical.json"
PARTS = ("cost", "codes")
BOUNDS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
LATENTS_EVERY = 5  # clips: comparing latents costs as much as encoding once more
STRETCH = 10.0  # seconds, for the share of items that `anytok verify --canonical` would encode again
Row = dict[str, Any]


def codes_row(name: str, folder: Path | None, wanted: int) -> Row:
    """Codes and margins of one codec over at least `wanted` codes."""
    clips, calibration = cut(name, folder, wanted)
    with tempfile.TemporaryDirectory() as place:
        checkpoint = write_checkpoint(name, Path(place), calibration)
        exact = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype="float64")
        plain = anytok.load_tokenizer(name, checkpoint=checkpoint)
        codes = [exact.encode(clip, margins=True) for clip in clips]
        single = [plain.encode(clip) for clip in clips]
        errors = np.concatenate([latent_errors(exact, plain, clip) for clip in clips[::LATENTS_EVERY]])
        del plain
        original = anytok.load_tokenizer(name, checkpoint=checkpoint, engine="reference", dtype="float64")
        theirs = [original.encode(clip) for clip in clips]
    return {
        "part": "codes",
        "tokenizer": name,
        "clips": len(clips),
        "codes": sum(item.values.size for item in codes),
        "original_differs": differing(theirs, codes),
        "float32_differs": differing(single, codes),
        "latent_error": {"median": float(np.median(errors)), "largest": float(errors.max())},
        "least_margin": min(float(item.margins.min()) for item in codes if item.margins is not None),
        "below": shares(codes),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("speech", "music", "images"):
        parser.add_argument(f"--{kind}", type=Path, help=f"a folder of real {kind} (default: synthetic)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--codes", type=int, default=1_000_000, help="codes for each codec, at least")
    parser.add_argument("--rounds", type=int, default=5, help="of `cost`")
    parser.add_argument("--threads", type=int, default=2, help="of `cost`")
    parser.add_argument("--checkpoints", type=Path, help="of `cost`: where seeded checkpoints are, or stay")
    parser.add_argument("--only", nargs="+", choices=(*CODECS, "seed-2"), default=(*CODECS, "seed-2"))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    chosen = [(part, name) for part in PARTS if part in options.parts for name in options.only]
    chosen = [one for one in chosen if one != ("codes", "seed-2")]
    rows = rows_before(options.out, lambda row: (row["part"], row["tokenizer"]) not in chosen)
    for part, name in chosen:
        folder = options.speech if name.startswith("speech") else options.music
        if part == "cost":
            folder = options.images if name == "seed-2" else folder
            row = cost_row(name, folder, options.rounds, options.threads, options.checkpoints)
        else:
            row = codes_row(name, folder, options.codes)
        rows.append(row)
        print(json.dumps(row), flush=True)
        write_record(options.out, {"machine": machine(), "rows": rows})
    if bad := [row["tokenizer"] for row in rows if row.get("original_differs")]:
        raise SystemExit(f"other codes in float64: {', '.join(bad)}")


if __name__ == "__main__":
    main()
