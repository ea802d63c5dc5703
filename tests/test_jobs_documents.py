"""Texts beside media in the ids that a run writes: those that composing makes of the stored codes, item by item."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from job_corpus import write_wav
from qwen import qwen_tokenizer
from test_compose_jobs import MEDIA, write_media
from test_jobs_sinks import read_megatron

from anytok.compose import Form
from anytok.errors import JobError, UsageError
from anytok.jobs import JobCodes, JobConfig, run_job, verify_job
from anytok.jobs.config import ComposeConfig, SinkConfig, SourceConfig, TokenizerConfig, from_record
from anytok.registry import find
from anytok.vocab import build_vocabulary, segment_of

SINKS = ("hf", "megatron", "litdata")
FORMS = {
    "captions": Form("caption", seed=3, bos="<s>", eos="</s>"),
    "questions": Form("conversation", template="mini", ask_text=("What is it?",), ask_medium=("Show it.", "Draw.")),
    "media alone": Form("item", bos="<s>"),
}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text tokenizer, a vocabulary of it and the fake tokenizers, and 20 media with texts."""
    root = tmp_path_factory.mktemp("words")
    tokenizer = qwen_tokenizer()
    tokenizer.save_pretrained(root / "text")
    segments = [segment_of(find(f"fake-{one}").spec) for one in MEDIA]
    tokens = ["<s>", "</s>", "<user>", "<assistant>"]
    build_vocabulary("words", tokenizer, [*tokens, *segments]).save(root / "words.json")
    write_media(root / "in", 20)
    return root


def run_of(words: Path, output: Path, sinks: dict[str, Form | None], **more: Any) -> JobConfig:
    return JobConfig(
        str(output), more.pop("sources", (SourceConfig(str(words / "in" / "media.jsonl")),)),
        {one: TokenizerConfig(f"fake-{one}") for one in MEDIA},
        sinks=tuple(SinkConfig(kind, form) for kind, form in sinks.items()), vocabulary=str(words / "words.json"),
        text_tokenizer=str(words / "text"), shard_items=8, **more,
    )  # fmt: skip


def rows(output: Path, sink: str = "hf/data") -> dict[str, dict[str, Any]]:
    files = sorted((output / sink).glob("*.parquet"))
    return {row["key"]: row for path in files for row in pq.read_table(path).to_pylist()}


@pytest.fixture(scope="module")
def run(words, tmp_path_factory) -> JobConfig:
    """A job whose sinks hold one form each, and parquet the codes."""
    forms = dict(zip(SINKS, FORMS.values(), strict=True))
    job = run_of(words, tmp_path_factory.mktemp("run"), {"parquet": None, **forms})
    assert run_job(job).written == 20
    return job


@pytest.mark.parametrize(("sink", "name"), [*zip(SINKS, FORMS, strict=True)])
def test_ids_are_those_of_composing_what_was_stored(words, run, tmp_path, sink, name):
    """Byte by byte, in the formats that hold nothing else."""
    compose = ComposeConfig(FORMS[name], text_tokenizer=str(words / "text"), shuffle=False)
    again = JobConfig(str(tmp_path), (SourceConfig(run.output, "codes"),), compose=compose, sinks=(SinkConfig(sink),),
                      shard_items=8, vocabulary=run.vocabulary)  # fmt: skip
    assert run_job(again).written == 20
    if sink == "hf":
        found = rows(Path(run.output))
        composed = [row for path in sorted((tmp_path / "hf" / "data").glob("*.parquet"))
                    for row in pq.read_table(path).to_pylist()]  # fmt: skip
        assert {row["documents"][0]: row["input_ids"] for row in composed} == {
            key: row["input_ids"] for key, row in found.items()
        }
        assert [row["labels"] for row in composed] == [row["labels"] for row in found.values()]
    for pattern in {"hf": (), "megatron": ("*.bin", "*.idx"), "litdata": ("*.bin",)}[sink]:
        made, wanted = ([path.read_bytes() for path in sorted(Path(one, sink).glob(pattern))]
                        for one in (run.output, tmp_path))  # fmt: skip
        assert len(made) == 3 and made == wanted


