"""Jobs that compose what jobs have stored: the API's ids, every sink by its own reader, and the engine's promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_corpus import contents, trap_for_pandas, write_png, write_wav
from test_jobs_sinks import read_megatron

import anytok
from anytok import Codes, Image, Music, Speech, UsageError, Vocabulary
from anytok.cli import main
from anytok.compose import Form
from anytok.errors import JobError
from anytok.jobs import JobConfig, job_stats, job_status, load_config, plan_job, run_job, verify_job
from anytok.jobs.arrange import LEFT_OUT
from anytok.jobs.composing import Composing
from anytok.jobs.config import ComposeConfig, RunsConfig, SinkConfig, SourceConfig, TokenizerConfig, from_record
from anytok.jobs.items import Item
from anytok.jobs.sources.tables import open_table
from anytok.jobs.stored import StoredTable, list_stored, open_stored
from anytok.jobs.stored_sequences import open_sequences
from anytok.registry import find
from anytok.vocab import Special, build_layout, segment_of

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

SINKS = ("parquet", "hf", "megatron", "litdata")
MEDIA = {"image": Image, "speech": Speech, "music": Music}


def write_media(folder: Path, count: int) -> Path:
    """`count` media of three kinds in turn, and a manifest with their texts, pages of five, and places on the page."""
    lines = []
    for number in range(count):
        modality = ("image", "speech", "music")[number % 3]
        name = f"{number:03d}.{'png' if modality == 'image' else 'wav'}"
        if modality == "image":
            write_png(folder / name, number)
        else:
            write_wav(folder / name, 900 + 397 * (number % 7), number)
        line = {"path": name, "key": name, "text": f"{modality} {number}", "modality": modality}
        lines.append({**line, "page": number // 5, "place": -number})
    (folder / "media.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "media.jsonl"


def store(manifest: Path, output: Path, names: str = "fake", shard_items: int = 7, **more: Any) -> Path:
    """The codes of a manifest's media, in parquet and in WebDataset."""
    tokenizers = {one: TokenizerConfig(f"{names}-{one}" if names == "fake" else more[one]) for one in MEDIA}
    sinks = (SinkConfig("parquet"), SinkConfig("webdataset"))
    sources = (SourceConfig(str(manifest)),)
    assert run_job(JobConfig(str(output), sources, tokenizers, sinks=sinks, shard_items=shard_items)).failed == 0
    return output


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 items in shards of seven, by fake tokenizers, with a vocabulary beside them."""
    root = tmp_path_factory.mktemp("stored")
    output = store(write_media(root / "in", 48), root / "codes")
    segments = [segment_of(find(f"fake-{one}").spec) for one in MEDIA]
    Vocabulary(build_layout("fakes", 256, ["<s>", "</s>", *segments])).save(root / "vocabulary.json")
    return output


def job_of(stored: Path, output: Path, form: Form = Form("item", seed=1), **more: Any) -> JobConfig:  # noqa: B008
    settings: dict[str, Any] = {"length": 400, "shuffle_files": 3, **more.pop("compose", {})}
    sinks = tuple(SinkConfig(kind) for kind in more.pop("sinks", ("parquet",)))
    sources = more.pop("sources", (SourceConfig(str(stored), "codes"),))
    compose = ComposeConfig(form, **settings)
    vocabulary = str(stored.parent / "vocabulary.json")
    return JobConfig(str(output), sources, compose=compose, sinks=sinks, vocabulary=vocabulary, shard_items=20, **more)


def sequences(output: Path, sink: str = "parquet") -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    files = sorted((output / sink).rglob("*.parquet"))
    return [row for path in files for row in pq.read_table(path, page_checksum_verification=True).to_pylist()]


def documents(output: Path) -> dict[str, list[int]]:
    """The ids of each document, its pieces joined; fails where one is there twice or torn."""
    found: dict[str, list[tuple[int, list[int]]]] = {}
    for row in sequences(output):
        bounds = zip(row["cu_seqlens"], row["cu_seqlens"][1:], strict=False)
        for key, offset, (start, end) in zip(row["documents"], row["offsets"], bounds, strict=True):
            found.setdefault(key, []).append((offset, row["input_ids"][start:end]))
    joined = {}
    for key, pieces in found.items():
        ids: list[int] = []
        for offset, piece in sorted(pieces):
            assert offset == len(ids), f"{key} is there twice, or torn"
            ids += piece
        joined[key] = ids
    return joined


def codes_of(stored: Path) -> dict[str, Any]:
    """Every stored item by its key."""
    paths = sorted((stored / "parquet").glob("*.parquet"))
    shards = [open_stored(str(path), "") for path in paths]
    counts = [len(list_stored(str(path), metas=False)) for path in paths]
    return {item.key: item for one, count in zip(shards, counts, strict=True) for item in one.items(range(count))}


@pytest.mark.parametrize("sink", ["parquet", "webdataset"])
def test_ids_are_those_that_the_api_gives_from_the_media(tmp_path, sink):
    """With real tokenizers: pictures, speech and music with texts → codes → packed sequences; and back."""
    minis = {"image": "seed-mini", "speech": "speech-mini", "music": "music-mini"}
    manifest = write_media(tmp_path / "in", 6)
    stored = store(manifest, tmp_path / "codes", "mini", 4, **minis)
    form = Form("caption", order="text-first", bos="<s>", eos="</s>")
    compose = ComposeConfig(form, length=300, runs={"music": RunsConfig("flat-delay", 2)})
    source = SourceConfig(str(stored / sink / "*"), "codes")
    run_job(JobConfig(str(tmp_path / "out"), (source,), compose=compose, vocabulary="mini"))
    vocabulary = anytok.load_vocabulary("mini").with_runs("music", num_codebooks=2, pattern="flat-delay")
    assert Vocabulary.from_file(tmp_path / "out" / "vocabulary.json").hash == vocabulary.hash
    any2any, found = anytok.load_multimodal(vocabulary), documents(tmp_path / "out")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert set(found) == {line["key"] for line in lines}
    for line in lines:
        medium = MEDIA[line["modality"]](manifest.parent / line["path"])
        assert found[line["key"]] == any2any.encode([Special("<s>"), line["text"], medium, Special("</s>")]).tolist()
        [text, codes, _] = vocabulary.from_ids(found[line["key"]], "strict")
        assert text == f"<s>{line['text']}" and np.array_equal(
            codes.values, any2any.tokenizer(line["modality"]).encode(medium.source).values[: codes.num_codebooks]
        )
    assert verify_job(tmp_path / "out", one_in=2).ok


def test_packed_sequences_decode_strictly_to_the_stored_codes(stored, tmp_path):
    run_job(job_of(stored, tmp_path / "out"))
    vocabulary, items = Vocabulary.from_file(stored.parent / "vocabulary.json"), codes_of(stored)
    rows = sequences(tmp_path / "out")
    assert max(len(row["input_ids"]) for row in rows) <= 400 and len(rows) < len(items) == 48
    for row in rows:
        runs = [part for part in vocabulary.from_ids(row["input_ids"], "strict") if isinstance(part, Codes)]
        for key, run in zip(row["documents"], runs, strict=True):
            assert np.array_equal(run.values, items[key].codes.values)
    assert set(documents(tmp_path / "out")) == set(items)


def test_every_sink_by_its_own_reader(stored, tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    assert run_job(job_of(stored, tmp_path / "out", sinks=SINKS)).finished
    rows = sequences(tmp_path / "out")
    table = pq.read_table(sorted((tmp_path / "out" / "parquet").iterdir())[0])
    assert [str(table.schema.field(name).type) for name in ("input_ids", "labels", "position_ids")] == [
        "list<element: int32>"
    ] * 3
    head = json.loads(table.schema.metadata[b"anytok"])
    assert head["compose"]["length"] == 400 and set(head["specs"]) == {find(f"fake-{one}").spec.id for one in MEDIA}
    Vocabulary.from_file(tmp_path / "out" / "vocabulary.json").check(table.schema.metadata[b"anytok"])
    for row in rows:
        starts = row["cu_seqlens"][:-1]
        assert [place for place, number in enumerate(row["position_ids"]) if number == 0] == starts
        wanted = [-100 if place in starts else number for place, number in enumerate(row["input_ids"])]
        assert row["labels"] == wanted
    found = [
        one.tolist() for path in sorted((tmp_path / "out" / "megatron").glob("*.idx")) for one in read_megatron(path)
    ]
    assert found == [row["input_ids"] for row in rows]


def test_a_hugging_face_dataset_by_datasets(stored, tmp_path):
    datasets = pytest.importorskip("datasets")
    run_job(job_of(stored, tmp_path / "out", sinks=("parquet", "hf")))
    table = datasets.load_dataset(str(tmp_path / "out" / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [dict(row) for row in table] == sequences(tmp_path / "out")


def test_megatron_by_megatron_and_litdata_by_litdata(stored, tmp_path):
    run_job(job_of(stored, tmp_path / "out", sinks=SINKS))
    wanted = [row["input_ids"] for row in sequences(tmp_path / "out")]
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    paths = sorted((tmp_path / "out" / "megatron").glob("*.idx"))
    shards = [indexed.IndexedDataset(str(path.with_suffix(""))) for path in paths]
    assert [shard[place].tolist() for shard in shards for place in range(len(shard))] == wanted
    pytest.importorskip("litdata")
    from litdata import StreamingDataset
    from litdata.streaming.item_loader import TokensLoader

    loader = TokensLoader(block_size=1)
    stream = StreamingDataset(str(tmp_path / "out" / "litdata"), item_loader=loader, cache_dir=str(tmp_path / "cache"))
    found = np.concatenate([np.asarray(stream[place]) for place in range(len(stream))])
    assert found.tolist() == [number for one in wanted for number in one]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (Form("caption"), r"documents of kind 'caption' hold words: add compose\.text_tokenizer"),
        (Form("item", bos="<sos>"), "no special token is spelled '<sos>'"),
    ],
)
def test_words_without_a_text_tokenizer_are_refused_before_anything_is_frozen(stored, tmp_path, form, said):
    with pytest.raises(UsageError, match=said):
        run_job(job_of(stored, tmp_path / "out", form))
    assert not (tmp_path / "out").exists()


def test_neither_composing_nor_reading_sequences_imports_pandas(stored, tmp_path, monkeypatch):
    """pyarrow's to_numpy does where it can: 0.1 to 0.3 s and 48 MB in each worker, and in each of a DataLoader's."""
    modules, tried = trap_for_pandas(tmp_path)
    monkeypatch.syspath_prepend(modules)
    assert run_job(job_of(stored, tmp_path / "out")).finished
    read = f"import anytok.data; assert len(anytok.data.SequenceDataset({str(tmp_path / 'out')!r})[0]['input_ids']) > 9"
    subprocess.run([sys.executable, "-c", read], env={**os.environ, "PYTHONPATH": f"{modules}:{ROOT}"}, check=True)
    assert not tried.exists()


@pytest.mark.parametrize("read", [open_sequences, StoredTable, open_table])
def test_pyarrow_reads_local_parquet_files_itself(stored, tmp_path, monkeypatch, read):
    """Through Python's files, a process that read sequences and exited at once was aborted, at times (parquet.py)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert run_job(job_of(stored, tmp_path / "out")).finished
    files = tmp_path / "out" if read is open_sequences else stored
    path, given, opened = str(min((files / "parquet").rglob("*.parquet"))), [], pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda file, **more: given.append(file) or opened(file, **more))
    found = read(path, "") if read is open_sequences else read(path)
    with found if read is open_table else nullcontext():
        assert given and all(isinstance(file, pa.NativeFile) for file in given)


