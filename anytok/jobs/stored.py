"""Shards of codes, as jobs write them to parquet and WebDataset, read again: what stands in them, and some rows."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..compose import StoredItem
from ..errors import AnytokError, JobError
from ..records import build
from ..spec import Codes, Spec
from .parquet import numpy_of, open_parquet
from .urls import open_url
from .values import reason_of

__all__ = [
    "StoredTable", "StoredTar", "codes_parquet", "codes_webdataset", "list_stored", "open_stored", "specs_of",
    "stored_specs",
]  # fmt: skip

KEPT = 16  # open shards: those that documents are shuffled among, and some


class StoredTable:
    """The rows of a parquet shard."""

    def __init__(self, path: str) -> None:
        with open_parquet(path, checksums=True) as file:
            self.specs = _specs(file, path)
            self._table = file.read(["key", "tokenizer", "codes", "num_samples", "scales", "text", "meta"])

    @cached_property
    def _facts(self) -> list[tuple[Any, ...]]:
        names = ("key", "tokenizer", "num_samples", "scales", "text", "meta")
        return list(zip(*(self._table.column(name).to_pylist() for name in names), strict=True))

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All codes in one array; where each layer begins in it; and of each row, its first layer."""
        codes = self._table.column("codes").combine_chunks()
        return numpy_of(codes.values.values), numpy_of(codes.values.offsets), numpy_of(codes.offsets)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def items(self, rows: Sequence[int]) -> list[StoredItem]:
        """Some rows, in the order asked for."""
        return [self._item(row) for row in rows]

    def _item(self, row: int) -> StoredItem:
        values, layers, firsts = self._codes
        first, last = firsts[row], firsts[row + 1]
        grid = values[layers[first] : layers[last]].reshape(last - first, -1)
        key, tokenizer, num_samples, scales, text, meta = self._facts[row]
        codes = Codes(grid, self.specs[tokenizer], num_samples, 0, scales)
        return StoredItem(key, codes, text, json.loads(meta) if meta != "{}" else {})


class StoredTar:
    """The samples of a WebDataset shard."""

    def __init__(self, path: str) -> None:
        with open_url(path) as stream, tarfile.open(fileobj=stream) as tar:
            self._samples = _samples(tar, (".json", ".codes.npy", ".txt"))
            self.specs = specs_of(tar.pax_headers.get("anytok"), path)

    def __len__(self) -> int:
        return len(self._samples)

    def items(self, rows: Sequence[int]) -> list[StoredItem]:
        """Some samples, in the order asked for."""
        return [self._item(self._samples[row]) for row in rows]

    def _item(self, sample: Mapping[str, bytes]) -> StoredItem:
        record, text = json.loads(sample[".json"]), sample.get(".txt")
        values = np.load(io.BytesIO(sample[".codes.npy"]), allow_pickle=False)
        codes = Codes(values, self.specs[record["tokenizer"]], record["num_samples"], 0, record.get("scales"))
        return StoredItem(record["key"], codes, None if text is None else text.decode(), record["meta"])


def codes_parquet(stem: Path) -> list[Codes]:
    """The codes of all rows of a shard of one's own."""
    table = StoredTable(str(stem.with_suffix(".parquet")))
    return [one.codes for one in table.items(range(len(table)))]


def codes_webdataset(stem: Path) -> list[Codes]:
    """The codes of all samples of a shard of one's own, which has some."""
    tar = StoredTar(str(stem.with_suffix(".tar")))
    return [one.codes for one in tar.items(range(len(tar)))]


@lru_cache(maxsize=KEPT)
def open_stored(path: str, version: str) -> StoredTable | StoredTar:
    """The shard in a file; `version` tells a changed one apart. Raises JobError where it holds no codes of a job."""
    with _damage(path):
        return StoredTar(path) if path.endswith(".tar") else StoredTable(path)


def list_stored(path: str, *, metas: bool) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Key, modality and, with `metas`, metadata of each row of a shard. Raises JobError as `open_stored` does."""
    with _damage(path):
        if path.endswith(".tar"):
            with open_url(path) as stream, tarfile.open(fileobj=stream) as tar:
                records = [json.loads(sample[".json"]) for sample in _samples(tar, (".json",))]
            return [(record["key"], record["modality"], record["meta"]) for record in records]
        with open_parquet(path, checksums=True) as file:
            table = file.read(["key", "modality", *(["meta"] if metas else [])])
        columns = [column.to_pylist() for column in table.columns]
        found = list(map(json.loads, columns[2])) if metas else [{}] * table.num_rows
        return list(zip(columns[0], columns[1], found, strict=True))


def stored_specs(path: str) -> dict[str, Spec]:
    """The Specs, by id, of the tokenizers that a shard's codes are of. Raises JobError as `open_stored` does."""
    with _damage(path):
        if path.endswith(".tar"):
            with open_url(path) as stream, tarfile.open(fileobj=stream) as tar:
                tar.next()
                return specs_of(tar.pax_headers.get("anytok"), path)
        with open_parquet(path, checksums=True) as file:
            return _specs(file, path)


def _samples(tar: tarfile.TarFile, suffixes: Sequence[str]) -> list[dict[str, bytes]]:
    """The members of each sample in order, those with these suffixes."""
    samples: dict[str, dict[str, bytes]] = {}
    for member in tar:
        name, dot, suffix = member.name.partition(".")
        sample = samples.setdefault(name, {})
        if dot + suffix in suffixes:
            stream = tar.extractfile(member)
            sample[dot + suffix] = stream.read() if stream else b""
    return list(samples.values())


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """Make a JobError of what reading a damaged or foreign file raises."""
    try:
        yield
    except AnytokError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise JobError(
            f"{path} is no shard of codes that can be read ({reason_of(error)}): expected what `anytok run` has written"
        ) from error


def _specs(file: Any, path: str) -> dict[str, Spec]:
    return specs_of((file.schema_arrow.metadata or {}).get(b"anytok"), path)


def specs_of(provenance: bytes | str | None, path: str) -> dict[str, Spec]:
    """The Specs that the head of a shard names."""
    if not provenance:
        raise JobError(f"{path} does not say which tokenizers its codes are of: expected what `anytok run` has written")
    specs = [build(Spec, record, path, JobError) for record in json.loads(provenance)["specs"].values()]
    return {spec.id: spec for spec in specs}
