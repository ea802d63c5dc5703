"""Who encodes what: of several processes and threads that want one entry, one makes it, and the others wait.

A claim is a POSIX lock on one byte of a file, at a place that the key names. The kernel gives it back when its process
ends, however that ends. Such locks belong to a process: threads are kept apart by a set, and the file stays open as
long as the process runs, because closing it anywhere in the process would give back all of its locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Claims"]


class Claims:
    """The claims of this process in one folder."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.forget()

    def forget(self) -> None:
        """Hold nothing: in a child just forked, which does not inherit locks."""
        self._held: set[int] = set()
        self._lock = threading.Lock()

    def take(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those of the keys that nobody has claimed, now claimed by the caller; never waits."""
        return [key for key in keys if self._take(_place(key))]

    def release(self, keys: Iterable[bytes]) -> None:
        """Give claims back."""
        for place in map(_place, keys):
            with self._lock:
                self._held.discard(place)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _take(self, place: int) -> bool:
        with self._lock:
            if place in self._held:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                raise
            self._held.add(place)
            return True


def _place(key: bytes) -> int:
    """62 bits of a key: two that share them wait for each other, and nothing worse."""
    return int.from_bytes(key[:8], "big") >> 2