def with_words(folder: Path) -> str:
    from llama import llama_tokenizer

    llama_tokenizer(400).save_pretrained(folder / "words")
    segments = [segment_of(find(f"fake-{one}").spec) for one in MEDIA]
    Vocabulary(build_layout("words", 400, segments)).save(folder / "words.json")
    return str(folder / "words")


def test_interleaved_pages_go_on_in_the_next_file(stored, tmp_path):
    """Files hold seven items, pages five; the first of a page has the greatest place."""
    form = Form("interleaved", document="page", position="place", loss="media", bos="<s>", eos="</s>")
    compose = {"length": 0, "text_tokenizer": with_words(tmp_path)}
    job = job_of(stored, tmp_path / "out", form, compose=compose).override(
        vocabulary=str(tmp_path / "words.json"), max_failure_rate=0.0
    )
    assert run_job(job).written == 10
    items, found = codes_of(stored), documents(tmp_path / "out")
    vocabulary = Vocabulary.from_file(tmp_path / "words.json").with_text(
        anytok.checkpoints.around_torchaudio.load_text_tokenizer(tmp_path / "words")
    )
    for page in range(10):
        parts: list[Any] = [Special("<s>")]
        for number in reversed(range(5 * page, min(48, 5 * page + 5))):
            [item] = [one for key, one in items.items() if key.startswith(f"{number:03d}.")]
            parts += [item.text, item.codes]
        assert found[str(page)] == vocabulary.to_ids([*parts, Special("</s>")]).tolist()
    found = verify_job(tmp_path / "out", one_in=1)
    assert found.ok and found.reencoded == 10
    words = tmp_path / "words" / "tokenizer.json"
    words.write_text(words.read_text().replace('"filler5"', '"another"'))
    with pytest.raises(JobError, match="words was"):
        run_job(job)


