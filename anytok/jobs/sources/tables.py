"""Tables as Arrow holds them, in parquet files: their columns of media, and their rows as plain values."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ...errors import AnytokError, JobError
from ..config import SourceConfig
from ..items import Input, Item, version
from ..parquet import open_parquet
from ..urls import list_files, read_error
from ..values import Unreadable, reason_of
from .rows import Rows
from .source import Choice, Source

__all__ = ["Container", "ParquetSource", "check_columns", "containers", "media_column", "open_table", "plain_rows"]

BATCH = 10_000  # rows that are made plain at a time


class Container(NamedTuple):
    """One file of a source that holds many media; `label` is its path below the folder that all of them share."""

    path: str
    label: str
    version: str


def containers(source: Source) -> Iterator[Container]:
    """The files of a source, by their path."""
    files = list_files(source.config.path, source.ignored)
    folders = [f"{os.path.dirname(path)}/" for path, _, _ in files]
    root = os.path.commonprefix(folders).rpartition("/")[0]  # noqa: RUF071 - commonpath spoils the // of a URL
    for path, num_bytes, stamp in files:
        yield Container(path, path[len(root) :].lstrip("/"), version(num_bytes, stamp))


class ParquetSource(Source):
    """Tables with media in them: a binary column, or the {bytes, path} column of Hugging Face. Column `media`.

    Further columns of such kinds are passed over; all others become the item's metadata.
    """

    settings = ("columns",)
    columns = ("key", "media", "text", "modality")

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        super().__init__(config, choice)
        self._rows = Rows(self)

    def inputs(self) -> Iterator[Input]:
        return (Input(*found) for found in list_files(self.config.path))

    def items(self) -> Iterator[Item]:
        self.begin()
        for container in containers(self):
            name = os.path.basename(container.path)
            if name.startswith(("_", ".")) and not name.endswith(".parquet"):
                self.ignored[name] += 1  # what Spark leaves beside its parts, such as _SUCCESS
                continue
            with open_table(container.path) as table:
                yield from self._items(table, container)

    def _items(self, table: Any, container: Container) -> Iterator[Item]:
        schema, where = table.schema_arrow, container.path
        check_columns(schema, self._rows, where)
        media, left_out = media_column(schema, self._rows, where)
        self.ignored.update(f"column {name}" for name in left_out)
        others = [name for name in schema.names if name not in (media, *left_out)]
        number = itertools.count()
        for group in range(table.num_row_groups):
            num_rows = table.metadata.row_group(group).num_rows
            for place, row in enumerate(table_rows(table, group, num_rows, others)):
                count = next(number)
                facts = self._rows.facts(row, f"{where}, row {count}")
                key = facts.key_or(f"{container.label}/{count}")
                modality = self.choice.by_name(facts.modality, "", f"{where}, row {count}")
                item = Item(key, modality, where, None, container.version, ("parquet", group, place, media),
                            facts.text, facts.meta)  # fmt: skip
                yield facts.about(item)


@contextmanager
def open_table(path: str) -> Iterator[Any]:
    """A parquet file or URL as a pyarrow ParquetFile. Raises JobError where it, or what is read of it, is damaged."""
    try:
        with open_parquet(path) as table:
            yield table
    except AnytokError:
        raise
    except Exception as error:  # on damaged files pyarrow raises many classes, MemoryError among them
        raise read_error(path, "is no readable parquet file; is it cut, or of another kind?", error) from error


def table_rows(table: Any, group: int, num_rows: int, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """The rows of a row group, with some of the columns. Raises ValueError where they are not as many as announced."""
    if not columns:
        yield from ({} for _ in range(num_rows))
        return
    count = 0
    for batch in table.iter_batches(batch_size=BATCH, row_groups=[group], columns=list(columns)):
        count += batch.num_rows
        yield from plain_rows(batch)
    if count != num_rows:
        raise ValueError(f"row group {group} has {count} rows, where its header says {num_rows}")


def plain_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of an Arrow batch or table; a cell that Python cannot hold is Unreadable."""
    names = batch.schema.names
    for row in zip(*map(_cells, batch.columns), strict=True):
        yield dict(zip(names, row, strict=True))


def _cells(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except Exception:  # one of them cannot be had: a date beyond Python's years, text that is no UTF-8
        return [_cell(scalar) for scalar in column]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except Exception as error:
        return Unreadable(f"its value cannot be read ({reason_of(error)})")


def check_columns(schema: Any, rows: Rows, where: str) -> None:
    """Raise JobError unless the columns that the job names are there, and those of texts can hold text."""
    rows.check(schema.names, where)
    for field in schema:
        if field.name in _beside(rows) and field.type.num_fields:
            raise JobError(
                f"{where}: column {field.name!r} is {field.type}, which is no text: name a column of texts, such as "
                'columns = {text = "caption"}, or none, columns = {text = ""}, which leaves it to the metadata'
            )


def media_column(schema: Any, rows: Rows, where: str, holding: Collection[str] = ()) -> tuple[str, list[str]]:
    """The column of the media, and the further ones that hold bytes, which are no metadata.

    `holding` are the columns known to hold media; if there are none, those of bytes are looked at.
    """
    kinds = {field.name: field.type for field in schema if field.name not in _beside(rows)}
    holding = list(holding) or [name for name, kind in kinds.items() if _holds_media(kind)]
    told = rows.told.get("media")
    media = told or ("media" if "media" in holding else holding[0] if len(holding) == 1 else "")
    if not media or not _holds_media(kinds.get(media)):
        what = f"column {told!r} holds no media, which are bytes" if told else "which column holds the media?"
        raise JobError(
            f"{where}: {what} Candidates: {', '.join(holding) or 'none'} of {', '.join(schema.names)}; "
            "say columns = {media = …}, and give each column of media a source of its own. "
            'A table of paths is kind = "manifest"'
        )
    return media, [name for name, kind in kinds.items() if name != media and _holds_bytes(kind)]


def _beside(rows: Rows) -> set[str]:
    """The columns of the keys, texts and modalities: they may be bytes, too."""
    return {name for one, name in rows.names.items() if one != "media"}


def _holds_media(kind: Any) -> bool:
    import pyarrow as pa

    if kind is not None and pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return kind is not None and _is_binary(kind)


def _holds_bytes(kind: Any) -> bool:
    """Whether a column has bytes at any depth, such as lists of pictures."""
    return _is_binary(kind) or any(_holds_bytes(kind.field(number).type) for number in range(kind.num_fields))


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
