"""Rows for the shared vocabulary in a language model's embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import whole
from ..errors import UsageError
from ..registry import find
from ..vocab import Layout, Segment, Vocabulary
from .spare_rows import UNTRAINED, untrained_rows

__all__ = ["codebook_vectors", "resize_embeddings"]

_RECORD = "anytok_vocabulary"  # in the model's config, so it is saved and loaded with the weights
_MOST_PADDING = 4096  # rows behind the text's; DeepSeek-LLM has 2,385, others fewer


@torch.no_grad()
def resize_embeddings(
    model: Any,
    vocabulary: Vocabulary,
    *,
    pad_to_multiple_of: int | None = 64,
    codebooks: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Give a transformers model one row per id of the vocabulary; returns how many rows it has then.

    New rows begin at the mean of the text rows plus a tenth of their spread as noise (seeded), so that no
    new token is likely or unlikely before training, and no two are alike. With `codebooks`, float `[K, N,
    D]` by tokenizer name (see `codebook_vectors`), a code begins at its codebook vector instead, projected at
    random into the spread of the text rows: codes that sound or look alike begin alike. Output rows, if they
    are not tied, get the same, and output biases the mean of the text's.

    Rows that pad the model beyond its text ids (DeepSeek, Qwen) are used, with a UserWarning that counts them and says
    by what they were told; none are taken away. The vocabulary is recorded in the model's config, and saved with it.

    Raises UsageError, with the model as it was, if it was resized before; has fewer rows than the text has ids, or
    more than padding explains, or special tokens there (another tokenizer's model); if input rows there are neither
    zero, nor equal to one another or to the text's mean, nor as the model initialises rows, and so may be trained
    (`overwrite` begins them anew all the same); if rows are quantized, sharded or offloaded, or have no spread (one
    alone, or numbers that are not finite); and on vectors that do not fit.
    """
    layout = vocabulary.layout
    vectors = {layout.segment(name): _checked(layout.segment(name), rows) for name, rows in (codebooks or {}).items()}
    if pad_to_multiple_of is not None:
        pad_to_multiple_of = whole("pad_to_multiple_of", pad_to_multiple_of, 1)
    old = _weights(model)
    present = len(old["input"])
    _check_model(model, layout, present)
    statistics = {which: _mean_and_spread(weight, layout) for which, weight in old.items()}
    spare = _judged(model, layout, old["input"][layout.text_size :].cpu(), statistics["input"], overwrite)
    # mean_resizing would draw from a covariance of all old rows, minutes for a large model, and is redone below.
    model.resize_token_embeddings(
        max(present, layout.total), pad_to_multiple_of=pad_to_multiple_of, mean_resizing=False
    )
    for which, weight in _weights(model).items():
        mean, spread = statistics[which]
        rows = mean + 0.1 * spread * _normal(len(weight) - layout.text_size, weight.shape[1], seed)
        for segment, vectors_knd in vectors.items():
            first = segment.first_id - layout.text_size
            rows[first : first + segment.num_ids] = mean + spread * _project(vectors_knd, rows.shape[1], seed)
        weight[layout.text_size :] = rows.to(weight)
    for owner, name in ((model.get_output_embeddings(), "bias"), (model, "final_logits_bias")):  # the latter is BART's
        if (bias := getattr(owner, name, None)) is not None:
            bias[..., layout.text_size :] = bias[..., : layout.text_size].mean()
    setattr(model.config, _RECORD, {"name": layout.name, "hash": layout.hash, "total": layout.total})
    if present > layout.text_size:
        warnings.warn(_spare_rows_used(layout, present, spare), stacklevel=3)  # no_grad stands between
    return len(model.get_input_embeddings().weight)


def codebook_vectors(name: str, checkpoint: str | Path | None = None) -> np.ndarray:
    """The vectors that a tokenizer's codes stand for, float32 `[K, N, D]`: K codebooks of N vectors of width D.

    `checkpoint` is a folder with the published files (fetched if None); see `Tokenizer.read_codebooks`.
    """
    entry = find(name)
    return entry.tokenizer_class("native").read_codebooks(entry.spec, checkpoint)


def _weights(model: Any) -> dict[str, Tensor]:
    """The "input" rows and, unless they are tied, the "output" rows; raises UsageError unless they are whole matrices
    of floats, in memory."""
    tables = {"input": model.get_input_embeddings(), "output": model.get_output_embeddings()}
    weights: dict[str, Any] = {
        which: getattr(table, "weight", None) for which, table in tables.items() if table is not None
    }
    if weights.get("output") is weights["input"]:
        del weights["output"]
    for which, weight in weights.items():
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            kind = getattr(weight, "dtype", type(tables[which]).__name__)
            raise UsageError(
                f"the model's {which} rows are quantized ({kind}): resize the model before it is quantized, or load it "
                f"with these rows left in floats"
            )
        if weight.ndim != 2 or not len(weight) or hasattr(weight, "ds_id") or hasattr(weight, "placements"):
            raise UsageError(f"the model's {which} rows are sharded over processes: resize the model before that")
        if weight.is_meta:
            raise UsageError(f"the model's {which} rows are not in memory: load all its weights, none offloaded")
    return weights