def test_sources_are_blended_by_weight_and_shuffled_by_the_seed(stored, tmp_path):
    parquet = str(stored / "parquet")
    sources = (SourceConfig(f"{parquet}/00000[0-2].parquet", "codes", name="a", weight=2.5),
               SourceConfig(f"{parquet}/00000[3-6].parquet", "codes", name="b", weight=0.5))  # fmt: skip
    orders = {}
    for name, seed, shuffle in (("one", 1, True), ("again", 1, True), ("two", 2, True), ("plain", 1, False)):
        job = job_of(stored, tmp_path / name, Form("item", seed=seed), sources=sources, compose={"shuffle": shuffle})
        status = run_job(job)
        orders[name] = [key for row in sequences(tmp_path / name) for key in row["documents"]]
        first = {key for key in orders[name] if key.startswith("a/") and "#" not in key}
        assert len(first) == 21 == len({key for key in orders[name] if key.startswith("a/") and key.endswith("#2")})
        assert 4 <= len({key for key in orders[name] if key.endswith("#3")}) <= 17
        of_b = [key for key in orders[name] if key.startswith("b/")]
        assert 5 <= len(of_b) <= 22 and status.ignored == {LEFT_OUT: 27 - len(of_b)}
        assert len(orders[name]) == len(set(orders[name])) == status.written
    assert orders["one"] == orders["again"] and contents(tmp_path / "one") == contents(tmp_path / "again")
    assert orders["one"] != orders["two"] and orders["one"] != orders["plain"]
    plan = [json.loads(line)["key"] for line in next((tmp_path / "plain" / "_anytok").glob("items-*")).open()]
    assert plan[:21] == sorted(plan[:21]) and all(key.startswith("a/") for key in plan[:42])


