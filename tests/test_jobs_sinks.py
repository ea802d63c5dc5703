"""Every sink, read back by its own consumer, not by our code: all from one pass over mixed media."""

from __future__ import annotations

import itertools
import json
import os
import struct
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from job_corpus import contents, speech_folder, speech_job, trap_for_pandas, write_png, write_wav

from anytok.errors import JobError, UsageError
from anytok.jobs import JobConfig, plan_job, run_job, verify_job
from anytok.jobs.config import SinkConfig, SinkKind, SourceConfig, TokenizerConfig
from anytok.jobs.sinks.columns import _ends, check_total, lists, numbers, strings
from anytok.registry import load_tokenizer
from anytok.vocab import Segment, Vocabulary, build_layout, build_vocabulary

KINDS = get_args(SinkKind)


def vocabulary_file(path: Path, text_size: int = 32000) -> str:
    image = Segment("fake-image", "image", 1, 8192, "<i{}>", "<soim>", "<eoim>", num_frames=32)
    speech = Segment("fake-speech", "speech", 1, 1024, "<s{}>", "<sosp>", "<eosp>", frame_rate=50)
    Vocabulary(build_layout("fake", text_size, [image, speech])).save(path)
    return str(path)


def make_job(folder: Path, output: Path, vocabulary: str, sinks: tuple[str, ...] = KINDS) -> JobConfig:
    tokenizers = {"image": TokenizerConfig("fake-image"), "speech": TokenizerConfig("fake-speech")}
    return JobConfig(
        str(output), (SourceConfig(str(folder), text_suffix=".txt"),), tokenizers,
        tuple(SinkConfig(kind) for kind in sinks), vocabulary, shard_items=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(output folder, key → Codes, key → ids), the latter two made without any job. Sixteen media and one broken."""
    root = tmp_path_factory.mktemp("sinks")
    vocabulary = vocabulary_file(root / "vocab.json")
    for number in range(8):
        write_png(root / "in" / f"{number}.a.png", number)  # a dot in the name, on purpose
        write_wav(root / "in" / f"{number}.wav", 900 + 300 * number, number)
        (root / "in" / f"{number}.txt").write_text(f"Wörter {number} 🎶", "utf-8")
    (root / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run_job(make_job(root / "in", root / "out", vocabulary)).written == 16
    codes = {path.name: load_tokenizer("fake-image").encode(path) for path in (root / "in").glob("*.a.png")}
    codes |= {path.name: load_tokenizer("fake-speech").encode(path) for path in (root / "in").glob("*.wav")}
    vocab = Vocabulary.from_file(vocabulary)
    return root / "out", codes, {key: vocab.to_ids(one) for key, one in codes.items()}


def test_parquet_by_pyarrow(made):
    import pyarrow.parquet as pq

    output, codes, ids = made
    tables = [pq.read_table(path, page_checksum_verification=True) for path in sorted((output / "parquet").iterdir())]
    found = {row["key"]: row for table in tables for row in table.to_pylist()}
    assert {key: row["codes"] for key, row in found.items()} == {key: one.values.tolist() for key, one in codes.items()}
    assert {key: row["ids"] for key, row in found.items()} == {key: one.tolist() for key, one in ids.items()}
    assert found["3.wav"]["text"] == "Wörter 3 🎶"
    assert str(tables[0].schema.field("ids").type) == "list<element: uint16>"
    provenance = json.loads(tables[0].schema.metadata[b"anytok"])
    assert provenance["specs"]["speech"]["id"] == "fake-speech@0123456789ab"
    assert provenance["vocabulary"]["name"] == "fake" and len(provenance["vocabulary"]["hash"]) == 64


def test_a_flipped_bit_in_a_parquet_page_raises(made, tmp_path):
    import pyarrow.parquet as pq

    output, _, _ = made
    path = output / "parquet" / "000000.parquet"
    group, data = pq.read_metadata(path).row_group(0), path.read_bytes()
    chunks = [group.column(number) for number in range(group.num_columns)]
    ends = [(one.dictionary_page_offset or one.data_page_offset) + one.total_compressed_size for one in chunks]
    for end in ends:  # the last bytes of a chunk of a column are the data of its last page
        for place in (end - 1, end - 5):
            damaged = bytearray(data)
            damaged[place] ^= 1
            (tmp_path / "x.parquet").write_bytes(damaged)
            with pytest.raises(OSError, match="CRC"):
                pq.read_table(tmp_path / "x.parquet", page_checksum_verification=True)


def test_hf_by_datasets(made):
    datasets = pytest.importorskip("datasets")
    output, codes, ids = made
    table = datasets.load_dataset(str(output / "hf"), split="train", cache_dir=str(output.parent / "cache"))
    assert {row["key"]: row["input_ids"] for row in table} == {key: one.tolist() for key, one in ids.items()}
    assert {row["key"]: row["codes"] for row in table} == {key: one.values.tolist() for key, one in codes.items()}


def test_webdataset_by_webdataset(made):
    wds = pytest.importorskip("webdataset")
    output, codes, ids = made
    shards = sorted(map(str, (output / "webdataset").glob("*.tar")))
    samples = list(wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode())
    found = {sample["json"]["key"]: sample for sample in samples}
    assert set(found) == set(codes) and len(samples) == len(codes)
    for key, one in codes.items():
        assert np.array_equal(found[key]["codes.npy"], one.values) and np.array_equal(found[key]["ids.npy"], ids[key])
    assert found["3.wav"]["txt"] == "Wörter 3 🎶" and "txt" not in found["3.a.png"]


def test_litdata_by_litdata(made, monkeypatch, tmp_path):
    pytest.importorskip("litdata")
    from litdata import StreamingDataset
    from litdata.streaming.item_loader import TokensLoader

    output, _, ids = made
    for block in (1, 7):
        stream = StreamingDataset(
            str(output / "litdata"), item_loader=TokensLoader(block_size=block), cache_dir=str(tmp_path / str(block))
        )
        found = np.concatenate([np.asarray(stream[place]) for place in range(len(stream))])
        wanted = in_plan_order(output, ids)
        chunks = [np.concatenate(one) for one in wanted]
        assert np.array_equal(found, np.concatenate([one[: len(one) // block * block] for one in chunks]))


def test_litdata_offsets_lead_to_the_rows(made):
    """What loaders other than TokensLoader go by: uint32 count, then count + 1 offsets from the file's start."""
    output, _, ids = made
    for path, wanted in zip(sorted((output / "litdata").glob("*.bin")), in_plan_order(output, ids), strict=True):
        data = path.read_bytes()
        count = struct.unpack("<I", data[:4])[0]
        offsets = struct.unpack(f"<{count + 1}I", data[4 : 8 + 4 * count])
        rows = [np.frombuffer(data[start:end], np.uint16) for start, end in itertools.pairwise(offsets)]
        assert [row.tolist() for row in rows] == [one.tolist() for one in wanted] and offsets[-1] == len(data)


def in_plan_order(output: Path, ids: dict) -> list[list[np.ndarray]]:
    """Ids of the rows of each shard, in the order in which the source was listed: by name."""
    names = sorted([*ids, "broken.png"])
    shards = [names[start : start + 8] for start in range(0, len(names), 8)]
    return [[ids[name] for name in shard if name in ids] for shard in shards if set(shard) & set(ids)]


def read_megatron(prefix: Path) -> list[np.ndarray]:
    """A reader of the format as Megatron-LM documents it (IndexedDataset, version 1), in its own words."""
    index = prefix.with_suffix(".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00" and struct.unpack("<Q", index[9:17]) == (1,)
    dtype = {8: np.uint16, 4: np.int32}[index[17]]
    sequences, documents = struct.unpack("<QQ", index[18:34])
    lengths = np.frombuffer(index, np.int32, sequences, 34)
    pointers = np.frombuffer(index, np.int64, sequences, 34 + 4 * sequences)
    ends = np.frombuffer(index, np.int64, documents, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * documents and ends.tolist() == list(range(sequences + 1))
    data = prefix.with_suffix(".bin").read_bytes()
    return [np.frombuffer(data, dtype, n, at) for n, at in zip(lengths.tolist(), pointers.tolist(), strict=True)]


def test_megatron_by_a_reader_of_its_format(made):
    output, _, ids = made
    found = [read_megatron(path) for path in sorted((output / "megatron").glob("*.idx"))]
    wanted = in_plan_order(output, ids)
    assert [[one.tolist() for one in shard] for shard in found] == [[one.tolist() for one in shard] for shard in wanted]
    assert found[0][0].dtype == np.uint16


def test_megatron_by_megatron(made):
    """With megatron-core itself where it is installed (pip install --no-deps megatron-core)."""
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    output, _, ids = made
    for path, wanted in zip(sorted((output / "megatron").glob("*.idx")), in_plan_order(output, ids), strict=True):
        found = indexed.IndexedDataset(str(path.with_suffix("")))
        assert [found[place].tolist() for place in range(len(found))] == [one.tolist() for one in wanted]


def test_anygpt_lines(made):
    output, codes, _ = made
    lines = [json.loads(line) for path in sorted((output / "anygpt").iterdir()) for line in path.open(encoding="utf-8")]
    assert {line["key"] for line in lines} == set(codes)
    line = next(line for line in lines if line["key"] == "3.wav")
    assert line["text"] == "Wörter 3 🎶"
    assert line["speech"] == "<sosp>" + "".join(f"<s{code}>" for code in codes["3.wav"].values[0]) + "<eosp>"
    assert set(line) == {"key", "text", "speech"}


def test_the_audit_reads_all_sinks(made):
    output, _, _ = made
    found = verify_job(output, one_in=2)
    assert found.ok, found.problems
    assert (found.items, found.written, found.failed) == (17, 16, 1) and found.reencoded > 0


def test_a_large_vocabulary_gets_wider_integers(tmp_path):
    write_png(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.txt").write_text("a caption")
    job = make_job(tmp_path / "in", tmp_path / "out", vocabulary_file(tmp_path / "v.json", 200_000))
    run_job(job)
    ids = read_megatron(tmp_path / "out" / "megatron" / "000000")[0]
    assert ids.dtype == np.int32 and ids.min() >= 200_000
    index = json.loads((tmp_path / "out" / "litdata" / "index.json").read_text())
    assert index["config"]["data_format"] == ["no_header_numpy:2"]


def test_equal_runs_write_equal_bytes_in_every_sink(made, tmp_path):
    output, _, _ = made
    os.utime(output)
    job = make_job(output.parent / "in", tmp_path, str(output.parent / "vocab.json"))
    run_job(job.override(workers=2, batch_frames=8))
    assert contents(tmp_path) == contents(output) and len(contents(tmp_path)) > 25


def test_sinks_of_ids_ask_for_a_vocabulary(tmp_path):
    with pytest.raises(UsageError, match="sink 'megatron' writes ids: add vocabulary"):
        make_job(tmp_path / "in", tmp_path, "", ("parquet", "megatron"))


def test_loudness_that_ids_cannot_hold_is_found_before_anything_is_frozen(tmp_path):
    """Of the 48 kHz model's codes, not of its Spec."""
    folder = Path(__file__).parent / "golden" / "encodec_48khz"
    spec = load_tokenizer("encodec-48khz", checkpoint=folder).spec
    build_vocabulary("m48", 100, [spec]).save(tmp_path / "m48.json")
    write_wav(tmp_path / "in" / "a.wav", 2000)
    job = JobConfig.simple(str(tmp_path / "in"), str(tmp_path / "out"), "encodec-48khz", checkpoint=str(folder))
    with pytest.raises(UsageError, match="loudness scales, which ids cannot hold"):
        run_job(job.override(vocabulary=str(tmp_path / "m48.json")))
    assert run_job(job).finished


def test_a_vocabulary_without_ids_for_the_tokenizers_is_refused_before_anything_is_frozen(tmp_path):
    write_png(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.txt").write_text("a caption")
    job = make_job(tmp_path / "in", tmp_path / "out", "anygpt")
    for ask in (run_job, plan_job):
        with pytest.raises(UsageError, match="the vocabulary anygpt has no ids for fake-image"):
            ask(job)
    for wrong, said in (("anygtp", "anygtp"), (str(tmp_path / "no.json"), "no.json")):
        with pytest.raises(UsageError, match=said):
            run_job(job.override(vocabulary=wrong))
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UsageError, match=r"broken\.json"):
        run_job(job.override(vocabulary=str(tmp_path / "broken.json")))
    assert run_job(job.override(vocabulary=vocabulary_file(tmp_path / "v.json"))).finished


@pytest.mark.parametrize(("total", "dtype"), [(2**31, np.int32), (2**32, np.uint32)])
def test_a_shard_beyond_its_formats_offsets_is_refused(total, dtype):
    check_total(total - 1, dtype, "bytes")
    with pytest.raises(JobError, match=f"a shard with {total} bytes: .* smaller shard_items"):
        check_total(total, dtype, "bytes")


def test_tables_do_not_count_beyond_their_offsets():
    class Long:
        def __len__(self):
            return 2**30

    with pytest.raises(JobError, match=f"a shard with {2**32} numbers"):
        _ends([Long()] * 4, "numbers")


def test_columns_are_those_that_pyarrow_makes():
    import pyarrow as pa

    words = ["", None, "Wörter 🎶", "\0"]
    assert strings(words).equals(pa.array(words, pa.string())) and strings([]).equals(pa.array([], pa.string()))
    margins = [0.5, None, 0.0]
    for values, dtype in ((margins, np.float32), ([1, 2**40], np.int64), (np.arange(6)[::2], np.uint16), ([], np.int8)):
        assert numbers(values, dtype).equals(pa.array(list(values), pa.from_numpy_dtype(dtype)))
    nested = [["a", None], None, [], ["b"]]
    made = lists(nested, strings(["a", None, "b"]))
    made.validate(full=True)
    assert made.equals(pa.array(nested, pa.list_(pa.string()))) and made.null_count == 1


def test_a_job_imports_no_pandas(tmp_path, monkeypatch):
    """pyarrow.array does where it can: 0.1 to 0.3 s and 48 MB in each worker, for nothing."""
    modules, tried = trap_for_pandas(tmp_path)
    monkeypatch.syspath_prepend(modules)
    assert run_job(speech_job(speech_folder(tmp_path / "in", 2), tmp_path / "out")).finished
    assert not tried.exists()
