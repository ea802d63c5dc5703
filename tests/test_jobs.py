"""Jobs from end to end: every item once, equal bytes, refusals, failures, and several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from job_corpus import FAKES, contents, listed, rows, speech_folder, speech_job, write_png, write_stereo, write_wav

from anytok.cli import main
from anytok.errors import CheckpointError, JobError, UsageError
from anytok.jobs import JobConfig, job_status, plan_job, rounds, run, run_job, verify_job
from anytok.jobs.config import SinkConfig, SourceConfig, TokenizerConfig
from anytok.registry import load_tokenizer

DEADLY, ENDLESS, REFUSED = 0.25, 0.125, 0.5  # first samples; see fake_tokenizers


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return speech_folder(tmp_path_factory.mktemp("speech"), 45)


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    """The output of a plain run."""
    output = tmp_path_factory.mktemp("undisturbed")
    assert run_job(speech_job(source, output)).finished
    return output


def test_every_item_is_written_once_with_the_codes_of_encode(source, undisturbed):
    found = rows(undisturbed)
    paths = {str(path.relative_to(source)): path for path in source.rglob("*.wav")}
    assert set(found) == set(paths)
    tokenizer = load_tokenizer("fake-speech", milliseconds=0)
    for key, path in paths.items():
        codes = tokenizer.encode(path)
        assert np.array_equal(found[key]["codes"], codes.values)
        assert found[key]["num_samples"] == codes.num_samples
        assert found[key]["tokenizer"] == "fake-speech@0123456789ab"


def test_strange_files_among_the_shards_are_none(tmp_path):
    """A file manager's, or what a network's file system leaves of a deleted one."""
    output = tmp_path / "out"
    run_job(speech_job(speech_folder(tmp_path / "in", 4), output))
    for name in (".DS_Store", ".nfs0001", "notes"):
        (output / "_anytok" / "shards" / name).write_text("")
    assert job_status(output).finished and verify_job(output).ok


@pytest.mark.parametrize(
    "settings", [{}, {"workers": 2, "readers": 2}, {"batch_frames": 1}, {"batch_items": 3}], ids=str
)
def test_equal_jobs_write_equal_bytes(source, undisturbed, tmp_path, settings):
    run_job(speech_job(source, tmp_path, **settings))
    assert contents(tmp_path) == contents(undisturbed)


def test_a_batch_too_large_for_memory_is_halved_and_the_codes_stay(source, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_OOM_FRAMES", "40")
    status = run_job(speech_job(source, tmp_path))
    assert status.failed == 0
    assert contents(tmp_path) == contents(undisturbed)


def test_a_finished_job_does_nothing_again(source, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.parquet")}
    assert run_job(speech_job(source, undisturbed)).finished
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.parquet")}


def test_shares_of_a_job_add_up_to_it(source, undisturbed, tmp_path):
    first = run_job(speech_job(source, tmp_path), shard="0/2")
    assert (first.shards_done, first.shards) == (3, 5)
    assert not (tmp_path / "parquet").exists()
    assert run_job(speech_job(source, tmp_path), shard="1/2").finished
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2"])
def test_a_share_that_is_none_is_refused(source, tmp_path, text):
    with pytest.raises(UsageError, match="expected i/n"):
        run_job(speech_job(source, tmp_path), shard=text)


def test_two_processes_on_one_folder_do_the_job_together(source, undisturbed, tmp_path):
    script = (
        f"import sys; sys.path[:0] = [{FAKES!r}, {str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path\nfrom job_corpus import speech_job\nfrom anytok.jobs import run_job\n"
        f"status = run_job(speech_job(Path({str(source)!r}), Path({str(tmp_path)!r})))\nassert status.finished\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert contents(tmp_path) == contents(undisturbed)
    starts = [json.loads(line) for line in (tmp_path / "_anytok/log.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "shard" for line in starts) == 5, "no shard was done twice"


# What differs is refused, and named.


def test_another_setting_is_refused_by_name(source, undisturbed):
    with pytest.raises(JobError, match=r"shard_items was 10, is now 11"):
        run_job(speech_job(source, undisturbed, shard_items=11))
    with pytest.raises(JobError, match=r"tokenizers.speech.name was 'fake-speech', is now 'fake-music'|modality"):
        other = JobConfig.simple(str(source), str(undisturbed), "fake-music", shard_items=10)
        run_job(other)


def test_other_weights_are_refused(source, undisturbed, monkeypatch):
    monkeypatch.setenv("FAKE_WEIGHTS", "ffffffffffff")
    with pytest.raises(JobError, match=r"specs.speech.id was 'fake-speech@0123456789ab', is now 'fake-speech@ffff"):
        run_job(speech_job(source, undisturbed))


@pytest.mark.parametrize("change", ["changed", "gone", "new"])
def test_another_input_is_refused_by_name(tmp_path, change):
    source, output = speech_folder(tmp_path / "in", 4), tmp_path / "out"
    run_job(speech_job(source, output))
    victim = source / "1" / "0003.wav"
    if change == "changed":
        write_wav(victim, 999, seed=77)
    elif change == "gone":
        victim.unlink()
    else:
        victim = source / "1" / "0005.wav"
        write_wav(victim, 999)
    with pytest.raises(JobError, match=rf"{victim.name} (is|was) {change}"):
        run_job(speech_job(source, output))


def test_an_altered_plan_is_refused(tmp_path):
    source, output = speech_folder(tmp_path / "in", 4), tmp_path / "out"
    run_job(speech_job(source, output))
    plan = output / "_anytok" / "plan.json"
    plan.write_text(plan.read_text().replace('"shard_items": 10', '"shard_items": 11'))
    with pytest.raises(JobError, match="was altered"):
        job_status(output)


def test_two_items_of_one_key_are_refused(tmp_path):
    write_wav(tmp_path / "a.wav", 500)
    (tmp_path / "list.csv").write_text("path,key\na.wav,same\na.wav,same\na.wav,other\n")
    with pytest.raises(JobError, match="1 keys name more than one item, such as same"):
        run_job(speech_job(tmp_path / "list.csv", tmp_path / "out"))


# Items that cannot be used.


def broken_folder(folder: Path) -> Path:
    """Twelve good recordings, and four that fail each in its own way."""
    speech_folder(folder, 12)
    (folder / "0" / "empty.wav").write_bytes(b"")
    (folder / "0" / "text.wav").write_text("this is no sound at all, whatever its name says")
    write_wav(folder / "1" / "deadly.wav", 2000, first=DEADLY)
    write_wav(folder / "1" / "refused.wav", 2000, first=REFUSED)
    return folder


def test_bad_items_go_to_the_ledger_and_the_rest_goes_on(tmp_path):
    source, output = broken_folder(tmp_path / "in"), tmp_path / "out"
    status = run_job(speech_job(source, output, max_failure_rate=0.5))
    ledger = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    kinds = {one["key"]: one["kind"] for one in ledger}
    assert kinds == {
        "0/empty.wav": "empty",
        "0/text.wav": "unsupported_format",
        "1/deadly.wav": "crashed",
        "1/refused.wav": "refused",
    }
    assert all(one["message"] and one["when"] for one in ledger)
    assert (status.items, status.written, status.failed) == (16, 12, 4)
    assert not set(kinds) & set(rows(output))
    assert verify_job(output).ok


def test_mended_items_are_taken_up_by_retry_failed_alone(tmp_path):
    source, output = broken_folder(tmp_path / "in"), tmp_path / "out"
    job = speech_job(source, output, max_failure_rate=0.5)
    run_job(job)
    before = contents(output)
    write_wav(source / "0" / "empty.wav", 700, seed=5)
    write_wav(source / "1" / "refused.wav", 700, seed=6)
    with pytest.raises(JobError, match=r"empty.wav was changed"):
        run_job(job)
    status = run_job(job, retry_failed=True)
    assert (status.items, status.written, status.failed) == (16, 14, 2)
    assert set(rows(output)) >= {"0/empty.wav", "1/refused.wav"}
    assert before.items() <= contents(output).items(), "what was there stays as it was"
    assert run_job(job).finished, "the mended files are part of the plan now"
    assert verify_job(output, one_in=1).ok


def test_a_retry_that_was_stopped_goes_on_with_the_same_command(tmp_path):
    source, output = broken_folder(tmp_path / "in"), tmp_path / "out"
    job = speech_job(source, output, max_failure_rate=0.5)
    run_job(job)
    write_wav(source / "0" / "empty.wav", 700, seed=5)
    run_job(job, retry_failed=True, shard="1/2")  # plans the retry, whose one shard, the third, is not of this share
    assert not job_status(output).finished
    write_wav(source / "1" / "refused.wav", 700, seed=6)  # mended meanwhile: the next retry has it
    other = source / "0" / "0004.wav"
    times = other.stat()
    os.utime(other)
    with pytest.raises(JobError, match=r"not the planned one: \S*0004.wav was changed\."):
        run_job(job, retry_failed=True)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    status = run_job(job, retry_failed=True)
    assert status.finished and "0/empty.wav" in rows(output) and status.failures["changed"] == 1
    assert run_job(job, retry_failed=True).written == 14 and verify_job(output).ok


def test_retry_failed_refuses_other_changes(tmp_path):
    source, output = broken_folder(tmp_path / "in"), tmp_path / "out"
    job = speech_job(source, output, max_failure_rate=0.5)
    run_job(job)
    write_wav(source / "0" / "0002.wav", 700, seed=5)
    with pytest.raises(JobError, match=r"0002.wav was changed"):
        run_job(job, retry_failed=True)


def test_a_retry_that_another_process_was_quicker_with_is_taken_over(tmp_path, monkeypatch):
    """It has planned and done a round since this one read the plan."""
    source = speech_folder(tmp_path / "in", 12)
    broken = sorted(source.rglob("*.wav"))[0]
    whole = broken.read_bytes()
    broken.write_bytes(b"broken")
    job = speech_job(source, tmp_path / "out")
    assert run_job(job).failed == 1
    broken.write_bytes(whole)
    frozen = run.freeze

    def slow(*arguments, **options):
        plan = frozen(*arguments, **options)
        monkeypatch.setattr(run, "freeze", frozen)
        assert run_job(job, retry_failed=True).failed == 0
        return plan

    monkeypatch.setattr(run, "freeze", slow)
    status = run_job(job, retry_failed=True)
    assert status.finished and status.failed == 0 and verify_job(tmp_path / "out").ok


def test_the_failures_of_a_share_are_measured_by_the_whole(tmp_path):
    """All broken items lie in the first share."""
    source = speech_folder(tmp_path / "in", 40)
    for path in sorted(source.rglob("*.wav"))[:4]:
        path.write_bytes(b"broken")
    job = speech_job(source, tmp_path / "out", shard_items=5, max_failure_rate=0.1)
    for share in range(8):
        status = run_job(job, shard=f"{share}/8")
    assert status.finished and status.failed == 4
    with pytest.raises(JobError, match="4 of 40 items failed"):
        for share in range(8):
            run_job(job.override(output=str(tmp_path / "strict"), max_failure_rate=0.09), shard=f"{share}/8")


def test_too_many_failures_stop_the_job(tmp_path):
    source, output = broken_folder(tmp_path / "in"), tmp_path / "out"
    for _ in range(2):  # the second time, nothing is left to do, and it is still too many
        with pytest.raises(JobError, match=r"4 of 16 items failed, more than max_failure_rate = 0.2"):
            run_job(speech_job(source, output))
        assert len((output / "failures.jsonl").read_text().splitlines()) == 4 and not (output / "parquet").exists()
    assert run_job(speech_job(source, output, max_failure_rate=0.25)).finished


def test_failures_in_shards_that_another_process_did_count_too(tmp_path):
    source = speech_folder(tmp_path / "in", 14)
    (source / "2").mkdir()
    for name in ("a.wav", "b.wav"):
        (source / "2" / name).write_bytes(b"")
    job = speech_job(source, tmp_path / "out", shard_items=2, max_failure_rate=0.1)
    others = []

    def meanwhile(_):
        if not others:
            others.append(run_job(job, shard="7/8", max_failure_rate=1.0))

    with pytest.raises(JobError, match=r"2 of 16 items failed, more than max_failure_rate = 0.1"):
        run_job(job, progress=meanwhile)
    assert not (tmp_path / "out" / "parquet").exists()


@pytest.mark.parametrize(("what", "kind"), [("kill", "crashed"), ("hang", "timeout"), ("raise", "unreadable")])
def test_an_item_that_kills_or_stops_its_reader_costs_that_item(tmp_path, what, kind):
    write_wav(tmp_path / "a.wav", 500)
    (tmp_path / "list.csv").write_text(f"path\na.wav\ndeadly://{what}/b.wav\n")
    status = run_job(speech_job(tmp_path / "list.csv", tmp_path / "out", max_failure_rate=0.5, item_seconds=5.0))
    assert (status.written, status.failures) == (1, {kind: 1})


def test_an_item_on_which_the_model_hangs_costs_that_item(tmp_path):
    source = speech_folder(tmp_path / "in", 12)
    write_wav(source / "0" / "endless.wav", 2000, first=ENDLESS)
    status = run_job(speech_job(source, tmp_path / "out", batch_seconds=1.0))
    assert (status.written, status.failures) == (12, {"timeout": 1})
    [failure] = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text().splitlines())
    assert failure["key"] == "0/endless.wav" and "batch_seconds" in failure["message"]


def test_a_long_item_has_longer(tmp_path):
    """A second and a half in the model for what fills fifty batches: no hang."""
    write_wav(tmp_path / "in" / "long.wav", 100 * 320)
    job = speech_job(tmp_path / "in", tmp_path / "out", batch_seconds=0.5, batch_frames=2)
    slow = TokenizerConfig("fake-speech", options={"milliseconds": 1500.0})
    assert run_job(job.override(tokenizers={"speech": slow})).failed == 0


def test_whatever_a_decoder_raises_costs_one_item(monkeypatch):
    from anytok import media
    from anytok.jobs.items import Item
    from anytok.jobs.reading import Failure, read

    def fail(*_):
        raise ZeroDivisionError("a fault in somebody's decoder")

    monkeypatch.setattr(media, "prepare", fail)
    found = read(Item("a", "speech", "a.wav"), load_tokenizer("fake-speech").spec)
    assert found == Failure("undecodable", "ZeroDivisionError: a fault in somebody's decoder")


def test_warnings_of_readers_are_counted_and_shown(tmp_path, capsys):
    """Readers are processes that nobody sees; the count is the same whoever did the shards, and after a retry."""
    source = speech_folder(tmp_path / "in", 12)
    noise = np.random.default_rng(0).integers(-3000, 3000, (2000, 2), dtype=np.int16)
    for name in ("9.wav", "0/zero.wav", "8.wav"):
        write_stereo(source / name, noise * [0, 1])
    write_stereo(source / "fine.wav", noise)
    write_wav(source / "late.wav", 0)
    job = speech_job(source, tmp_path / "out", workers=2)
    status = run_job(job)
    [warned] = status.warnings
    first = next(item.key for item in listed(source) if item.key in ("9.wav", "0/zero.wav", "8.wav"))
    assert (warned.items, warned.first) == (3, first) and "pass channels=" in warned.message
    write_stereo(source / "late.wav", noise * [0, 1])
    assert run_job(job, retry_failed=True).warnings == [replace(warned, items=4)]
    assert main(["status", str(tmp_path / "out")]) == 0
    assert f"warned     4 of the items, first {first}: {warned.message}\n" in capsys.readouterr().out
    assert [replace(one, items=0) for one in plan_job(job).sample_warnings] == [replace(warned, items=0)]


# Mixed jobs, text beside media, the log.


def mixed_job(folder: Path, output: Path) -> JobConfig:
    for number in range(6):
        write_png(folder / f"{number}.png", number)
        write_wav(folder / f"{number}.wav", 1000 + number, number)
        (folder / f"{number}.txt").write_text(f"caption {number}")
    tokenizers = {"image": TokenizerConfig("fake-image"), "speech": TokenizerConfig("fake-speech")}
    sources = (SourceConfig(str(folder), text_suffix=".txt"),)
    return JobConfig(str(output), sources, tokenizers, (SinkConfig("parquet"),), shard_items=5)


def test_a_mixed_job_sends_each_medium_to_its_tokenizer_and_keeps_the_text(tmp_path):
    seen = []
    status = run_job(mixed_job(tmp_path / "in", tmp_path / "out"), progress=seen.append)
    found = rows(tmp_path / "out")
    assert status.written == 12
    assert found["3.png"]["tokenizer"].startswith("fake-image")
    assert found["3.wav"]["tokenizer"].startswith("fake-speech")
    assert found["3.png"]["text"] == found["3.wav"]["text"] == "caption 3"
    plan = json.loads((tmp_path / "out/_anytok/plan.json").read_text())
    assert (plan["ignored"], plan["sidecars"]) == ({}, {".txt": 6}), "what is no item is counted"
    assert seen[-1].items == seen[-1].total == 12
    assert seen[-1].items_per_second > 0 and seen[-1].media_seconds_per_second > 0
    events = [json.loads(line)["event"] for line in (tmp_path / "out/_anytok/log.jsonl").read_text().splitlines()]
    assert events[0] == "start" and events[-1] == "finish" and events.count("shard") == 3


def test_jobs_print_nothing(source, tmp_path, capfd):
    run_job(speech_job(source, tmp_path))
    assert capfd.readouterr() == ("", "")


def test_a_plain_script_without_a_main_guard_runs_a_job(source, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = [{FAKES!r}]\nfrom anytok.jobs import JobConfig, run_job\n"
        f"run_job(JobConfig.simple({str(source)!r}, {str(tmp_path / 'out')!r}, 'fake-speech'))\nprint('once')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=os.environ, timeout=60)
    assert (done.stdout, done.returncode) == ("once\n", 0), done.stderr


def test_plans_made_when_quotes_were_no_choice_are_still_the_same_job(tmp_path):
    job = speech_job(speech_folder(tmp_path / "in", 2), tmp_path / "out")
    run_job(job)
    path = tmp_path / "out" / "_anytok" / "plan.json"
    record = json.loads(path.read_bytes())
    del record["work"]["sources"][0]["quotes"]
    record["hash"] = rounds.hash_of(record)
    path.write_text(json.dumps(record))
    assert run_job(job).finished
    with pytest.raises(JobError, match=r"work.sources\[0\].quotes was True, is now False"):
        run_job(job.override(sources=(replace(job.sources[0], quotes=False),)))


def test_what_is_wrong_with_sources_is_said_before_weights_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_runner", lambda _: pytest.fail("a runner was started"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    for name, said in (("none", "no such file or folder"), ("empty", "hold no media"), ("list.csv", "1: no 'path'")):
        with pytest.raises((UsageError, JobError), match=said):
            run_job(speech_job(tmp_path / name, tmp_path / "out"))
    with pytest.raises(UsageError, match=r"nothing\.json"):
        run_job(speech_job(speech_folder(tmp_path / "in", 2), tmp_path / "out", vocabulary="nothing.json"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_job_that_could_not_start_leaves_nothing(tmp_path, there):
    output = tmp_path / "out"
    if there:
        output.mkdir()
    job = JobConfig.simple(str(speech_folder(tmp_path / "in", 2)), str(output), "speech-mini", checkpoint="nowhere")
    with pytest.raises(CheckpointError, match="no such file or folder"):
        run_job(job)
    assert output.exists() == there and not (output / "_anytok").exists()
