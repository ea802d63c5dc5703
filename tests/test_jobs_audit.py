"""What is said about a job: before it (the estimate), during it (the status), and after it (the audit, the counts)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from job_corpus import rows, speech_folder, speech_job

from anytok.errors import JobError, UsageError
from anytok.jobs import JobConfig, job_stats, job_status, plan_job, run_job, verify_job
from anytok.jobs.config import SinkConfig
from anytok.vocab import Segment, Vocabulary, build_layout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(source, output) of a job of 30 recordings, one of them broken, in three shards."""
    root = tmp_path_factory.mktemp("audit")
    speech_folder(root / "in", 29)
    (root / "in" / "broken.wav").write_bytes(b"RIFF")
    job = speech_job(root / "in", root / "out").override(sinks=(SinkConfig("parquet"), SinkConfig("webdataset")))
    run_job(job)
    return root / "in", root / "out"


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "out")
    return tmp_path / "out"


def flip(path, place=-20):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_whole_output_passes_and_every_item_encodes_to_the_same_again(made):
    found = verify_job(made[1], one_in=1)
    assert found.ok and found.problems == ()
    assert (found.items, found.written, found.failed, found.files, found.reencoded) == (30, 29, 1, 9, 29)
    assert 0 < verify_job(made[1], one_in=4).reencoded < 20


def test_a_copy_whose_files_are_no_links_passes_too(copy):
    assert verify_job(copy).ok


@pytest.mark.parametrize("name", ["parquet.parquet", "webdataset.tar", "tally.npz"])
def test_every_flipped_bit_is_found(copy, name):
    path = copy / "_anytok" / "shards" / "000001" / name
    for place in np.random.default_rng(0).integers(0, path.stat().st_size, 40):
        flip(path, place)
        found = verify_job(copy)
        assert f"shard 1: {name} was changed after it was written" in found.problems
        flip(path, place)
    assert verify_job(copy).ok


def test_damage_of_every_kind_is_named(copy):
    shards = copy / "_anytok" / "shards"
    flip(copy / "parquet" / "000000.parquet")
    assert any("000000.parquet is not the shard's file" in one for one in verify_job(copy).problems)
    shutil.rmtree(shards / "000001")
    assert "1 of 3 shards are not there: [1]" in verify_job(copy).problems
    (shards / "000002" / "record.json").write_text("{")
    assert any("shard 2 is damaged" in one for one in verify_job(copy).problems)


@pytest.mark.parametrize("text", ["{}", "[]", "5", '{"plan": "", "read": "many"}'])
def test_records_that_are_none_are_named(copy, text):
    record = copy / "_anytok" / "shards" / "000002" / "record.json"
    whole = record.read_text()
    record.write_text(text)
    assert any("shard 2 is damaged" in one for one in verify_job(copy).problems)
    for ask in (job_status, job_stats):
        with pytest.raises(JobError, match="shard 2 is damaged"):
            ask(copy)
    record.write_text(whole)
    (copy / "_anytok" / "job.json").write_text(text)
    with pytest.raises(JobError, match=r"job\.json cannot be read"):
        verify_job(copy)


