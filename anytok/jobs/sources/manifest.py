"""Manifests: rows of a CSV, TSV, JSONL or parquet file that name paths."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any

from ...errors import JobError
from ..config import SourceConfig
from ..items import Input, Item, valid_text
from ..urls import input_of, is_url, open_url, read_error, size_and_stamp, tail_of, unreachable
from ..values import load_json
from .rows import Rows
from .source import Choice, Source, named
from .tables import check_columns, open_table, plain_rows

__all__ = ["ManifestSource", "file_item"]

MAX_FIELD = 2**24  # characters of a field of a table; csv's own limit is 128 kB, less than some transcripts


class ManifestSource(Source):
    """Rows of a CSV, TSV, JSONL or parquet file that name paths; relative ones start at the manifest's folder.

    The manifest and what it names may be URLs. Columns `path`, and if there `key`, `text` and `modality`; all others
    become the item's metadata.
    """

    settings = ("columns",)
    columns = ("key", "path", "text", "modality")

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        super().__init__(config, choice)
        self._rows = Rows(self)

    def inputs(self) -> Iterator[Input]:
        yield input_of(self.config.path)
        for item in self.items():
            yield Input(item.path, item.num_bytes, item.stamp)

    def items(self) -> Iterator[Item]:
        self.begin()
        folder = os.path.dirname(self.config.path)
        for number, row in enumerate(self._read(), 1):
            yield self._item(folder, row, f"{self.config.path}, row {number}")

    def _item(self, folder: str, row: Mapping[str, Any], where: str) -> Item:
        facts = self._rows.facts(row, where)
        path = facts.path
        if not path:
            column = self._rows.names.get("path", "")
            there = ", ".join(map(repr, row)) or "none"
            parted = "; put commas between fields, or tabs in a .tsv" if len(row) == 1 and ";" in there else ""
            raise JobError(
                f"{where}: no {column!r}; columns = {{path = …}} names the column of paths; there are {there}{parted}"
            )
        modality = self.choice.by_name(facts.modality, os.path.splitext(path.removesuffix(tail_of(path)))[1], where)
        key = facts.key_or(path)
        path = path if is_url(path) else os.path.join(folder, path)
        if is_url(path):
            item = Item(key, modality, path, text=facts.text, meta=facts.meta)
        else:
            item = file_item(key, modality, path, text=facts.text, meta=facts.meta)
        return facts.about(item)

    def _read(self) -> Iterator[Mapping[str, Any]]:
        """The rows, one at a time. Raises JobError."""
        path = self.config.path
        suffix = os.path.splitext(path)[1].lower()
        if suffix == ".parquet":
            with open_table(path) as table:
                check_columns(table.schema_arrow, self._rows, path)
                for batch in table.iter_batches(batch_size=10_000):
                    yield from plain_rows(batch)
            return
        read = self._json_rows if suffix == ".jsonl" else self._table_rows
        try:
            with open_url(path) as data:
                head = data.read(1024)
                if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise JobError(f"{path} is written in UTF-16: save it as UTF-8")
                if b"\0" in head:
                    raise JobError(f"{path} is no text, or written in UTF-16 or UTF-32: save it as UTF-8")
                data.seek(0)
                # Bytes that are no UTF-8 concern the cell they are in: `text_of` refuses what they become.
                with io.TextIOWrapper(data, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
                    yield from read(stream, suffix)
        except FileNotFoundError as error:
            raise unreachable(path, error) from error
        except OSError as error:
            raise read_error(path, "is a manifest that cannot be read", error) from error

    def _json_rows(self, stream: IO[str], _: str) -> Iterator[Mapping[str, Any]]:
        """Objects, one a line; of a column that the job names, one row at least must know."""
        seen: dict[str, None] = {}
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            where = f"{self.config.path}, line {number}"
            try:
                row = load_json(line)
            except ValueError as error:
                cut = "" if line.endswith("\n") else ". It is the last line, and has no end: is the file cut?"
                raise JobError(f"{where}: {error}{cut}") from error
            if not isinstance(row, dict):
                raise JobError(f"{where}: expected an object, got {type(row).__name__}")
            seen.update(dict.fromkeys(row))
            yield row
        if seen:
            named(list(self._rows.told.values()), seen, self.config.path)

    def _table_rows(self, stream: IO[str], suffix: str) -> Iterator[Mapping[str, Any]]:
        """Strict, and without line breaks in .tsv: a quote not meant as one would swallow the rows up to the next.
        Lines that are blank are no rows; rows of nothing but marks, as spreadsheets leave them, are passed over."""
        path, tabs = self.config.path, suffix == ".tsv"
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
        form: dict[str, Any] = {"delimiter": "\t" if tabs else ",", "strict": True}
        table = csv.reader(stream, quoting=csv.QUOTE_MINIMAL if self.config.quotes else csv.QUOTE_NONE, **form)
        try:
            rows = self._with_values(table)
            header = [name or f"column {number}" for number, name in enumerate(next(rows, []), 1)]
            self._rows.check(header, path)
            for number, row in enumerate(rows, 1):
                if tabs and any("\n" in value or "\r" in value for value in row):
                    raise csv.Error("a line break within quotes")
                if len(row) != len(header):
                    more = "more" if len(row) > len(header) else "fewer"
                    raise JobError(f"{path}, row {number}: {more} fields than the header has")
                yield {name: value or None for name, value in zip(header, row, strict=True)}
        except csv.Error as error:
            cut = "is the file cut? Else " if "end of data" in str(error) else ""
            advice = (
                f"{cut}"
                'double the quotes in a field and put quotes around it ("""so"" he said"); or, where they are text in '
                "all of the table, give its [[sources]] quotes = false"
            )
            raise JobError(f"{path}, line {table.line_num}: {error}; {advice}") from error

    def _with_values(self, table: Iterator[list[str]]) -> Iterator[list[str]]:
        for row in table:
            if any(value.strip() for value in row):
                yield row
            elif row:
                self.ignored["rows without a value"] += 1


def file_item(key: str, modality: str, path: str, **more: Any) -> Item:
    """An Item of a local file. A file that cannot be looked at is an item too: its failure belongs in the ledger."""
    return Item(valid_text(key), modality, path, *size_and_stamp(path), **more)
