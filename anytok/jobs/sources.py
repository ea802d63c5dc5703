"""Where items come from: folders, globs, manifests (and, in containers.py, tar, parquet and datasets).

A source is listed in a fixed order, twice over: `inputs` are the files a plan depends on, `items` the media.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Protocol

from ..errors import JobError, UsageError
from .config import JobConfig, SourceConfig
from .items import Input, Item, valid_text
from .urls import input_of, is_url, list_files, open_url, size_and_stamp

__all__ = ["Source", "listed", "look_at_sources", "no_media", "open_sources", "open_table", "passed_over"]

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"}
SOUNDS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".w64", ".webm", ".mp4"}


class Source(Protocol):
    """What a plan needs of a source. `ignored` counts what `items` passed over, by reason."""

    ignored: Counter[str]

    def inputs(self) -> Iterator[Input]: ...

    def items(self) -> Iterator[Item]: ...


class Choice:
    """Which modality a medium belongs to: as told, or by its suffix."""

    def __init__(self, told: str, wanted: tuple[str, ...]) -> None:
        self.told, self.wanted = told, wanted
        self._sound = [modality for modality in wanted if modality != "image"]

    def by_suffix(self, suffix: str) -> str | None:
        """The modality of a file with this suffix; None for a file that is no medium of this job."""
        suffix = suffix.lower()
        kinds = ["image"] if suffix in PICTURES else self._sound if suffix in SOUNDS else []
        if self.told:
            return self.told if self.told in kinds or (self.told != "image" and suffix in SOUNDS) else None
        if len(kinds) > 1:
            raise UsageError(f"{suffix} files may be {' or '.join(kinds)}: give the source a modality")
        return kinds[0] if kinds and kinds[0] in self.wanted else None

    def by_name(self, name: str | None, suffix: str, where: str) -> str:
        """The modality that a manifest names, else the one told, else the one of the suffix."""
        modality = name or self.told or self.by_suffix(suffix) or ""
        if not modality and len(self.wanted) == 1:
            modality = self.wanted[0]
        if modality not in self.wanted:
            raise UsageError(f"{where}: modality {modality or 'unknown'}; this job has {', '.join(self.wanted)}")
        return modality


class FolderSource:
    """All media files below a folder, by path. Folders that are links are not followed: they can form a loop."""

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        self.root, self._text_suffix, self._choice = config.path, config.text_suffix, choice
        self.ignored: Counter[str] = Counter()
        if not os.path.isdir(self.root):
            raise UsageError(f"source {self.root!r} is no folder: give a folder, a pattern, a manifest or an archive")

    def inputs(self) -> Iterator[Input]:
        for _, path, _ in self._files():
            yield Input(path, *size_and_stamp(path))

    def items(self) -> Iterator[Item]:
        self.ignored.clear()
        for name, path, modality in self._files():
            text = read_text(path, self._text_suffix) if self._text_suffix else None
            yield file_item(valid_text(name), modality, path, text=text)

    def _files(self) -> Iterator[tuple[str, str, str]]:
        """Name below the root, path and modality of each medium."""
        folders = [""]
        while folders:
            folder = folders.pop()
            with os.scandir(os.path.join(self.root, folder)) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            if any(entry.name == "_anytok" for entry in entries):  # a job's output, such as this one's
                self.ignored[f"{os.path.dirname(entries[0].path)} (a job's output: it holds _anytok)"] += 1
                continue
            below = []
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    below.append(name)
                    continue
                suffix = os.path.splitext(entry.name)[1]
                modality = self._choice.by_suffix(suffix)
                if modality is None:
                    self.ignored[suffix.lower() or "no suffix"] += 1
                else:
                    yield name, entry.path, modality
            folders.extend(reversed(below))


class GlobSource:
    """Files that match a pattern, here or at any fsspec URL; a URL without a pattern means all files below it."""

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        self._config, self._choice = config, choice
        self.ignored: Counter[str] = Counter()

    def inputs(self) -> Iterator[Input]:
        for path, num_bytes, stamp in list_files(self._config.path):
            yield Input(path, num_bytes, stamp)

    def items(self) -> Iterator[Item]:
        self.ignored.clear()
        for path, num_bytes, stamp in list_files(self._config.path):
            suffix = os.path.splitext(path)[1]
            modality = self._choice.by_suffix(suffix)
            if modality is None:
                self.ignored[suffix.lower() or "no suffix"] += 1
                continue
            text = read_text(path, self._config.text_suffix) if self._config.text_suffix else None
            yield Item(valid_text(path), modality, path, num_bytes, stamp, text=text)


class ManifestSource:
    """Rows of a CSV, TSV, JSONL or parquet file that name paths; relative ones start at the manifest's folder.

    The manifest and what it names may be URLs. Columns `path`, and if there `key`, `text` and `modality`; all others
    become the item's metadata.
    """

    def __init__(self, config: SourceConfig, choice: Choice) -> None:
        self._config, self._choice = config, choice
        self._columns = {name: config.columns.get(name, name) for name in ("key", "path", "text", "modality")}
        self.ignored: Counter[str] = Counter()

    def inputs(self) -> Iterator[Input]:
        yield input_of(self._config.path)
        for item in self.items():
            yield Input(item.path, item.num_bytes, item.stamp)

    def items(self) -> Iterator[Item]:
        folder = os.path.dirname(self._config.path)
        for number, row in enumerate(read_rows(self._config.path, self._config.quotes), 1):
            yield self._item(folder, dict(row), f"{self._config.path}, row {number}")

    def _item(self, folder: str, row: dict[str, Any], where: str) -> Item:
        known = {name: row.pop(column, None) for name, column in self._columns.items()}
        path = known["path"]
        if not path or not isinstance(path, str):
            raise JobError(f"{where}: no {self._columns['path']!r}; columns = {{path = …}} names the column of paths")
        modality = self._choice.by_name(known["modality"], os.path.splitext(path)[1], where)
        key = valid_text(str(path if known["key"] in (None, "") else known["key"]))
        text = None if known["text"] is None else str(known["text"])
        path = path if is_url(path) else os.path.join(folder, path)
        if is_url(path):
            return Item(key, modality, path, text=text, meta=row)
        return file_item(key, modality, path, text=text, meta=row)


def file_item(key: str, modality: str, path: str, **more: Any) -> Item:
    """An Item of a local file. A file that cannot be looked at is an item too: its failure belongs in the ledger."""
    return Item(key, modality, path, *size_and_stamp(path), **more)


def read_text(path: str, suffix: str) -> str | None:
    """The caption file beside a medium, or None."""
    beside = os.path.splitext(path)[0] + suffix
    try:
        with open_url(beside) as stream:
            return stream.read().decode("utf-8").strip()
    except Exception as error:  # a file system of anybody's raises anything
        if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ENAMETOOLONG:
            return None  # a name too long for the system is no file either
        raise JobError(f"cannot read the text {beside}: {error}") from error


def read_rows(path: str, quotes: bool = True) -> Iterator[Mapping[str, Any]]:
    """Rows of a manifest as dicts, one at a time; without `quotes`, those in a table are text."""
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix == ".parquet":
            yield from _parquet_rows(path)
            return
        with open_url(path) as data, io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as stream:
            yield from _json_rows(stream, path) if suffix == ".jsonl" else _table_rows(stream, path, suffix, quotes)
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"cannot read the manifest {path}: {error}") from error


def _json_rows(stream: IO[str], path: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(stream, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise JobError(f"{path}, line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise JobError(f"{path}, line {number}: expected an object, got {type(row).__name__}")
        yield row


def _table_rows(stream: IO[str], path: str, suffix: str, quotes: bool) -> Iterator[Mapping[str, Any]]:
    """Strict, and without line breaks in .tsv: a quote not meant as one would swallow the rows up to the next."""
    tabs = suffix == ".tsv"
    form: dict[str, Any] = {"delimiter": "\t" if tabs else ",", "strict": True}
    table = csv.DictReader(stream, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, **form)
    try:
        for number, row in enumerate(table, 1):
            if tabs and any("\n" in value or "\r" in value for value in row.values() if isinstance(value, str)):
                raise csv.Error("a line break within quotes")
            if None in row or None in row.values():
                raise JobError(f"{path}, row {number}: {'more' if None in row else 'fewer'} fields than the header has")
            yield {name: value or None for name, value in row.items()}
    except csv.Error as error:
        advice = (
            'double the quotes in a field and put quotes around it ("""so"" he said"); or, where they are text in all '
            "of the table, give its [[sources]] quotes = false"
        )
        raise JobError(f"{path}, line {table.reader.line_num}: {error}; {advice}") from error


