"""What must survive: SIGKILL at random, a failing or full disk at every single call, a read-only output."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from job_corpus import FAKES, contents, rows, speech_folder, speech_job, write_wav

from anytok.atomic import aside_name
from anytok.errors import JobError
from anytok.jobs import run_job, verify_job
from anytok.jobs.commit import Store

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
HERE = str(Path(__file__).parent)
RECORD = {"plan": "", "read": 1, "written": 1, "failures": [], "files": {}, "seconds": 0.5}


def test_eight_runs_killed_at_random_end_as_if_undisturbed():
    import faults

    found = faults.measure(8, 0)
    assert found["runs"] == 8 and found["kills"] >= 4
    wrong = ["lost items", "doubled items", "unreadable files", "differing files", "files left over", "failed lives"]
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, 0)


def run_limited(source: Path, output: Path, before: str) -> subprocess.CompletedProcess:
    """The job in a process of its own that first does `before`."""
    script = (
        f"import os, resource, sys; sys.path[:0] = [{FAKES!r}, {HERE!r}]\nfrom pathlib import Path\n"
        f"from job_corpus import speech_job\nfrom anytok.jobs import run_job\n{before}\n"
        f"run_job(speech_job(Path({str(source)!r}), Path({str(output)!r})))\n"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


def test_a_full_disk_stops_cleanly_and_the_job_goes_on_later(tmp_path):
    source = tmp_path / "in"
    for number in range(25):
        write_wav(source / f"{number}.wav", 100_000, number)
    run_job(speech_job(source, tmp_path / "whole"))
    # No file may grow beyond 5,000 bytes: the plan fits, a shard does not. The kernel says EFBIG where a disk that
    # is full says ENOSPC.
    assert max(path.stat().st_size for path in (tmp_path / "whole" / "_anytok").glob("*")) < 5000
    done = run_limited(source, tmp_path / "out", "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))")
    assert done.returncode == 1
    assert "DiskError: cannot write to" in done.stderr and "run the same command again" in done.stderr
    assert not list((tmp_path / "out" / "_anytok" / "staging").iterdir()), "nothing half-written stays"
    assert run_job(speech_job(source, tmp_path / "out")).finished
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_small_disk_that_fills_up(tmp_path):
    """A real file system of 400 kB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        source = speech_folder(tmp_path / "in", 120)
        (disk / "ballast").write_bytes(bytes(200_000))
        with pytest.raises(JobError, match=r"No space left on device.*run the same command again"):
            run_job(speech_job(source, disk / "out"))
        assert not list((disk / "out" / "_anytok" / "staging").iterdir())
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        assert run_job(speech_job(source, disk / "out")).written == 120
        assert len(rows(disk / "out")) == 120 and verify_job(disk / "out").ok
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_fills_up_while_the_model_works_is_a_clear_error(tmp_path):
    source = speech_folder(tmp_path / "in", 4)
    (tmp_path / "out" / "_anytok" / "inflight" / "000000").mkdir(parents=True)  # in the way of the worker's note
    with pytest.raises(JobError, match=r"cannot write to .*run the same command again"):
        run_job(speech_job(source, tmp_path / "out"))


def test_a_read_only_output_is_a_clear_error(tmp_path):
    source, output = speech_folder(tmp_path / "in", 4), tmp_path / "out"
    output.mkdir(mode=0o555)
    # Root may write anywhere until it gives up its capabilities (version 3 of the call, all sets empty).
    demote = "import ctypes; libc = ctypes.CDLL(None); words = ctypes.c_uint32 * 6\n"
    demote += "assert not libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), words())" if os.geteuid() == 0 else ""
    done = run_limited(source, output, demote)
    assert done.returncode and "cannot write to" in done.stderr and "Permission denied" in done.stderr
    assert not list(output.iterdir())


class Fault(Exception):
    """The plug is pulled."""


