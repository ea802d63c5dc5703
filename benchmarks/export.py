"""Exported tokenizers at published sizes: ONNX Runtime's codes and sound beside those of the tokenizers themselves.

    python benchmarks/export.py --speech FOLDER --music FOLDER --images FOLDER [--checkpoints FOLDER]

Published sizes, seeded and calibrated weights (benchmarks/seeded.py), float32 and float16. Every export is checked by
onnx.checker and tried on clips from 1 sample to 20 seconds, or on pictures one by one. The exporter sees none of
these: codecs' graphs are written without any length, and SEED's exporter is shown a batch of two. A row says how many
codes equal those of the tokenizer in float32, the margins (`Codes.margins`) at the first difference of each frame, and
the largest error of decoding, as a share of the largest sample or number.

Some minutes a codec; SEED needs 14 GB of memory. Rows are written one by one to benchmarks/results/export.json;
exits 1 where an export in float32 differs beyond near ties, or decodes to another sound.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from machine import machine, rows_before, write_record
from parity import DECODE_ERROR, MARGINS
from pictures import crops, real_pictures, synthetic_pictures
from seeded import write_checkpoint
from seeded_seed import write_seed_checkpoint
from sounds import real_waves, synthetic_waves
from speed_rows import kept_checkpoint

import anytok
from anytok.export import export_onnx
from anytok.export.runtime import Agreement
from anytok.registry import find

RESULT = Path(__file__).parent / "results" / "export.json"
TOKENIZERS = ("speechtokenizer", "speechtokenizer-snake", "encodec-32khz", "encodec-24khz", "encodec-48khz", "seed-2")
DTYPES = ("float32", "float16")
SECONDS = (20.02, 10.0, 3.3, 1.017, 0.3)  # of clips; others have one sample, two, and one less than a frame
PICTURES = 6
NEAR_TIE = 1e-5  # of `Codes.margins`, below which float32 may decide in another order of sums
Row = dict[str, Any]


def rows_of(name: str, folder: Path | None, dtypes: Sequence[str], kept: Path | None = None, **sizes: Any) -> list[Row]:
    """A row a dtype; `sizes` shrink the published config (the tests do)."""
    if find(name).spec.is_image:
        sources: list[Any] = real_pictures(folder) if folder else synthetic_pictures(PICTURES)
        media: list[Any] = crops(sources, PICTURES, seed=1)
        cut = crops(sources, 32)
        write: Any = lambda place: write_seed_checkpoint(place, cut[:4], cut, **sizes)  # noqa: E731
    else:
        calibration, media = clips(name, folder)
        write = lambda place: write_checkpoint(name, place, [calibration], **sizes)  # noqa: E731
    with kept_checkpoint(name, kept, write) as checkpoint:
        return [export_row(name, checkpoint, dtype, media) for dtype in dtypes]


def clips(name: str, folder: Path | None) -> tuple[np.ndarray, list[anytok.Audio]]:
    """Sound to calibrate on, and clips of all lengths from elsewhere."""
    spec = find(name).spec
    waves = real_waves(folder, spec) if folder else synthetic_waves(spec, 4, 20.0)
    whole = np.concatenate(list(waves.values()), axis=1)
    first, rest = np.split(whole, [int(4 * (spec.sample_rate or 0))], axis=1)
    lengths = [int(seconds * (spec.sample_rate or 0)) for seconds in SECONDS] + [spec.hop_length - 1, 2, 1]
    lengths = [min(length, rest.shape[1]) for length in lengths]
    starts = [(rest.shape[1] - length) * place // len(lengths) for place, length in enumerate(lengths)]
    pieces = zip(starts, lengths, strict=True)
    return first, [anytok.Audio(rest[:, start : start + length], spec.sample_rate or 0) for start, length in pieces]


def export_row(name: str, checkpoint: Path, dtype: str, media: list[Any]) -> Row:
    """Export, check and try one tokenizer."""
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        result = export_onnx(name, place, media, checkpoint=checkpoint, dtype=dtype)
        seconds = time.perf_counter() - started
        for part in ("encoder", "decoder"):
            onnx.checker.check_model(str(result.folder / f"{part}.onnx"), full_check=True)  # raises
        size = sum(path.stat().st_size for path in result.folder.iterdir())
    items = [tried(one) for one in result.samples]
    return {
        "tokenizer": name,
        "dtype": dtype,
        "file_mb": round(size / 2**20),
        "seconds": round(seconds, 1),
        **{key: sum(item[key] for item in items) for key in ("codes", "equal", "first")},
        "largest_margin": max(item["largest_margin"] for item in items),
        "decode_error": max(item["decode_error"] for item in items),
        "items": items,
    }


def tried(found: Agreement) -> Row:
    """One item; the margins one by one where they are few. Those of float32's codes may be below zero: computed again,
    another code is the nearer one, by as little."""
    margins = sorted(map(abs, found.margins))
    record = {"item": found.item, "codes": found.codes, "equal": found.equal, "first": len(margins)}
    record |= {"largest_margin": max(margins, default=0.0), "decode_error": found.decode_error}
    return record | ({"margins": margins} if len(margins) <= MARGINS else {})


def holds(row: Row) -> bool:
    """Whether an export in float32 differs at near ties only, and decodes to the same; of float16 nothing is asked."""
    return row["dtype"] != "float32" or (row["largest_margin"] < NEAR_TIE and row["decode_error"] <= DECODE_ERROR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("speech", "music", "images"):
        parser.add_argument(f"--{kind}", type=Path, help=f"a folder of real {kind} (default: synthetic)")
    parser.add_argument("--checkpoints", type=Path, help="where seeded checkpoints are, or stay (default: nowhere)")
    parser.add_argument("--only", nargs="+", choices=TOKENIZERS, default=TOKENIZERS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    folders = {"image": options.images, "speech": options.speech, "music": options.music}
    bad = []
    for name in options.only:
        for dtype in options.dtypes:
            kept = rows_before(options.out, lambda row, one=(name, dtype): (row["tokenizer"], row["dtype"]) != one)
            found = rows_of(name, folders[find(name).spec.modality], [dtype], options.checkpoints)
            print(json.dumps(found[0]), flush=True)
            bad += [f"{name} {dtype}"] * (not holds(found[0]))
            write_record(options.out, {"machine": machine("onnx", "onnxruntime"), "rows": kept + found})
    raise SystemExit(f"other codes or sound: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
