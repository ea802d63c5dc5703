"""The lists of a plan: items in their order, cut into shards, and the plan files that name them."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ..errors import JobError
from ..records import AT_LEAST_ONE, Count
from .commit import write_aside
from .items import Item, key_hash

__all__ = ["FORMAT", "Extension", "ListFile", "Round", "doubled_keys", "hash_of", "publish", "write_round"]

FORMAT = 1


@dataclass(frozen=True)
class ListFile:
    """A list beside the plan: its name in OUT/_anytok, and its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Extension:
    """What a round that takes up changes of the sources says besides; see `extend`.

    Of the items of today, `num_items`, some are `new`, `changed`, `relabelled` (text or metadata alone) or `touched`
    (place or time alone); `removed` are no longer there. The shards in `superseded` held rows that are no longer so:
    what else they held is listed in this round once more.
    """

    num_items: Count
    new: Count
    changed: Count
    relabelled: Count
    touched: Count
    removed: Count
    superseded: tuple[int, ...]
    changes: ListFile  # a line of each that was changed, relabelled or removed: its key, and which of these
    refreshed: ListFile  # the items of other shards in which some were touched, as they are now, and of each shard …
    refreshed_offsets: Mapping[str, tuple[int, int]]  # … where in that file its items begin and end
    inputs: ListFile
    ignored: Mapping[str, int]
    sidecars: Mapping[str, int]


@dataclass(frozen=True)
class Round:
    """One list of items and its shards. Round 0 is the source; each further one retries what had failed, or extends the
    job by what has become of the source since."""

    items_file: str
    items_sha256: str
    num_items: int
    num_bytes: int
    offsets: Annotated[tuple[int, ...], AT_LEAST_ONE]  # of each shard's first line in its file, and the file's end
    modalities: Mapping[str, int]  # items of each
    replaced: Mapping[str, Any]  # inputs that changed since, because somebody mended them: path → [old, new]
    extension: Extension | None = None

    @property
    def num_shards(self) -> int:
        return len(self.offsets) - 1


def write_round(
    folder: Path, items: Iterable[Item], shard_items: int, replaced: Mapping[str, Any] | None = None
) -> Round:
    """Write the items file, in one pass and in little memory: 8 bytes are kept for each item."""
    hashes, offsets, end, num_bytes = array("Q"), [0], 0, 0
    modalities: Counter[str] = Counter()

    def lines() -> Iterator[bytes]:
        nonlocal end, num_bytes
        for item in items:
            line = item.to_line()
            hashes.append(key_hash(item.key))
            modalities[item.modality] += 1
            num_bytes += item.num_bytes or 0
            end += len(line)
            if len(hashes) % shard_items == 0:
                offsets.append(end)
            yield line

    name, sha256 = write_aside(folder, "items-{}.jsonl", lines())
    if offsets[-1] != end:
        offsets.append(end)
    _check_doubles(hashes, folder / name)
    return Round(name, sha256, len(hashes), num_bytes, tuple(offsets), dict(sorted(modalities.items())), replaced or {})


def _check_doubles(hashes: array[int], path: Path) -> None:
    """Raise JobError where two items of a round have one key."""
    values = np.frombuffer(hashes, np.uint64)
    values.sort()  # in place: no copy of what grows with the items
    doubled = set(values[1:][values[1:] == values[:-1]].tolist())
    if not doubled:
        return
    with open(path, "rb") as stream:
        keys = Counter(item.key for item in map(Item.from_line, stream) if key_hash(item.key) in doubled)
    raise doubled_keys(sorted(key for key, count in keys.items() if count > 1))


def doubled_keys(names: list[str]) -> JobError:
    """What to say of keys that several items have."""
    return JobError(
        f"{len(names)} keys name more than one item, such as {', '.join(names[:3])}: "
        "give the source a column of unique keys, or each source its own name"
    )


def publish(path: Path, record: Mapping[str, Any], one: Round) -> None:
    """Write a plan file whole or not at all; the first process to come wins."""
    told = {name: value for name, value in asdict(one).items() if value is not None}
    whole = {"format": FORMAT, **record, "round": told}
    whole["hash"] = hash_of(whole)
    write_aside(path.parent, path.name, [json.dumps(whole, indent=1).encode() + b"\n"], first_wins=True)


def hash_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of a plan file, but for the hash in it."""
    rest = {key: value for key, value in record.items() if key != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
