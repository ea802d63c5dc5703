"""What the job files in configs/ read, made of a few media where it is not there: they run from an empty folder."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .settings import SourceConfig
from .urls import is_url

__all__ = ["make_source", "place_of"]

Media = Sequence[tuple[Path, str]]  # files, each with its text


def place_of(source: SourceConfig) -> Path | None:
    """Where an example of a source would be; None where none can be made: elsewhere, or another job's output."""
    return None if is_url(source.path) or source.kind not in _MAKERS else Path(source.path.replace("*", "000000"))


def make_source(source: SourceConfig, media: Media) -> None:
    """Write what `source` is to read: these files in a folder, a table or an archive. What is there stays."""
    place = place_of(source)
    assert place is not None, "asked before"
    place.parent.mkdir(parents=True, exist_ok=True)
    _MAKERS[source.kind](source, place, media)


def _folder(source: SourceConfig, place: Path, media: Media) -> None:
    place.mkdir(exist_ok=True)
    for path, text in media:
        shutil.copy(path, place)
        if source.text_suffix:
            (place / path.name).with_suffix(source.text_suffix).write_text(f"{text}\n", "utf-8")


def _manifest(source: SourceConfig, place: Path, media: Media) -> None:
    """The media in a folder beside it, of its name."""
    folder = place.with_suffix("")
    folder.mkdir(exist_ok=True)
    rows = [{"path": f"{folder.name}/{path.name}", "text": text} for path, text in media]
    for path, _ in media:
        shutil.copy(path, folder)
    with open(place, "x", encoding="utf-8", newline="") as stream:
        if place.suffix == ".jsonl":
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            table = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if place.suffix == ".tsv" else ",")
            table.writeheader()
            table.writerows(rows)


def _tar(source: SourceConfig, place: Path, media: Media) -> None:
    with tarfile.open(place, "x") as tar:
        for path, text in media:
            beside = path.with_suffix(".txt")
            beside.write_text(text, "utf-8")
            tar.add(path, path.name)
            tar.add(beside, beside.name)


def _parquet(source: SourceConfig, place: Path, media: Media) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = source.columns.get("media", "media")
    rows = [{"key": path.stem, column: path.read_bytes(), "text": text} for path, text in media]
    pq.write_table(pa.Table.from_pylist(rows), place)


_MAKERS: Mapping[str, Callable[[SourceConfig, Path, Media], None]] = {
    "folder": _folder, "manifest": _manifest, "tar": _tar, "parquet": _parquet,
}  # fmt: skip