# What a commit asks of the operating system; each call in turn fails, or is the last before the plug is pulled.
CALLS = ("fsync", "rename", "open", "close")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), OSError(errno.EIO, "I/O error"), Fault()])
def test_a_commit_that_fails_at_any_call_leaves_all_or_nothing(tmp_path, monkeypatch, error):
    complete = 0
    for number in range(100):
        store = Store(tmp_path / str(number))
        store.create()
        countdown = [number]
        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, failing(getattr(os, name), countdown, error))
            try:
                write_shard(store)
            except (OSError, Fault):
                pass
            else:
                complete += 1
        there = store.committed()
        if there:
            assert sorted(path.name for path in store.path(0).iterdir()) == ["a", "b", "record.json"]
            assert store.record(0) == RECORD
        write_shard(store)  # once more, as a resumed job does
        assert (store.path(0) / "a").read_bytes() == b"a" * 1000 and store.record(0) == RECORD
        assert not list((store.folder / "staging").iterdir())
        if complete:
            break
    assert number >= 10, "every call was made to fail"


def failing(call, countdown, error):
    def wrapped(*arguments, **named):
        if arguments and isinstance(arguments[0], int) and call is os.close:
            return call(*arguments, **named)
        if countdown[0] == 0:
            countdown[0] = -1
            raise error
        countdown[0] -= 1
        return call(*arguments, **named)

    return wrapped


def write_shard(store: Store) -> None:
    with store.staging(0) as staged:
        (staged / "a").write_bytes(b"a" * 1000)
        (staged / "b").write_bytes(b"b")
        store.commit(0, staged, RECORD)


def test_the_second_of_two_commits_changes_nothing(tmp_path):
    store = Store(tmp_path)
    store.create()
    with store.staging(0) as first, store.staging(0) as second:
        (first / "a").write_text("first")
        (second / "a").write_text("second")
        assert store.commit(0, first, RECORD)
        assert not store.commit(0, second, {**RECORD, "read": 2})
    assert (store.path(0) / "a").read_text() == "first" and store.record(0) == RECORD


@pytest.mark.parametrize("reaped", [True, False])
def test_what_killed_processes_left_is_swept_and_what_the_living_write_is_not(tmp_path, reaped):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    # Nobody waits for orphans in a container whose first process is no init: they stay in the process table.
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    if reaped:
        dead.wait()
    store = Store.of(tmp_path)
    store.create()
    (tmp_path / "hf" / "data").mkdir(parents=True)
    places = [store.folder, tmp_path, tmp_path / "hf" / "data"]
    ours = aside_name(tmp_path).name.split("~")[1]
    marks = {pid: f"~{ours}~{pid}~00ff00ff" for pid in (dead.pid, os.getpid())}
    for pid, mark in [*marks.items(), (0, "~another-machine~1~00ff00ff")]:
        (store.folder / "staging" / f"000000{mark}").mkdir()
        for place in places:
            (place / f".{mark}.tmp").write_text(str(pid))
    store.sweep()
    dead.wait()
    left = [path for path in tmp_path.rglob("*~*")]
    assert len(left) == 8 and not any(str(dead.pid) in path.name for path in left)


@pytest.mark.parametrize("call", ["copystat", "replace"])
def test_a_kill_while_the_shards_are_laid_out_leaves_no_trace(tmp_path, call):
    source = speech_folder(tmp_path / "in", 25)
    run_job(speech_job(source, tmp_path / "whole"))
    # The third such call for a view is the last thing that this process does.
    before = (
        f"import shutil\nhome = os if {call!r} == 'replace' else shutil\ncall, seen = home.{call}, []\n"
        "def deadly(source, target):\n    call(source, target)\n"
        "    if 'parquet' in str(target):\n        seen.append(target)\n        len(seen) == 3 and os._exit(9)\n"
        f"home.{call} = deadly"
    )
    assert run_limited(source, tmp_path / "out", before).returncode == 9
    assert (tmp_path / "out" / "parquet").exists()
    assert run_job(speech_job(source, tmp_path / "out")).finished
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
