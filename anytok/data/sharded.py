"""What both map-style datasets have in common: rows that lie in shards, found by their number."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..arguments import choice, several, whole
from ..errors import JobError, UsageError, first_line
from ..jobs.config import SourceConfig
from ..jobs.items import same_version
from ..jobs.sources.codes import CodesSource, Shard
from ..jobs.sources.source import Choice
from ..jobs.urls import open_url, version_of

__all__ = ["COLUMNS", "Row", "ShardedDataset", "check_unchanged", "named", "open_source", "to_row"]

COLUMNS = ("input_ids", "labels", "position_ids", "cu_seqlens")
Row = dict[str, torch.Tensor]


class ShardedDataset(Dataset[Row]):
    """Rows of shards, in the order of the files; a row is a dict of int64 tensors: of N ids, `input_ids`, `labels`
    (-100 where nothing is learned; not shifted) and `position_ids` (from 0 in each document), all `[N]`, and
    `cu_seqlens` `[M + 1]`, where each of the M documents begins, and the end. `columns` says which of them.
    """

    def __init__(self, shards: Sequence[Shard], sizes: Sequence[int], columns: Sequence[str]) -> None:
        self.columns = tuple(choice("columns", name, COLUMNS) for name in several(columns, "columns=('input_ids',)"))
        self.shards, self.sizes = list(shards), list(sizes)  # files, and the number of rows in each
        self._ends = list(accumulate(self.sizes))
        if not self.columns or not len(self):
            raise UsageError(f"{len(self)} rows of {len(self.columns)} columns: expected at least one")

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Row:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Row]:
        """Several rows, in the order asked for. Raises IndexError, and JobError naming the file and the row, from 0,
        where one is damaged, or cannot be made."""
        raise NotImplementedError

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides the rows, as short texts: two datasets that agree in it have the same rows. Of files, their
        names, sizes and times of modification count, which a move keeps, and a copy by `cp -p` or `rsync -a`."""
        files = [(os.path.basename(path), version) for path, version in self.shards]
        digest = hashlib.sha256(repr([files, self.sizes]).encode()).hexdigest()[:16]
        return {"shards": f"{len(files)} files with {len(self)} rows, {digest}"}

    def locate(self, number: int) -> tuple[int, int]:
        """The shard of a row, and its place there. Raises IndexError."""
        number = whole("row", number, -len(self), len(self) - 1, IndexError) % len(self)  # type: ignore[arg-type]
        shard = bisect_right(self._ends, number)
        return shard, number - (self._ends[shard] - self.sizes[shard])


def to_row(arrays: Mapping[str, Any]) -> Row:
    """Arrays → int64 tensors of their own."""
    return {name: torch.from_numpy(np.array(one, np.int64)) for name, one in arrays.items()}


def open_source(path: str) -> CodesSource:
    """The files of a job's output, or of a pattern. Raises JobError where there are none."""
    return CodesSource(SourceConfig(os.fspath(path), "codes"), Choice("", {}))


def check_unchanged(path: str, version: str) -> None:
    """Raise JobError where a file is not the one that the dataset was made of."""
    with open_url(path) as stream:
        found = version_of(path, stream)
    if not same_version(version, found):
        raise JobError(f"the file was changed while it was in use (size and time were {version}, and are {found})")


@contextmanager
def named(path: str, row: Any) -> Iterator[None]:
    """Make a JobError that names the file and the row of whatever reading it raises."""
    try:
        yield
    except Exception as error:  # a damaged file may raise anything
        raise JobError(f"{path}, row {row}: {first_line(error)}") from error