def test_each_sink_has_its_own_documents(words, tmp_path):
    """Here parquet the media alone, so that others can compose them; and an audit finds all in order."""
    forms = {"parquet": None, "hf": FORMS["captions"], "megatron": Form("caption", order="text-first")}
    run_job(run_of(words, tmp_path / "out", forms))
    plain, captions = rows(tmp_path / "out", "parquet"), rows(tmp_path / "out")
    assert "labels" not in plain["000.png"]
    ids = plain["000.png"]["ids"]
    first = read_megatron(tmp_path / "out" / "megatron" / "000000")[0].tolist()
    assert first[-len(ids) :] == ids and len(first) == len(ids) + len("image 0")
    for key, row in captions.items():
        assert len(row["input_ids"]) == len(plain[key]["ids"]) + len(plain[key]["text"]) + 2
    assert verify_job(tmp_path / "out", one_in=3).ok


def test_labels_leave_out_what_is_not_learned(words, tmp_path):
    form = Form("conversation", template="mini", order="text-first", loss="answers")
    run_job(run_of(words, tmp_path / "out", {"parquet": None, "hf": form}))
    plain = rows(tmp_path / "out", "parquet")
    for key, row in rows(tmp_path / "out").items():
        learned = [one for one in row["labels"] if one != -100]
        assert learned[:-1] == plain[key]["ids"] and learned == row["input_ids"][-len(learned) :]


def test_a_job_file_says_it_in_one_table(words, tmp_path):
    record = json.loads(json.dumps({
        "output": str(tmp_path / "out"), "vocabulary": str(words / "words.json"),
        "text_tokenizer": str(words / "text"), "sources": [{"path": str(words / "in" / "media.jsonl")}],
        "tokenizers": {one: {"name": f"fake-{one}"} for one in MEDIA},
        "sinks": [{"kind": "megatron", "documents": {"kind": "conversation", "template": "mini"}}],
    }))  # fmt: skip
    job = from_record(record, "job.toml")
    assert job.sinks[0].documents == Form("conversation", template="mini")
    assert run_job(job).finished and run_job(job).finished  # the plan knows the job again
    with pytest.raises(JobError, match=r"holds another job: .*sinks\[0\].documents"):
        run_job(job.override(sinks=(SinkConfig("megatron"),), text_tokenizer=""))
    other = qwen_tokenizer(extra="<|more|>")
    other.save_pretrained(tmp_path / "other")
    with pytest.raises((JobError, UsageError)):
        run_job(job.override(text_tokenizer=str(tmp_path / "other")))


def test_items_without_a_text_are_counted_and_taken_up_once_they_have_one(words, tmp_path):
    for name in ("a", "b", "c"):
        write_wav(tmp_path / "in" / f"{name}.wav", 1200, len(name))
        (tmp_path / "in" / f"{name}.txt").write_text(f"words of {name}")
    (tmp_path / "in" / "b.txt").unlink()
    sources = (SourceConfig(str(tmp_path / "in"), modality="speech", text_suffix=".txt"),)
    job = run_of(words, tmp_path / "out", {"hf": FORMS["captions"]}, sources=sources)
    status = run_job(job, max_failure_rate=1.0)
    assert (status.written, status.failures) == (2, {"incomplete": 1})
    [line] = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text().splitlines())
    assert line["key"] == "b.wav" and "has no text" in line["message"]
    (tmp_path / "in" / "b.txt").write_text("words of b")
    assert run_job(job, retry_failed=True).written == 3
    assert rows(tmp_path / "out")["b.wav"]["text"] == "words of b" and verify_job(tmp_path / "out").ok