def test_runs_that_no_sequence_can_hold_are_in_the_ledger(stored, tmp_path):
    status = run_job(job_of(stored, tmp_path / "out", compose={"length": 33}, run=job_run(1.0)))
    assert status.failures == {"too_long": 16} and status.written == 32  # a picture has 34 ids
    found = verify_job(tmp_path / "out", one_in=1)
    assert found.ok and (found.written, found.failed, found.reencoded) == (32, 16, 32)
    assert any(offset for row in sequences(tmp_path / "out") for offset in row["offsets"])


def job_run(rate: float) -> Any:
    from anytok.jobs.config import RunConfig

    return RunConfig(max_failure_rate=rate)


def test_status_stats_and_a_dry_run(stored, tmp_path):
    job = job_of(stored, tmp_path / "out", Form("item", loss="media"), sinks=("parquet", "hf"))
    estimate = plan_job(job, sample=5)
    assert (estimate.items, estimate.sampled, estimate.sample_failures) == (48, 5, {})
    run_job(job)
    stats, rows, found = job_stats(tmp_path / "out").sequences, sequences(tmp_path / "out"), documents(tmp_path / "out")
    tokens = sum(map(len, found.values()))
    assert (stats.sequences, stats.tokens, stats.cut) == (len(rows), tokens, 0)
    assert stats.fill == round(tokens / (400 * len(rows)), 6) and stats.learned == tokens
    assert stats.ids["image"] == 16 * 34 and stats.ids["text"] == 0 and sum(stats.ids.values()) == tokens
    assert stats.document_quantiles["1"] == max(map(len, found.values()))
    assert job_status(tmp_path / "out").finished and (tmp_path / "out" / "stats.json").exists()