@pytest.mark.parametrize("name", ["items", "inputs"])
def test_a_list_that_was_altered_is_found(copy, name):
    [path] = (copy / "_anytok").glob(f"{name}-*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"/0003.wav", b"/0005.wav"))
    found = verify_job(copy)
    assert f"{path.name} is not the list that was planned" in found.problems[0]


def test_relative_paths_are_found_from_any_folder_and_where_all_was_moved(tmp_path, monkeypatch):
    """Sources, vocabulary and output lie below the folder that the job is run in."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    speech = Segment("fake-speech", "speech", 1, 1024, "<s{}>", "<sosp>", "<eosp>", frame_rate=50)
    Vocabulary(build_layout("fake", 300, [speech])).save("ids.json")
    run_job(speech_job(speech_folder(Path("in"), 4), Path("out"), vocabulary="ids.json"))
    monkeypatch.chdir(tmp_path)
    found = verify_job("there/out", one_in=1)
    assert (found.problems, found.reencoded) == ((), 4)
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert verify_job("out", one_in=1).ok


def test_names_that_are_no_paths_stay_names(tmp_path, monkeypatch):
    source, output = str(speech_folder(tmp_path / "in", 2)), str(tmp_path / "out")
    run_job(JobConfig.simple(source, output, "fake-speech", checkpoint="some/model"))
    monkeypatch.chdir(tmp_path)
    assert verify_job("out", one_in=1).ok


def test_a_shard_with_a_doubled_or_a_lost_item_is_found(copy):
    """The record and the checksums agree with the file, but the file holds other items than the plan says."""
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = copy / "_anytok" / "shards" / "000000"
    table = pq.read_table(folder / "parquet.parquet")
    for wrong in (table.slice(1), pa.concat_tables([table.slice(0, 9), table.slice(0, 1)])):
        pq.write_table(wrong, folder / "parquet.parquet", write_page_checksum=True)
        record = json.loads((folder / "record.json").read_text())
        data = (folder / "parquet.parquet").read_bytes()
        record["files"]["parquet.parquet"]["sha256"] = hashlib.sha256(data).hexdigest()
        (folder / "record.json").write_text(json.dumps(record))
        assert "shard 0: parquet holds other items than the plan says" in verify_job(copy).problems


def test_codes_that_come_out_differently_are_found(made, monkeypatch):
    import fake_tokenizers

    honest = fake_tokenizers.FakeSpeech.codes

    def shifted(self, audio):
        codes = honest(self, audio)
        return type(codes)((codes.values + 1) % 1024, codes.spec, codes.num_samples)

    monkeypatch.setattr(fake_tokenizers.FakeSpeech, "codes", shifted)
    found = verify_job(made[1], one_in=1)
    assert len(found.problems) == 29 and "encodes to other codes than it did" in found.problems[0]


def test_an_unfinished_job_is_no_whole_output(made, tmp_path):
    run_job(speech_job(made[0], tmp_path / "out"), shard="0/3")
    found = verify_job(tmp_path / "out")
    assert not found.ok and "2 of 3 shards are not there: [1, 2]" in found.problems
    status = job_status(tmp_path / "out")
    assert (status.finished, status.shards_done, status.shards) == (False, 1, 3)


def test_a_folder_without_a_job_is_named(tmp_path):
    for ask in (job_status, verify_job, job_stats):
        with pytest.raises(UsageError, match="holds no job"):
            ask(tmp_path)


def test_statistics_equal_a_count_of_the_rows(made):
    stats = job_stats(made[1])
    values = np.concatenate([np.array(row["codes"]) for row in rows(made[1]).values()], axis=1)
    frames = sorted(len(row["codes"][0]) for row in rows(made[1]).values())
    speech = stats.modalities["speech"]
    assert (stats.items, stats.written, stats.failures) == (30, 29, {"unsupported_format": 1})
    assert (speech.items, speech.frames, speech.tokens) == (29, sum(frames), values.size)
    assert speech.seconds == pytest.approx(sum(row["num_samples"] for row in rows(made[1]).values()) / 16000, abs=1e-3)
    wanted = {"0": frames[0], "0.05": frames[1], "0.5": frames[14], "0.95": frames[27], "1": frames[28]}
    assert speech.frames_quantiles == wanted
    for number, layer in enumerate(values):
        shares = np.unique(layer, return_counts=True)[1] / layer.size
        assert speech.used[number] == pytest.approx(len(np.unique(layer)) / 1024, abs=1e-6)
        assert speech.perplexity[number] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=1e-2)
    assert json.loads((made[1] / "stats.json").read_text())["modalities"]["speech"]["tokens"] == values.size
    from PIL import Image

    picture = np.asarray(Image.open(made[1] / "stats.png").convert("L"))
    assert picture.shape[0] > 300 and picture.std() > 10, "there is something to see"


def test_an_estimate_writes_nothing_and_is_near_the_truth(made, tmp_path):
    job = speech_job(made[0], tmp_path / "none")
    found = plan_job(job, sample=30)
    assert not (tmp_path / "none").exists()
    assert (found.items, found.shards, found.modalities, found.sampled) == (30, 3, {"speech": 30}, 30)
    assert found.bytes == sum(path.stat().st_size for path in made[0].rglob("*.wav"))
    assert list(found.sample_failures) == ["broken.wav"]
    assert found.specs == {"speech": "fake-speech@0123456789ab"}
    truth = sum(path.stat().st_size for path in (made[1] / "parquet").iterdir())
    assert 0.3 * truth < found.output_bytes < 2 * truth
    assert 0.029 < found.seconds < 30
