"""What is fetched is whole, whatever was there before and whoever else fetches; no network is needed here."""

from __future__ import annotations

import importlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import huggingface_hub
import pytest

from anytok.checkpoints.cards import Card, RemoteFile
from anytok.errors import FetchError

fetching = importlib.import_module("anytok.checkpoints.fetch")  # the package has a function of that name


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is what each test says; nobody asks for another."""
    monkeypatch.setattr(fetching, "why_offline", lambda: "")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A hub's cache, filled when asked."""
    cache = tmp_path / "hub"

    def file(repo: str, name: str, *, local_files_only: bool) -> str:
        assert not local_files_only
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("weights")
        return str(cache / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", file)
    return cache


def card_of(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    files = (RemoteFile(name=name, repo="some/repo", holds="all", size="1 MB"),)
    monkeypatch.setitem(fetching.CARDS, "small", Card(tokenizer="small", files=files, licence="none"))


def test_a_file_cleared_from_the_hubs_cache_is_fetched_again(hub, tmp_path, monkeypatch):
    card_of(monkeypatch, "model.safetensors")
    folder = tmp_path / "mine"
    for _ in range(2):
        assert (fetching.fetch("small", folder) / "model.safetensors").read_text() == "weights"
        (hub / "model.safetensors").unlink()
        assert [file.name for file in fetching.missing_files("small", folder)] == ["model.safetensors"]


def test_two_processes_may_fetch_one_file(hub, tmp_path, monkeypatch):
    card_of(monkeypatch, "model.safetensors")
    path = tmp_path / "model.safetensors"
    fetching._from_hub("some/repo", fetching.CARDS["small"].files[0], path)
    fetching._from_hub("some/repo", fetching.CARDS["small"].files[0], path)
    assert path.read_text() == "weights" and [one.name for one in tmp_path.iterdir() if one != hub] == [path.name]


def test_a_folder_of_which_the_fetching_was_stopped_is_missing(tmp_path, monkeypatch):
    card_of(monkeypatch, "unclip")

    def snapshot(repo: str, local_dir: Path, allow_patterns: list[str]) -> None:
        local_dir.mkdir(parents=True, exist_ok=True)
        (local_dir / "model_index.json").write_text("{}")
        if not (local_dir / "half").exists():
            (local_dir / "half").write_text("")
            raise ConnectionError("the network is gone")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(FetchError, match="the network is gone"):
        fetching.fetch("small", tmp_path / "mine")
    assert fetching.missing_files("small", tmp_path / "mine")
    assert (fetching.fetch("small", tmp_path / "mine") / "unclip" / "model_index.json").exists()
    assert not fetching.missing_files("small", tmp_path / "mine")


def test_any_number_of_threads_may_fetch_one_file(hub, tmp_path, monkeypatch):
    card_of(monkeypatch, "model.safetensors")
    (hub / "some").mkdir(parents=True)
    for _ in range(20):
        folder = tmp_path / "mine"
        shutil.rmtree(folder, ignore_errors=True)
        with ThreadPoolExecutor(8) as pool:
            places = list(pool.map(lambda _: fetching.fetch("small", folder), range(8)))  # noqa: B023
        assert {(place / "model.safetensors").read_text() for place in places} == {"weights"}


def test_two_may_fetch_one_folder(tmp_path, monkeypatch):
    """The second goes on in the folder that the first has filled, and renames."""
    card_of(monkeypatch, "unclip")
    both, first_is_done = Barrier(2), Event()

    def snapshot(repo: str, local_dir: Path, allow_patterns: list[str]) -> None:
        local_dir.mkdir(parents=True, exist_ok=True)
        if both.wait(10):
            (local_dir / "model_index.json").write_text("{}")
            return
        first_is_done.wait(10)
        (local_dir / "unet.json").write_text("{}")  # as if the hub's client had found it missing

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)

    def fetch() -> Path:
        place = fetching.fetch("small", tmp_path / "mine")
        first_is_done.set()
        return place

    with ThreadPoolExecutor(2) as pool:
        places = [job.result() for job in [pool.submit(fetch), pool.submit(fetch)]]
    assert all((place / "unclip" / "model_index.json").exists() for place in places)
