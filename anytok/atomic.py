"""Files that are there whole or not at all: written under another name in their folder, and renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["aside_name", "owner_mark", "replacing", "sweep", "sync"]

ASIDE = ".*~*.tmp"  # matches the names that `aside_name` makes


@contextmanager
def replacing(path: Path | Callable[[], Path], *, durable: bool = False, first_wins: bool = False) -> Iterator[Path]:
    """A fresh name to write a file or a link under, which becomes `path` at the end of the block.

    Where the block raises, or leaves nothing there, `path` stays as it was. A function gives a path that only what
    is written decides. `durable` waits until the file and its name are on the disk. With `first_wins` a file that is
    already there stays, else it is replaced.
    """
    where = path if callable(path) else lambda: path
    folder = where().parent
    aside = aside_name(folder)
    try:
        yield aside
        if aside.exists():
            if durable:
                sync(aside)
            (_link if first_wins else os.replace)(aside, where())
            if durable:
                sync(folder)
    finally:
        with suppress(OSError):  # also of a rename onto itself, which leaves the old name
            aside.unlink(missing_ok=True)


def aside_name(folder: Path) -> Path:
    """A fresh name in `folder` for a file under way; what a killed process leaves under it, `sweep` finds."""
    return folder / f".{owner_mark()}.tmp"


def owner_mark() -> str:
    """What names made by this process end in, so that others can tell whether it still runs."""
    return f"~{_machine()}~{os.getpid()}~{secrets.token_hex(4)}"


def sweep(folder: Path, pattern: str = ASIDE) -> None:
    """Delete those files and folders that processes of this machine left half-written when they were killed."""
    for path in folder.glob(pattern):
        if _is_orphan(path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _link(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except OSError:  # it is there; or no hard links here: a short race is left, in which equal files replace each other
        if not path.exists():
            os.replace(aside, path)


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