def _check_model(model: Any, layout: Layout, present: int) -> None:
    """Raise UsageError unless the rows behind the text's are padding, as far as anything tells."""
    base = "give it the model of its text tokenizer, not resized before"
    record = getattr(model.config, _RECORD, None)
    if record is not None and not (isinstance(record, dict) and record.get("total", present) <= layout.text_size):
        name = record.get("name") if isinstance(record, dict) else record
        raise UsageError(
            f"the model was resized for the vocabulary {name} already, and its rows may be trained: use it as it is, "
            f"or {base}"
        )
    spare = present - layout.text_size
    if not 0 <= spare <= _MOST_PADDING:
        cut = f"; if the others are padding, cut them off first, by model.resize_token_embeddings({layout.text_size})"
        raise UsageError(
            f"the model has {present} rows, {layout.name} has {layout.text_size} text ids and {layout.total} in all: "
            f"{base}{cut if spare > 0 else ''}"
        )
    for key, number in _special_ids(model):
        if layout.text_size <= number < present:
            raise UsageError(
                f"the model's {key} is {number}, and {layout.name} has {layout.text_size} text ids, so that it would "
                f"become another token: {base}, or set {key} to a text id"
            )


def _judged(
    model: Any, layout: Layout, rows: Tensor, statistics: tuple[Tensor, Tensor], overwrite: bool
) -> dict[str, int]:
    """How many of the spare rows are untrained, by what tells; raises UsageError if some may be trained."""
    config = model.config.get_text_config()
    initial = next((getattr(config, key) for key in ("initializer_range", "init_std") if hasattr(config, key)), 0.02)
    reasons = untrained_rows(rows, *statistics, initial) if len(rows) else torch.empty(0, dtype=torch.int64)
    doubtful = torch.nonzero(reasons < 0).flatten().tolist()
    if doubtful and not overwrite:
        raise UsageError(
            f"{len(doubtful)} of the {len(rows)} rows behind the text's {layout.text_size}, the first of them row "
            f"{layout.text_size + doubtful[0]}, are neither zero, nor equal to others, nor as the model initialises "
            f"rows: they may be trained. If they are, use the model as it is; if they are padding, pass overwrite=True"
        )
    counts = {why: int((reasons == place).sum()) for place, why in enumerate(UNTRAINED)}
    return {why: count for why, count in {**counts, "overwritten": len(doubtful)}.items() if count}


def _spare_rows_used(layout: Layout, present: int, spare: Mapping[str, int]) -> str:
    used = min(present, layout.total) - layout.text_size
    told = ", ".join(f"{count} {why}" for why, count in spare.items())
    return (
        f"the model has {present} rows for the text's {layout.text_size} ids: the {present - layout.text_size} others, "
        f"taken for padding ({told}), begin anew, {used} of them as rows of {layout.name}. If they were trained, load "
        f"the model again and leave its rows as they are"
    )


def _special_ids(model: Any) -> Iterator[tuple[str, int]]:
    """The ids of special tokens that the model's configs name: `eos_token_id`, `image_token_index`, …"""
    for config in (model.config, model.config.get_text_config(), getattr(model, "generation_config", None)):
        for key, value in (config.to_dict() if config is not None else {}).items():
            if key.endswith(("_token_id", "_token_index")):
                ids = value if isinstance(value, list) else [value]
                yield from ((key, number) for number in ids if isinstance(number, int))


def _mean_and_spread(weight: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Of the text rows, float32 `[hidden]` each, on the CPU."""
    text = weight[: layout.text_size].float()
    mean = text.mean(0).cpu()
    spread = text.std(0).cpu() if len(text) > 1 else torch.full_like(mean, torch.nan)
    if not (mean.isfinite() & spread.isfinite()).all():
        raise UsageError(
            f"the mean or spread of the model's {len(text)} text rows is not finite, so new rows have nothing to "
            f"begin at: give it a trained model of {layout.name}'s text tokenizer"
        )
    return mean, spread


def _checked(segment: Segment, vectors: np.ndarray) -> np.ndarray:
    """The vectors of the layers that a segment writes."""
    rows_knd = np.asarray(vectors, np.float32)
    layers, size = segment.num_codebooks, segment.codebook_size
    if rows_knd.ndim != 3 or rows_knd.shape[0] < layers or rows_knd.shape[1] != size or not np.isfinite(rows_knd).all():
        raise UsageError(
            f"codebooks of shape {list(rows_knd.shape)} for {segment.tokenizer}: expected finite numbers "
            f"[at least {layers}, {size}, D]"
        )
    return rows_knd[:layers]


def _project(vectors_knd: np.ndarray, hidden: int, seed: int) -> Tensor:
    """Codebook vectors `[k, N, D]` → `[k·N, hidden]`, of mean 0 and deviation 1 in every column.

    A random projection keeps distances up to a factor near 1 (Johnson and Lindenstrauss).
    """
    flat = torch.from_numpy(vectors_knd).flatten(0, 1)
    projected = flat @ _normal(flat.shape[1], hidden, seed)
    return (projected - projected.mean(0)) / projected.std(0).clamp(min=1e-6)


def _normal(rows: int, columns: int, seed: int) -> Tensor:
    """Gaussian noise, the same whatever type and device torch uses by default."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(rows, columns, dtype=torch.float32, device="cpu", generator=generator)
