"""What a job's processes must not do: wait for ever, or run what lies about. Nor begin without what they need."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest
from job_corpus import speech_folder, speech_job

from anytok.cli import exit_code
from anytok.errors import JobError, MissingExtraError, UsageError
from anytok.jobs import commit, reading, run_job, worker_loop
from anytok.jobs.child import Child
from anytok.jobs.config import RunConfig
from anytok.jobs.items import Item
from anytok.jobs.schedule import Schedule


@pytest.fixture(autouse=True)
def forked_processes():
    """None here."""


@pytest.mark.parametrize("error", [MemoryError("no room"), UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no")])
def test_a_shard_that_cannot_be_written_for_any_reason_stops_the_job(error):
    def commit(*_):
        raise error

    here, there = Pipe()
    server = worker_loop._Loop(there, SimpleNamespace(commit=commit))
    server._commit(SimpleNamespace(task=SimpleNamespace(shard=7)), {})
    assert here.poll(5)
    kind, stopped = here.recv()
    assert kind == "stop" and isinstance(stopped, JobError) and f"shard 7: {type(error).__name__}" in str(stopped)


def test_a_reader_that_cannot_be_started_stops_the_job(monkeypatch):
    def no_child(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(reading, "Child", no_child)
    readers, raised = reading.Readers({}, 1, 60.0), []

    def consume():
        try:
            list(readers.start([(0, Item("a.wav", "speech", "a.wav"))]))
        except JobError as error:
            raised.append(str(error))

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    consumer.join(10)
    readers.close()
    assert raised == ["cannot read a.wav: OSError: [Errno 24] Too many open files"]


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 3e6, 0.0])
def test_times_that_no_system_can_wait_for_are_refused(seconds):
    for name in ("item_seconds", "batch_seconds"):
        with pytest.raises(UsageError, match=f"{name}={seconds}: expected a number, above 0, 1000000 at most"):
            RunConfig(**{name: seconds})


def test_files_that_lie_in_the_current_folder_are_not_run(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('a stranger ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    child = Child("anytok.jobs.reading:serve", {})
    try:
        assert child.pipe.recv() == "ready"
    finally:
        child.stop()


@pytest.mark.parametrize(
    "error", [MissingExtraError("ray", "ray", "it"), commit.disk_error(OSError(28, "full"), "out")]
)
def test_what_a_worker_lacks_is_no_refusal(error):
    """It comes through the pipe as it is, and the command ends with the code for what is missing or full."""
    here, there = Pipe()
    here.send(worker_loop._portable(error))
    came = there.recv()
    assert (type(came), str(came), exit_code(came)) == (type(error), str(error), 3)
    assert exit_code(JobError("another plan")) == 4


def test_any_number_of_deadly_items_of_one_shard_come_to_their_end(tmp_path):
    store = SimpleNamespace(is_committed=lambda _: False, inflight=lambda _: tmp_path / "note")
    schedule, deadly = Schedule(store, [0]), list(range(9))
    task = schedule.next()
    while left := [item for item in deadly if item not in task.doomed]:
        alone = left[:1] if left[0] in task.suspects else left
        (tmp_path / "note").write_text(json.dumps({"items": alone, "deadline": 1e12}))
        schedule.died(0, "killed")
        task = schedule.next()
    assert sorted(task.doomed) == deadly


def test_a_shard_at_which_workers_die_of_nothing_known_is_given_up(tmp_path):
    store = SimpleNamespace(is_committed=lambda _: False, inflight=lambda _: tmp_path / "no note")
    schedule = Schedule(store, [0])
    with pytest.raises(JobError, match="workers died 21 times at shard 0"):
        for _ in range(100):
            schedule.next()
            schedule.died(0, "killed")


@pytest.mark.parametrize(
    ("end", "said"),
    [("raise SystemExit(7)", "(exit code 1): its output is above"), ("os.kill(os.getpid(), 9)", "is there memory")],
)
def test_a_worker_that_cannot_start_says_how_it_ended(tmp_path, monkeypatch, end, said):
    (tmp_path / "sitecustomize.py").write_text(f"import os\n{end}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(JobError, match="died 3 times while it started") as caught:
        run_job(speech_job(speech_folder(tmp_path / "in", 1), tmp_path / "out"))
    assert said in str(caught.value)


def test_a_terminal_without_arrows_gets_the_rest():
    command = [sys.executable, "-m", "anytok", "list"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=60)
    assert done.returncode == 0 and b"speech-mini" in done.stdout, done.stderr
