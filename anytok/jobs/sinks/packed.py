"""Ids back to back, as trainers map them into memory: Megatron's .bin/.idx, and litdata's chunks of tokens."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..commit import write_aside
from ..sequences import SequenceShard
from ..shard import Shard
from .columns import check_total

__all__ = [
    "count_litdata", "count_megatron", "index_litdata", "read_litdata", "read_megatron", "write_litdata",
    "write_megatron",
]  # fmt: skip

# numpy types by the numbers that the formats give them
MEGATRON_TYPES = {"uint16": 8, "int32": 4}
LITDATA_TYPES = {"uint16": "no_header_numpy:5", "int32": "no_header_numpy:2"}


def write_megatron(stem: Path, shard: Shard | SequenceShard) -> None:
    """`.bin`: all ids; `.idx` (Megatron-LM, IndexedDataset version 1): a document of one sequence for each row."""
    ids, dtype = _ids(shard, "megatron")
    lengths = np.array([len(one) for one in ids], np.int32)
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, MEGATRON_TYPES[dtype.name], len(ids), len(ids) + 1)
    with open(stem.with_suffix(".idx"), "wb") as stream:
        stream.write(header + lengths.tobytes() + (ends - lengths * dtype.itemsize).tobytes())
        stream.write(np.arange(len(ids) + 1, dtype=np.int64).tobytes())  # where documents begin, and the end
    with open(stem.with_suffix(".bin"), "wb") as stream:
        stream.writelines(one.astype(dtype).tobytes() for one in ids)


def count_megatron(stem: Path) -> int:
    """Number of sequences."""
    with open(stem.with_suffix(".idx"), "rb") as stream:
        _, _, _, count, _ = struct.unpack("<9sQBQQ", stream.read(34))
    return count


def read_megatron(stem: Path) -> list[np.ndarray]:
    """The ids of each sequence."""
    index = stem.with_suffix(".idx").read_bytes()
    _, _, number, count, _ = struct.unpack("<9sQBQQ", index[:34])
    [name] = [name for name, one in MEGATRON_TYPES.items() if one == number]
    lengths = np.frombuffer(index, np.int32, count, 34)
    ids = np.fromfile(stem.with_suffix(".bin"), name)
    return np.split(ids, np.cumsum(lengths)[:-1]) if count else []


def write_litdata(stem: Path, shard: Shard | SequenceShard) -> None:
    """`.bin`: a chunk for litdata's TokensLoader (number of rows, their offsets, their ids). `.json`: its line in
    the index."""
    ids, dtype = _ids(shard, "litdata")
    head = 4 * (len(ids) + 2)
    offsets = head + np.cumsum([0, *(one.size * dtype.itemsize for one in ids)])
    check_total(int(offsets[-1]), np.uint32, "bytes")
    with open(stem.with_suffix(".bin"), "wb") as stream:
        stream.write(np.array([len(ids), *offsets], np.uint32).tobytes())
        stream.writelines(one.astype(dtype).tobytes() for one in ids)
    record: dict[str, Any] = {"chunk_bytes": int(offsets[-1]), "chunk_size": len(ids)}
    record |= {"dim": sum(one.size for one in ids), "filename": f"{shard.number:06d}.bin"}
    record |= {"data_format": LITDATA_TYPES[dtype.name]}
    stem.with_suffix(".json").write_text(json.dumps(record) + "\n")


def count_litdata(stem: Path) -> int:
    """Number of rows."""
    with open(stem.with_suffix(".bin"), "rb") as stream:
        return struct.unpack("<I", stream.read(4))[0]


def read_litdata(stem: Path) -> list[np.ndarray]:
    """The ids of each row."""
    data = stem.with_suffix(".bin").read_bytes()
    [name] = [one for one, told in LITDATA_TYPES.items() if told == _described(stem)["data_format"]]
    offsets = np.frombuffer(data, np.uint32, count_litdata(stem) + 1, 4)
    return [np.frombuffer(data[start:end], name) for start, end in pairwise(offsets.tolist())]


def _described(stem: Path) -> dict[str, Any]:
    """The line of a chunk for the index."""
    return json.loads(stem.with_suffix(".json").read_text())


def index_litdata(folder: Path, stems: Sequence[Path]) -> None:
    """`index.json` over all chunks."""
    chunks = [_described(stem) for stem in stems]
    formats = {chunk.pop("data_format") for chunk in chunks}
    config = {
        "chunk_bytes": max((chunk["chunk_bytes"] for chunk in chunks), default=0),
        "chunk_size": None,
        "compression": None,
        "data_format": sorted(formats),
        "data_spec": json.dumps([1, {"type": None, "context": None, "children_spec": []}]),  # torch's leaf
        "encryption": None,
        "item_loader": "TokensLoader",
    }
    text = json.dumps({"chunks": chunks, "config": config}, indent=1) + "\n"
    write_aside(folder, "index.json", [text.encode()])


def _ids(shard: Shard | SequenceShard, sink: str) -> tuple[list[np.ndarray], np.dtype]:
    """Ids and the type to write: uint16 while the vocabulary fits, else int32, which every reader knows."""
    ids = shard.ids(sink)
    assert shard.vocabulary is not None and ids is not None, "checked when the job was read"
    return ids, np.dtype(np.uint16 if shard.vocabulary.dtype.itemsize <= 2 else np.int32)
