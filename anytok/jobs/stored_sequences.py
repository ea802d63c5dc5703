"""Shards of composed sequences, as jobs write them to parquet and as Hugging Face datasets, read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import AnytokError, JobError
from .parquet import numpy_of, open_parquet
from .stored import KEPT
from .values import reason_of

__all__ = ["StoredSequences", "count_sequences", "open_sequences"]

COLUMNS = ("input_ids", "labels", "position_ids", "cu_seqlens")


class StoredSequences:
    """The sequences of one parquet file."""

    def __init__(self, path: str) -> None:
        with _parquet(path) as file:
            table = file.read(list(COLUMNS))
        lists = {name: table.column(name).combine_chunks() for name in COLUMNS}
        self._nulls = {name: one.null_count for name, one in lists.items() if one.null_count}
        self._columns = {name: (numpy_of(one.values), numpy_of(one.offsets)) for name, one in lists.items()}

    def row(self, number: int, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """One sequence by its place in the file, from 0: int32, `[N]` ids and `[M + 1]` of `cu_seqlens`. Raises
        JobError where its columns do not go together."""
        found = {name: self._cell(name, number) for name in {*COLUMNS, *columns}}
        lengths = {name: len(found[name]) for name in COLUMNS[:3]}
        bounds = found["cu_seqlens"].tolist()
        if self._nulls or len(set(lengths.values())) > 1 or bounds[:1] != [0] or bounds[-1] != len(found["input_ids"]):
            raise JobError(f"not a sequence: {lengths}, cu_seqlens from {bounds[:1]} to {bounds[-1:]}, {self._nulls}")
        return {name: found[name] for name in columns}

    def _cell(self, name: str, number: int) -> np.ndarray:
        values, offsets = self._columns[name]
        return values[offsets[number] : offsets[number + 1]]


@lru_cache(maxsize=KEPT)
def open_sequences(path: str, version: str) -> StoredSequences:
    """The sequences in a file; `version` tells a changed one apart. Raises JobError where it holds none."""
    return StoredSequences(path)


def count_sequences(path: str) -> int:
    """How many sequences a file holds. Raises JobError as `open_sequences` does."""
    with _parquet(path) as file:
        if lacking := [name for name in COLUMNS if name not in file.schema_arrow.names]:
            raise JobError(f"{path} has no column {lacking[0]!r}: expected what `anytok compose` has written")
        return int(file.metadata.num_rows)


@contextmanager
def _parquet(path: str) -> Iterator[Any]:
    try:
        with open_parquet(path, checksums=True) as file:
            yield file
    except AnytokError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise JobError(f"{path} is no shard of sequences that can be read ({reason_of(error)})") from error
