"""Sources that hold many media in one file: WebDataset tar shards, parquet tables, Hugging Face datasets."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import JobError, MissingExtraError
from .config import SourceConfig
from .items import Input, Item, valid_text, version
from .sources import Choice, open_table
from .urls import input_of, list_files, open_url

__all__ = ["DatasetSource", "ParquetSource", "TarSource", "dataset_version", "open_dataset"]

MAX_TEXT = 2**20  # bytes of a caption or a JSON beside a medium


class _Container(NamedTuple):
    """One file of a source; `label` is its path below the folder that all of them share."""

    path: str
    label: str
    version: str


def _containers(pattern: str) -> Iterator[_Container]:
    files = list_files(pattern)
    folders = [f"{os.path.dirname(path)}/" for path, _, _ in files]
    root = os.path.commonprefix(folders).rpartition("/")[0]  # noqa: RUF071 - commonpath spoils the // of a URL
    for path, num_bytes, stamp in files:
        yield _Container(path, path[len(root) :].lstrip("/"), version(num_bytes, stamp))


class TarSource:
    """WebDataset shards. Members are never unpacked; a medium is a place in its tar, its name only a label.

    `x.txt` and `x.json` beside `x.jpg` become its text and its metadata.
    """

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        self._config, self._choice = config, choice
        self.ignored: Counter[str] = Counter()

    def inputs(self) -> Iterator[Input]:
        return (Input(*found) for found in list_files(self._config.path))

    def items(self) -> Iterator[Item]:
        self.ignored.clear()
        for container in _containers(self._config.path):
            try:
                with open_url(container.path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                    yield from self._items(tar, container)
            except tarfile.TarError as error:
                what = f"{container.path} is no readable tar ({error})"
                raise JobError(f"{what}: it must be whole, and not compressed") from error

    def _items(self, tar: tarfile.TarFile, container: _Container) -> Iterator[Item]:
        files = (member for member in _members(tar) if member.isreg())
        for _, group in itertools.groupby(files, key=lambda member: _split(member.name)[0]):
            media, text, meta = [], None, {}
            for member in group:
                modality = self._choice.by_suffix(os.path.splitext(member.name)[1])
                if modality:
                    media.append((member, modality))
                elif member.name.endswith(".txt"):
                    text = _text(tar, member, container.path)
                elif member.name.endswith(".json"):
                    meta = _json(tar, member, container.path)
                else:
                    self.ignored[os.path.splitext(member.name)[1] or "no suffix"] += 1
            for member, modality in media:
                place = ("sparse",) if member.issparse() else ("tar", member.offset_data, member.size)
                key = valid_text(f"{container.label}/{member.name}")
                yield Item(key, modality, container.path, member.size, container.version, place, text, meta)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        yield member
        tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header for ever


def _split(name: str) -> tuple[str, str]:
    """WebDataset's key and suffix of a member: the name up to the first dot of its last part."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> str:
    if member.size > MAX_TEXT:
        raise JobError(f"{path}: {member.name} has {member.size} bytes; a text may have {MAX_TEXT}")
    stream = tar.extractfile(member)
    assert stream is not None, "only regular files get here"
    try:
        return stream.read().decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise JobError(f"{path}: {member.name} is no UTF-8 text ({error})") from error


