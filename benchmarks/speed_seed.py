"""SEED's encoder against transformers' modules, at the published size: called by speed.py."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pictures import crops, real_pictures, synthetic_pictures
from PIL import Image
from seeded_seed import write_seed_checkpoint
from speed_rows import ALONE, GPU_POLICIES, Row, Run, kept_checkpoint, measured

import anytok
from anytok.media import prepare_each
from anytok.torch_settings import products

CALIBRATION_CROPS, CODEBOOK_CROPS = 4, 32
BATCH, COMPARED = 4, 64
# On a GPU: at a time, different ones, and how often each comes: the first batch has none before it to hide behind.
GPU_BATCH, GPU_PICTURES, TIMES, SLOW = 64, 256, 12, ("native float32", "native tf32")


def seed_rows(folder: Path | None, rounds: int, device: str, kept: Path | None = None) -> list[Row]:
    """Encode rows: the original in float32, native in float32 and lower precisions, alone and in a batch; on GPUs the
    original in float16, too, and from JPEG, which the CPU must read."""
    gpu = device != "cpu"
    named: list[Any] = real_pictures(folder) if folder else synthetic_pictures(BATCH)
    pictures = crops(named, GPU_PICTURES, seed=1) * TIMES if gpu else crops(named, BATCH, seed=1)
    cut = crops(named, CODEBOOK_CROPS)

    def write(place: Path) -> None:
        write_seed_checkpoint(place, cut[:CALIBRATION_CROPS], cut)

    with kept_checkpoint("seed-2", kept, write) as place:
        originals, natives = _loaded(place, device)
    compared = pictures[:COMPARED]
    with products("ieee"):  # which an original is not by itself, on GPUs
        expected = np.stack([originals["original"].encode(picture).values for picture in compared])
    runs: dict[str, Run] = {
        name: (1, products("ieee")(lambda t=each: t.encode(pictures[0]))) for name, each in originals.items()
    }
    found: dict[str, Row] = {}
    for engine, tokenizer in natives.items():
        some = compared if engine in SLOW else pictures
        runs[engine] = (1, lambda t=tokenizer: t.encode(pictures[0]))
        runs[f"{engine}, batch of {len(some)}"] = (len(some), lambda t=tokenizer, some=some: t.encode_batch(some))
        codes = tokenizer.encode_batch(compared)
        found[engine] = {"equal": [round(float((np.stack([item.values for item in codes]) == expected).mean()), 5)]}
        found[f"{engine}, batch of {len(some)}"] = found[engine] | {
            "alone": codes[:ALONE] == [tokenizer.encode(picture) for picture in compared[:ALONE]]
        }
    if gpu:  # JPEG changes pixels, so its codes are compared with nothing
        jpegs = [_jpeg(picture) for picture in pictures[:GPU_PICTURES]] * TIMES
        fast = "native bfloat16"
        encode = natives[fast].encode_batch
        runs[f"{fast}, from JPEG, batch of {len(jpegs)}"] = len(jpegs), lambda: encode(jpegs)
        runs["only reading JPEG and resizing"] = len(jpegs), lambda: list(prepare_each(jpegs, natives[fast].spec))
    return [row | found.get(row["engine"], {}) for row in measured("seed-2", "encode", runs, rounds, None)]


def _loaded(checkpoint: Path, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The originals and the native engines, by the names of their rows."""

    def load(**options: Any) -> Any:
        return anytok.load_tokenizer("seed-2", checkpoint=checkpoint, device=device, **options)

    originals = {"original": load(engine="reference")}
    if device == "cpu":
        return originals, {f"native {dtype}": load(dtype=dtype) for dtype in ("float32", "bfloat16")}
    originals["original float16"] = load(engine="reference", dtype="float16")
    natives = {f"native {dtype}": load(dtype=dtype, batch_size=GPU_BATCH) for dtype in GPU_POLICIES}
    return originals, natives


def _jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()
