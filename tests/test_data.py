"""Datasets over stored codes and composed sequences: every item once an epoch, stopped and resumed anywhere."""

from __future__ import annotations

import gc
import os
import pickle
import random
import shutil
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from loader_stops import Make, check_stops
from test_compose_jobs import MEDIA, job_of, sequences, store, write_media
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from anytok import Codes, UsageError, Vocabulary
from anytok.compose import Form
from anytok.data import CodesDataset, Collator, EpochDataset, SequenceDataset
from anytok.errors import JobError
from anytok.jobs import run_job
from anytok.registry import find
from anytok.vocab import ByteTokenizer, build_layout, segment_of

ITEMS = 48


def make_codes(root: Path) -> Path:
    """48 items in shards of seven, in parquet and in WebDataset, with a vocabulary beside them; and composed."""
    output = store(write_media(root / "in", ITEMS), root / "codes")
    segments = [segment_of(find(f"fake-{one}").spec) for one in MEDIA]
    Vocabulary(build_layout("fakes", 256, ["<s>", "</s>", *segments])).save(root / "vocabulary.json")
    compose = {"length": 60, "shuffle": False}
    run_job(job_of(output, root / "packed", compose=compose, sinks=("parquet", "hf")))
    run_job(job_of(output, root / "plain", compose={**compose, "length": 0}))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_codes(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DataLoader whose dataset has raised waits so long, 5 seconds, for each of its processes."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)


def codes(root: Path, sink: str = "parquet", form: Form = Form("item", seed=1), **options: Any) -> CodesDataset:  # noqa: B008
    vocabulary = Vocabulary.from_file(root / "vocabulary.json")
    return CodesDataset(root / "codes" / sink / "*", vocabulary, form, **options)


def makers(root: Path) -> dict[str, Make]:
    """Datasets of each kind, by rank."""

    def over(dataset: Any, **options: Any) -> Make:
        return lambda rank, ranks: EpochDataset(dataset, seed=3, shuffle_files=3, rank=rank, num_ranks=ranks, **options)

    return {
        "parquet": over(codes(root)),
        "webdataset": over(codes(root, "webdataset")),
        "packed on the fly": over(codes(root), length=60, pack_items=5),
        "sequences": over(SequenceDataset(root / "packed")),
    }


def lists(row: Any) -> dict[str, list[int]]:
    return {name: line.tolist() for name, line in row.items()}


def as_stored(folder: Path, sink: str = "parquet") -> list[dict[str, list[int]]]:
    names = ("input_ids", "labels", "position_ids")
    return [{name: row[name] for name in names} for row in sequences(folder, sink)]


@pytest.mark.parametrize("sink", ["parquet", "webdataset"])
def test_rows_of_codes_are_the_documents_that_a_job_composes(root: Path, sink: str) -> None:
    dataset = codes(root, sink)
    assert len(dataset) == ITEMS
    assert [lists(row) for row in dataset] == as_stored(root / "plain")
    assert lists(dataset[-1]) == lists(dataset[ITEMS - 1]) and dataset[0]["labels"].dtype == torch.int64
    with pytest.raises(IndexError):
        dataset[ITEMS]


@pytest.mark.parametrize("sink", ["parquet", "hf"])
def test_rows_of_sequences_are_those_stored(root: Path, sink: str) -> None:
    folder = root / "packed" / sink / ("data" if sink == "hf" else "") / "*"
    columns = ("input_ids", "labels", "position_ids", "cu_seqlens")
    found = [lists(row) for row in SequenceDataset(folder, columns=columns)]
    assert found == [{name: row[name] for name in columns} for row in sequences(root / "packed", sink)]
    assert [lists(row) for row in SequenceDataset(root / "packed")] == as_stored(root / "packed")


def test_sequences_packed_on_the_fly_are_those_that_a_job_packs(root: Path) -> None:
    """A job's shards hold twenty documents."""
    packed = EpochDataset(codes(root), shuffle=False, length=60, pack_items=20)
    found = [lists(row) for row in packed]
    assert found == as_stored(root / "packed") and len(found) > 20
    with pytest.raises(TypeError):
        len(packed)


def test_documents_of_several_items_go_on_in_the_next_file(root: Path) -> None:
    form = Form("interleaved", document="page", position="place", order="medium-first")
    vocabulary = Vocabulary.from_file(root / "vocabulary.json")
    with pytest.raises(UsageError, match="text and ids meet through a text tokenizer"):
        codes(root, form=form)
    vocabulary = vocabulary.with_text(ByteTokenizer())
    dataset = CodesDataset(root / "codes" / "parquet" / "*", vocabulary, form)
    assert len(dataset) == 10  # 48 items, five a page
    pages = [vocabulary.from_ids(row["input_ids"].numpy(), "strict") for row in dataset]
    assert [sum(isinstance(part, Codes) for part in page) for page in pages] == [5] * 9 + [3]
    lone = CodesDataset(root / "codes" / "parquet" / "*", vocabulary, Form("interleaved", document="chapter"))
    with pytest.raises(JobError, match=r"000000\.parquet, 000\.png: there is no 'chapter' in its metadata"):
        lone[0]


@pytest.mark.parametrize("workers", [0, 2, 4])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_item_comes_once_an_epoch(root: Path, workers: int, ranks: int) -> None:
    dataset = codes(root)
    wanted = Counter(str(lists(row)) for row in dataset)
    orders = []
    for epoch in range(2):
        found: list[str] = []
        for rank in range(ranks):
            part = EpochDataset(dataset, seed=5, shuffle_files=2, rank=rank, num_ranks=ranks)
            part.set_epoch(epoch)
            rows = [str(lists(row)) for row in DataLoader(part, batch_size=None, num_workers=workers)]
            assert len(rows) == len(part) and abs(len(rows) - ITEMS / ranks) < 1
            found += rows
        assert Counter(found) == wanted
        orders.append(found)
    assert orders[0] != orders[1] != list(wanted)


def test_the_order_depends_on_seed_and_epoch_alone(root: Path) -> None:
    def order(seed: int, epoch: int, shuffle: bool = True, shuffle_files: int = 2) -> list[str]:
        part = EpochDataset(codes(root), seed=seed, shuffle=shuffle, shuffle_files=shuffle_files)
        part.set_epoch(epoch)
        return [str(lists(row)) for row in part]

    orders = [order(1, 0), order(2, 0), order(1, 1), order(1, 0, shuffle=False)]
    assert len({tuple(one) for one in orders}) == 4 and order(1, 0) == orders[0]
    stored = [str(row) for row in as_stored(root / "plain")]
    assert orders[3] == stored
    numbers = {row: number for number, row in enumerate(stored)}
    visits = [[numbers[row] // 7 for row in order(1, epoch, shuffle_files=1)] for epoch in range(3)]
    files = [[file for file, _ in groupby(one)] for one in visits]
    assert all(sorted(one) == list(range(7)) for one in files) and len(set(map(str, files))) == 3


@pytest.mark.parametrize(("workers", "ranks"), [(0, 1), (0, 3), (2, 1), (2, 2), (4, 3)])
def test_stopped_and_resumed_the_stream_is_that_of_an_undisturbed_loader(root: Path, workers: int, ranks: int) -> None:
    """`python tests/loader_stops.py 50` stops each of the four kinds 50 times."""
    name, make = random.Random(f"{workers} {ranks}").choice(list(makers(root).items()))
    assert check_stops(make, 2, workers, ranks) > 10, name


def test_a_state_without_a_loader(root: Path) -> None:
    """Taken behind every item in turn: the rest of the epoch is what was to come."""
    for make in makers(root).values():
        whole = [lists(row) for row in make(1, 3)]
        for stop in range(0, len(whole) + 1, 3):
            first = make(1, 3)
            there = iter(first)
            begun = [lists(next(there)) for _ in range(stop)]
            second = make(1, 3)
            second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
            assert second.state_dict() == first.state_dict()
            assert begun + [lists(row) for row in second] == whole
            assert [lists(row) for row in second] == whole  # the next pass is a whole one


@pytest.mark.parametrize("workers", [0, 2])
def test_a_map_style_dataset_resumes_by_torchdatas_sampler(root: Path, workers: int) -> None:
    def loader() -> StatefulDataLoader:
        draw = torch.Generator().manual_seed(5)
        options: dict[str, Any] = {"shuffle": True, "generator": draw, "collate_fn": Collator()}
        return StatefulDataLoader(codes(root), batch_size=2, num_workers=workers, **options)

    whole = [lists(batch) for batch in loader()]
    first, second = loader(), loader()
    there = iter(first)
    begun = [lists(next(there)) for _ in range(7)]
    second.load_state_dict(first.state_dict())
    assert begun + [lists(batch) for batch in second] == whole and len(whole) == ITEMS // 2


def test_a_state_goes_on_in_its_own_epoch(root: Path) -> None:
    make = makers(root)["parquet"]
    first, second = make(0, 1), make(0, 1)
    first.set_epoch(4)
    there = iter(first)
    next(there)
    second.load_state_dict(first.state_dict())
    assert (first.epoch, second.epoch) == (4, 4) and [lists(row) for row in second] == [lists(row) for row in there]
    second.load_state_dict(first.state_dict())
    second.set_epoch(5)
    assert len(list(second)) == ITEMS and second.state_dict()["epoch"] == 5
    first.set_epoch(6)
    assert (first.state_dict()["epoch"], first.state_dict()["row"]) == (6, 0)


def test_persistent_workers_learn_of_the_next_epoch(root: Path) -> None:
    part = makers(root)["parquet"](0, 1)
    kept = DataLoader(part, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in range(2):
        part.set_epoch(epoch)
        fresh = makers(root)["parquet"](0, 1)
        fresh.set_epoch(epoch)
        orders.append([str(lists(row)) for row in kept])
        assert orders[-1] == [str(lists(row)) for row in DataLoader(fresh, batch_size=None, num_workers=2)]
    assert orders[0] != orders[1]


def test_a_dataset_goes_to_a_worker_that_is_spawned(root: Path) -> None:
    part = makers(root)["parquet"](0, 1)
    found = [lists(row) for row in DataLoader(part, batch_size=None, num_workers=1, multiprocessing_context="spawn")]
    assert found == [lists(row) for row in part]


def copied(root: Path, folder: Path, name: str = "packed/parquet") -> Path:
    """Files with their times."""
    shutil.copytree(root / name, folder / "copy", copy_function=shutil.copy2)
    return folder / "copy"


def test_shards_that_were_changed_under_a_state_are_told(root: Path, tmp_path: Path) -> None:
    state = EpochDataset(SequenceDataset(root / "packed")).state_dict()
    folder = copied(root, tmp_path)
    moved = EpochDataset(SequenceDataset(folder / "*"))
    moved.load_state_dict(state)  # moved files are the same ones
    path = sorted(folder.iterdir())[1]
    data = bytearray(path.read_bytes())
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    with pytest.raises(JobError, match=r"shards were changed since the state was taken: they were 3 files"):
        EpochDataset(SequenceDataset(folder / "*")).load_state_dict(state)
    path.unlink()
    with pytest.raises(JobError, match="are 2 files"):
        EpochDataset(SequenceDataset(folder / "*")).load_state_dict(state)


def test_a_file_that_changes_while_it_is_in_use_is_told(root: Path, tmp_path: Path) -> None:
    for name, make in (("packed/parquet", SequenceDataset), ("codes/parquet", None)):
        folder = copied(root, tmp_path / name, name)
        vocabulary = Vocabulary.from_file(root / "vocabulary.json")
        dataset: Any = make(folder / "*") if make else CodesDataset(folder / "*", vocabulary)
        os.utime(folder / "000001.parquet", ns=(1, 1))
        assert dataset[0]
        with pytest.raises(JobError, match=r"000001\.parquet, row 0: the file was changed while it was in use"):
            dataset[dataset.sizes[0]]


def test_a_state_of_other_settings_or_streams_is_refused(root: Path) -> None:
    dataset = codes(root)
    state = EpochDataset(dataset, seed=1).state_dict()
    with pytest.raises(UsageError, match="the state is of seed = 1, and this dataset has 2"):
        EpochDataset(dataset, seed=2).load_state_dict(state)
    with pytest.raises(UsageError, match="the state is of form = "):
        EpochDataset(codes(root, form=Form("item", loss="media")), seed=1).load_state_dict(state)
    with pytest.raises(UsageError, match="expected what state_dict has given"):
        EpochDataset(dataset).load_state_dict({"epoch": 1})
    other = EpochDataset(dataset, seed=1, rank=0, num_ranks=2)
    other.load_state_dict(state)
    with pytest.raises(UsageError, match=r"stream 0 of 1 .* this is 0 of 2"):
        iter(other)


def flip(path: Path, column: str, row_group: int = 0) -> None:
    """A bit in the last page of a column, and the time as it was."""
    import pyarrow.parquet as pq

    group, times = pq.read_metadata(path).row_group(row_group), path.stat()
    [chunk] = [one for one in map(group.column, range(group.num_columns)) if one.path_in_schema.startswith(column)]
    end = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size
    data = bytearray(path.read_bytes())
    data[end - 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_names_the_file_and_the_row(root: Path, tmp_path: Path, workers: int) -> None:
    folder = copied(root, tmp_path / "a", "codes/parquet")
    dataset = CodesDataset(folder / "*", Vocabulary.from_file(root / "vocabulary.json"))
    flip(folder / "000002.parquet", "codes")
    with pytest.raises(JobError, match=r"copy/000002\.parquet, row 3: .*CRC"):
        list(DataLoader(dataset, sampler=[0, 17], batch_size=None, num_workers=workers))
    folder = copied(root, tmp_path / "b")
    composed = SequenceDataset(folder / "*")
    flip(folder / "000001.parquet", "input_ids")
    assert composed[0]
    with pytest.raises(JobError, match=r"copy/000001\.parquet, row 1: .*CRC"):
        list(DataLoader(composed, sampler=[0, composed.sizes[0] + 1], batch_size=None, num_workers=workers))
    gc.collect()  # ends the loaders here, see `impatient`


def test_a_damaged_tar_names_the_file_and_the_row(root: Path, tmp_path: Path) -> None:
    folder = copied(root, tmp_path, "codes/webdataset")
    dataset = CodesDataset(folder / "*", Vocabulary.from_file(root / "vocabulary.json"))
    path = folder / "000001.tar"
    times, data = path.stat(), path.read_bytes()
    place = data.index(b"\x93NUMPY", data.index(b"\x93NUMPY") + 1)  # the second sample's codes
    path.write_bytes(data[:place] + b"?" + data[place + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert dataset[7]
    with pytest.raises(JobError, match=r"copy/000001\.tar, row 1: "):
        dataset[8]


def write_sequences(path: Path, **columns: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = {"input_ids": [[1, 2]], "labels": [[-100, 2]], "position_ids": [[0, 1]], "cu_seqlens": [[0, 2]]}
    table = {name: pa.array(one, pa.list_(pa.int32())) for name, one in {**good, **columns}.items() if one is not None}
    pq.write_table(pa.table(table), path)


@pytest.mark.parametrize("columns", [{"labels": [[2]]}, {"cu_seqlens": [[0, 1]]}, {"input_ids": [None]}])
def test_rows_that_are_no_sequences_are_refused(tmp_path: Path, columns: Any) -> None:
    write_sequences(tmp_path / "a.parquet")
    assert lists(SequenceDataset(tmp_path / "a.parquet")[0])["input_ids"] == [1, 2]
    write_sequences(tmp_path / "b.parquet", **columns)
    with pytest.raises(JobError, match=r"b\.parquet, row 0: not a sequence"):
        SequenceDataset(tmp_path / "b.parquet")[0]


def test_what_is_no_dataset_is_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sequences(tmp_path / "a.parquet", labels=None)
    with pytest.raises(JobError, match="no column 'labels'"):
        SequenceDataset(tmp_path / "a.parquet")
    with pytest.raises(JobError, match="is no shard of sequences"):
        SequenceDataset(root / "codes" / "webdataset" / "*")
    with pytest.raises(UsageError, match="no file matches"):
        SequenceDataset(tmp_path / "nothing*")
    with pytest.raises(UsageError, match="columns='ids'"):
        SequenceDataset(root / "packed", columns=["ids"])
    with pytest.raises(UsageError, match="of type SequenceDataset: expected a CodesDataset"):
        EpochDataset(SequenceDataset(root / "packed"), length=10)
    with pytest.raises(UsageError, match="rank=None of num_ranks=2"):
        EpochDataset(codes(root), num_ranks=2)
    with pytest.raises(UsageError, match="shuffle_files=17: expected a whole number, 1 to 16"):
        EpochDataset(codes(root), shuffle_files=17)  # more than stay open
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="where 2 processes run: give both"):
        EpochDataset(codes(root))
    assert len(EpochDataset(codes(root), rank=1, num_ranks=2)) == ITEMS // 2


def test_a_document_that_no_sequence_can_hold_names_its_row(root: Path) -> None:
    with pytest.raises(JobError, match=r"000000\.parquet, row 0: 000\.png has 34 ids"):
        list(EpochDataset(codes(root), shuffle=False, length=33))


def test_batches_are_padded_on_the_right() -> None:
    rows = [
        {"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor([-100, 6, 7]), "position_ids": torch.arange(3)},
        {"input_ids": torch.tensor([8]), "labels": torch.tensor([-100]), "position_ids": torch.tensor([0])},
    ]
    assert lists(Collator(pad_id=9, multiple=4)(rows)) == {
        "input_ids": [[5, 6, 7, 9], [8, 9, 9, 9]],
        "labels": [[-100, 6, 7, -100], [-100] * 4],
        "position_ids": [[0, 1, 2, 0], [0, 0, 1, 2]],
    }
    with pytest.raises(UsageError, match="cu_seqlens"):
        Collator()([{"cu_seqlens": torch.tensor([0])}])


def test_importing_it_does_not_import_torch_before() -> None:
    import subprocess
    import sys

    code = "import anytok, anytok.jobs, anytok.compose, sys; assert 'torch' not in sys.modules; import anytok.data"
    subprocess.run([sys.executable, "-c", code + "; assert 'torchdata' not in sys.modules"], check=True)
