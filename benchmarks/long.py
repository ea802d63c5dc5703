"""An hour at bounded memory: peak memory, time against length, and equality with the whole pass.

    python benchmarks/long.py --speech FOLDER --music FOLDER [--minutes 60]

Published sizes, seeded weights; the files of a folder one after the other, again and again, make the hour. Each
length runs in a process of its own; memory is counted above that of the loaded model and includes the clip itself.
Five minutes are encoded in one tile, too, which is the whole pass; exits 1 if that differs. Writes
benchmarks/results/long.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "long.json"
CODECS = ("speechtokenizer", "encodec-32khz")
WHOLE_MINUTES = 5.0


def child(name: str, checkpoint: str, folder: str, minutes: float) -> dict[str, Any]:
    """In a fresh process: load, encode, decode; and the whole pass where it still fits."""
    import torch
    from clock import status
    from exact import tiles

    import anytok

    torch.set_num_threads(2)
    tokenizer = anytok.load_tokenizer(name, checkpoint=checkpoint)
    rate = tokenizer.spec.sample_rate or 0
    tokenizer.decode(tokenizer.encode(anytok.Audio(np.zeros((1, rate), np.float32), rate)))
    before = status("VmRSS")
    audio = anytok.Audio(sound(name, folder, minutes), rate)
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    codes = tokenizer.encode(audio)
    encoded = time.perf_counter()
    encode_mb = (status("VmHWM") - before) / 1024
    del audio  # who decodes has no sound yet
    Path("/proc/self/clear_refs").write_text("5")
    decoded = time.perf_counter()
    wave = tokenizer.decode(codes).wave
    row = {
        "tokenizer": name, "minutes": minutes, "codes": int(codes.values.size),
        "encode_s": encoded - started, "decode_s": time.perf_counter() - decoded,
        "encode_peak_mb": encode_mb, "decode_peak_mb": (status("VmHWM") - before) / 1024,
    }  # fmt: skip
    if minutes <= WHOLE_MINUTES:
        audio = anytok.Audio(sound(name, folder, minutes), rate)
        with tiles(10**9, 10**9):
            row["codes_unlike_whole"] = int((tokenizer.encode(audio).values != codes.values).sum())
            row["samples_unlike_whole"] = int((tokenizer.decode(codes).wave != wave).sum())
    return row


def sound(name: str, folder: str, minutes: float) -> np.ndarray:
    """float32 [channels, samples] of so many minutes."""
    from sounds import real_waves, synthetic_waves

    from anytok.registry import find

    spec = find(name).spec
    waves = real_waves(Path(folder), spec) if folder else synthetic_waves(spec, 4, 20.0)
    once = np.concatenate(list(waves.values()), axis=1)
    samples = int(minutes * 60 * (spec.sample_rate or 0))
    return np.ascontiguousarray(np.tile(once, -(-samples // once.shape[1]))[:, :samples])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", default="", help="a folder of speech (default: synthetic)")
    parser.add_argument("--music", default="", help="a folder of music (default: synthetic)")
    parser.add_argument("--only", nargs="+", choices=CODECS, default=CODECS)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, checkpoint, folder, minutes = options.child
        print(json.dumps(child(name, checkpoint, folder, float(minutes))))
        return
    from machine import machine
    from seeded import write_checkpoint

    before = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    rows = [row for row in before if row["tokenizer"] not in options.only]
    for name in options.only:
        folder = options.speech if name.startswith("speech") else options.music
        with tempfile.TemporaryDirectory() as place:
            write_checkpoint(name, Path(place), [sound(name, folder, 0.2)])
            for minutes in (WHOLE_MINUTES, options.minutes):
                command = [sys.executable, __file__, "--child", name, place, folder, str(minutes)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(json.dumps(rows[-1]), flush=True)
        RESULT.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    raise SystemExit(any(row.get("codes_unlike_whole") or row.get("samples_unlike_whole") for row in rows))


if __name__ == "__main__":
    main()
