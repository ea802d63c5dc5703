"""Jobs whose data grow: what is new or changed is encoded, nothing else is, and the output is that of a run from
nothing, item by item, whatever it is and whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from job_corpus import FAKES, contents, rows, speech_folder, speech_job, write_png, write_stereo, write_tar, write_wav
from test_jobs_sinks import KINDS, make_job, vocabulary_file

from anytok.errors import JobError, UsageError
from anytok.jobs import JobCodes, JobConfig, job_stats, job_status, run, run_job, verify_job, views
from anytok.jobs.config import SinkConfig, SourceConfig, TokenizerConfig
from anytok.jobs.plan import load_plan
from anytok.jobs.sinks import SINKS


@pytest.fixture
def encoded(tmp_path, monkeypatch):
    """How many items were encoded since it was asked last, told by the tokenizers themselves."""
    path = tmp_path / "encoded"
    monkeypatch.setenv("FAKE_COUNT", str(path))

    def count() -> int:
        found = path.stat().st_size if path.exists() else 0
        path.unlink(missing_ok=True)
        return found

    return count


def touch(path: Path) -> None:
    """Another time of modification, and nothing else."""
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 10**9))


def recordings(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.wav"))


def from_nothing(job: JobConfig, output: Path) -> Path:
    """The output of a run that never knew anything else."""
    assert run_job(job.override(output=str(output))).finished
    return output


def stats_of(output: Path) -> dict:
    return {name: vars(one) for name, one in job_stats(output, picture=False).modalities.items()}


def same_as_from_nothing(job: JobConfig, tmp_path: Path, name: str = "nothing") -> None:
    same_as(job, from_nothing(job, tmp_path / name))


def same_as(job: JobConfig, other: Path) -> None:
    """The output is whole, and that of a run from nothing: rows, ledger, counts."""
    output = Path(job.output)
    found = verify_job(output, one_in=1)
    assert found.ok, found.problems
    assert rows(output) == rows(other)
    ledgers = [map(json.loads, (one / "failures.jsonl").read_text().splitlines()) for one in (output, other)]
    kinds, wanted = ({one["key"]: one["kind"] for one in ledger} for ledger in ledgers)
    assert kinds == wanted
    status, whole = job_status(output), job_status(other)
    assert (status.items, status.written, status.failed) == (whole.items, whole.written, whole.failed)
    assert status.finished and stats_of(output) == stats_of(other)


def test_a_thousand_files_grown_touched_changed_and_removed_encode_exactly_105(tmp_path, encoded):
    source = speech_folder(tmp_path / "in", 1000)
    job = speech_job(source, tmp_path / "out").override(shard_items=100, workers=2)
    run_job(job)
    assert encoded() == 1000
    before = contents(tmp_path / "out")
    files = recordings(source)
    for number in range(100):
        write_wav(source / "new" / f"{number:03d}.wav", 900 + number, seed=5000 + number)
    for path in files[:10]:
        touch(path)
    for number, path in enumerate(files[100:105]):
        write_wav(path, 1234, seed=7000 + number)
    removed = files[200:203]
    for path in removed:
        path.unlink()
    status = run_job(job, extend=True)
    assert encoded() == 105
    assert (status.items, status.written, status.failed, status.finished) == (1097, 1097, 0, True)
    [extended] = status.extensions
    counts = (extended.new, extended.changed, extended.relabelled, extended.touched, extended.removed, extended.kept)
    assert counts == (100, 5, 0, 10, 3, 192)
    keys = [str(path.relative_to(source)) for path in removed]
    assert list(extended.removed_keys) == keys
    changes = [json.loads(line) for line in Path(extended.changes).read_text().splitlines()]
    assert [one["key"] for one in changes if one["change"] == "removed"] == keys and len(changes) == 8
    same_as_from_nothing(job, tmp_path)
    kept = set(before.items()) & set(contents(tmp_path / "out").items())
    assert len({name.split("/")[2] for name, _ in kept if name.startswith("_anytok")}) == 8
    encoded()
    assert run_job(job).finished and run_job(job, extend=True).extensions == [extended], "and nothing is done again"
    assert encoded() == 0


@pytest.mark.parametrize("kinds", [KINDS, ("megatron", "litdata", "anygpt")], ids=str)
def test_every_sink_holds_each_present_item_once_and_as_it_is(tmp_path, encoded, kinds):
    vocabulary = vocabulary_file(tmp_path / "vocab.json")
    source = tmp_path / "in"
    for number in range(12):
        write_png(source / f"{number}.png", number)
        write_wav(source / f"{number}.wav", 900 + 300 * number, number)
        (source / f"{number}.txt").write_text(f"Wörter {number} 🎶", "utf-8")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    job = make_job(source, tmp_path / "out", vocabulary, kinds)
    run_job(job)
    encoded()
    first = first_files(tmp_path / "out")
    write_png(source / "new.png", 77)
    (source / "new.txt").write_text("new", "utf-8")
    write_wav(source / "3.wav", 2500, 99)  # changed
    (source / "5.txt").write_text("other words", "utf-8")  # of a picture and a sound: written anew, not encoded
    (source / "7.png").unlink()  # removed
    touch(source / "9.wav")
    status = run_job(job, extend=True)
    assert encoded() == 2
    [extended] = status.extensions
    counts = (extended.new, extended.changed, extended.relabelled, extended.touched, extended.removed)
    assert counts == (1, 1, 2, 1, 1) and status.finished
    found = verify_job(tmp_path / "out", one_in=1)
    assert found.ok, found.problems
    from_nothing(job, tmp_path / "nothing")
    for kind in kinds:
        assert laid_out(tmp_path / "out", kind) == laid_out(tmp_path / "nothing", kind), kind
    assert first and first_files(tmp_path / "out") == first, "nothing in the first shard has changed"
    laid = [path for kind in kinds for path in (tmp_path / "out" / kind).rglob("*00000[1-3].*")]
    assert not laid, "the others held what is no longer so"
    if set(kinds) & {"parquet", "hf", "webdataset", "lhotse"}:
        assert stats_of(tmp_path / "out") == stats_of(tmp_path / "nothing")


def test_documents_of_ids_alone_get_their_new_words_and_keep_their_codes(tmp_path):
    from anytok.compose import Form

    for number in range(3):
        write_wav(tmp_path / "in" / f"{number}.wav", 900 + 100 * number, number)
        (tmp_path / "in" / f"{number}.txt").write_text(f"word {number}")
    sinks = (SinkConfig("megatron", Form("caption")),)
    source = SourceConfig(str(tmp_path / "in"), text_suffix=".txt")
    job = JobConfig(str(tmp_path / "out"), (source,), {"speech": TokenizerConfig("speech-mini")}, sinks, "mini")
    run_job(job)
    (tmp_path / "in" / "1.txt").write_text("another word")
    [extended] = run_job(job, extend=True).extensions
    assert (extended.relabelled, extended.changed, extended.kept) == (1, 0, 3)
    other = from_nothing(job, tmp_path / "nothing")
    assert laid_out(tmp_path / "out", "megatron") == laid_out(other, "megatron")
    assert verify_job(tmp_path / "out", one_in=1).ok
    codes, wanted = dict(JobCodes(tmp_path / "out")), dict(JobCodes(other))
    assert set(codes) == {"0.wav", "1.wav", "2.wav"} and all(codes[key] == wanted[key] for key in wanted)


def first_files(output: Path) -> dict[str, str]:
    """What is laid out of the first shard: SHA-256, by path."""
    return {name: sha for name, sha in contents(output).items() if "000000." in name}


def laid_out(output: Path, kind: str) -> list[str]:
    """What a reader of an output finds, in an order of its own: keys with all that goes with them, or ids."""
    sink, root, folder = SINKS[kind], output / kind, output / kind / SINKS[kind].folder
    found = []
    numbers = sorted(
        {"".join(filter(str.isdigit, path.name.split(".")[-2])) or path.name[:6] for path in folder.iterdir()}
    )
    for number in numbers:
        if not number.isdigit():
            continue
        stem = output / "stem" / kind
        stem.parent.mkdir(exist_ok=True)
        for view, source in sink.views(root, stem, int(number)):
            if view.exists():
                shutil.copy(view, source)
        if kind == "litdata":
            index = json.loads((root / "index.json").read_text())
            [chunk] = [one for one in index["chunks"] if one["filename"] == f"{int(number):06d}.bin"]
            described = {**chunk, "data_format": index["config"]["data_format"][0]}
            stem.with_suffix(".json").write_text(json.dumps(described))
        if sink.codes:
            made = [(one.spec.id, one.values.tolist(), one.num_samples) for one in sink.codes(stem)]
            found += map(repr, zip(sink.keys(stem), made, beside(stem, kind), strict=True))
        else:
            found += map(repr, map(list, sink.ids(stem)))
    shutil.rmtree(output / "stem")
    return sorted(found)


def beside(stem: Path, kind: str) -> list[object]:
    """The texts of the rows of a shard."""
    if kind == "lhotse":
        cuts = map(json.loads, stem.with_suffix(".cuts.jsonl").read_text("utf-8").splitlines())
        return [[one["text"] for one in cut["supervisions"]] for cut in cuts]
    from anytok.jobs.stored import StoredTable, StoredTar

    found = StoredTar(f"{stem}.tar") if kind == "webdataset" else StoredTable(f"{stem}.parquet")
    return [one.text for one in found.items(range(len(found)))]


@pytest.fixture(scope="module")
def growth(tmp_path_factory) -> tuple[JobConfig, Path]:
    """A finished job of 25 recordings in three shards, whose folder has grown since (each shard is concerned), and the
    output of a run from nothing."""
    root = tmp_path_factory.mktemp("growth")
    source = speech_folder(root / "job" / "in", 25)
    job = speech_job(source, root / "job" / "out")
    run_job(job)
    files = recordings(source)
    write_wav(source / "new.wav", 3000, seed=99)
    write_wav(files[2], 3000, seed=98)
    files[12].unlink()
    write_wav(files[22], 2000, seed=97)
    shutil.copytree(root / "job", root / "kept")
    return job, from_nothing(job, root / "nothing")


@pytest.fixture
def grown(growth) -> JobConfig:
    """That job, as it was before any test."""
    job, nothing = growth
    shutil.rmtree(nothing.parent / "job")
    shutil.copytree(nothing.parent / "kept", nothing.parent / "job")  # times of modification, too
    return job


@pytest.fixture
def nothing(growth) -> Path:
    return growth[1]


def test_without_being_told_a_run_refuses_and_names_the_option(grown):
    with pytest.raises(JobError, match=r"new.wav is new.*--extend"):
        run_job(grown)


def test_where_nothing_has_changed_nothing_is_planned(tmp_path, encoded):
    job = speech_job(speech_folder(tmp_path / "in", 12), tmp_path / "out")
    assert run_job(job, extend=True).finished and encoded() == 12, "the first run is one like any other"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "_anytok").glob("*.json*")}
    assert run_job(job, extend=True).extensions == [] and encoded() == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "_anytok").glob("*.json*")}
    assert {path for path in after if before.get(path) != after[path]} <= {
        path for path in after if path.name in ("job.json", "log.jsonl") or path.name.startswith("inputs-")
    }


def test_touched_files_leave_every_shard_as_it_is(tmp_path, encoded):
    source = speech_folder(tmp_path / "in", 25)
    job = speech_job(source, tmp_path / "out")
    run_job(job)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    encoded()
    for path in recordings(source)[::3]:
        touch(path)
    assert run_job(job, extend=True).extensions[0].touched == 9 and encoded() == 0
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    same_as_from_nothing(job, tmp_path)  # which encodes all of them again: they are known as they are now
    assert run_job(job).finished, "the input is the planned one"
    for path in recordings(source)[::2]:
        touch(path)
    assert run_job(job, extend=True).extensions[1].touched == 13
    same_as_from_nothing(job, tmp_path, "again")


def test_content_is_looked_at_where_size_and_time_are_not_to_be_trusted(tmp_path, encoded):
    source = speech_folder(tmp_path / "in", 12)
    job = speech_job(source, tmp_path / "out")
    run_job(job)
    victim = recordings(source)[4]
    times, size = victim.stat(), victim.stat().st_size
    write_wav(victim, (size - 44) // 2, seed=99)
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert victim.stat().st_size == size
    encoded()
    assert run_job(job, extend=True).extensions == [] and encoded() == 0
    assert run_job(job.override(identify="content"), extend=True).extensions[0].changed == 1 and encoded() == 1
    same_as_from_nothing(job, tmp_path)


def test_failed_items_are_taken_up_where_they_were_mended_and_leave_the_ledger_where_they_were_removed(
    tmp_path, encoded
):
    source = speech_folder(tmp_path / "in", 25)
    for name in ("mended", "removed", "broken"):
        (source / f"{name}.wav").write_bytes(b"no sound")
    (source / "0" / "broken.wav").write_bytes(b"no sound")
    job = speech_job(source, tmp_path / "out")
    assert run_job(job).failed == 4
    encoded()
    write_wav(source / "mended.wav", 3000, seed=99)
    (source / "removed.wav").unlink()
    recordings(source / "0")[0].unlink()  # in the shard of 0/broken.wav, which is taken over as it is
    assert run_job(job, extend=True).failed == 2 and encoded() == 1
    same_as_from_nothing(job, tmp_path)
    write_wav(source / "broken.wav", 3000, seed=98)
    assert run_job(job, retry_failed=True).failed == 1
    (source / "0" / "broken.wav").unlink()
    write_wav(source / "more.wav", 3000, seed=96)
    assert run_job(job, extend=True).failed == 0
    same_as_from_nothing(job, tmp_path, "again")


def test_a_retry_of_what_was_taken_over_tries_it(tmp_path):
    source = speech_folder(tmp_path / "in", 12)
    (source / "0" / "broken.wav").write_bytes(b"no sound")
    job = speech_job(source, tmp_path / "out")
    run_job(job)
    recordings(source / "0")[0].unlink()
    assert run_job(job, extend=True).failed == 1
    write_wav(source / "0" / "broken.wav", 3000, seed=98)
    assert run_job(job, retry_failed=True).failed == 0
    same_as_from_nothing(job, tmp_path)


def test_warnings_go_with_the_rows_that_are_taken_over(tmp_path):
    source = speech_folder(tmp_path / "in", 12)
    noise = np.random.default_rng(0).integers(-3000, 3000, (2000, 2), dtype=np.int16)
    for name in ("9.wav", "0/zero.wav"):
        write_stereo(source / name, noise * [0, 1])
    job = speech_job(source, tmp_path / "out")
    [warned] = run_job(job).warnings
    recordings(source / "0")[0].unlink()
    [after] = run_job(job, extend=True).warnings
    assert (warned.items, warned.message) == (after.items, after.message) == (2, after.message)


def test_metadata_of_a_manifest_are_written_anew_with_the_codes_that_are_there(tmp_path, encoded):
    source = speech_folder(tmp_path / "in", 15)
    names = [str(path.relative_to(tmp_path / "in")) for path in recordings(source)]
    table = source / "list.csv"
    table.write_text("path,key\n" + "".join(f"{name},{number}\n" for number, name in enumerate(names[:14])))
    job = speech_job(table, tmp_path / "out")
    run_job(job)
    encoded()
    lines = "".join(f"{name},{number},speaker {number % 3}\n" for number, name in enumerate(names))
    table.write_text("path,key,who\n" + lines)
    [extended] = run_job(job, extend=True).extensions
    assert (extended.new, extended.changed, extended.relabelled) == (1, 0, 14) and encoded() == 1
    same_as_from_nothing(job, tmp_path)


def test_tars_and_tables_are_known_by_what_is_in_them(tmp_path, encoded):
    """A tar that was appended to, and one written anew in another order with other bytes for one member."""
    source = speech_folder(tmp_path / "wavs", 12)
    members = {f"{number:02d}.wav": path.read_bytes() for number, path in enumerate(recordings(source))}
    first, second = (dict(list(members.items())[start:][:6]) for start in (0, 6))
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in" / "a.tar", first)
    write_tar(tmp_path / "in" / "b.tar", second)
    job = speech_job(tmp_path / "in" / "*.tar", tmp_path / "out")
    run_job(job)
    encoded()
    write_wav(tmp_path / "x.wav", 3000, seed=99)
    write_tar(tmp_path / "in" / "a.tar", {**first, "x.wav": (tmp_path / "x.wav").read_bytes()})
    other = dict(reversed(second.items())) | {"08.wav": (tmp_path / "x.wav").read_bytes()}
    write_tar(tmp_path / "in" / "b.tar", other)
    [extended] = run_job(job, extend=True).extensions
    assert (extended.new, extended.changed, extended.touched, extended.removed) == (1, 1, 11, 0) and encoded() == 2
    same_as_from_nothing(job, tmp_path)


def test_the_share_that_may_fail_is_that_of_all_items(tmp_path):
    source = speech_folder(tmp_path / "in", 18)
    job = speech_job(source, tmp_path / "out", max_failure_rate=0.1)
    run_job(job)
    for name in ("a", "b"):
        (source / f"{name}.wav").write_bytes(b"no sound")
    status = run_job(job, extend=True)
    assert (status.items, status.failed, status.finished) == (20, 2, True)
    (source / "c.wav").write_bytes(b"no sound")
    with pytest.raises(JobError, match=r"3 of 21 items failed, more than max_failure_rate = 0.1"):
        run_job(job, extend=True)
    assert (tmp_path / "out" / "parquet" / "000000.parquet").exists(), "what was there before is laid out still"
    for name in "abc":
        write_wav(source / f"{name}.wav", 900, seed=5)
    assert run_job(job, extend=True).failed == 0
    same_as_from_nothing(job, tmp_path)


def test_a_source_that_is_empty_today_is_no_reason_to_drop_everything(tmp_path):
    source = speech_folder(tmp_path / "in", 4)
    job = speech_job(source, tmp_path / "out")
    run_job(job)
    before = contents(tmp_path / "out")
    shutil.rmtree(source)
    source.mkdir()
    with pytest.raises(UsageError, match="hold no media"):
        run_job(job, extend=True)
    assert contents(tmp_path / "out") == before


def test_two_items_of_one_key_are_refused(tmp_path):
    source = speech_folder(tmp_path / "in", 2)
    table = source / "list.csv"
    names = [str(path.relative_to(source)) for path in recordings(source)]
    table.write_text(f"path,key\n{names[0]},a\n{names[1]},b\n")
    job = speech_job(table, tmp_path / "out")
    run_job(job)
    table.write_text(f"path,key\n{names[0]},a\n{names[1]},b\n{names[1]},a\n")
    with pytest.raises(JobError, match="1 keys name more than one item, such as a"):
        run_job(job, extend=True)


# Stopped, killed, shared.


def test_shares_of_an_extension_add_up_to_it(grown, nothing, encoded):
    first = run_job(grown, extend=True, shard="0/2")
    assert not first.finished and first.shards == 3 and first.extensions
    with pytest.raises(UsageError, match="expected i/n"):
        run_job(grown, extend=True, shard="2/2")
    assert run_job(grown, extend=True, shard="1/2").finished and encoded() == 3
    same_as(grown, nothing)


@pytest.mark.parametrize("again", [{}, {"extend": True}], ids=["run", "extend"])
def test_a_stopped_extension_goes_on(grown, nothing, encoded, again):
    run_job(grown, extend=True, shard="0/2")
    done = encoded()
    found = verify_job(grown.output)
    assert not found.ok and "shards are not there" in found.problems[0] and "goes on" in found.repair
    assert run_job(grown, **again).finished and done + encoded() == 3
    assert len(job_status(grown.output).extensions) == 1
    same_as(grown, nothing)


def test_an_unfinished_job_is_finished_and_then_extended(tmp_path, encoded):
    source = speech_folder(tmp_path / "in", 25)
    job = speech_job(source, tmp_path / "out", max_failure_rate=0.5)
    run_job(job, shard="0/3")
    write_wav(source / "new.wav", 3000, seed=99)
    write_wav(recordings(source)[15], 3000, seed=98)  # in a shard that is not done: it fails, and is encoded then
    recordings(source)[16].unlink()
    status = run_job(job, extend=True)
    assert (status.failed, status.finished, len(status.extensions)) == (0, True, 1) and encoded() == 25
    same_as_from_nothing(job, tmp_path)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("moment", [0, 2, 3, 4])
def test_a_process_that_dies_while_it_lays_the_output_out_loses_nothing(grown, nothing, monkeypatch, encoded, moment):
    """Before, between and after the views of new shards, and before the superseded ones are deleted."""
    calls = []

    def dying(honest):
        def act(*arguments):
            calls.append(honest)
            if len(calls) == moment + 1:
                raise Killed
            return honest(*arguments)

        return act

    monkeypatch.setattr(views, "copy", dying(views.copy))
    monkeypatch.setattr(run.Store, "discard", dying(run.Store.discard))
    with pytest.raises(Killed):
        run_job(grown, extend=True)
    monkeypatch.undo()
    assert not job_status(grown.output).finished and not verify_job(grown.output).ok
    assert run_job(grown).finished
    same_as(grown, nothing)


def life(job: JobConfig, maker: str, module: str) -> str:
    """A script that extends a job; `maker` in `module` makes it of its source and its output."""
    return f"""
