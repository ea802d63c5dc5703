"""The Ray runner, held to what the local one is held to: those of tests/test_jobs.py that ask the runner for something
once more, on Ray, and a few more."""

from __future__ import annotations

import json

import job_corpus
import pytest
from job_corpus import contents, rows, speech_folder, speech_job, write_wav
from test_compose_jobs import check_shares, stored  # noqa: F401
from test_jobs import (  # noqa: F401
    source,
    test_a_job_that_could_not_start_leaves_nothing,
    test_a_long_item_has_longer,
    test_an_item_on_which_the_model_hangs_costs_that_item,
    test_an_item_that_kills_or_stops_its_reader_costs_that_item,
    test_bad_items_go_to_the_ledger_and_the_rest_goes_on,
    test_every_item_is_written_once_with_the_codes_of_encode,
    test_shares_of_a_job_add_up_to_it,
    test_too_many_failures_stop_the_job,
    test_two_processes_on_one_folder_do_the_job_together,
    test_warnings_of_readers_are_counted_and_shown,
    undisturbed,
)

from anytok.errors import JobError
from anytok.jobs import run_job, verify_job

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all tests here; a runner uses what it finds, and leaves it running."""
    from anytok.jobs.ray_runner import start_ray

    start_ray(ray, "")
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def on_ray(cluster, monkeypatch):
    monkeypatch.setattr(job_corpus, "RUNNER", "ray")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(source, output of the local runner): 40 recordings, among them one that kills the model's process."""
    root = tmp_path_factory.mktemp("ray")
    speech_folder(root / "in", 40)
    write_wav(root / "in" / "deadly.wav", 900, first=0.25)
    (root / "in" / "empty.wav").write_bytes(b"")
    assert run_job(speech_job(root / "in", root / "local", runner="local")).finished
    return root / "in", root / "local"


def ledger(output):
    lines = map(json.loads, (output / "failures.jsonl").read_text().splitlines())
    return {line["key"]: line["kind"] for line in lines}


def test_ray_does_what_local_does(cluster, made, tmp_path):
    folder, local = made
    status = run_job(speech_job(folder, tmp_path, runner="ray", workers=2))
    assert status.finished and (status.written, status.failed) == (40, 2)
    assert ledger(tmp_path) == ledger(local) == {"deadly.wav": "crashed", "empty.wav": "empty"}
    assert contents(tmp_path) == contents(local)
    assert verify_job(tmp_path).ok


def test_a_job_goes_from_local_to_ray_and_back(cluster, made, tmp_path):
    folder, local = made
    run_job(speech_job(folder, tmp_path, runner="local"), shard="0/3")
    run_job(speech_job(folder, tmp_path, runner="ray"), shard="1/3")
    assert run_job(speech_job(folder, tmp_path, runner="local", workers=2)).finished
    assert contents(tmp_path) == contents(local)


def test_a_full_disk_under_ray_is_the_same_clear_error(cluster, made, tmp_path):
    folder, _ = made
    (tmp_path / "_anytok" / "inflight" / "000000").mkdir(parents=True)  # in the way of the worker's note
    with pytest.raises(JobError, match="run the same command again"):
        run_job(speech_job(folder, tmp_path, runner="ray"))


def test_a_job_that_has_grown_is_extended_on_ray(cluster, tmp_path):
    """What local workers have made is taken over, and the output is that of a run from nothing."""
    folder = speech_folder(tmp_path / "in", 25)
    run_job(speech_job(folder, tmp_path / "out", runner="local"))
    files = sorted(folder.rglob("*.wav"))
    write_wav(folder / "new.wav", 3000, seed=99)
    write_wav(files[2], 3000, seed=98)
    files[12].unlink()
    status = run_job(speech_job(folder, tmp_path / "out", runner="ray", workers=2), extend=True)
    [extended] = status.extensions
    assert status.finished and (extended.new, extended.changed, extended.removed, extended.kept) == (1, 1, 1, 18)
    assert verify_job(tmp_path / "out", one_in=1).ok
    run_job(speech_job(folder, tmp_path / "nothing", runner="local"))
    assert rows(tmp_path / "out") == rows(tmp_path / "nothing")


def test_shares_of_composing_give_equal_bytes(cluster, stored, tmp_path):  # noqa: F811
    check_shares(stored, tmp_path, "ray")
