"""Native SEED against transformers' modules at the published sizes: are the codes equal, and by what margin?

    python benchmarks/parity.py --only seed-2 --images FOLDER

calls `seed_rows`. The weights are seeded (see seeded_seed.py), with scales and codebook from crops of the pictures
that are then compared whole. About 3 GB go to a temporary folder, and 6 GB of memory are needed. A native model whose
queries see all others, the mask forgotten, is compared too: the control, which has to disagree.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from exported import KINDS, exported
from pictures import crops, real_pictures, synthetic_pictures
from PIL import Image
from seeded_seed import SPEC, levels, write_seed_checkpoint
from torch import Tensor

from anytok.engines.native.seed import SeedTokenizer
from anytok.engines.reference.seed import ReferenceSeed
from anytok.models.qformer import Layer
from anytok.models.quantize import margins_of
from anytok.models.seed import normalize
from anytok.spec import Codes

CALIBRATION_CROPS, CODEBOOK_CROPS = 4, 32
Row = dict[str, Any]


@dataclass
class Encoded:
    """Of p pictures with t codes each: codes [p, t], latents [p, t, d], embeddings [p, e]; margins [p, t] of native."""

    codes_pt: np.ndarray
    latents_ptd: np.ndarray
    embeddings_pe: np.ndarray
    margins_pt: np.ndarray | None = None


def seed_rows(folder: Path | None = None, checkpoint: Path | None = None, **sizes: Any) -> list[Row]:
    """A row per picture in `folder` (drawn ones without it), then the control.

    `checkpoint` is a folder that `write_seed_checkpoint` filled before; `sizes` shrink the published ones.
    """
    named: dict[str, Path | Image.Image] = {path.name: path for path in real_pictures(folder)} if folder else {}
    named = named or {f"drawn-{index}": picture for index, picture in enumerate(synthetic_pictures(4))}
    with tempfile.TemporaryDirectory() as place:
        if checkpoint is None:
            cut = crops(list(named.values()), CODEBOOK_CROPS)
            checkpoint = write_seed_checkpoint(Path(place), cut[:CALIBRATION_CROPS], cut, **sizes)
        levels_phwc = levels(list(named.values()))
        expected, codebook_nd = reference(checkpoint, levels_phwc)
        float32 = native(checkpoint, levels_phwc, "float32")
        bfloat16 = native(checkpoint, levels_phwc, "bfloat16")
        float64 = native(checkpoint, levels_phwc, "float64")
        with forgotten_mask():
            wrong = native(checkpoint, levels_phwc[:2], "float32")
        others = {"native": float32.codes_pt, "original": expected.codes_pt, "bfloat16": bfloat16.codes_pt}
        others |= through_onnx(checkpoint, levels_phwc)
    rows = [
        compare(index, expected, float32, codebook_nd)
        | {"tokenizer": SPEC.name, "original": "transformers", "file": name}
        | {"equal_bfloat16": float((bfloat16.codes_pt[index] == expected.codes_pt[index]).mean())}
        | {"float64": against_float64(index, float64, others)}
        for index, name in enumerate(named)
    ]
    equal = float((wrong.codes_pt == expected.codes_pt[: len(wrong.codes_pt)]).mean())
    return [*rows, {"tokenizer": SPEC.name, "original": "transformers", "control": True, "equal": equal}]


@torch.inference_mode()
def reference(checkpoint: Path, levels_phwc: Tensor) -> tuple[Encoded, np.ndarray]:
    """What transformers' modules give, one picture at a time; and the codebook [n, d]."""
    tokenizer = ReferenceSeed.load(SPEC, checkpoint)
    latents = [tokenizer.latents(each.numpy())[0] for each in levels_phwc]
    codes = [tokenizer.quantized(latents_td) for latents_td in latents]
    codes_pt = np.concatenate([item.values for item in codes])
    found = Encoded(codes_pt, torch.stack(latents).numpy(), tokenizer.embed(codes)), tokenizer.codebook_nd.numpy()
    del tokenizer
    gc.collect()  # two models of the published size do not fit side by side
    return found


