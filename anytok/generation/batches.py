"""Rows of ids → one padded batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arguments import whole
from ..compose import IGNORED
from ..errors import UsageError

__all__ = ["IGNORED", "batch", "check_rows", "row_of"]


def row_of(ids: np.ndarray, mask: np.ndarray, learn: bool) -> dict[str, np.ndarray]:
    """`input_ids`, int64 `[N]`, and with `learn` their `labels`: the ids where `mask` is True, -100 elsewhere."""
    columns = {"input_ids": ids.astype(np.int64)}
    return {**columns, "labels": np.where(mask, columns["input_ids"], IGNORED)} if learn else columns


def batch(
    rows: Sequence[Mapping[str, Any]], pad_id: int, return_tensors: str | None, side: str, multiple: Any = None
) -> Any:
    """A BatchFeature of the rows, int64 `[B, N]`, with their attention mask, padded on the "left" or "right" to the
    longest and on to a multiple; not padded if `side` is ""."""
    from transformers import BatchFeature

    multiple = 1 if multiple is None else whole("pad_to_multiple_of", multiple, 1)
    if not side and return_tensors and len({len(row["input_ids"]) for row in rows}) > 1:
        raise UsageError("lines of different lengths make no tensor: pass padding=True, or return_tensors=None")
    fill = {"input_ids": pad_id, "labels": IGNORED, "attention_mask": 0}
    full = [{"attention_mask": np.ones(len(row["input_ids"]), np.int64), **row} for row in rows]
    keys = full[0].keys() if full else ()
    columns = {key: [np.asarray(row[key], np.int64) for row in full] for key in keys}
    padded = {key: _stack(lines, fill[key], side, multiple) if side else lines for key, lines in columns.items()}
    if not return_tensors:
        padded = {key: [line.tolist() for line in lines] for key, lines in padded.items()}
    return BatchFeature(padded, return_tensors)


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise UsageError unless all rows have `input_ids`, and perhaps `attention_mask` and `labels`, of one length."""
    for place, row in enumerate(rows):
        lengths = {key: len(numbers) for key, numbers in row.items()}
        if not {"input_ids"} <= set(row) <= {"input_ids", "attention_mask", "labels"} or len({*lengths.values()}) > 1:
            raise UsageError(
                f"row {place} has {lengths or 'nothing'}: expected input_ids, and perhaps attention_mask and labels "
                f"of the same length"
            )
        if ("labels" in row) != ("labels" in rows[0]):
            raise UsageError(f"of rows 0 and {place} one has no labels: give them to all, {IGNORED} where none count")


def _stack(lines: list[np.ndarray], fill: int, side: str, multiple: int) -> np.ndarray:
    length = -(-max(map(len, lines)) // multiple) * multiple
    table = np.full((len(lines), length), fill, np.int64)
    for row, line in zip(table, lines, strict=True):
        row[slice(length - len(line), None) if side == "left" else slice(len(line))] = line
    return table