@pytest.mark.parametrize("source", ["folder", "manifest"])
def test_a_source_without_any_text_is_refused(words, tmp_path, source):
    write_wav(tmp_path / "in" / "a.wav", 1200)
    (tmp_path / "in" / "list.csv").write_text("path\na.wav\n")
    path = tmp_path / "in" if source == "folder" else tmp_path / "in" / "list.csv"
    with pytest.raises(UsageError, match=f"source '{path}'.* text.*documents.*text_suffix"):
        run_job(run_of(words, tmp_path / "out", {"hf": FORMS["captions"]},
                       sources=(SourceConfig(str(path), modality="speech"),)))  # fmt: skip
    assert not (tmp_path / "out" / "hf").exists()
    alone = run_of(words, tmp_path / "out", {"hf": FORMS["media alone"]},
                   sources=(SourceConfig(str(path), modality="speech"),))  # fmt: skip
    assert run_job(alone).written == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sinks": (SinkConfig("webdataset", Form("caption")),)}, "'webdataset' cannot have documents: only parquet"),
        ({"sinks": (SinkConfig("lhotse", Form("caption")),)}, "'lhotse' cannot have documents"),
        ({"sinks": (SinkConfig("hf", Form("interleaved", document="page")),)}, "documents of kind 'interleaved'"),
        ({"sinks": (SinkConfig("megatron", Form("caption", loss="media")),)}, "holds ids alone, and loss = 'media'"),
        ({"vocabulary": ""}, "sink 'hf' has documents of ids: add vocabulary"),
        ({"sinks": (SinkConfig("hf"),)}, "no sink has documents with texts; leave it out"),
        ({"text_tokenizer": ""}, "hold words: add text_tokenizer, a folder or hub name"),
        ({"text_tokenizer": "./nowhere"}, r"no text tokenizer at \./nowhere"),
        ({"sinks": (SinkConfig("hf", Form("conversation", template="anygpt")),)}, r"\[Human\]"),
        ({"sinks": (SinkConfig("hf", Form("caption", bos="<bos>")),)}, "<bos>"),
    ],
)  # fmt: skip
def test_documents_that_a_sink_cannot_have_are_refused_before_work(words, tmp_path, changes, said):
    job = run_of(words, tmp_path / "out", {"hf": FORMS["captions"]})
    with pytest.raises(UsageError, match=said):
        run_job(job.override(**changes))
    assert not (tmp_path / "out").exists()


def test_an_audit_finds_the_text_tokenizer_from_any_folder(words, tmp_path, monkeypatch):
    with contextlib.chdir(words):
        relative = JobConfig(**{**vars(run_of(words, tmp_path / "out", {"hf": FORMS["captions"]})),
                                "text_tokenizer": "text", "vocabulary": "words.json"})  # fmt: skip
        run_job(relative)
    monkeypatch.chdir(tmp_path)
    assert verify_job("out", one_in=2).ok


def test_a_job_that_is_extended_makes_the_documents_of_what_it_keeps_anew(words, tmp_path):
    """As a run from nothing does, whether or not an output keeps codes."""
    for number in range(6):
        write_wav(tmp_path / "in" / f"{number}.wav", 1200, number)
        (tmp_path / "in" / f"{number}.txt").write_text(f"words of {number}")
    sources = (SourceConfig(str(tmp_path / "in"), modality="speech", text_suffix=".txt"),)
    forms = {"megatron": FORMS["captions"], "litdata": FORMS["questions"]}
    jobs = [
        run_of(words, tmp_path / name, {**more, **forms}, sources=sources)
        for name, more in (("codes", {"parquet": None, "hf": FORMS["captions"]}), ("ids", {}))
    ]
    for job in jobs:
        run_job(job)
    (tmp_path / "in" / "1.txt").write_text("other words")
    (tmp_path / "in" / "2.wav").unlink()
    write_wav(tmp_path / "in" / "6.wav", 1300, 6)
    (tmp_path / "in" / "6.txt").write_text("words of 6")
    fresh = jobs[0].override(output=str(tmp_path / "fresh"))
    run_job(fresh)
    for job in jobs:
        assert run_job(job, extend=True).written == 6 and verify_job(job.output).ok
        found, wanted = (
            sorted(ids.tolist() for path in Path(one.output, "megatron").glob("*.idx") for ids in read_megatron(path))
            for one in (job, fresh)
        )
        assert found == wanted and len(found) == 6
        assert {key: codes.values.tolist() for key, codes in JobCodes(job.output)} == {
            key: codes.values.tolist() for key, codes in JobCodes(fresh.output)
        }
    found, wanted = (rows(tmp_path / name) for name in ("codes", "fresh"))
    assert found == wanted and found["1.wav"]["text"] == "other words"
