"""Entries in a folder: an SQLite database in WAL mode, which many processes share and SIGKILL does not damage.

LMDB reads and writes faster (benchmarks/cache.py), but both read an entry in a small part of a millisecond beside an
encoding of tens; SQLite comes with Python, needs no size fixed beforehand, and says so when a file is damaged.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import CacheError, first_line
from .claims import Claims

__all__ = ["Store", "open_store"]

NAME, CLAIMS = "codes.sqlite", "claims.lock"
APPLICATION, FORMAT = 0x616E7963, 1  # "anyc", as `file` and SQLite tell databases apart
USUAL_LIMIT = 10 << 30  # bytes
ROW = 160  # bytes that an entry takes beside its own: the key twice, the time, pages that are not full
WAIT = 60.0  # seconds for another's transaction, of milliseconds each
GROUP = 128  # hits that are noted in one transaction, so that a hit rarely waits for the disk

_TABLES = """
CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, used INTEGER NOT NULL);
CREATE INDEX by_use ON entries (used);
CREATE TABLE sizes (most INTEGER NOT NULL, total INTEGER NOT NULL);
"""
_ADVICE = {
    "SQLITE_FULL": "the disk is full: make room, or give cached() a smaller limit=",
    "SQLITE_READONLY": "it may not be written: give a folder that may be",
    "SQLITE_CANTOPEN": "it cannot be opened or written: give a folder that may be",
    "SQLITE_CORRUPT": "it is damaged: check the disk, and delete the folder; what it held will be encoded again",
    "SQLITE_NOTADB": "it is damaged or no cache of codes: check the folder; if it is a cache, delete it",
    "SQLITE_BUSY": f"another process has not let go of it for {WAIT:.0f} seconds: see what hangs",
}  # fmt: skip


class Store:
    """One folder's entries, for all threads of this process, and for its children after a fork. Raises CacheError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inherited: list[object] = []
        with self._failing():
            _check_folder(folder)
            self.claims = Claims(folder / CLAIMS)
        self._begin()
        with self._failing():
            self._reader()  # so that what is wrong with the folder is said when it is opened
        self._inode = (folder / NAME).stat().st_ino

    def is_in_place(self) -> bool:
        """Whether the folder still holds what was opened: else it was deleted, or made anew."""
        try:
            return (self.folder / NAME).stat().st_ino == self._inode
        except OSError:
            return False

    def _begin(self) -> None:
        self._connections: dict[str, sqlite3.Connection] = {}
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._hits: dict[bytes, int] = {}
        self._noted = time.monotonic()

    def after_fork(self) -> None:
        """In a child: SQLite's connections may not be used there, nor closed, so they are only kept."""
        self._inherited.append(self._connections)
        self.claims.forget()
        self._begin()

    def get(self, key: bytes) -> bytes | None:
        """The bytes under a key, which are then the most recently used."""
        with self._failing():
            with self._reading:
                row = self._reader().execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
                if row is None:
                    return None
                self._hits[key] = time.time_ns()
                due = len(self._hits) >= GROUP or time.monotonic() > self._noted + 1
            if due and self._writing.acquire(blocking=False):
                try:
                    self._note_hits()
                finally:
                    self._writing.release()
            return row[0]

    def put(self, entries: Mapping[bytes, bytes]) -> int:
        """Keep entries, all or none; then those used least recently go, until the rest is within the limit. Returns how
        many are larger than the limit, and are not kept."""
        if not self.is_in_place():
            raise CacheError(f"the cache {self.folder} was deleted or replaced while it was in use: open it anew")
        with self._failing(), self._writing, self._transaction() as db:
            self._write_hits(db, self._taken_hits())
            most, total = db.execute("SELECT most, total FROM sizes").fetchone()
            fitting = {key: value for key, value in entries.items() if len(value) + ROW <= most}
            for key, value in fitting.items():
                old = db.execute("SELECT length(value) FROM entries WHERE key = ?", (key,)).fetchone()
                total += len(value) - old[0] if old else len(value) + ROW
                db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (key, value, time.time_ns()))
            db.execute("UPDATE sizes SET total = ?", (_evicted(db, total, most),))
            return len(entries) - len(fitting)

    def drop(self, key: bytes, value: bytes) -> None:
        """Delete an entry, if it still has these bytes."""
        with self._failing(), self._writing, self._transaction() as db:
            gone = db.execute("DELETE FROM entries WHERE key = ? AND value = ?", (key, value)).rowcount
            db.execute("UPDATE sizes SET total = total - ?", (gone * (len(value) + ROW),))

    def set_limit(self, most: int) -> None:
        """Keep at most so many bytes, from now on and in every process."""
        with self._failing(), self._writing, self._transaction() as db:
            self._write_hits(db, self._taken_hits())
            [(total,)] = db.execute("SELECT total FROM sizes")
            db.execute("UPDATE sizes SET most = ?, total = ?", (most, _evicted(db, total, most)))

    def size(self) -> tuple[int, int, int]:
        """Number of entries, their bytes, and the limit of these."""
        with self._failing(), self._reading:
            query = "SELECT (SELECT count(*) FROM entries), total, most FROM sizes"
            return self._reader().execute(query).fetchone()

    # Inside

    def _note_hits(self) -> None:
        """Write down which entries were used, unless another process is writing: then with the next ones."""
        db = self._connection("writer")
        db.execute("PRAGMA busy_timeout = 0")
        hits = self._taken_hits()
        try:
            with self._transaction():
                self._write_hits(db, hits)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            with self._reading:
                self._hits = hits | self._hits
        finally:
            db.execute(f"PRAGMA busy_timeout = {WAIT * 1000:.0f}")

    def _taken_hits(self) -> dict[bytes, int]:
        with self._reading:
            hits, self._hits, self._noted = self._hits, {}, time.monotonic()
            return hits

    def _write_hits(self, db: sqlite3.Connection, hits: dict[bytes, int]) -> None:
        db.executemany("UPDATE entries SET used = ?2 WHERE key = ?1", hits.items())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written within, or nothing."""
        db = self._connection("writer")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _reader(self) -> sqlite3.Connection:
        return self._connection("reader")

    def _connection(self, name: str) -> sqlite3.Connection:
        if name not in self._connections:
            path = self.folder / NAME
            db = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            if _is_fresh(db, path):
                self._create(db)
            db.execute("PRAGMA synchronous = NORMAL")  # safe from SIGKILL; power loss may take the last entries
            self._connections[name] = db
        return self._connections[name]

    def _create(self, db: sqlite3.Connection) -> None:
        """Make the tables, unless another process has done so by now."""
        first = bytes(8)
        while not self.claims.take([first]):
            time.sleep(0.005)
        try:
            if _is_fresh(db, self.folder / NAME):
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(
                    f"BEGIN IMMEDIATE; {_TABLES} INSERT INTO sizes VALUES ({USUAL_LIMIT}, 0);"
                    f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT;"
                )
        finally:
            self.claims.release([first])

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What SQLite and the file system raise within becomes a CacheError that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            advice = next((advice for start, advice in _ADVICE.items() if name.startswith(start)), "see the disk")
            raise CacheError(f"the cache {self.folder}: {advice} ({first_line(error)})") from error
        except OSError as error:
            why = f"{error.strerror or error}: give a folder that may be written"
            raise CacheError(f"the cache {self.folder}: {why}") from error


def _check_folder(folder: Path) -> None:
    """Make the folder; raise CacheError where it holds what is no cache."""
    if folder.exists() and not folder.is_dir():
        raise CacheError(f"{folder} is no folder: a cache of codes is one")
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if name != CLAIMS and not name.startswith(NAME)]
    if others and NAME not in names:
        raise CacheError(f"{folder} holds {others[0]!r} and no cache of codes: give a folder that is empty, or new")


def _is_fresh(db: sqlite3.Connection, path: Path) -> bool:
    """Whether a database has still to be made; raises CacheError on one that is not ours, or of another format."""
    [(application,)], [(form,)] = db.execute("PRAGMA application_id"), db.execute("PRAGMA user_version")
    [(tables,)] = db.execute("SELECT count(*) FROM sqlite_master")
    if not (application or form or tables):
        return True
    if application != APPLICATION:
        raise CacheError(f"{path} is another program's database: give a folder that is empty, or new")
    if form != FORMAT:
        raise CacheError(f"{path} has format {form}, and this anytok reads {FORMAT}: give each a folder of its own")
    return False


def _evicted(db: sqlite3.Connection, total: int, most: int) -> int:
    """Delete what was used least recently, until `total` bytes are at most `most`; returns what is left."""
    while total > most:
        rows = db.execute("SELECT key, length(value) FROM entries ORDER BY used LIMIT 64").fetchall()
        if not rows:
            return 0
        for key, length in rows:
            if total <= most:
                break
            db.execute("DELETE FROM entries WHERE key = ?", (key,))
            total -= length + ROW
    return total


# One Store a folder and process: two would not see each other's claims, and closing one would end those of the other.
_STORES: weakref.WeakValueDictionary[Path, Store] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def open_store(folder: Path) -> Store:
    """The Store of a folder, made where it is empty or not there; raises CacheError where that cannot be."""
    path = Path(os.path.realpath(folder.expanduser()))
    with _OPENING:
        store = _STORES.get(path)
        if store is None or not store.is_in_place():
            store = _STORES[path] = Store(path)
        return store


def _after_fork() -> None:
    global _OPENING
    _OPENING = threading.Lock()
    for store in list(_STORES.values()):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork)
