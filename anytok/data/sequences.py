"""Composed sequences, as `anytok compose` writes them to parquet and as Hugging Face datasets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from ..jobs.stored import KEPT
from ..jobs.stored_sequences import StoredSequences, count_sequences, open_sequences
from .sharded import Row, ShardedDataset, check_unchanged, named, open_source, to_row

__all__ = ["SequenceDataset"]


class SequenceDataset(ShardedDataset):
    """The sequences that a job has composed, as they are; a map-style dataset.

    `path` is the output of `anytok compose` with the sink parquet or hf, or a pattern of its files. For `columns` and
    what a row is, see ShardedDataset. Raises JobError where the files hold no sequences.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, columns: Sequence[str] = ("input_ids", "labels", "position_ids")
    ) -> None:
        shards = open_source(os.fspath(path)).shards
        super().__init__(shards, [count_sequences(one.path) for one in shards], columns)

    def __getitems__(self, numbers: Sequence[int]) -> list[Row]:
        rows = []
        for number, place in map(self.locate, numbers):
            path, version = self.shards[number]
            with named(path, place):
                rows.append(to_row(_open(path, version).row(place, self.columns)))
        return rows


@lru_cache(maxsize=KEPT)
def _open(path: str, version: str) -> StoredSequences:
    check_unchanged(path, version)
    return open_sequences(path, version)
