"""Rows for the shared vocabulary in a language model's embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints import published
from ..checkpoints.seanet import model_state, read_codec
from ..checkpoints.seed import read_seed
from ..errors import CheckpointError, UsageError
from ..registry import find
from ..vocab import Segment, Vocabulary

__all__ = ["codebook_vectors", "resize_embeddings"]


@torch.no_grad()
def resize_embeddings(
    model: Any,
    vocabulary: Vocabulary,
    *,
    pad_to_multiple_of: int | None = 64,
    codebooks: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> int:
    """Give a transformers model one row per id of the vocabulary; returns how many rows it has then.

    New rows begin at the mean of the text rows plus a tenth of their spread as noise (seeded), so that no
    new token is likely or unlikely before training, and no two are alike. With `codebooks`, float `[K, N,
    D]` by tokenizer name (see `codebook_vectors`), a code begins at its codebook vector instead, projected at
    random into the spread of the text rows: codes that sound or look alike begin alike. Output rows, if they
    are not tied, get the same, and output biases the mean of the text's. Raises UsageError if the model has fewer rows
    than the text has ids, or was resized before, if its text rows have no spread (one alone, or numbers that are not
    finite), and on vectors that do not fit the vocabulary.
    """
    layout = vocabulary.layout
    present = model.get_input_embeddings().weight.shape[0]
    if not layout.text_size <= present < layout.total:
        raise UsageError(
            f"the model has {present} rows, {layout.name} has {layout.text_size} text ids and {layout.total} in all: "
            f"give it the model of its text tokenizer, not resized before"
        )
    vectors = {layout.segment(name): _checked(layout.segment(name), rows) for name, rows in (codebooks or {}).items()}
    # mean_resizing would draw from a covariance of all old rows, minutes for a large model, and is redone below.
    model.resize_token_embeddings(layout.total, pad_to_multiple_of=pad_to_multiple_of, mean_resizing=False)
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = {id(table.weight): table.weight for table in tables if table is not None}
    for weight in weights.values():
        text = weight[: layout.text_size].float()
        mean, spread = text.mean(0).cpu(), text.std(0).cpu()
        if not (mean.isfinite() & spread.isfinite()).all():
            raise UsageError(
                f"the mean or spread of the model's {len(text)} text rows is not finite, so new rows have nothing to "
                f"begin at: give it a trained model of {layout.name}'s text tokenizer"
            )
        noise = _normal(len(weight) - layout.text_size, weight.shape[1], seed)
        rows = mean + 0.1 * spread * noise
        for segment, vectors_knd in vectors.items():
            first = segment.first_id - layout.text_size
            rows[first : first + segment.num_ids] = mean + spread * _project(vectors_knd, rows.shape[1], seed)
        weight[layout.text_size :] = rows.to(weight)
    biases = getattr(tables[1], "bias", None), getattr(model, "final_logits_bias", None)  # BART's is beside its rows
    for bias in biases:
        if bias is not None:
            bias[..., layout.text_size :] = bias[..., : layout.text_size].mean()
    return int(model.get_input_embeddings().weight.shape[0])


def codebook_vectors(name: str, checkpoint: str | Path | None = None) -> np.ndarray:
    """The vectors that a tokenizer's codes stand for, float32 `[K, N, D]`: K codebooks of N vectors of width D.

    `checkpoint` is a folder with the published files (fetched if None). Raises UsageError for a tokenizer of another
    package, CheckpointError for files that are not its own.
    """
    if not find(name).engines["native"].startswith("anytok."):
        raise UsageError(f"{name} comes from another package: take its codebooks from there, as float [K, N, D]")
    if find(name).spec.modality == "image":
        return read_seed(name, checkpoint).state["quantize.embedding.weight"].float().numpy()[None]
    state = model_state(read_codec(published(name, checkpoint)).state)
    if "quantizer.codebooks_knd" not in state:
        raise CheckpointError(f"{checkpoint or name}: its codebooks differ in size, or are not there")
    return state["quantizer.codebooks_knd"].float().numpy()


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