def _json(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> dict[str, Any]:
    try:
        record = json.loads(_text(tar, member, path))
    except ValueError as error:
        raise JobError(f"{path}: {member.name} is no JSON ({error})") from error
    return record if isinstance(record, dict) else {"json": record}


class ParquetSource:
    """Tables with media in them: a binary column, or the {bytes, path} column of Hugging Face. Column `media`.

    Further columns of such kinds are passed over; all others become the item's metadata.
    """

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        self._config, self._choice = config, choice
        self._columns = {name: config.columns.get(name, name) for name in ("key", "media", "text", "modality")}
        self.ignored: Counter[str] = Counter()

    def inputs(self) -> Iterator[Input]:
        return (Input(*found) for found in list_files(self._config.path))

    def items(self) -> Iterator[Item]:
        self.ignored.clear()
        for container in _containers(self._config.path):
            name = os.path.basename(container.path)
            if name.startswith(("_", ".")) and not name.endswith(".parquet"):
                self.ignored[name] += 1  # what Spark leaves beside its parts, such as _SUCCESS
                continue
            with open_table(container.path) as table:
                yield from self._items(table, container)

    def _items(self, table: Any, container: _Container) -> Iterator[Item]:
        media, more = _media_columns(table.schema_arrow, self._columns["media"], container.path)
        left_out = [name for name in more if name not in self._columns.values()]
        self.ignored.update(f"column {name}" for name in left_out)
        others = [name for name in table.schema_arrow.names if name not in (media, *left_out)]
        number = itertools.count()
        for group in range(table.num_row_groups):
            rows = table.read_row_group(group, columns=others).to_pylist() if others else []
            rows = rows or [{} for _ in range(table.metadata.row_group(group).num_rows)]
            for place, row in enumerate(rows):
                yield self._item(container, ("parquet", group, place, media), row, next(number))

    def _item(self, container: _Container, place: tuple[Any, ...], row: dict[str, Any], number: int) -> Item:
        key, text, name = (row.pop(self._columns[one], None) for one in ("key", "text", "modality"))
        label = str(key) if key is not None else f"{container.label}/{number}"
        modality = self._choice.by_name(name, "", f"{container.path}, row {number}")
        text = None if text is None else str(text)
        return Item(valid_text(label), modality, container.path, None, container.version, place, text, row)


def _media_columns(schema: Any, wanted: str, path: str) -> tuple[str, list[str]]:
    """The column of the media, and further ones that could be it: bytes, which are no metadata."""
    import pyarrow as pa

    kinds = {field.name: field.type for field in schema}
    holding = [name for name, kind in kinds.items() if _holds_media(kind, pa)]
    media = wanted if wanted in holding else holding[0] if len(holding) == 1 else None
    if media is not None:
        return media, [name for name in holding if name != media]
    raise JobError(
        f"{path}: which column holds the media? Candidates: {', '.join(holding) or 'none'} of {', '.join(kinds)}; "
        'say columns = {media = …}. A table of paths is kind = "manifest"'
    )


def _holds_media(kind: Any, pa: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


class DatasetSource:
    """A dataset that `datasets` saved to disk; its Image or Audio column."""

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        self._config, self._choice = config, choice
        self.ignored: Counter[str] = Counter()

    def inputs(self) -> Iterator[Input]:
        return _dataset_files(self._config.path)

    def items(self) -> Iterator[Item]:
        columns = self._config.columns
        path = os.path.join(self._config.path, self._config.split) if self._config.split else self._config.path
        planned = dataset_version(path)
        table = open_dataset(path)
        media = columns.get("media") or _only_medium(table, path)
        names = {one: columns.get(one, one) for one in ("key", "text", "modality")}
        rows = table.remove_columns(media) if table.column_names != [media] else ({} for _ in range(len(table)))
        for number, row in enumerate(rows):
            known = {one: row.pop(column, None) for one, column in names.items()}
            key = known["key"] if known["key"] is not None else f"{number:09d}"
            modality = self._choice.by_name(known["modality"], "", f"{path}, row {number}")
            text = None if known["text"] is None else str(known["text"])
            yield Item(valid_text(str(key)), modality, path, None, planned, ("hf", number, media), text, row)


def _dataset_files(path: str) -> Iterator[Input]:
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            if name.endswith((".arrow", "state.json")):
                yield input_of(os.path.join(folder, name))


def dataset_version(path: str) -> str:
    """The `version` of a saved dataset: of all its files together."""
    files = list(_dataset_files(path))
    stamps = hashlib.sha256(b"".join(one.to_line() for one in files)).hexdigest()
    return version(sum(one.num_bytes or 0 for one in files), stamps)


def open_dataset(path: str) -> Any:
    """A saved dataset whose media stay bytes: decoding is ours."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError("datasets", "hf", 'a source of kind "hf"') from error
    table = datasets.load_from_disk(path)
    if isinstance(table, datasets.DatasetDict):
        raise JobError(f'{path} has splits {", ".join(table)}: say split = "{next(iter(table))}"')
    for name, feature in table.features.items():
        if isinstance(feature, (datasets.Image, datasets.Audio)):
            table = table.cast_column(name, type(feature)(decode=False))
    return table


def _only_medium(table: Any, path: str) -> str:
    import datasets

    found = [name for name, one in table.features.items() if isinstance(one, (datasets.Image, datasets.Audio))]
    if len(found) != 1:
        raise JobError(f"{path}: media columns {found or 'none'}; say columns = {{media = …}}")
    return found[0]