def test_damage_is_found_and_mended(stored, tmp_path):
    job = job_of(stored, tmp_path / "out", sinks=("parquet", "megatron"))
    run_job(job)
    before = contents(tmp_path / "out")
    path = tmp_path / "out" / "_anytok" / "shards" / "000001" / "megatron.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    found = verify_job(tmp_path / "out")
    assert not found.ok and "makes shards 1 anew" in found.repair
    run_job(job)
    assert contents(tmp_path / "out") == before and verify_job(tmp_path / "out").ok


def test_a_source_that_was_changed_is_refused(stored, tmp_path):
    import shutil

    copy = tmp_path / "codes"
    shutil.copytree(stored, copy)
    (tmp_path / "vocabulary.json").write_bytes((stored.parent / "vocabulary.json").read_bytes())
    job = job_of(copy, tmp_path / "out")
    run_job(job, shard="0/2")
    path = copy / "parquet" / "000001.parquet"
    path.write_bytes((copy / "parquet" / "000002.parquet").read_bytes())
    with pytest.raises(JobError, match=r"000001\.parquet was changed"):
        run_job(job)


def test_a_file_that_changes_while_a_job_runs_costs_its_documents(stored, tmp_path):
    work = Composing(job_of(stored, tmp_path / "out"))
    path = str(sorted((stored / "parquet").iterdir())[0])
    items = [Item("a", "image", path, None, "", ("codes", [0])), Item("b", "image", path, None, "7:8", ("codes", [1]))]
    items.append(Item("c", "image", f"{path}.gone", None, "", ("codes", [1])))
    [found] = work.results(list(enumerate(items)), items, frozenset(), lambda *_: nullcontext())
    kinds = [getattr(one, "kind", "") for one in found.values()]
    assert kinds == ["", "changed", "missing"] and found[0].item is items[0]
    suspects = list(work.results(list(enumerate(items)), items, frozenset({1}), lambda *_: nullcontext()))
    assert [list(one) for one in suspects] == [[1], [0, 2]]


def job_file(stored: Path, folder: Path) -> Path:
    head = f'output = "{folder / "out"}"\nvocabulary = "{stored.parent / "vocabulary.json"}"\n'
    source = f'[[sources]]\nkind = "codes"\npath = "{stored}"\n'
    more = '[compose]\nlength = 400\n[compose.documents]\nloss = "media"\n'
    (folder / "job.toml").write_text(head + source + more)
    return folder / "job.toml"


