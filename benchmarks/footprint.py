"""What it costs to have an engine: seconds to load it, memory once loaded, memory at the peak of one clip's way.

    python benchmarks/footprint.py [--only NAME …] [--out FILE]

Published sizes, seeded weights, each engine in processes of its own, the median of five: resident memory above that of
the process before loading. Each process first takes the time to read the same files' bytes, from a warm cache, and
then loads them. Memory that only maps a file counts once it is touched. Writes benchmarks/results/footprint.json,
or FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "footprint.json"
TOKENIZERS = ("speechtokenizer", "speechtokenizer-snake", "encodec-32khz", "encodec-24khz", "encodec-48khz", "seed-2")
SECONDS = 10.0


def child(name: str, engine: str, checkpoint: str) -> dict[str, float]:
    """In a fresh process: load, encode and decode one item."""
    import gc

    import torch
    from clock import status
    from pictures import synthetic_pictures
    from sounds import synthetic_waves

    import anytok
    from anytok.registry import find

    torch.set_num_threads(2)
    spec = find(name).spec
    if spec.modality == "image":
        item: Any = synthetic_pictures(1)[0]
    else:
        item = anytok.Audio(next(iter(synthetic_waves(spec, 1, SECONDS).values())), spec.sample_rate or 0)
    small = {"image": "seed-mini", "speech": "speech-mini", "music": "music-mini"}[spec.modality]
    anytok.load_tokenizer(small, engine=engine)  # what loading imports is not the model's
    gc.collect()  # nor is tidying up after the imports
    read_s = read_seconds(Path(checkpoint))
    before = status("VmRSS")
    started = time.perf_counter()
    tokenizer = anytok.load_tokenizer(name, engine=engine, checkpoint=checkpoint)
    load_s = time.perf_counter() - started
    loaded = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    codes = tokenizer.encode(item)
    if spec.modality != "image":
        tokenizer.decode(codes)
    megabytes = {"loaded_mb": (loaded - before) / 1024, "peak_mb": (status("VmHWM") - before) / 1024}
    return {"load_s": load_s, "read_s": read_s, **megabytes}


def rows_of(name: str) -> list[dict[str, Any]]:
    """Both engines on the same files."""
    from seeded import write_checkpoint
    from sounds import synthetic_waves

    from anytok.registry import find

    with tempfile.TemporaryDirectory() as place:
        if name == "seed-2":
            from pictures import crops, synthetic_pictures
            from seeded_seed import write_seed_checkpoint

            cut = crops(synthetic_pictures(4), 8)
            write_seed_checkpoint(Path(place), cut[:4], cut)
        else:
            write_checkpoint(name, Path(place), list(synthetic_waves(find(name).spec, 1, 4.0).values()))
        os.sync()  # or writing the files out would slow their reading
        megabytes = sum(path.stat().st_size for path in Path(place).iterdir() if path.is_file()) / 2**20
        rows = []
        for engine in ("reference", "native"):
            runs = [run(name, engine, place) for _ in range(5)]
            row = {key: float(np.median([one[key] for one in runs])) for key in runs[0]}
            rows.append({"tokenizer": name, "engine": engine, **row, "file_mb": megabytes})
    return rows


def run(name: str, engine: str, checkpoint: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", name, engine, checkpoint], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def read_seconds(folder: Path) -> float:
    started = time.perf_counter()
    for path in folder.iterdir():
        if path.is_file():
            path.read_bytes()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TOKENIZERS, default=TOKENIZERS)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    from machine import machine, rows_before

    rows = rows_before(options.out, lambda row: row["tokenizer"] not in options.only)
    for name in options.only:
        for row in rows_of(name):
            print(json.dumps(row), flush=True)
            rows.append(row)
        options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
