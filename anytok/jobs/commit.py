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
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import DiskError, JobError

__all__ = ["Store", "aside_name", "disk_error", "sha256_of", "write_aside"]

RECORD = "record.json"
# What others go by in a record.
FIELDS: dict[str, Any] = {
    "plan": str, "read": int, "written": int, "failures": list, "files": dict, "seconds": (int, float),
}  # fmt: skip


class Store:
    """OUT/_anytok/shards: the committed shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made_output = False
        self._shards, self._staging, self._claims = folder / "shards", folder / "staging", folder / "claims"

    @classmethod
    def of(cls, output: str | Path) -> Store:
        return cls(Path(output) / "_anytok")

    def open(self) -> None:
        """Make the folder: where there is no leave to write, that is known before anything else is done."""
        self._made_output = not self.folder.parent.exists()
        self.folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Sweep; and where nothing has come into the folder, because a job could not start, delete it."""
        self.sweep()
        for path in (self.folder, self.folder.parent) if self._made_output else (self.folder,):
            with suppress(OSError):  # it is not empty, or gone
                path.rmdir()

    def create(self) -> None:
        """Make the folders within, for shards."""
        for path in (self._shards, self._staging, self._claims, self.inflight(0).parent):
            path.mkdir(parents=True, exist_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Delete what killed processes of this machine left half-written."""
        asides = (path for depth in ("", "*/", "*/*/") for path in self.folder.parent.glob(f"{depth}.*~*.tmp"))
        for path in [*self._staging.glob("*~*"), *asides]:
            if _is_orphan(path.name):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

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
            if not (isinstance(record, dict) and all(isinstance(record.get(name), FIELDS[name]) for name in FIELDS)):
                raise ValueError(f"{RECORD} is no record of a shard")
            return record
        except (OSError, ValueError) as error:
            raise JobError(f"shard {shard} is damaged ({error}): run the job again, it makes the shard anew") from error

    def inflight(self, shard: int) -> Path:
        """Where a worker notes which items of a shard are in the model just now."""
        return self.folder / "inflight" / f"{shard:06d}"

    @contextmanager
    def staging(self, shard: int) -> Iterator[Path]:
        """A fresh folder for a shard's files, gone afterwards unless it was committed."""
        path = self._staging / f"{shard:06d}{_owner_mark()}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def commit(self, shard: int, staged: Path, record: dict[str, Any]) -> bool:
        """Make `staged` the shard; False if another process was first (its shard stays)."""
        (staged / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        for path in staged.iterdir():
            _sync(path)
        _sync(staged)
        try:
            os.rename(staged, self.path(shard))
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                return False
            raise
        _sync(self._shards)
        return True

    def discard(self, shard: int) -> None:
        """Take a damaged shard away, so that it is made anew."""
        with self.staging(shard) as aside:
            os.rename(self.path(shard), aside / "damaged")

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
    aside = aside_name(folder)
    digest = hashlib.sha256()
    try:
        with open(aside, "wb") as stream:
            for chunk in chunks:
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        name = name.format(digest.hexdigest()[:16]) if "{}" in name else name
        if first_wins:
            _link(aside, folder / name)
        else:
            os.replace(aside, folder / name)
        _sync(folder)
    finally:
        aside.unlink(missing_ok=True)
    return name, digest.hexdigest()


def _link(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    except OSError:  # no hard links here: a short race is left, in which equal plans replace each other
        if not path.exists():
            os.replace(aside, path)


def disk_error(error: OSError, output: str) -> DiskError:
    """What to say when the output folder takes no more."""
    return DiskError(
        f"cannot write to {output} ({error.strerror or error}). What is committed is safe: "
        "free some space or give it leave to write, and run the same command again"
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def aside_name(folder: Path) -> Path:
    """A fresh name in `folder` for a file under way; what a killed process leaves under it is swept."""
    return folder / f".{_owner_mark()}.tmp"


def _owner_mark() -> str:
    return f"~{_machine()}~{os.getpid()}~{secrets.token_hex(4)}"


def _machine() -> str:
    """Where this process's number means this process: two containers may share a host's name, not its numbers."""
    try:
        return f"{socket.gethostname()}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _is_orphan(name: str) -> bool:
    """Whether the process that made this name ran on this machine, and is gone."""
    try:
        _, machine, pid, _ = name.rsplit("~", 3)
        return machine == _machine() and _is_dead(int(pid))
    except ValueError:
        return False


def _is_dead(pid: int) -> bool:
    """Whether no process has this number, or one that only waits to be reaped, as in a container without an init."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return True
    except OSError:  # another user's, or no /proc here
        return False
    return state in "ZX"