import sys
sys.path[:0] = [{FAKES!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from anytok.jobs import run_job
from {module} import {maker}
run_job({maker}(Path({job.sources[0].path!r}), Path({job.output!r})), extend=True)
"""


def growing_job(source: Path, output: Path) -> JobConfig:
    slow = TokenizerConfig("fake-speech", options={"milliseconds": 8.0})
    job = speech_job(source, output).override(tokenizers={"speech": slow})
    return job.override(sinks=(SinkConfig("parquet"), SinkConfig("webdataset")))


def test_killed_at_any_moment_it_goes_on_and_nothing_is_lost(tmp_path):
    """Lives that end with SIGKILL: once a round is planned, and with more and more of its shards done. Then the folder
    grows again, while that round is not done."""
    source = speech_folder(tmp_path / "in", 60)
    job = growing_job(source, tmp_path / "out")
    run_job(job)
    for growth, moments in enumerate([(0, 1, 3), (2, 4)], 1):
        files = recordings(source)
        for place, path in enumerate(files[growth::7][:12]):
            write_wav(path, 2000 + place, seed=1000 * growth + place)
        for path in files[growth + 1 :: 9][:4]:
            path.unlink()
        for place in range(8):
            write_wav(source / f"n{growth}" / f"{place}.wav", 1500, seed=2000 * growth + place)
        for moment in moments:
            live_until(job, tmp_path / "life", lambda moment=moment, growth=growth: is_at(job, growth, moment))
    assert not job_status(job.output).finished
    assert run_job(job, extend=True).finished
    same_as_from_nothing(job, tmp_path)
    assert not list((tmp_path / "out" / "_anytok" / "staging").iterdir())


def is_at(job: JobConfig, growth: int, moment: int) -> bool:
    """Whether the round is planned that takes this growth up, and so many of its shards are done."""
    plan = load_plan(Path(job.output) / "_anytok")
    first = sum(one.num_shards for one in plan.rounds[:growth])
    done = [one for one in (Path(job.output) / "_anytok" / "shards").iterdir() if int(one.name) >= first]
    return len(plan.rounds) > growth and len(done) >= moment


def live_until(job: JobConfig, log: Path, is_time) -> None:
    """A process that extends the job, and is killed when it is time, unless it comes to its end before."""
    code = life(job, "growing_job", "test_jobs_extend")
    with open(log, "wb") as stream:
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=stream)
    while process.poll() is None and not is_time():
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() in (0, -signal.SIGKILL), log.read_text()


def test_two_processes_extend_a_job_together(grown, nothing):
    both = [subprocess.Popen([sys.executable, "-c", life(grown, "speech_job", "job_corpus")]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    same_as(grown, nothing)


# Damage.


def test_where_a_retired_shard_is_damaged_its_items_are_encoded_again(grown, nothing, encoded):
    """What is found damaged after the round was planned cannot be taken over."""
    run_job(grown, extend=True, shard="0/2")  # plans the round
    done = encoded()
    for shard in range(3):
        os.truncate(Path(grown.output) / "_anytok" / "shards" / f"{shard:06d}" / "tally.npz", 10)
    assert run_job(grown).finished and encoded() > 3 - done
    same_as(grown, nothing)


def test_a_shard_of_an_extension_is_repaired_like_any_other(grown, nothing, encoded):
    run_job(grown, extend=True)
    whole = contents(Path(grown.output))
    encoded()
    victim = sorted((Path(grown.output) / "_anytok" / "shards").iterdir())[0]
    os.truncate(victim / "parquet.parquet", 100)
    assert verify_job(grown.output).repair
    assert run_job(grown).finished and encoded() == 10, "what it was taken over from is gone"
    assert contents(Path(grown.output)) == whole
    same_as(grown, nothing)


@pytest.mark.parametrize("name", ["changes", "refreshed"])
def test_lists_of_an_extension_that_were_altered_are_found(grown, name):
    touch(recordings(Path(grown.sources[0].path))[0])
    run_job(grown, extend=True)
    [path] = (Path(grown.output) / "_anytok").glob(f"{name}-*.jsonl")
    path.write_bytes(path.read_bytes() + b"\n")
    assert f"{path.name} is not the list that was planned" in verify_job(grown.output).problems[0]


def test_a_file_of_a_retired_shard_that_is_still_laid_out_is_found(grown, nothing, tmp_path):
    view = Path(grown.output) / "parquet" / "000000.parquet"
    shutil.copy(view, tmp_path / "old.parquet")
    run_job(grown, extend=True)
    assert not view.exists()
    shutil.copy(tmp_path / "old.parquet", view)
    found = verify_job(grown.output)
    assert not job_status(grown.output).finished and found.problems[0].startswith(f"{view}: still there")
    assert found.repair == "run the same job again (anytok run …): it lays the files out"
    run_job(grown)
    same_as(grown, nothing)


# What cannot be.


def test_composed_sequences_are_not_extended(tmp_path):
    from anytok.jobs.config import ComposeConfig

    job = JobConfig("out", (SourceConfig("in", "codes"),), compose=ComposeConfig(), vocabulary="mini")
    with pytest.raises(UsageError, match="compose into another folder"):
        run_job(job, extend=True)


def test_one_thing_at_a_time(tmp_path):
    job = speech_job(speech_folder(tmp_path / "in", 2), tmp_path / "out")
    with pytest.raises(UsageError, match="extend together with retry_failed"):
        run_job(job, extend=True, retry_failed=True)
