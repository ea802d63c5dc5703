"""SEED's painting against diffusers' stock pipeline, at the published size: called by speed.py.

The embeddings are given, since making them of codes is a few small products beside twenty UNet calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seeded_unclip import EMBEDDING_DIM, embeddings, write_unclip
from speed_rows import Row, Run, measured

from anytok.checkpoints.unclip import Sampling
from anytok.engines.native.precision import products_of, torch_dtype
from anytok.engines.native.seed_painter import Painter
from anytok.torch_settings import products

Paint = Callable[[np.ndarray, Sequence[int]], list[Any]]

ROUNDS = 3  # at most: a round is about 300 UNet calls, counted by the picture
BATCH, COMPARED = 8, 4
# What Painter is told, beside its type: one line adds a row. "fast" paints other pictures, so it is compared with none.
PAINTERS: dict[str, dict[str, Any]] = {
    "": {"batch_size": 1},
    f", batch of {BATCH}": {"batch_size": BATCH},
    f", compiled, batch of {BATCH}": {"batch_size": BATCH, "compile": True},
    f", fast, batch of {BATCH}": {"batch_size": BATCH, "preset": "fast"},
}


def paint_rows(rounds: int, device: str, dtype: str = "float16", **sizes: Any) -> list[Row]:
    """Decode rows: the stock pipeline a picture at a time, native alone and in a batch, all in `dtype`; `sizes` as in
    write_unclip.

    A faithful row says how many levels (0 to 255) its pictures are from the stock pipeline's with the same seeds, and
    as a control, how many the stock pipeline's own pictures of other embeddings are.
    """
    told_be, seeds = embeddings(BATCH).numpy(), list(range(BATCH))
    painters = {name: options for name, options in PAINTERS.items() if device != "cpu" or "compile" not in options}
    with tempfile.TemporaryDirectory() as place:
        folder = write_unclip(Path(place) / "unclip", device, torch_dtype(dtype, device), **sizes)
        original = _stock(folder, device, dtype)
        natives = {name: _native(folder, device, dtype, options) for name, options in painters.items()}
    expected = original(told_be[:COMPARED], seeds)
    control = _apart(expected, original(np.roll(told_be, 1, axis=0)[:COMPARED], seeds))
    runs: dict[str, Run] = {"original": (1, lambda: original(told_be[:1], seeds))}
    found: dict[str, Row] = {}
    for name, options in painters.items():
        engine, count, paint = f"native {dtype}{name}", options["batch_size"], natives[name]
        runs[engine] = (count, lambda p=paint, n=count: p(told_be[:n], seeds))
        if "preset" not in options:
            apart = _apart(expected, paint(told_be[: max(count, COMPARED)], seeds))
            found[engine] = {"equal": [apart["equal"]], "levels": apart, "control": control}
    rows = measured("seed-2", "decode", runs, min(rounds, ROUNDS), None)
    return [row | found.get(row["engine"], {}) for row in rows]


def _stock(folder: Path, device: str, dtype: str) -> Paint:
    """What the reference engine's decode_batch does after its embeddings."""
    from anytok.engines.reference.stock_unclip import load_stock

    kind = torch_dtype(dtype, device)
    pipeline: Any = load_stock(folder, torch.device(device), kind)
    pipeline.set_progress_bar_config(disable=True)

    def paint(told_be: np.ndarray, seeds: Sequence[int]) -> list[Any]:
        return [
            pipeline(
                prompt=[""],
                image_embeds=torch.from_numpy(told_e[None]).to(device, kind),
                generator=[torch.Generator("cpu").manual_seed(seed)],
                num_inference_steps=20,
                guidance_scale=10.0,
            ).images[0]
            for told_e, seed in zip(told_be, seeds, strict=False)
        ]

    return paint


def _native(folder: Path, device: str, dtype: str, options: dict[str, Any]) -> Paint:
    """What the native engine's decode_batch does after its embeddings."""
    kind = torch_dtype(dtype, device)
    common = {"embedding_dim": EMBEDDING_DIM, "device": device, "dtype": kind, "sampling": Sampling()}
    painter = Painter(lambda: folder, **common, **options)
    assert painter._unclip  # which reads it now: else the memory of the first run would have the weights in it

    def paint(told_be: np.ndarray, seeds: Sequence[int]) -> list[Any]:
        with products(products_of(dtype)):
            return painter.paint(told_be, seeds[: len(told_be)])

    return paint


def _apart(expected: list[Any], pictures: list[Any]) -> dict[str, float]:
    """Levels between pictures: the largest and the mean difference, and the share of equal ones."""
    pairs = zip(expected, pictures, strict=False)  # of a batch, the first
    apart = np.stack([np.abs(np.asarray(one, int) - np.asarray(other, int)) for one, other in pairs])
    figures = {"largest": apart.max(), "mean": apart.mean(), "equal": (apart == 0).mean()}
    return {key: round(float(value), 5) for key, value in figures.items()}
