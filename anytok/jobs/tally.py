"""Counts kept beside each shard, so that statistics and audits need no sink in particular."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics.codes import count
from .shard import Row

__all__ = ["TALLY", "digest", "write_tally"]

TALLY = "tally.npz"


def write_tally(path: Path, rows: Sequence[Row]) -> None:
    """Per modality: `frames_M` int32 and `seconds_M` float64 of each row, `usage_M` int64 [K, codebook_size], how
    often each code occurs. For all rows in order: `digests`, uint64."""
    arrays: dict[str, Any] = {"digests": np.array([digest(row.values) for row in rows], np.uint64)}
    for modality in sorted({row.item.modality for row in rows}):
        of_one = [row for row in rows if row.item.modality == modality]
        arrays[f"frames_{modality}"] = np.array([row.values.shape[1] for row in of_one], np.int32)
        arrays[f"seconds_{modality}"] = np.array([row.seconds or 0.0 for row in of_one])
        arrays[f"usage_{modality}"] = count(
            np.concatenate([row.values for row in of_one], axis=1), of_one[0].spec.codebook_size
        )
    np.savez_compressed(path, **arrays)


def digest(values: np.ndarray) -> int:
    """64 bits of SHA-256 over codes [K, T]: enough to tell whether an item encodes to the same again."""
    plain = np.ascontiguousarray(values, np.int64)
    return int.from_bytes(hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).digest()[:8], "big")
