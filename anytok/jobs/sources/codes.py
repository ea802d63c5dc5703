"""What another job has written: shards of codes, one document or several items of one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import groupby
from typing import NamedTuple

from ...errors import JobError
from ..config import SourceConfig
from ..items import Input, Item, valid_text, version
from ..stored import list_stored
from ..urls import is_pattern, is_url, list_files
from .source import Choice, Source

__all__ = ["CodesSource", "Shard"]

SINKS = ("parquet", "webdataset", os.path.join("hf", "data"))  # where a job's output has them, the first that is there


class Shard(NamedTuple):
    """One file of codes."""

    path: str
    version: str


class Row(NamedTuple):
    """What the plan needs to know of a row."""

    number: int
    key: str
    modality: str
    document: str | None


class CodesSource(Source):
    """The rows of a job's shards: its output folder, or parquet and tar files. Where `document` names a column of the
    metadata, rows in a row that share its value are one item; they may go on in the next file."""

    document = ""

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        super().__init__(config, choice)
        self._pattern = _shards_of(config.path)

    def inputs(self) -> Iterator[Input]:
        return (Input(*found) for found in list_files(self._pattern))

    @cached_property
    def shards(self) -> list[Shard]:
        """The files, by their path."""
        files = list_files(self._pattern)
        if wrong := [path for path, _, _ in files if not path.endswith((".parquet", ".tar"))]:
            raise JobError(f"source {self.config.path!r}: {wrong[0]} is no shard of codes, which are .parquet or .tar")
        return [Shard(path, version(num_bytes, stamp)) for path, num_bytes, stamp in files]

    def items(self) -> Iterator[Item]:
        for number in range(len(self.shards)):
            yield from self.items_of(number)

    def items_of(self, number: int) -> list[Item]:
        """The documents that begin in one shard, in order."""
        rows, path, stamp = self._rows(number), *self.shards[number]
        if not self.document:
            return [Item(row.key, row.modality, path, None, stamp, ("codes", [row.number])) for row in rows]
        groups = [list(group) for _, group in groupby(rows, lambda row: row.document or row)]
        if groups and number and groups[0][0].document and groups[0][0].document == self._last_document(number - 1):
            groups = groups[1:]  # it began before
        items = []
        for group in groups:
            key = valid_text(group[0].document or group[0].key)
            item = Item(key, "document", path, None, stamp, ("codes", [row.number for row in group]))
            problem = "" if group[0].document else f"there is no {self.document!r} in its metadata"
            items.append(item.unusable("incomplete", problem))
        if items and groups[-1][0].document:
            last = items[-1]
            items[-1] = Item(**{**vars(last), "place": (*last.place, *self._continued(number, groups[-1][0].document))})
        return items

    def _continued(self, number: int, document: str) -> Iterator[list[object]]:
        """Where a document goes on behind its first shard."""
        for later in range(number + 1, len(self.shards)):
            rows = self._rows(later)
            going_on = [row.number for row in rows]
            for place, row in enumerate(rows):
                if row.document != document:
                    going_on = going_on[:place]
                    break
            if going_on:
                yield [*self.shards[later], going_on]
            if len(going_on) < len(rows):
                return

    def _last_document(self, number: int) -> str | None:
        rows = self._rows(number)
        return rows[-1].document if rows else None

    def _rows(self, number: int) -> list[Row]:
        return _rows(*self.shards[number], self.document)


@lru_cache(maxsize=4)
def _rows(path: str, stamp: str, document: str) -> list[Row]:
    """The rows of a shard; `stamp` tells a changed file apart."""
    rows = []
    for number, (key, modality, meta) in enumerate(list_stored(path, metas=bool(document))):
        value = meta.get(document)
        rows.append(Row(number, key, modality, None if value is None else str(value)))
    return rows


def _shards_of(path: str) -> str:
    """The pattern of the shards in a job's output; any other path as it is."""
    if is_url(path) or is_pattern(path) or not os.path.isdir(os.path.join(path, "_anytok")):
        return path
    for name in SINKS:
        if os.path.isdir(os.path.join(path, name)):
            return os.path.join(path, name, "*.tar" if name == "webdataset" else "*.parquet")
    raise JobError(
        f"source {path!r} holds a job without codes to read: it is not finished, or has neither of the sinks parquet, "
        f"webdataset and hf"
    )
