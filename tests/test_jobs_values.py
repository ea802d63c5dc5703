"""What stands in cells becomes text and metadata, or goes to the ledger: never what Python calls it."""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from job_corpus import listed, opened, rows, speech_job, wav_bytes, write_wav

from anytok.errors import JobError, MediaError, UsageError
from anytok.jobs import run_job
from anytok.jobs.config import SinkConfig, SourceConfig
from anytok.jobs.fetch import fetch
from anytok.jobs.items import Item

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def table(path: Path, num_rows: int = 0, **columns) -> Path:
    """A parquet table of recordings with further columns."""
    count = num_rows or len(next(iter(columns.values())))
    media = [wav_bytes(path.parent / "one.wav", 600, number) for number in range(count)]
    pq.write_table(pa.table({"audio": pa.array(media, pa.binary()), **columns}), path)
    return path


def strict(text: str):
    """JSON as RFC 8259 has it, which knows no NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_texts_of_bytes_are_decoded(tmp_path):
    columns = {"text": pa.array([b"hello", "\ufeffwörld".encode(), None], pa.binary()), "key": [b"a", b"b", b"c"]}
    found = listed(table(tmp_path / "x.parquet", **columns))
    assert [(item.key, item.text) for item in found] == [("a", "hello"), ("b", "wörld"), ("c", None)]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("plain", "plain"), (7, "7"), (2.5, "2.5"), (True, "true"), (None, None), ("\ufeffmarked", "marked"),
        (["a cat", "one cat"], ...), ({"en": "a dog"}, ...), (math.nan, ...), (math.inf, ...), ("\ud800", ...),
    ],
)  # fmt: skip
def test_what_a_manifest_says_is_text_or_a_row_of_the_ledger(tmp_path, cell, text):
    write_wav(tmp_path / "a.wav", 600)
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "a.wav", "text": cell}))
    [item] = listed(tmp_path / "list.jsonl")
    if text is not ...:
        assert (item.text, item.place) == (text, ())
        return
    with pytest.raises(MediaError, match=r"list.jsonl, row 1, column 'text': .*no (Unicode )?text.*\[bad_cell\]"):
        fetch(item)
    assert item.text is None


@pytest.mark.parametrize(
    ("kind", "named"), [(pa.list_(pa.string()), "list<"), (pa.struct({"en": pa.string()}), "struct<")]
)
def test_a_column_of_texts_that_holds_none_is_refused_with_advice(tmp_path, kind, named):
    cell = ["a", "b"] if "list" in named else {"en": "a"}
    path = table(tmp_path / "x.parquet", text=pa.array([cell], kind))
    with pytest.raises(JobError, match=rf"column 'text' is {named}.* is no text: .*columns = {{text = \"\"}}"):
        listed(path)
    [item] = listed(path, columns={"text": ""})
    assert (item.text, item.meta) == (None, {"text": cell})


def test_metadata_is_json_in_every_output(tmp_path):
    long = bytes(range(256)) * 40_000  # ten megabytes
    path = table(
        tmp_path / "x.parquet",
        day=[datetime.date(1999, 12, 31)], at=[datetime.datetime(2024, 2, 29, 1, 2, 3)],
        took=[datetime.timedelta(seconds=90)],
        price=[Decimal("1.50")], level=[math.nan], loud=[-math.inf], deep=[{"x": [math.inf, 1.0]}],
        pairs=pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), text=["hi"],
    )  # fmt: skip
    kinds = ("parquet", "hf", "webdataset")
    job = speech_job(path, tmp_path / "out").override(sinks=tuple(SinkConfig(kind) for kind in kinds))
    assert run_job(job).written == 1
    [row] = rows(tmp_path / "out").values()
    wanted = {
        "day": "1999-12-31", "at": "2024-02-29T01:02:03", "took": 90.0, "price": "1.50", "level": "NaN",
        "loud": "-Infinity", "deep": {"x": ["Infinity", 1.0]}, "pairs": [["k", 1]],
    }  # fmt: skip
    assert strict(row["meta"]) == wanted
    import tarfile

    with tarfile.open(tmp_path / "out" / "webdataset" / "000000.tar") as tar:
        assert strict(tar.extractfile("000000000000.json").read().decode())["meta"] == wanted
    [items] = (tmp_path / "out" / "_anytok").glob("items-*.jsonl")
    assert strict(items.read_text())["meta"] == wanted
    write_wav(tmp_path / "a.wav", 600)
    pq.write_table(
        pa.table({"path": ["a.wav"], "raw": [long], "id": [b"\xff\x01"], "name": [b"x"]}), tmp_path / "m.parquet"
    )
    [item] = listed(tmp_path / "m.parquet", kind="manifest")
    assert item.meta["id"] == {"hex": "ff01"} and item.meta["name"] == "x"
    assert item.meta["raw"]["num_bytes"] == len(long) and len(item.to_line()) < 1000


def test_items_of_earlier_plans_that_say_nan_still_load_and_become_json():
    item = Item.from_line(
        b'{"key": "a", "modality": "speech", "path": "a.wav", "meta": {"level": NaN, "x": [-Infinity]}}'
    )
    assert strict(item.to_line().decode())["meta"] == {"level": "NaN", "x": ["-Infinity"]}


def bad_strings() -> pa.Array:
    data = pa.py_buffer(b"good\xff\xfebad!")
    return pa.StringArray.from_buffers(3, pa.py_buffer(np.array([0, 4, 6, 10], np.int32)), data)


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("text", bad_strings()),
        ("speaker", bad_strings()),
        ("key", bad_strings()),
        ("when", pa.array([0, 10**9, 0], pa.int32()).cast(pa.date32())),
        ("when", pa.array([0, 2**62, 0], pa.int64()).cast(pa.timestamp("us"))),
        ("when", pa.array([[0], [2**62], None], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("us")))),
    ],
)
def test_a_cell_that_python_cannot_hold_costs_its_row_alone(tmp_path, column, cells):
    path = table(tmp_path / "x.parquet", **{column: cells})
    status = run_job(speech_job(path, tmp_path / "out", max_failure_rate=0.5))
    assert (status.written, status.failures) == (2, {"bad_cell": 1})
    [failure] = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text().splitlines())
    assert failure["message"].startswith(f"{path}, row 1, column '{column}': its value cannot be read (")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_bytes_that_are_no_text_cost_the_row_they_are_in(tmp_path, kind):
    write_wav(tmp_path / "a.wav", 600)
    os.link(tmp_path / "a.wav", os.fsencode(tmp_path) + b"/n\xff.wav")
    rows = [(b"a.wav", b"good", b"x"), (b"n\xff.wav", b"bad\xff", b"x"), (b"a.wav", b"good", b"\xe9t\xe9")]
    if kind == "jsonl":
        lines = [
            b'{"path": "%s", "text": "%s", "speaker": "%s", "key": "%d"}' % (*row, n) for n, row in enumerate(rows)
        ]
    else:
        mark = b"," if kind == "csv" else b"\t"
        head = mark.join((b"path", b"text", b"speaker", b"key"))
        lines = [head, *(mark.join((*row, b"%d" % number)) for number, row in enumerate(rows))]
    (tmp_path / f"list.{kind}").write_bytes(b"\n".join(lines))
    first, second, third = listed(tmp_path / f"list.{kind}")
    assert first.text == "good" and fetch(first) == str(tmp_path / "a.wav")
    for item, where in ((second, "row 2, column 'text'"), (third, "row 3, column 'speaker'")):
        with pytest.raises(MediaError, match=rf"list.{kind}, {where}: no UTF-8 text \(byte 0x(ff|e9) at"):
            fetch(item)
    assert second.num_bytes == first.num_bytes, "its path is found"
    (tmp_path / f"list.{kind}").write_text("path\na.wav\n", "utf-16")
    with pytest.raises(JobError, match="is written in UTF-16: save it as UTF-8"):
        listed(tmp_path / f"list.{kind}")


def test_a_bad_caption_in_a_folder_goes_to_the_ledger_and_is_taken_up_when_mended(tmp_path):
    for name in ("a", "b", "c", "d"):
        write_wav(tmp_path / "in" / f"{name}.wav", 600)
        (tmp_path / "in" / f"{name}.txt").write_text(name)
    (tmp_path / "in" / "b.txt").write_bytes(b"\xff\xfeb\0")
    (tmp_path / "in" / "c.txt").unlink()
    os.mkfifo(tmp_path / "in" / "c.txt")
    job = speech_job(tmp_path / "in", tmp_path / "out", max_failure_rate=0.5)
    job = job.override(sources=(SourceConfig(str(tmp_path / "in"), text_suffix=".txt"),))
    status = run_job(job)
    assert (status.written, status.failures) == (2, {"bad_text": 2})
    (tmp_path / "in" / "b.txt").write_text("mended")
    status = run_job(job, retry_failed=True)
    assert (status.written, status.failures) == (3, {"bad_text": 1})
    assert {key: row["text"] for key, row in rows(tmp_path / "out").items()} == {
        "a.wav": "a", "b.wav": "mended", "d.wav": "d",
    }  # fmt: skip


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "list.csv").write_text("path,text,text\na.wav,x,y\n")
    (tmp_path / "list.jsonl").write_text('{"path": "a.wav", "text": "x", "text": "y"}\n')
    with pytest.raises(JobError, match=r"list.csv: several columns are called 'text'"):
        listed(tmp_path / "list.csv")
    with pytest.raises(JobError, match=r"list.jsonl, line 1: a name is there twice"):
        listed(tmp_path / "list.jsonl")


def manifest(path: Path) -> Path:
    """One that has a column `transcript`, of any kind."""
    row = {"path": "a.wav", "transcript": "hi"}
    if path.suffix == ".jsonl":
        path.write_text(json.dumps(row) + "\n")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(mark.join(line) for line in (row, row.values())) + "\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_column_that_the_job_names_must_be_there(tmp_path, kind):
    path = manifest(tmp_path / f"list.{kind}")
    write_wav(tmp_path / "a.wav", 600)
    said = r"no column 'transcription', which columns = .* names; there are 'path', 'transcript'"
    for one in ("text", "key", "modality"):
        with pytest.raises(JobError, match=said):
            listed(path, kind="manifest", columns={one: "transcription"})
    [item] = listed(path, kind="manifest", columns={"text": "transcript"})
    assert item.text == "hi"


def test_so_must_a_column_of_a_table_and_it_must_hold_media(tmp_path):
    path = table(tmp_path / "x.parquet", 1, cover=[b"png"])
    for one in ("text", "key", "modality", "media"):
        with pytest.raises(JobError, match=r"x.parquet: no column 'nothing'"):
            listed(path, columns={"media": "audio", one: "nothing"})
    with pytest.raises(JobError, match=r"which column holds .*: audio, cover .* a source of its own"):
        listed(path)
    with pytest.raises(JobError, match=r"column 'year' holds no media"):
        listed(table(tmp_path / "y.parquet", year=[1999]), columns={"media": "year"})


def test_settings_that_a_source_does_not_have_are_refused(tmp_path):
    write_wav(tmp_path / "a.wav", 600)
    manifest(tmp_path / "list.csv")
    for name, options, said in (
        ("", {"columns": {"text": "x"}}, "of kind 'folder' has no columns"),
        ("list.csv", {"text_suffix": ".txt"}, "of kind 'manifest' has no text_suffix"),
        ("list.csv", {"columns": {"media": "x"}}, r"has no column \['media'\]; known: key, path, text, modality"),
        ("", {"split": "train"}, "has no split"),
    ):
        with pytest.raises(UsageError, match=said):
            opened(tmp_path / name, **options)


def test_texts_that_no_medium_has_beside_it_are_an_error(tmp_path):
    for number in range(3):
        write_wav(tmp_path / f"{number}.wav", 600)
        (tmp_path / f"{number}.lab").write_text("x")
    for path in (tmp_path, f"{tmp_path}/*"):
        with pytest.raises(JobError, match=r"text_suffix = '.txt', but none of its 3 media .* \(there is 3 .lab\)"):
            listed(path, text_suffix=".txt")
        assert [item.text for item in listed(path, text_suffix=".LAB")] == ["x"] * 3


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_field_may_be_long_and_lines_blank(tmp_path, kind):
    mark = "," if kind == "csv" else "\t"
    long = "x" * 300_000
    lines = ["", f"path{mark}text", "", f"a.wav{mark}{long}", "  ", mark, f"b.wav{mark}y", ""]
    (tmp_path / f"list.{kind}").write_text("\n".join(lines))
    source = opened(tmp_path / f"list.{kind}")
    assert [(item.key, item.text) for item in source.items()] == [("a.wav", long), ("b.wav", "y")]
    assert source.ignored == {"rows without a value": 2}
    (tmp_path / "list.jsonl").write_text('\n{"path": "a.wav"}\n \n{"path": "b.wav"}\n\n')
    assert [item.key for item in listed(tmp_path / "list.jsonl")] == ["a.wav", "b.wav"]


def test_columns_without_a_name_are_kept_apart(tmp_path):
    """Spreadsheets end every row with marks."""
    (tmp_path / "list.csv").write_text("path,text,,\na.wav,hi,,so\n")
    [item] = listed(tmp_path / "list.csv")
    assert (item.text, item.meta) == ("hi", {"column 3": None, "column 4": "so"})


def test_a_text_where_bytes_are_expected_is_no_path(tmp_path):
    """A cell that says the name of a file must not make the reader open it."""
    write_wav(tmp_path / "secret.wav", 600)
    media = pa.array(
        [{"bytes": str(tmp_path / "secret.wav"), "path": None}], pa.struct({"bytes": pa.string(), "path": pa.string()})
    )
    pq.write_table(pa.table({"audio": media}), tmp_path / "x.parquet")
    with pytest.raises(JobError, match="which column holds the media"):
        listed(tmp_path / "x.parquet")
    with pytest.raises(MediaError, match="a str where bytes are expected"):
        fetch(Item("a", "speech", str(tmp_path / "x.parquet"), None, "", ("parquet", 0, 0, "audio")))


def test_the_limit_of_other_users_of_csv_is_only_raised(tmp_path):
    manifest(tmp_path / "list.csv")
    before = csv.field_size_limit(2**40)
    try:
        listed(tmp_path / "list.csv")
        assert csv.field_size_limit() == 2**40
    finally:
        csv.field_size_limit(before)
