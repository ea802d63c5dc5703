"""How a shard becomes true: its files and its record are written aside, synced, and renamed as one folder.

The rename is the commit. It is atomic and the first one wins, so a shard is there whole or not at all, whatever
is killed, and two processes on one output folder cannot mix. Claims only save work; nothing rests on them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from ..atomic import ASIDE, owner_mark, replacing, sweep, sync
from ..errors import DiskError, JobError
from ..records import Count, build

__all__ = ["Store", "disk_error", "sha256_of", "write_aside"]

RECORD = "record.json"


@dataclass(frozen=True)
class _Record:
    """What others go by in the record of a shard."""

    plan: str
    read: Count
    written: Count
    failures: tuple[Mapping[str, Any], ...]
    files: Mapping[str, Mapping[str, Any]]
    seconds: float
    warnings: tuple[Mapping[str, Any], ...] = ()


class Store:
    """OUT/_anytok/shards: the committed shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made_output = False
        self._lock: IO[bytes] | None = None
        self._shards, self._staging, self._claims = folder / "shards", folder / "staging", folder / "claims"

    @classmethod
    def of(cls, output: str | Path) -> Store:
        return cls(Path(output) / "_anytok")

    def open(self) -> None:
        """Make the folder: where there is no leave to write, that is known before anything else is done."""
        self._made_output = not self.folder.parent.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder):  # of a folder that is there, no mkdir tells
            pass

    def close(self) -> None:
        """Sweep; and where nothing has come into the folder, because a job could not start, delete it."""
        if self._lock:
            self._lock.close()
        self.sweep()
        for path in (self.folder, self.folder.parent) if self._made_output else (self.folder,):
            with suppress(OSError):  # it is not empty, or gone
                path.rmdir()

    def create(self) -> None:
        """Make the folders within, for shards."""
        for path in (self._shards, self._staging, self._claims, self.inflight(0).parent):
            path.mkdir(parents=True, exist_ok=True)
        self.sweep()

    def hold(self) -> None:
        """Until `close`, no other process deletes shards that the plan of now has."""
        self._lock = open(self._claims / "running", "ab")  # noqa: SIM115 - as long as the run
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def discard_unused(self, shards: Iterable[int]) -> None:
        """Delete superseded shards; but while another process has this job under way, which may know of no plan without
        them, leave that to it, when it comes to its end."""
        if not (found := sorted(self.committed().intersection(shards))):
            return
        assert self._lock is not None, "hold comes first"
        try:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # where two come to their end at once, the later one is alone
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:  # a file system without locks
            pass
        for shard in found:
            self.discard(shard)

    def sweep(self) -> None:
        """Delete what killed processes of this machine left half-written."""
        sweep(self._staging, "*~*")
        for depth in ("", "*/", "*/*/"):
            sweep(self.folder.parent, depth + ASIDE)

    def committed(self) -> set[int]:
        """Numbers of the shards that are done."""
        if not self._shards.is_dir():
            return set()
        return {int(entry.name) for entry in os.scandir(self._shards) if entry.name.isdecimal() and entry.is_dir()}

    def is_committed(self, shard: int) -> bool:
        return self.path(shard).is_dir()

    def path(self, shard: int) -> Path:
        return self._shards / f"{shard:06d}"

    def record(self, shard: int) -> dict[str, Any]:
        """The record of a committed shard; raises JobError if it cannot be read."""
        path = self.path(shard) / RECORD
        try:
            record = json.loads(path.read_bytes())
            known = {one.name for one in fields(_Record)}
            build(_Record, {name: record[name] for name in record if name in known}, RECORD, JobError)
            return record
        except (OSError, ValueError, TypeError, JobError) as error:
            raise JobError(f"shard {shard} is damaged ({error}): run the job again, it makes the shard anew") from error

    def inflight(self, shard: int) -> Path:
        """Where a worker notes which items of a shard are in the model just now."""
        return self.folder / "inflight" / f"{shard:06d}"

    @contextmanager
    def staging(self, shard: int) -> Iterator[Path]:
        """A fresh folder for a shard's files, gone afterwards unless it was committed."""
        path = self._staging / f"{shard:06d}{owner_mark()}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def commit(self, shard: int, staged: Path, record: dict[str, Any]) -> bool:
        """Make `staged` the shard; False if another process was first (its shard stays)."""
        (staged / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        for path in staged.iterdir():
            sync(path)
        sync(staged)
        try:
            os.rename(staged, self.path(shard))
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                return False
            raise
        sync(self._shards)
        return True

    def discard(self, shard: int) -> None:
        """Take a shard away: a damaged one, so that it is made anew, or a superseded one."""
        with self.staging(shard) as aside, suppress(FileNotFoundError):  # another process was first
            os.rename(self.path(shard), aside / "discarded")

    @contextmanager
    def claim(self, shard: int) -> Iterator[bool]:
        """Whether this process may work on the shard; the lock goes when the process does."""
        with open(self._claims / f"{shard:06d}", "ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks: work may be done twice, and committed once
                pass
            yield True


def write_aside(folder: Path, name: str, chunks: Iterable[bytes], first_wins: bool = False) -> tuple[str, str]:
    """Write a file whole or not at all; "{}" in `name` becomes its hash. Returns its name and SHA-256.

    A file that is already there is replaced, or stays if `first_wins`.
    """
    digest = hashlib.sha256()

    def path() -> Path:
        return folder / name.format(digest.hexdigest()[:16])

    with replacing(path, durable=True, first_wins=first_wins) as aside, open(aside, "wb") as stream:
        for chunk in chunks:
            digest.update(chunk)
            stream.write(chunk)
    return path().name, digest.hexdigest()


def disk_error(error: OSError, output: str) -> DiskError:
    """What to say when the output folder takes no more."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "free some space" if full else "give it leave to write, or choose another folder"
    return DiskError(
        f"cannot write to {output} ({error.strerror or error}). What is committed is safe: "
        f"{advice}, and run the same command again"
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
