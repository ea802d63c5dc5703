"""WebDataset tar shards and AnyGPT's JSON lines."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from ..items import valid_text
from ..shard import Shard
from ..values import to_json
from .tables import meta_json

__all__ = ["add_member", "keys_anygpt", "keys_webdataset", "npy", "read_anygpt", "write_anygpt", "write_webdataset"]


def write_webdataset(stem: Path, shard: Shard) -> None:
    """A sample a row: `.json` (key, modality, tokenizer, sizes, metadata), `.codes.npy` [K, T], `.ids.npy` [N] with
    a vocabulary, `.txt` where there is text. Samples are numbered, because keys may hold dots, which WebDataset
    reads as suffixes. The provenance stands before them in a pax header, which readers pass over."""
    head = {"anytok": shard.provenance} if shard.rows else {}  # a tar of nothing but a head cannot be opened
    ids = shard.ids("webdataset")
    with tarfile.open(stem.with_suffix(".tar"), "w", format=tarfile.PAX_FORMAT, pax_headers=head) as tar:
        for number, row in enumerate(shard.rows):
            name, codes = f"{shard.number:06d}{number:06d}", row.codes
            record: dict[str, Any] = {"key": row.item.key, "modality": row.item.modality, "tokenizer": codes.spec.id}
            record |= {"num_samples": codes.num_samples, "meta": json.loads(meta_json(row.item))}
            if codes.scales is not None:
                record["scales"] = [float(scale) for scale in codes.scales]
            add_member(tar, f"{name}.json", to_json(record, ascii_only=True).encode())
            add_member(tar, f"{name}.codes.npy", npy(row.values.astype(shard.code_dtype)))
            if ids is not None:
                add_member(tar, f"{name}.ids.npy", npy(ids[number]))
            if row.item.text is not None:
                add_member(tar, f"{name}.txt", valid_text(row.item.text).encode())


def keys_webdataset(stem: Path) -> list[str]:
    """Keys of the samples."""
    with tarfile.open(stem.with_suffix(".tar")) as tar:
        records = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
        return [json.load(record)["key"] for record in records if record]


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file with these bytes."""
    member = tarfile.TarInfo(name)  # its time is 0 and its owner nobody, so equal runs write equal bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def npy(values: np.ndarray) -> bytes:
    """An array as numpy's files hold it."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def write_anygpt(stem: Path, shard: Shard) -> None:
    """A line a row, as AnyGPT publishes its data: {"text": …, "image" | "speech" | "music": "<soim>…<eoim>"}, and
    the item's key."""
    assert shard.vocabulary is not None, "checked when the job was read"
    with open(stem.with_suffix(".jsonl"), "w", encoding="utf-8", newline="\n") as stream:
        for row in shard.rows:
            codes = shard.vocabulary.to_text(row.codes)
            record = {"key": row.item.key, "text": valid_text(row.item.text or ""), row.item.modality: codes}
            stream.write(to_json(record) + "\n")


def keys_anygpt(stem: Path) -> list[str]:
    """Keys of the lines."""
    with open(stem.with_suffix(".jsonl"), encoding="utf-8") as stream:
        return [json.loads(line)["key"] for line in stream]


def read_anygpt(stem: Path) -> list[str]:
    """The codes of each line, spelled in the vocabulary's tokens, markers included."""
    with open(stem.with_suffix(".jsonl"), encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream]
    return [next(value for name, value in line.items() if name not in ("key", "text")) for line in lines]
