"""What verify finds damaged, the next run of the same job makes anew: the same bytes, and nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from job_corpus import contents, speech_folder, speech_job

from anytok.cli import main
from anytok.errors import JobError
from anytok.jobs import job_status, run_job, verify_job
from anytok.jobs.config import SinkConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(job, its whole output) of 25 recordings in three shards, one of them broken."""
    root = tmp_path_factory.mktemp("repair")
    speech_folder(root / "in", 24)
    (root / "in" / "broken.wav").write_bytes(b"RIFF")
    job = speech_job(root / "in", root / "out").override(sinks=(SinkConfig("parquet"), SinkConfig("webdataset")))
    run_job(job)
    return job, root / "out"


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "out")
    return tmp_path / "out"


def shard(output: Path, number: int) -> Path:
    return output / "_anytok" / "shards" / f"{number:06d}"


def flip(path: Path, keep_time: bool = False) -> None:
    times = path.stat()
    with open(path, "r+b") as stream:
        stream.seek(-20, os.SEEK_END)
        byte = stream.read(1)
        stream.seek(-20, os.SEEK_END)
        stream.write(bytes([byte[0] ^ 1]))
    if keep_time:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGE = {
    "a bit": lambda output: flip(shard(output, 1) / "parquet.parquet", keep_time=True),
    "a bit of the counts": lambda output: flip(shard(output, 1) / "tally.npz", keep_time=True),
    "a cut file": lambda output: os.truncate(shard(output, 1) / "webdataset.tar", 700),
    "a file that is gone": lambda output: (shard(output, 1) / "parquet.parquet").unlink(),
    "a record that is none": lambda output: (shard(output, 1) / "record.json").write_text("{"),
    "a record that is gone": lambda output: (shard(output, 1) / "record.json").unlink(),
    "a shard that is gone": lambda output: shutil.rmtree(shard(output, 1)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_is_made_anew_with_the_same_bytes(made, copy, damage):
    job, whole = made
    untouched = (shard(copy, 0) / "parquet.parquet").stat().st_ino
    DAMAGE[damage](copy)
    found = verify_job(copy)
    does = "goes on with the 1 shards that are not there" if damage == "a shard that is gone" else "makes shards 1 anew"
    assert not found.ok and found.repair.startswith(f"run the same job again (anytok run …): it {does} and lays")
    assert run_job(job.override(output=str(copy))).finished
    assert verify_job(copy).ok and verify_job(copy).repair == ""
    assert contents(copy) == contents(whole)
    assert (shard(copy, 0) / "parquet.parquet").stat().st_ino == untouched
    assert not list((copy / "_anytok" / "staging").iterdir()) and not (copy / "_anytok" / "damaged.json").exists()


def test_an_edit_is_repaired_without_an_audit(made, copy):
    """A file that is younger than its record, or not as long, is looked at by every run."""
    job, whole = made
    flip(shard(copy, 2) / "parquet.parquet")
    os.truncate(shard(copy, 0) / "tally.npz", 10)
    run_job(job.override(output=str(copy)))
    assert verify_job(copy).ok and contents(copy) == contents(whole)


@pytest.mark.parametrize("keep_time", [False, True])
def test_editing_an_output_leaves_the_shard_whole_and_is_mended(made, tmp_path, keep_time):
    job, whole = made
    output = tmp_path / "out"
    run_job(job.override(output=str(output)))
    master = (shard(output, 1) / "parquet.parquet").read_bytes()
    flip(output / "parquet" / "000001.parquet", keep_time)
    assert (shard(output, 1) / "parquet.parquet").read_bytes() == master
    found = verify_job(output)
    assert not found.ok and found.repair == "run the same job again (anytok run …): it lays the files out"
    run_job(job.override(output=str(output)))
    assert verify_job(output).ok and contents(output) == contents(whole)


def test_a_ledger_that_was_edited_is_written_anew(made, copy):
    ledger = (copy / "failures.jsonl").read_bytes()
    (copy / "failures.jsonl").write_text("")
    found = verify_job(copy)
    assert found.problems == (f"{copy}/failures.jsonl is not the ledger of these shards",) and found.repair
    run_job(made[0].override(output=str(copy)))
    assert verify_job(copy).ok and (copy / "failures.jsonl").read_bytes() == ledger


def test_outputs_that_were_laid_out_as_hard_links_become_copies(made, copy):
    view, master = copy / "parquet" / "000001.parquet", shard(copy, 1) / "parquet.parquet"
    view.unlink()
    os.link(master, view)
    run_job(made[0].override(output=str(copy)))
    assert not view.samefile(master) and view.read_bytes() == master.read_bytes()


def test_an_output_that_is_not_whole_is_not_called_finished(made, copy):
    os.truncate(copy / "parquet" / "000001.parquet", 10)
    assert not job_status(copy).finished
    assert run_job(made[0].override(output=str(copy))).finished and verify_job(copy).ok


def test_a_damaged_shard_stays_where_its_inputs_are_no_longer_the_planned_ones(made, copy, tmp_path):
    job, _ = made
    flip(shard(copy, 1) / "parquet.parquet")
    source = tmp_path / "in"
    shutil.copytree(job.sources[0].path, source)
    moved = speech_job(source, copy).override(sinks=job.sinks)
    with pytest.raises(JobError, match="holds another job"):
        run_job(moved)
    assert shard(copy, 1).is_dir()


def test_the_command_names_the_repair(made, copy, capsys):
    flip(shard(copy, 1) / "parquet.parquet")
    assert main(["verify", str(copy)]) == 1
    assert (
        "repair     run the same job again (anytok run …): it makes shards 1 anew and lays" in capsys.readouterr().out
    )
    [lists] = (copy / "_anytok").glob("items-*.jsonl")
    lists.write_bytes(lists.read_bytes().replace(b"/0003.wav", b"/0005.wav"))
    assert main(["verify", str(copy), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["repair"] == "what was planned is lost: start anew in another folder"
