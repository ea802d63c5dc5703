"""SEED's encoder against transformers' modules, at the published size: called by speed.py."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pictures import crops, real_pictures, synthetic_pictures
from PIL import Image
from seeded_seed import write_seed_checkpoint
from speed import GPU_POLICIES, Row, Run, measured

import anytok

CALIBRATION_CROPS, CODEBOOK_CROPS = 4, 32
BATCH, GPU_BATCH = 4, 64


def seed_rows(folder: Path | None, rounds: int, device: str) -> list[Row]:
    """Encode rows: the original in float32, native in float32 and lower precisions, alone and in a batch; on GPUs
    compiled, too, and from JPEG, which the CPU must read."""
    count = BATCH if device == "cpu" else GPU_BATCH
    named: list[Any] = real_pictures(folder) if folder else synthetic_pictures(BATCH)
    pictures = crops(named, count, seed=1)
    with tempfile.TemporaryDirectory() as place:
        cut = crops(named, CODEBOOK_CROPS)
        options = {"checkpoint": write_seed_checkpoint(Path(place), cut[:CALIBRATION_CROPS], cut), "device": device}
        original = anytok.load_tokenizer("seed-2", engine="reference", **options)
        natives = {f"native {dtype}": anytok.load_tokenizer("seed-2", dtype=dtype, **options)
                   for dtype in ("float32", "bfloat16", *(GPU_POLICIES if device != "cpu" else ()))}  # fmt: skip
        if device != "cpu":
            compiled = {**options, "dtype": "float16", "compile": True}
            natives["native float16, compiled"] = anytok.load_tokenizer("seed-2", **compiled)
    expected = np.stack([original.encode(picture).values for picture in pictures])
    runs: dict[str, Run] = {"original": (1, lambda: original.encode(pictures[0]))}
    equal = {}
    for engine, tokenizer in natives.items():
        runs[engine] = (1, lambda t=tokenizer: t.encode(pictures[0]))
        runs[f"{engine}, batch of {count}"] = (count, lambda t=tokenizer: t.encode_batch(pictures))
        codes = np.stack([item.values for item in tokenizer.encode_batch(pictures)])
        equal[engine] = [round(float((codes == expected).mean()), 5)]
    if device != "cpu":
        jpegs = [_jpeg(picture) for picture in pictures]
        runs[f"native float16, from JPEG, batch of {count}"] = (
            count, lambda: natives["native float16"].encode_batch(jpegs)
        )  # fmt: skip
    rows = measured("seed-2", "encode", runs, rounds, None)
    for row in rows:
        engine = row["engine"].partition(", batch")[0]
        if engine in equal:  # JPEG changes pixels, so its codes are compared with nothing
            row["equal"] = equal[engine]
    return rows


def _jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()
