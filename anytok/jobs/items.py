"""One medium of a job: what it is called, where it lies, and what is known beside it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Input", "Item", "fingerprint"]

_to_json = json.JSONEncoder(default=str).encode  # json.dumps would make an encoder for each of a million lines


@dataclass(frozen=True)
class Item:
    """`key` is unique in the job and valid UTF-8. `path` is the file, or the container that `place` points into:
    ("tar", offset, size), ("sparse",) for a tar member with holes, which is not read, ("parquet", row group, row,
    column) or ("hf", row, column)."""

    key: str
    modality: str
    path: str
    num_bytes: int | None = None
    stamp: str = ""  # of the file, see `fingerprint`; for a place in a container, the container's `version`
    place: tuple[Any, ...] = ()
    text: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """One JSON line; `from_line` is its inverse. Only ASCII, so names that are no Unicode survive."""
        record: dict[str, Any] = {"key": self.key, "modality": self.modality, "path": self.path}
        more: dict[str, Any] = {"num_bytes": self.num_bytes, "stamp": self.stamp, "place": self.place}
        more |= {"text": self.text, "meta": self.meta}
        record |= {name: value for name, value in more.items() if value not in (None, "", (), {})}
        return _to_json(record).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Item:
        record = json.loads(line)
        record["place"] = tuple(record.get("place", ()))
        return cls(**record)


@dataclass(frozen=True)
class Input:
    """A file that the source was listed from; if it changes, the plan no longer holds."""

    path: str
    num_bytes: int | None
    stamp: str

    def to_line(self) -> bytes:
        return _to_json([self.path, self.num_bytes, self.stamp]).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Input:
        return cls(*json.loads(line))


def fingerprint(found: os.stat_result) -> str:
    """What changes when a local file does: its time of modification, in nanoseconds."""
    return str(found.st_mtime_ns)


def version(num_bytes: int | None, stamp: str) -> str:
    """Size and stamp of a container in one text, for the items in it."""
    return f"{'' if num_bytes is None else num_bytes}:{stamp}"


def same_version(planned: str, found: str) -> bool:
    """Whether size and stamp are equal where both are known: not every file system tells them."""
    pairs = zip(planned.split(":", 1), found.split(":", 1), strict=False)
    return all(one == other or not (one and other) for one, other in pairs)


def valid_text(name: str) -> str:
    """`name` as UTF-8 can hold it: bytes that are no Unicode appear as \\udcXX."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def key_hash(key: str) -> int:
    """64 bits of SHA-256, to find doubles and to draw samples."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
