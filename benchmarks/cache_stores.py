"""SQLite in WAL mode and LMDB, each as a cache of codes would use it: read by key, write, note what was used."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import sqlite3
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENTRIES, SIZE, GROUP = 20_000, 2000, 32  # entries, bytes of one, entries of one transaction
PROCESSES, SECONDS = 8, 4.0
Entries = Sequence[tuple[bytes, bytes]]


class Sqlite:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.db = sqlite3.connect(folder / "db", timeout=60, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB, used INTEGER)")
        self.db.execute("CREATE INDEX IF NOT EXISTS by_use ON entries (used)")

    def put(self, entries: Entries) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        rows = [(key, value, time.time_ns()) for key, value in entries]
        self.db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
        self.db.execute("COMMIT")

    def get(self, key: bytes) -> Any:
        return self.db.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()

    def use(self, keys: Sequence[bytes]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("UPDATE entries SET used = ? WHERE key = ?", [(time.time_ns(), key) for key in keys])
        self.db.execute("COMMIT")


class Lmdb:
    def __init__(self, folder: Path) -> None:
        import lmdb

        self.env = lmdb.open(str(folder), map_size=1 << 30, max_dbs=2, metasync=False, sync=False)
        self.entries, self.by_use = self.env.open_db(b"entries"), self.env.open_db(b"by use")

    def put(self, entries: Entries) -> None:
        with self.env.begin(write=True) as transaction:
            for key, value in entries:
                now = time.time_ns().to_bytes(8, "big")
                transaction.put(key, now + value, db=self.entries)
                transaction.put(now + key, b"", db=self.by_use)

    def get(self, key: bytes) -> Any:
        with self.env.begin() as transaction:
            return transaction.get(key, db=self.entries)

    def use(self, keys: Sequence[bytes]) -> None:
        with self.env.begin(write=True) as transaction:
            for key in keys:
                value, now = transaction.get(key, db=self.entries), time.time_ns().to_bytes(8, "big")
                transaction.delete(value[:8] + key, db=self.by_use)
                transaction.put(key, now + value[8:], db=self.entries)
                transaction.put(now + key, b"", db=self.by_use)


KINDS = {"SQLite": Sqlite, "LMDB": Lmdb}


def keys() -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(ENTRIES)]


def alone(kind: str, folder: Path) -> dict[str, float]:
    """Microseconds an entry."""
    store, names, value = KINDS[kind](folder), keys(), os.urandom(SIZE)
    groups = [names[start : start + GROUP] for start in range(0, ENTRIES, GROUP)]
    times = {
        "written": _seconds(lambda group: store.put([(key, value) for key in group]), groups),
        "read": _seconds(store.get, names),
        "noted": _seconds(store.use, groups),
    }
    return {name: round(1e6 * seconds / ENTRIES, 1) for name, seconds in times.items()}


def _seconds(call: Any, items: Sequence[Any]) -> float:
    start = time.perf_counter()
    for item in items:
        call(item)
    return time.perf_counter() - start


def reader(kind: str, folder: Path, seed: int, results: Any) -> None:
    """Read at random, and write an entry for every twentieth read; microseconds: median and 99 of 100."""
    store, rng, names = KINDS[kind](folder), random.Random(seed), keys()
    times: dict[str, list[float]] = {"read": [], "write": []}
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        key = rng.choice(names)
        times["read"].append(_seconds(store.get, [key]))
        if len(times["read"]) % 20 == 0:
            times["write"].append(_seconds(store.put, [[(key, os.urandom(SIZE))]]))
    found = {name: sorted(each) for name, each in times.items()}
    results.put({
        f"{name}, {share} %": 1e6 * each[len(each) * share // 100] for name, each in found.items() for share in (50, 99)
    })  # fmt: skip


def together(kind: str, folder: Path) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    running = [context.Process(target=reader, args=(kind, folder, seed, results)) for seed in range(PROCESSES)]
    for one in running:
        one.start()
    found = [results.get(timeout=120) for _ in running]
    for one in running:
        one.join()
    return {name: round(statistics.mean(one[name] for one in found), 1) for name in found[0]}


def compared(folder: Path) -> dict[str, Any]:
    """A row a store, in microseconds an entry."""
    rows = []
    for kind in KINDS:
        rows.append({"store": kind, "alone": alone(kind, folder), "together": together(kind, folder)})
        print(rows[-1], flush=True)
        shutil.rmtree(folder)
    return {"entries": ENTRIES, "bytes of an entry": SIZE, "group": GROUP, "processes": PROCESSES, "rows": rows}
