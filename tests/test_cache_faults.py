"""A cache of codes under SIGKILL, many processes, a full disk, damage, and in places where there can be none."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_corpus import FAKES
from test_cache import Calls, fake, sound

from anytok.cache import Counts, cached
from anytok.cache.entry import Damaged, key_of, pack, unpack
from anytok.cache.store import CLAIMS, NAME, Store, open_store
from anytok.errors import CacheError

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from cache import HARMS, killed  # noqa: E402 - a script, not a module of the package


def test_eight_processes_encode_equal_items_once(tmp_path):
    found = killed(tmp_path / "run", items=200, kills=0)
    assert found["finished"] == 8 and found["returned"] == found["held"] == found["encoded"] == 200
    assert not any(found[harm] for harm in HARMS)


def test_of_eight_processes_that_are_killed_nothing_is_lost_torn_or_wrong(tmp_path):
    found = killed(tmp_path / "run", items=1500, kills=8)
    assert found["finished"] >= 8 and found["kills"] > 0 and found["all returned"] and found["held"] == 1500
    assert found["encoded again"] <= 16 * found["kills"]  # what a killed process had under way
    assert not any(found[harm] for harm in HARMS)


def test_eight_processes_keep_to_a_limit(tmp_path):
    found = killed(tmp_path / "run", items=200, kills=2, limit=1 << 16)
    assert found["finished"] >= 8 and found["all returned"] and found["within the limit"] and found["held"] > 20
    assert not any(found[harm] for harm in HARMS)


def child(folder: Path, code: str) -> subprocess.Popen:
    """Python with a cached fake tokenizer, `plain` and `tokenizer`, and `sound`."""
    begin = f"""
        import sys, time, os
        from test_cache import fake, sound
        from anytok.cache import cached
        plain = fake()
        tokenizer = cached(plain, {str(folder)!r})
    """
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), FAKES])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(begin) + textwrap.dedent(code)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


def test_whoever_waits_for_a_killed_process_encodes_itself(tmp_path, monkeypatch):
    hanging = child(tmp_path, "plain._encode = lambda it: print(len(list(it)), flush=True) or time.sleep(600)\n"
                              "tokenizer.encode_batch([sound(0), sound(1)])")  # fmt: skip
    try:
        assert hanging.stdout and hanging.stdout.readline() == "2\n"
        plain = fake()
        calls = Calls(plain, monkeypatch)
        done: list[Any] = []
        tokenizer, media = cached(plain, tmp_path), [sound(1), sound(2)]
        waiting = threading.Thread(target=lambda: done.extend(tokenizer.encode_batch(media)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and calls.items == 1  # that which nobody else had claimed
        hanging.kill()
        waiting.join(30)
        assert done == fake().encode_batch(media) and calls.items == 2
    finally:
        hanging.kill()
        hanging.communicate()


def test_a_failure_of_one_lets_the_next_try(tmp_path, monkeypatch):
    plain = fake()
    tokenizer = cached(plain, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(plain, "_encode", lambda prepared: [][len(list(prepared))])
        with pytest.raises(IndexError):
            tokenizer.encode(sound(0))
    assert tokenizer.encode(sound(0)) == fake().encode(sound(0))


def _encode_in_fork(tokenizer: Any, seeds: list[int], theirs: Any, results: Any) -> None:
    codes = tokenizer.encode_batch([sound(seed) for seed in seeds])
    results.put((codes, tokenizer.counts, tokenizer._store._connections["reader"] is not theirs))


def test_children_after_a_fork_share_the_folder(tmp_path):
    tokenizer = cached(fake(), tmp_path)
    tokenizer.encode(sound(0))
    claims, keys = tokenizer._store.claims, [key_of(sound(seed), tokenizer._identity) for seed in (1, 2, 3)]
    assert claims.take(keys) == keys  # as if another thread encoded them now
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    theirs = tokenizer._store._connections["reader"]
    children = [
        context.Process(target=_encode_in_fork, args=(tokenizer, [0, 1 + n], theirs, results)) for n in range(3)
    ]
    for one in children:
        one.start()
    time.sleep(0.5)
    assert results.empty()  # the locks are the parent's
    claims.release(keys)
    found = [results.get(timeout=30) for _ in children]
    for one in children:
        one.join()
    # Of the parent's counts, which came with the fork, one item was encoded.
    assert [rest for _, *rest in found] == [[Counts(found=1, encoded=2), True]] * 3
    assert tokenizer.encode_batch([sound(seed) for seed in range(4)]) == fake().encode_batch(map(sound, range(4)))
    assert tokenizer.counts == Counts(found=4, encoded=1)


def test_what_fails_while_it_is_written_is_not_written(tmp_path, monkeypatch):
    tokenizer = cached(fake(), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("anytok.cache.store._evicted", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            tokenizer.encode(sound(0))
    assert open_store(tmp_path).size()[:2] == (0, 0)
    tokenizer.encode(sound(0))
    assert open_store(tmp_path).size()[0] == 1


# Damage


def entries(folder: Path, query: str, *values: Any) -> list[Any]:
    with sqlite3.connect(folder / NAME) as db:
        return db.execute(query, values).fetchall()


@pytest.mark.parametrize("damage", ["a bit", "cut", "longer", "another's", "empty", "a header"])
def test_a_damaged_entry_is_told_and_encoded_anew(tmp_path, damage):
    tokenizer = cached(fake(), tmp_path)
    tokenizer.encode_batch([sound(0), sound(1)])
    [(key, value), (_, other)] = entries(tmp_path, "SELECT key, value FROM entries ORDER BY used")
    _, size, _ = open_store(tmp_path).size()
    flipped = value[:40] + bytes([value[40] ^ 4]) + value[41:]
    bad = {"a bit": flipped, "cut": value[:-1], "longer": value + b"\0", "another's": other, "empty": b"",
           "a header": value[:16] + bytes(40) + value[56:]}[damage]  # fmt: skip
    entries(tmp_path, "UPDATE entries SET value = ? WHERE key = ?", bad, key)
    with pytest.warns(UserWarning, match=rf"entry {key.hex()[:12]} is damaged .*encoded anew; check the disk"):
        assert tokenizer.encode(sound(0)) == fake().encode(sound(0))
    assert tokenizer.counts == Counts(encoded=3, damaged=1)
    assert tokenizer.encode(sound(0)) == fake().encode(sound(0)) and tokenizer.counts.found == 1
    assert entries(tmp_path, "SELECT value FROM entries WHERE key = ?", key) == [(value,)]
    assert open_store(tmp_path).size()[:2] == (2, size - len(bad) + len(value))  # not of what was changed behind it


def test_every_flipped_bit_of_an_entry_is_seen():
    codes = fake().encode(sound(0, 640))
    stored = pack(b"k" * 32, codes)
    for bit in range(8 * len(stored)):
        bad = bytearray(stored)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            unpack(b"k" * 32, bytes(bad), codes.spec)
    with pytest.raises(Damaged):
        unpack(b"l" * 32, stored, codes.spec)


@pytest.mark.parametrize("where", [0, 4096, 3 * 4096], ids=["head", "tables", "middle"])
def test_a_damaged_folder_is_told(tmp_path, where):
    tokenizer = cached(fake(), tmp_path / "a")
    tokenizer.encode_batch([sound(seed) for seed in range(200)])
    entries(tmp_path / "a", "PRAGMA wal_checkpoint(TRUNCATE)")
    (tmp_path / "b").mkdir()
    data = bytearray((tmp_path / "a" / NAME).read_bytes())
    data[where : where + 4096] = np.random.default_rng(0).bytes(4096)
    (tmp_path / "b" / NAME).write_bytes(data)
    with pytest.raises(CacheError, match=r"b: it is damaged.*delete"):
        again = cached(fake(), tmp_path / "b")
        for seed in range(200):
            again.encode(sound(seed))


# Places where there can be none


def test_folders_that_hold_something_else_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo.jpg").touch()
    with pytest.raises(CacheError, match=r"a holds 'photo.jpg' and no cache of codes: give a folder that is empty"):
        cached(fake(), tmp_path / "a")
    (tmp_path / "b").write_text("words")
    with pytest.raises(CacheError, match="b is no folder"):
        cached(fake(), tmp_path / "b")
    with pytest.raises(CacheError, match="Not a directory"):
        cached(fake(), tmp_path / "b" / "c")
    for name, make in (("c", "CREATE TABLE theirs (x)"), ("d", "PRAGMA application_id = 7")):
        (tmp_path / name).mkdir()
        entries(tmp_path / name, make)
        with pytest.raises(CacheError, match="another program's database"):
            cached(fake(), tmp_path / name)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / NAME).write_bytes(b"neither a database nor a cache " * 100)
    with pytest.raises(CacheError, match="damaged or no cache of codes"):
        cached(fake(), tmp_path / "e")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["photo.jpg"]


def test_another_format_is_refused(tmp_path):
    cached(fake(), tmp_path)
    entries(tmp_path, "PRAGMA user_version = 2")
    with pytest.raises(CacheError, match="has format 2, and this anytok reads 1"):
        Store(tmp_path)


def test_a_folder_that_was_deleted_meanwhile_is_told(tmp_path):
    tokenizer = cached(fake(), tmp_path / "codes")
    tokenizer.encode(sound(0))
    for path in (tmp_path / "codes").iterdir():
        path.unlink()
    with pytest.raises(CacheError, match="was deleted or replaced while it was in use"):
        tokenizer.encode(sound(1))
    assert cached(fake(), tmp_path / "codes").encode(sound(0)) == fake().encode(sound(0))


def test_a_read_only_folder_is_a_clear_error(tmp_path):
    (tmp_path / "new").mkdir(mode=0o555)
    cached(fake(), tmp_path / "old").encode(sound(0))
    # Root may write anywhere until it gives up its capabilities (version 3 of the call, all sets empty).
    demote = "import ctypes; libc = ctypes.CDLL(None); words = ctypes.c_uint32 * 6\n"
    demote += "assert not libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), words())\n" if os.geteuid() == 0 else ""
    (tmp_path / "old" / CLAIMS).chmod(0o444)
    for path in [*(tmp_path / "old").iterdir(), tmp_path / "old"]:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        for name in ("new", "old"):
            running = child(tmp_path / "own", f"{demote}cached(plain, {str(tmp_path / name)!r})")
            _, told = running.communicate(timeout=60)
            assert running.returncode == 1
            assert f"CacheError: the cache {tmp_path / name}: Permission denied: give a folder that may be" in told
    finally:
        (tmp_path / "old").chmod(0o755)


def test_a_full_disk_is_a_clear_error_and_leaves_what_was_there(tmp_path):
    """No file may grow beyond 1,000,000 bytes: the kernel says EFBIG where a disk that is full says ENOSPC."""
    running = child(tmp_path, """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        for seed in range(1000):
            tokenizer.encode(sound(seed, 16000))
            print(seed, flush=True)
    """)  # fmt: skip
    out, told = running.communicate(timeout=60)
    assert running.returncode == 1 and f"CacheError: the cache {tmp_path}: " in told, told
    returned = [int(line) for line in out.split()]
    assert len(returned) > 20
    tokenizer = cached(fake(), tmp_path)
    assert tokenizer.encode_batch([sound(seed, 16000) for seed in returned]) == fake().encode_batch(
        [sound(seed, 16000) for seed in returned]
    )
    assert tokenizer.counts == Counts(found=len(returned))


def test_a_full_database_is_a_clear_error(tmp_path):
    tokenizer = cached(fake(), tmp_path)
    tokenizer.encode(sound(0))
    store = open_store(tmp_path)
    [(pages,)] = store._connection("writer").execute("PRAGMA page_count")
    store._connection("writer").execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CacheError, match="the disk is full: make room, or give"):
        for seed in range(1, 500):
            tokenizer.encode(sound(seed, 16000))
    assert tokenizer.encode(sound(0)) == fake().encode(sound(0))  # what is there can be read


def test_a_writer_that_hangs_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("anytok.cache.store.WAIT", 0.2)
    tokenizer = cached(fake(), tmp_path)
    tokenizer.encode(sound(0))
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(CacheError, match="another process has not let go of it"):
        tokenizer.encode(sound(1))
    assert tokenizer.encode(sound(0)) and time.monotonic() - began < 30
    other.execute("COMMIT")
    assert tokenizer.encode(sound(1)) == fake().encode(sound(1))