@torch.inference_mode()
def native(checkpoint: Path, levels_phwc: Tensor, dtype: str) -> Encoded:
    """What the native engine gives."""
    tokenizer = SeedTokenizer.load(SPEC, checkpoint, dtype=dtype)
    model = tokenizer._model
    kind, book_1nd = model.codebook_nd.dtype, model.codebook_nd[None]
    latents_ptd = torch.cat([model.latents(normalize(each[None], kind)) for each in levels_phwc])
    codes = model.quantize(latents_ptd)
    codes_pt, pairs = codes.numpy(), zip(latents_ptd, codes, strict=True)
    margins = [margins_of(latents_td, codes_t[None], book_1nd) for latents_td, codes_t in pairs]
    embeddings_pe = tokenizer.embed([Codes(row[None], tokenizer.spec) for row in codes_pt])
    del tokenizer, model
    gc.collect()
    return Encoded(codes_pt, latents_ptd.numpy(), embeddings_pe, torch.cat(margins).numpy())


def through_onnx(checkpoint: Path, levels_phwc: Tensor) -> dict[str, np.ndarray]:
    """Codes [p, t] of exported files, by what rows call them; none without the extra `export`."""
    found = {}
    for dtype, kind in KINDS.items():
        with exported(SPEC, checkpoint, dtype) as files:
            if files is not None:
                found[kind] = np.concatenate([files.encode(each.numpy()).values for each in levels_phwc])
        gc.collect()
    return found


def against_float64(index: int, exact: Encoded, others: dict[str, np.ndarray]) -> dict[str, Any]:
    """Of picture `index`: how many of each other's codes [p, t] are not those of float64, and the margins there."""
    assert exact.margins_pt is not None
    found = {}
    for name, codes_pt in others.items():
        differ_t = codes_pt[index] != exact.codes_pt[index]
        margins = np.sort(exact.margins_pt[index][differ_t]).tolist()
        found[name] = {"wrong": len(margins), "first": len(margins), "margins": margins}
    return found


@contextmanager
def forgotten_mask() -> Iterator[None]:
    """Within, the native Q-Former is not causal."""
    attend = lambda layer, queries_btd: layer.self_attention(queries_btd, queries_btd)  # noqa: E731
    with patch.object(Layer, "attend_queries", attend):
        yield


def compare(index: int, expected: Encoded, found: Encoded, codebook_nd: np.ndarray) -> Row:
    """Picture `index`: agreement, use of the codebook, every difference, and how close the race was."""
    theirs_t, ours_t = expected.codes_pt[index], found.codes_pt[index]
    margins_t = margins(expected.latents_ptd[index], codebook_nd)
    differ = np.flatnonzero(theirs_t != ours_t)
    used, possible = len(np.unique(expected.codes_pt)), min(expected.codes_pt.size, len(codebook_nd))
    return {
        "codes": len(theirs_t),
        "equal": float((theirs_t == ours_t).mean()),
        "least_use": round(used / possible, 3),  # over all pictures: one alone has only 32 codes
        "divergences": [{"frame": int(frame), "margin": float(margins_t[frame])} for frame in differ],
        "smallest_margin": float(margins_t.min()),
        "latents_error": relative(found.latents_ptd[index], expected.latents_ptd[index]),
        "decode_error": relative(found.embeddings_pe[index], expected.embeddings_pe[index]),
    }


def margins(latents_td: np.ndarray, codebook_nd: np.ndarray) -> np.ndarray:
    """How much farther the second nearest code is than the nearest, as a share of the nearest's squared distance."""
    distances_tn = ((latents_td[:, None] - codebook_nd) ** 2).sum(-1)
    nearest_t, second_t = np.partition(distances_tn, 1, axis=1)[:, :2].T
    return (second_t - nearest_t) / nearest_t


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())
