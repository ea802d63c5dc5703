"""Datasets that Hugging Face's `datasets` saved to disk: folders of Arrow files, read as Arrow has them.

Not through `datasets` itself: it would hand out what the format that was saved with the dataset makes of the rows
(tensors, frames, some of the columns), and it does not open one whose format wants a package that is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import AnytokError, JobError, MissingExtraError, UsageError
from ..config import SourceConfig
from ..items import Input, Item, version
from ..urls import input_of
from ..values import reason_of
from .rows import Rows
from .source import Choice, Source
from .tables import BATCH, check_columns, media_column, plain_rows

__all__ = ["DatasetSource", "dataset_version", "open_dataset"]

MEDIA = ("Image", "Audio")  # what `datasets` calls columns of media


class DatasetSource(Source):
    """The rows of a saved dataset; its Image or Audio column is the medium."""

    settings = ("columns", "split")
    columns = ("key", "media", "text", "modality")

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        super().__init__(config, choice)
        self._rows = Rows(self)

    def inputs(self) -> Iterator[Input]:
        return _files(self.config.path)

    def items(self) -> Iterator[Item]:
        self.begin()
        path = os.path.join(self.config.path, self.config.split) if self.config.split else self.config.path
        planned = dataset_version(path)
        with _damage(path):
            table, holding = open_dataset(path), _columns_of_media(path)
            check_columns(table.schema, self._rows, path)
            media, left_out = media_column(table.schema, self._rows, path, holding)
            self.ignored.update(f"column {name}" for name in left_out)
            others = table.select([name for name in table.column_names if name not in (media, *left_out)])
            for number, row in enumerate(_rows(others, table.num_rows)):
                facts = self._rows.facts(row, f"{path}, row {number}")
                modality = self.choice.by_name(facts.modality, "", f"{path}, row {number}")
                item = Item(facts.key_or(f"{number:09d}"), modality, path, None, planned, ("hf", number, media),
                            facts.text, facts.meta)  # fmt: skip
                yield facts.about(item)


def open_dataset(path: str) -> Any:
    """A saved dataset as a pyarrow Table that maps its files into memory. Raises JobError."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "jobs", 'a source of kind "hf"') from error
    with _damage(path):
        state = _load(path, "state.json")
        if state.get("_indices_data_files"):
            raise JobError(f"{path} is a selection of rows, as old versions saved it: load it and save it again")
        files = [os.path.join(path, one["filename"]) for one in state["_data_files"]]
        tables = [pa.ipc.open_stream(pa.memory_map(file)).read_all() for file in files]
        return pa.concat_tables(tables, promote_options="default")


def _columns_of_media(path: str) -> list[str]:
    features = _load(path, "dataset_info.json").get("features") or {}
    return [name for name, one in features.items() if isinstance(one, dict) and one.get("_type") in MEDIA]


def _load(path: str, name: str) -> dict[str, Any]:
    splits = os.path.join(path, "dataset_dict.json")
    if os.path.exists(splits) and not os.path.exists(os.path.join(path, name)):
        with open(splits, encoding="utf-8") as stream:
            known = json.load(stream)["splits"]
        raise UsageError(f'{path} has splits {", ".join(known)}: say split = "{next(iter(known), "")}"')
    with open(os.path.join(path, name), encoding="utf-8") as stream:
        record = json.load(stream)
    if not isinstance(record, dict):
        raise JobError(f"{path}/{name} is damaged: it holds a {type(record).__name__}")
    return record


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """Make an AnytokError of what reading a damaged dataset raises."""
    try:
        yield
    except AnytokError:
        raise
    except FileNotFoundError as error:
        raise JobError(f"{path} is no dataset that was saved to disk: {error.filename} is not there") from error
    except Exception as error:
        raise JobError(f"{path} is no readable dataset ({reason_of(error)})") from error


def _rows(table: Any, num_rows: int) -> Iterator[dict[str, Any]]:
    """All rows, a batch at a time; each batch is looked at first, since Arrow trusts the offsets in its files."""
    if not table.column_names:
        yield from ({} for _ in range(num_rows))
    for batch in table.to_batches(max_chunksize=BATCH):
        for column in batch.columns:
            _check(column)
        yield from plain_rows(batch)


def _check(column: Any) -> None:
    """Raise ArrowInvalid where offsets lead out of the file; text that is no UTF-8 is a matter of its row."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.view(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
    column.validate(full=True)


def _files(path: str) -> Iterator[Input]:
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            if name.endswith((".arrow", "state.json")):
                yield input_of(os.path.join(folder, name))


def dataset_version(path: str) -> str:
    """The `version` of a saved dataset: of all its files together."""
    files = list(_files(path))
    stamps = hashlib.sha256(b"".join(one.to_line() for one in files)).hexdigest()
    return version(sum(one.num_bytes or 0 for one in files), stamps)
