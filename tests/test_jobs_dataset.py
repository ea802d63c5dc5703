"""Datasets that Hugging Face's `datasets` saved: with formats, several columns of media, splits, damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from job_corpus import listed, opened, wav_bytes

from anytok.errors import JobError, UsageError
from anytok.jobs.fetch import fetch

datasets = pytest.importorskip("datasets")


def made(folder: Path, count: int = 3):
    """A dataset of recordings with two further columns of pictures, texts, and numbers."""
    data = [wav_bytes(folder / "one.wav", 600, number) for number in range(count)]
    as_medium = [{"bytes": one, "path": None} for one in data]
    features = datasets.Features(
        {
            "audio": datasets.Image(decode=False),  # its Audio wants torchcodec
            "text": datasets.Value("string"),
            "year": datasets.Value("int64"),
            "covers": datasets.Sequence(datasets.Image(decode=False)),
        }
    )
    columns = {"audio": as_medium, "text": [f"t{n}" for n in range(count)], "year": list(range(count))}
    return datasets.Dataset.from_dict({**columns, "covers": [[one] for one in as_medium]}, features=features), data


@pytest.mark.parametrize("form", ["numpy", "torch", "arrow", "pandas", "columns", "a package that is not there"])
def test_the_format_a_dataset_was_saved_with_is_not_that_of_its_rows(tmp_path, form):
    dataset, data = made(tmp_path)
    if form in ("numpy", "torch", "arrow", "pandas"):
        dataset = dataset.with_format(form)
    elif form == "columns":
        dataset = dataset.with_format(None, columns=["year"])
    dataset.save_to_disk(str(tmp_path / "ds"))
    if form == "a package that is not there":
        state = json.loads((tmp_path / "ds" / "state.json").read_text())
        (tmp_path / "ds" / "state.json").write_text(json.dumps({**state, "_format_type": "jax"}))
    source = opened(tmp_path / "ds", kind="hf")
    items = list(source.items())
    assert [(item.key, item.text, item.meta) for item in items] == [
        (f"00000000{n}", f"t{n}", {"year": n}) for n in range(3)
    ]
    assert [fetch(item) for item in items] == data
    assert source.ignored == {"column covers": 1}


def test_one_of_two_columns_of_media_is_to_be_named(tmp_path):
    dataset, data = made(tmp_path)
    dataset = dataset.add_column("other", dataset["audio"][::-1], feature=datasets.Image(decode=False))
    dataset.save_to_disk(str(tmp_path / "ds"))
    with pytest.raises(JobError, match=r"which column holds the media\? Candidates: audio, other .* source of its own"):
        listed(tmp_path / "ds", kind="hf")
    source = opened(tmp_path / "ds", kind="hf", columns={"media": "other"})
    items = list(source.items())
    assert [fetch(item) for item in items] == data[::-1] and items[0].meta == {"year": 0}
    assert source.ignored == {"column audio": 1, "column covers": 1}
    with pytest.raises(JobError, match=r"no column 'transcript'"):
        listed(tmp_path / "ds", kind="hf", columns={"media": "other", "text": "transcript"})


def test_a_split_is_named_and_must_be_there(tmp_path):
    dataset, _ = made(tmp_path)
    datasets.DatasetDict(train=dataset, test=dataset.select([0])).save_to_disk(str(tmp_path / "ds"))
    with pytest.raises(UsageError, match=r'has splits train, test: say split = "train"'):
        listed(tmp_path / "ds", kind="hf")
    assert len(listed(tmp_path / "ds", kind="hf", split="test")) == 1
    with pytest.raises(JobError, match=r"ds/dev is no dataset that was saved to disk"):
        listed(tmp_path / "ds", kind="hf", split="dev")


def test_a_selection_is_read_in_its_order(tmp_path):
    dataset, data = made(tmp_path)
    dataset.select([2, 0]).save_to_disk(str(tmp_path / "ds"), num_shards=2)
    items = listed(tmp_path / "ds", kind="hf")
    assert [item.text for item in items] == ["t2", "t0"] and [fetch(item) for item in items] == [data[2], data[0]]


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("damage", ["gone", "cut", "list"])
def test_a_damaged_dataset_is_named(tmp_path, name, damage):
    dataset, _ = made(tmp_path)
    dataset.save_to_disk(str(tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "ds")
    path = tmp_path / "ds" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"[1]" if damage == "list" else path.read_bytes()[:100])
    with pytest.raises(JobError, match=r"/ds( |/)"):
        listed(tmp_path / "ds", kind="hf")


def test_cells_that_python_cannot_hold_cost_their_rows_and_offsets_that_lead_astray_the_dataset(tmp_path):
    import numpy as np
    import pyarrow as pa

    strings = pa.StringArray.from_buffers(
        3, pa.py_buffer(np.array([0, 4, 6, 10], np.int32)), pa.py_buffer(b"good\xff\xfeokay")
    )
    days = pa.array([0, 0, 10**9], pa.int32()).cast(pa.date32())
    media = pa.array([wav_bytes(tmp_path / "one.wav", 600, 1)] * 3, pa.binary())
    folder = tmp_path / "ds"
    folder.mkdir()
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (folder / "dataset_info.json").write_text("{}")

    def write(text) -> None:
        table = pa.table({"audio": media, "text": text, "day": days})
        with pa.ipc.new_stream(str(folder / "data.arrow"), table.schema) as out:
            out.write_table(table)

    write(strings)
    first, second, third = listed(folder, kind="hf")
    assert (first.text, first.meta, first.place[0]) == ("good", {"day": "1970-01-01"}, "hf")
    assert "row 1, column 'text': its value cannot be read" in second.place[2]
    assert "row 2, column 'day': its value cannot be read" in third.place[2]
    astray = pa.py_buffer(np.array([0, 4, 2**30, 10], np.int32))
    write(pa.StringArray.from_buffers(3, astray, pa.py_buffer(b"good and okay")))
    with pytest.raises(JobError, match=r"/ds is no readable dataset \(ArrowInvalid"):
        listed(folder, kind="hf")