@contextmanager
def open_table(path: str) -> Iterator[Any]:
    """A parquet file or URL as a pyarrow ParquetFile. Raises JobError where it, or what is read of it, is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_url(path) as stream, pq.ParquetFile(stream) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{path} is no readable parquet file ({error})") from error


def _parquet_rows(path: str) -> Iterator[Mapping[str, Any]]:
    with open_table(path) as table:
        for batch in table.iter_batches(batch_size=10_000):
            yield from batch.to_pylist()


def open_sources(config: JobConfig) -> list[tuple[str, Source]]:
    """The job's sources with the prefix of their keys: none for a single source, else its name."""
    from .containers import DatasetSource, ParquetSource, TarSource

    kinds: dict[str, Any] = {
        "folder": FolderSource, "glob": GlobSource, "manifest": ManifestSource,
        "tar": TarSource, "parquet": ParquetSource, "hf": DatasetSource,
    }  # fmt: skip
    wanted = tuple(config.tokenizers)
    opened = []
    for number, one in enumerate(config.sources):
        prefix = f"{one.name or number}/" if len(config.sources) > 1 else ""
        kind = GlobSource if one.kind == "folder" and is_url(one.path) else kinds[one.kind]
        opened.append((prefix, kind(one, Choice(one.modality, wanted))))
    if len({prefix for prefix, _ in opened}) < len(opened):
        raise UsageError("two sources have one name: each needs its own")
    return opened


def look_at_sources(config: JobConfig) -> None:
    """Raise what is wrong with the sources at first sight, before weights are fetched for them: one is not there or
    cannot be read, or none holds media for this job."""
    sources = open_sources(config)
    firsts = [next(listed(source.items()), None) for _, source in sources]
    if not any(firsts):
        raise no_media(config, sources)


def no_media(config: JobConfig, sources: list[tuple[str, Source]]) -> UsageError:
    """What to say where listing the sources has given nothing."""
    wanted = ", ".join(config.tokenizers)
    return UsageError(f"the sources hold no media for {wanted}; passed over: {passed_over(sources) or 'nothing'}")


def passed_over(sources: list[tuple[str, Source]]) -> dict[str, int]:
    """How many files the listing has left out, by reason."""
    return dict(sorted(sum((source.ignored for _, source in sources), Counter()).items()))


def listed(listing: Iterator[Any]) -> Iterator[Any]:
    """A source's listing; what the system refuses meanwhile is the source's fault, not the output's."""
    try:
        yield from listing
    except OSError as error:
        raise JobError(f"a source cannot be listed: {error}") from error
