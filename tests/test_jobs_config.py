"""Job files: the ones we ship load; what is misspelt, missing or of a wrong type is named."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from anytok.errors import UsageError
from anytok.jobs import JobConfig, load_config
from anytok.jobs.config import RunConfig, SourceConfig, TokenizerConfig, from_record
from anytok.registry import find
from anytok.spec import Codes
from anytok.vocab import load_vocabulary

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))
WHOLE = """
output = "out"
[[sources]]
path = "in"
[tokenizers.speech]
name = "speechtokenizer"
"""


def load(tmp_path, text: str) -> JobConfig:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return load_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_jobs_load_and_name_things_that_exist(path):
    config = load_config(path)
    for modality, tokenizer in config.tokenizers.items():
        assert find(tokenizer.name).spec.modality == modality
    if config.vocabulary:
        segments = {segment.tokenizer for segment in load_vocabulary(config.vocabulary).layout.segments}
        assert {tokenizer.name for tokenizer in config.tokenizers.values()} <= segments
    head = path.read_text().split("\n\n")[0]
    assert all(word in head for word in ("# Counts: exact.", "# Room:", "# Cost:   estimated.", "anytok run"))


def ids_of(name: str, frames: int) -> np.ndarray:
    spec = find(name).spec
    return load_vocabulary("mini").to_ids(Codes(np.zeros((spec.num_codebooks, frames), np.int64), spec))


def test_the_counts_that_the_shipped_jobs_open_with():
    image, speech, music = (find(name).spec for name in ("seed-mini", "speech-mini", "music-mini"))
    heads = {path.stem: path.read_text().split("\n\n")[0] for path in CONFIGS}
    frames = music.frames_of(5 * music.sample_rate)
    ids = ids_of("music-mini", frames)
    assert f"5 s gives {music.num_codebooks * frames:,} codes and {len(ids):,} ids" in heads["music_parquet"]
    per_second = (len(ids) - 2) // 5
    assert f"{per_second * ids.itemsize} bytes a second" in heads["music_parquet"]
    assert f"{load_vocabulary('mini').layout.total:,} ids" in heads["music_parquet"]
    codes = speech.num_codebooks * speech.frames_of(3600 * speech.sample_rate)
    assert f"an hour of speech gives {codes:,} codes" in heads["speech_tar"]
    assert f"{codes * 2 // 3600} bytes of codes a second ({codes * 2 / 1e6:.1f} MB an hour)" in heads["speech_tar"]
    assert f"speech 50 frames × {codes // 3600 // 50} codes a second" in heads["start"]
    ids = ids_of("seed-mini", image.num_frames)
    for name in ("start", "image_folder"):
        assert f"{image.num_frames} codes a picture, {len(ids)} ids" in heads[name]
    assert f"({2 * image.num_frames} of codes, {ids.nbytes} of ids, the key)" in heads["image_folder"]
    spoken = len(ids_of("speech-mini", 50)) - 2
    assert f"A picture is {len(ids)} ids; a second of speech {spoken}, of music {per_second}" in heads["anygpt_mixed"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[run]\nworker = 2", r"job.toml: run: unknown key 'worker'; did you mean 'workers'\?; known: runner, workers"),
        ("[run]\nworkers = '2'", r"job.toml: run.workers='2': expected a whole number, 1 to"),
        ("[run]\nworkers = true", r"run.workers=True: expected a whole number"),
        ("[run]\nworkers = 0", r"run.workers=0: expected a whole number, 1 to"),
        ("[run]\nrunner = 'dask'", r"run.runner='dask': expected 'local', 'ray'"),
        ("[run]\nmax_failure_rate = 5", r"run.max_failure_rate=5: expected a number, 0 to 1"),
        ("[[sinks]]\nkind = 'parquett'", r"sinks\[0\].kind='parquett': expected .*; did you mean 'parquet'\?"),
        ("[[sinks]]\nkind = 'parquet'\n[[sinks]]\nkind = 'parquet'", r"each kind once"),
        ("[[sinks]]\nkind = 'anygpt'", r"add vocabulary"),
        ("[tokenizers.video]\nname = 'x'", r"no tokenizer is called 'x'; known: .*seed-2"),
        ("[tokenizers.imge]\nname = 'seed-2'", r"\[tokenizers.imge\]: seed-2 is for image: expected it under"),
        ("[tokenizers.music]\ncheckpoint = 'x'", r"tokenizers.music: missing 'name'"),
        ("[[sources]]\npath = 'x'\nkind = 'zip'", r"sources\[1\].kind='zip': expected 'folder', 'glob'"),
        ("[[sources]]\npath = 'x'\nmodality = 'image'", r"add \[tokenizers.image\]"),
        ("[[sources]]\npath = 'x'\n[sources.columns]\npfad = 'x'", r"columns.\[key\]='pfad': expected 'key', 'path'"),
        ("[[sources", r"is not a TOML file"),
        ("[[sources]]\npath = 'x'\ncolumns = 5", r"sources\[1\].columns=5: expected a table"),
        ("[[sources]]\npath = 'x'\ncolumns = {key = 5}", r"sources\[1\].columns.key=5: expected text in quotes"),
        ("options = 5", r"tokenizers.speech.options=5: expected a table"),
        ("[run]\nworkers = {}", r"run.workers=\{\}: expected a whole number"),
        ("[run]\nworkers = 0\nreaders = 0", r"run.workers=0: expected .*; run.readers=0: expected a whole"),
        ('[run]\ncache = "a\\u0000b"', r"run.cache='a\\x00b': expected text"),
        ("options = { start = 2020-01-01 }", r"datetime.date\(2020, 1, 1\): expected text, a number"),
    ],
)
def test_mistakes_are_named(tmp_path, more, said):
    with pytest.raises(UsageError, match=said):
        load(tmp_path, WHOLE + more + "\n")


def test_a_missing_file_and_missing_parts_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: No such file or directory; expected a job file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"job\.toml: missing 'sources'"):
        load(tmp_path, 'output = "x"')
    for name, value in (("sources", 5), ("sources", ["in"]), ("tokenizers", "speech-mini"), ("sinks", "parquet")):
        record = {"output": "x", "sources": [{"path": "in"}], "tokenizers": {"speech": {"name": "speechtokenizer"}}}
        with pytest.raises(UsageError, match=rf"job: {name}.*: expected a (table|list, tables)"):
            from_record({**record, name: value}, "job")
    with pytest.raises(UsageError, match="at least one of each"):
        JobConfig("out", (), {"speech": TokenizerConfig("speechtokenizer")})


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a/b", "folder"), ("a/*.wav", "glob"), ("a.csv", "manifest"), ("a.jsonl", "manifest"), ("a/*.tar", "tar"),
     ("x.parquet", "parquet"), ("s3://bucket/pictures", "folder")],
)  # fmt: skip
def test_the_kind_of_a_source_is_guessed_from_its_path(path, kind):
    assert SourceConfig(path).kind == kind


def test_overrides_reach_the_run_and_the_job_and_unknown_ones_are_refused():
    job = JobConfig.simple("in", "out", "speechtokenizer", device="cuda", workers=3, shard_items=7)
    assert (job.run.workers, job.shard_items, job.tokenizers["speech"].device) == (3, 7, "cuda")
    with pytest.raises(UsageError, match="a job has no wrokers; did you mean 'workers'\\?; known: output"):
        job.override(wrokers=2)


def test_what_a_plan_freezes_leaves_out_how_the_work_is_done():
    one = JobConfig.simple("in", "out", "speechtokenizer", device="cuda", checkpoint="a")
    other = JobConfig.simple("in", "elsewhere", "speechtokenizer", checkpoint="b").override(run=RunConfig(workers=9))
    assert one.work() == other.work()
    assert one.work() != one.override(shard_items=9).work()


def test_a_device_is_for_all_tokenizers_and_makes_no_other_job():
    def job(**options) -> JobConfig:
        image = {"name": "seed-mini", "dtype": "float64", "options": options}
        tokenizers = {"image": image, "speech": {"name": "speech-mini"}}
        return from_record({"output": "o", "sources": [{"path": "in"}], "tokenizers": tokenizers}, "job")

    moved = job().override(device="cuda:1")
    found = [(one.device, one.dtype) for one in moved.tokenizers.values()]
    assert found == [("cuda:1", "float64"), ("cuda:1", "float32")]
    assert moved.work() == job().work() and moved != job()
    assert job(guidance_scale=3.0).work() == job().work()  # which is for decoding
    assert job(interpolation="bilinear").work() != job().work()
    stored = {"output": "o", "sources": [{"path": "in", "kind": "codes"}], "compose": {}, "vocabulary": "mini"}
    with pytest.raises(UsageError, match=r"device: .* loads no model"):
        from_record(stored, "").override(device="cpu")


def test_what_python_gives_in_the_place_of_plain_data():
    source = SourceConfig(Path("in"), columns=MappingProxyType({"text": "words"}), weight=np.float32(2))
    assert source == SourceConfig("in", columns={"text": "words"}, weight=2.0) and type(source.columns) is dict
    assert RunConfig(workers=np.int64(2)).workers == 2
