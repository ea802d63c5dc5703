"""Ids in shards know their vocabulary: its hash is written beside them, and another one is refused."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from job_corpus import write_wav

from anytok import Audio, Codes, VocabularyError
from anytok.errors import JobError
from anytok.jobs import JobConfig, run_job
from anytok.jobs.config import SinkConfig, SourceConfig, TokenizerConfig
from anytok.registry import find, load_tokenizer
from anytok.vocab import Vocabulary, build_vocabulary, segment_of
from anytok.vocab.rows import from_row, to_row

SPEECH = segment_of(find("speech-mini").spec, num_codebooks=2)
OWN = build_vocabulary("own", 32000, [SPEECH])
OTHER = build_vocabulary("own", 32000, ["<new>", SPEECH])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobConfig:
    folder = tmp_path_factory.mktemp("shards")
    write_wav(folder / "in" / "a.wav", 900, 0)
    OWN.save(folder / "own.json")
    OTHER.save(folder / "other.json")
    job = JobConfig(
        str(folder / "out"), (SourceConfig(str(folder / "in")),), {"speech": TokenizerConfig("speech-mini")},
        tuple(map(SinkConfig, ("parquet", "webdataset", "anygpt"))), str(folder / "own.json"), shard_items=8,
    )  # fmt: skip
    assert run_job(job).written == 1
    return job


def heads(output: Path) -> list[str | bytes]:
    """What stands in a parquet shard, in a tar shard, and in the plan."""
    import pyarrow.parquet as pq

    [parquet], [tar] = (output / "parquet").iterdir(), (output / "webdataset").iterdir()
    with tarfile.open(tar) as archive:
        pax = archive.pax_headers["anytok"]
    return [pq.read_schema(parquet).metadata[b"anytok"], pax, (output / "_anytok" / "plan.json").read_text("utf-8")]


def test_ids_are_read_with_the_vocabulary_that_wrote_them(job: JobConfig) -> None:
    for head in heads(Path(job.output)):
        OWN.check(head)
        OWN.check(json.loads(head))
        Vocabulary.from_file(job.vocabulary).check(head)
        with pytest.raises(VocabularyError, match=f"hash {OWN.hash[:12]}; that of own is {OTHER.hash[:12]}"):
            OTHER.check(head)


@pytest.mark.parametrize("head", ["", "[]", "{}", b"\xff", {"vocabulary": None}, {"vocabulary": {}}, {"vocabulary": 5}])
def test_a_head_that_says_nothing_is_refused(head: object) -> None:
    with pytest.raises(VocabularyError, match="expected the head of a shard"):
        OWN.check(head)  # type: ignore[arg-type]


def test_rows_of_a_job_read_back_to_codes_and_media(job: JobConfig) -> None:
    [path] = (Path(job.output) / "anygpt").iterdir()
    [row] = map(json.loads, path.read_text("utf-8").splitlines())
    tokenizer, wave = load_tokenizer("speech-mini"), Path(job.sources[0].path) / "a.wav"
    codes = from_row(OWN, row)["speech"]
    assert isinstance(codes, Codes)
    assert codes.values.tolist() == tokenizer.encode(wave).layers(0, 2).values.tolist()
    decoded = tokenizer.decode(codes)
    assert isinstance(decoded, Audio) and decoded.num_samples == codes.num_frames * tokenizer.spec.hop_length
    assert to_row(OWN, codes)["speech"] == row["speech"]


def test_a_job_goes_on_with_its_own_vocabulary_only(job: JobConfig) -> None:
    assert run_job(job).written == 1
    with pytest.raises(JobError, match=f"vocabulary was '{OWN.hash}', is now '{OTHER.hash}'"):
        run_job(replace(job, vocabulary=job.vocabulary.replace("own.json", "other.json")))
