"""One medium of a job: what it is called, where it lies, and what is known beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .values import to_json

__all__ = ["Input", "Item", "fingerprint"]


_LINES = json.JSONDecoder(parse_constant=str)  # earlier plans hold NaN, which `plain` makes a text


@dataclass(frozen=True)
class Item:
    """`key` is unique in the job and valid UTF-8. `path` is the file, or the container that `place` points into:
    ("tar", offset, size), ("parquet", row group, row, column) or ("hf", row, column); of stored codes ("codes", rows),
    with [path, version, rows] of each further file that they go on in. ("unusable", kind, reason) is
    the place of what is known to fail since it was listed; ("sparse",) what plans of earlier versions say for that."""

    key: str
    modality: str
    path: str
    num_bytes: int | None = None
    stamp: str = ""  # of the file, see `fingerprint`; for a place in a container, the container's `version`
    place: tuple[Any, ...] = ()
    text: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    origin: tuple[int, ...] = ()  # shard of an earlier round, and index in it, where it was done: not to be done again

    @property
    def source_hash(self) -> int:
        """64 bits over where the medium lies and what is known of it without reading it."""
        return key_hash(to_json([self.modality, self.path, self.num_bytes, self.stamp, self.place], ascii_only=True))

    @property
    def beside_hash(self) -> int:
        """64 bits over the text and the metadata."""
        return key_hash(to_json([self.text, self.meta], ascii_only=True))

    def unusable(self, kind: str, reason: str) -> Item:
        """This item as one that goes to the ledger, for `reason`; as it is, where that is empty."""
        return replace(self, place=("unusable", kind, reason)) if reason else self

    def with_prefix(self, prefix: str) -> Item:
        return self.with_key(prefix + self.key) if prefix else self

    def with_key(self, key: str) -> Item:
        return replace(self, key=key)

    def moved(self, move: Callable[[str], str]) -> Item:
        """This item with every path that it names sent through `move`."""
        place = self.place
        if place[:1] == ("codes",):
            place = (*place[:2], *([move(path), *rest] for path, *rest in place[2:]))
        return replace(self, path=move(self.path), place=place)

    def to_line(self) -> bytes:
        """One JSON line; `from_line` is its inverse. Only ASCII, so names that are no Unicode survive."""
        record: dict[str, Any] = {"key": self.key, "modality": self.modality, "path": self.path}
        more: dict[str, Any] = {"num_bytes": self.num_bytes, "stamp": self.stamp, "place": self.place}
        more |= {"text": self.text, "meta": self.meta, "origin": self.origin}
        record |= {name: value for name, value in more.items() if value not in (None, "", (), {})}
        return to_json(record, ascii_only=True).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Item:
        record = _LINES.decode(line.decode("ascii"))
        for name in ("place", "origin"):
            record[name] = tuple(record.get(name, ()))
        return cls(**record)


@dataclass(frozen=True)
class Input:
    """A file that the source was listed from; if it changes, the plan no longer holds."""

    path: str
    num_bytes: int | None
    stamp: str

    def to_line(self) -> bytes:
        return to_json([self.path, self.num_bytes, self.stamp], ascii_only=True).encode("ascii") + b"\n"

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