def test_composing_needs_no_torch(stored, tmp_path):
    script = (
        "import sys\nfrom anytok.jobs.config import load_config\nfrom anytok.jobs.worker import Worker\n"
        f"Worker(load_config({str(job_file(stored, tmp_path))!r}))\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_shares_give_equal_bytes(stored, tmp_path):
    check_shares(stored, tmp_path, "local")  # on Ray in test_jobs_ray.py


def check_shares(stored: Path, folder: Path, runner: str) -> None:
    run_job(job_of(stored, folder / "whole"))
    for share in ("1/2", "0/2"):
        run_job(job_of(stored, folder / "parts"), shard=share, runner=runner)
    assert contents(folder / "parts") == contents(folder / "whole")


def test_runs_killed_at_random_end_as_if_undisturbed():
    import faults

    found = faults.measure(5, 0, compose=True)
    assert found["runs"] == 5 and found["kills"] >= 2 and found["items"] > 236
    assert {name: found[name] for name in faults.HARM} == dict.fromkeys(faults.HARM, 0)


RECORD: dict[str, Any] = {
    "output": "out", "vocabulary": "anygpt", "sources": [{"path": "tokens", "kind": "codes"}], "compose": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sources": [{"path": "tokens"}]}, "of kind 'folder': expected kind = \"codes\""),
        ({"tokenizers": {"image": {"name": "seed-2"}}}, r"leave out \[tokenizers\]"),
        ({"vocabulary": ""}, 'add vocabulary = "anygpt"'),
        ({"sinks": [{"kind": "webdataset"}]}, "'webdataset' does not hold sequences: expected parquet, hf"),
        (
            {"sinks": [{"kind": "megatron"}], "compose": {"documents": {"loss": "media"}}},
            "loss = 'media' would be lost",
        ),
        ({"compose": {"documents": {"kind": "captions"}}}, "compose.documents.kind='captions'.*did you mean 'caption'"),
        ({"compose": {"lenght": 5}}, "unknown key 'lenght'; did you mean 'length'"),
        ({"sources": [{"path": "tokens", "kind": "codes", "weight": 0}]}, r"weight=0: expected a number, above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, said):
    assert from_record(RECORD, "job").compose is not None
    with pytest.raises(UsageError, match=said):
        from_record({**RECORD, **change}, "job")


def test_what_is_no_output_of_a_job_is_refused(stored, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.tar").write_bytes(b"no tar")
    (tmp_path / "unfinished" / "_anytok").mkdir(parents=True)
    (tmp_path / "c.txt").write_text("x")
    for name, said in (("a.parquet", "a.parquet"), ("b.tar", "b.tar is no shard of codes"),
                       ("unfinished", "it is not finished"), ("c.txt", "no shard of codes, which are")):  # fmt: skip
        job = job_of(stored, tmp_path / "out", sources=(SourceConfig(str(tmp_path / name), "codes"),))
        with pytest.raises(JobError, match=said):
            run_job(job)


def test_the_command(stored, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    job_file(stored, tmp_path)
    assert main(["compose", "job.toml", "--workers", "2"]) == 0
    assert "out: finished" in capsys.readouterr().out
    assert main(["verify", "out", "--one-in", "3"]) == 0
    assert main(["stats", "out"]) == 0
    assert "of the positions filled" in capsys.readouterr().out
    Path("run.toml").write_text('output = "o"\n[[sources]]\npath = "."\n[tokenizers.image]\nname = "fake-image"\n')
    assert main(["compose", "run.toml"]) == 2
    assert "no table [compose]" in capsys.readouterr().err


def test_the_shipped_job_loads():
    path = Path(__file__).parent.parent / "configs" / "compose" / "anygpt.toml"
    config = load_config(path)
    assert config.compose and config.compose.length == 4096 and "# Cost:" in path.read_text()
