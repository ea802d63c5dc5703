"""What is fetched is whole, whatever was there before and whoever else fetches; no network is needed here."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Event

import huggingface_hub
import pytest
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE

from anytok.checkpoints import hub as hub_client
from anytok.checkpoints.cards import Card, RemoteFile
from anytok.errors import CheckpointError, FetchError

CHUNK = DOWNLOAD_CHUNK_SIZE  # bytes that the hub's client writes at a time

fetching = importlib.import_module("anytok.checkpoints.fetch")  # the package has a function of that name


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is what each test says; nobody asks for another."""
    monkeypatch.setattr(fetching, "why_offline", lambda *_: "")


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


class Server(ThreadingHTTPServer):
    """One file, model.pth in any folder, as a store of files gives it, and as the hub does: with its size, an ETag and
    parts.

    `stop` says at which byte its first answer ends: "lost" with the connection, "stalled" with nothing more to come.
    It gives nothing before it was asked `heads` times what the file is.
    """

    daemon_threads = True

    def __init__(self, data: bytes, *, stop: int = 0, then: str = "lost", ranges: bool = True, tag: str = "v1") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.stop, self.then, self.ranges, self.tag = data, stop, then, ranges, tag
        self.asked: list[str] = []  # the Range of each GET
        self.heads = 0
        self.tokens: list[str] = []
        self.done = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Whose client is gone."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.server.heads -= 1
        self._head(0)

    def do_GET(self) -> None:
        if not self.path.endswith("/model.pth"):  # what the hub's client asks beside
            self.send_error(404)
            return
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted and self.server.ranges else 0
        self.server.asked.append(wanted)
        while self.server.heads > 0:
            time.sleep(0.02)
        self._head(start)
        stop, self.server.stop = self.server.stop, 0
        self.wfile.write(self.server.data[start : stop or None])
        if stop and self.server.then == "stalled":
            self.server.done.wait(60)
        if stop:
            self.close_connection = True

    def _head(self, start: int) -> None:
        size = len(self.server.data)
        self.server.tokens += [self.headers["Authorization"]] if "Authorization" in self.headers else []
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(size - start))
        self.send_header("X-Repo-Commit", "0" * 40)  # what the hub says beside
        if self.server.tag:
            self.send_header("ETag", f'"{self.server.tag}"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(data: bytes, **how: object) -> Iterator[Server]:
    with Server(data, **how) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.done.set()
        server.shutdown()


def bytes_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def plain_card(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str = "") -> None:
    """A tokenizer whose one file lies on no hub."""
    files = (RemoteFile("model.pth", "all", "1 MB", url=f"{url}/far/model.pth", sha256=sha256),)
    monkeypatch.setitem(fetching.CARDS, "plain", Card(tokenizer="plain", files=files, licence="none"))


# What a process of its own fetches: a file of a plain address, or of a hub.
FETCH = """
import sys
from anytok.checkpoints import cards
from anytok.checkpoints.fetch import fetch
place, repo, url = sys.argv[1:]
files = (cards.RemoteFile("model.pth", "all", "1 MB", repo=repo, url=url),)
cards.CARDS["plain"] = cards.Card("plain", files, "none")
fetch("plain", place)
"""


def fetching_process(folder: Path, repo: str = "", url: str = "", **more: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", FETCH, str(folder), repo, url]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths, **more}, stderr=subprocess.DEVNULL)


def test_a_killed_download_goes_on_where_it_stopped(tmp_path):
    data = bytes_of(2 * CHUNK + 2000)
    with serving(data, stop=2 * CHUNK + 1000, then="stalled") as server:
        first = fetching_process(tmp_path, url=f"{server.url}/model.pth")
        began = time.monotonic()
        while not (parts := list(tmp_path.glob("*.unfinished"))) or parts[0].stat().st_size < 2 * CHUNK:
            assert first.poll() is None and time.monotonic() < began + 60
            time.sleep(0.05)
        first.kill()
        first.wait()
        assert not (tmp_path / "model.pth").exists()
        assert fetching_process(tmp_path, url=f"{server.url}/model.pth").wait() == 0
        assert server.asked == ["", f"bytes={2 * CHUNK}-"]
    assert (tmp_path / "model.pth").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_a_lost_connection_is_taken_up_again(tmp_path, monkeypatch):
    data = bytes_of(CHUNK + 2000)
    with serving(data, stop=CHUNK + 1000) as server:
        plain_card(monkeypatch, server.url)
        assert (fetching.fetch("plain", tmp_path) / "model.pth").read_bytes() == data
        assert server.asked == ["", f"bytes={CHUNK}-"]


def test_the_hubs_own_download_takes_up_a_lost_connection(tmp_path):
    data = bytes_of(2 * CHUNK, 1)
    tag = hashlib.sha256(data).hexdigest()
    with serving(data, stop=CHUNK + CHUNK // 2, tag=tag) as server:
        place = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        assert fetching_process(tmp_path / "here", repo="some/repo", **place).wait() == 0
        assert server.asked == ["", f"bytes={CHUNK}-"]
    assert (tmp_path / "here" / "model.pth").read_bytes() == data


@pytest.mark.parametrize("version", [{"tag": "v2"}, {"tag": ""}, {"size": 90_000}])
def test_parts_of_two_versions_are_never_joined(tmp_path, monkeypatch, version):
    """Nor is a part taken up of which nobody can tell the version."""
    old, new = bytes_of(100_000), bytes_of(version.get("size", 100_000), 2)
    stopped = RuntimeError("stopped")

    def half(url: str, stream, **_: object) -> None:
        stream.write(old[:60_000])
        raise stopped

    tag = version.get("tag", "v1")
    with serving(old, tag=tag and "v1") as server, monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", half)
        plain_card(monkeypatch, server.url)
        with pytest.raises(FetchError, match="stopped\nWhat has come is kept"):
            fetching.fetch("plain", tmp_path)
    with serving(new, tag=tag) as server:
        plain_card(monkeypatch, server.url)
        assert (fetching.fetch("plain", tmp_path) / "model.pth").read_bytes() == new
        assert server.asked == [""]
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_a_server_that_gives_no_parts_gives_the_whole_again(tmp_path, monkeypatch):
    data = bytes_of(CHUNK + 2000)
    with serving(data, stop=CHUNK + 1000, ranges=False) as server:
        plain_card(monkeypatch, server.url)
        try:
            fetching.fetch("plain", tmp_path)
        except FetchError:  # earlier versions of the client append, and find the size wrong
            fetching.fetch("plain", tmp_path)
        assert server.asked[1] == f"bytes={CHUNK}-"
    assert (tmp_path / "model.pth").read_bytes() == data


def test_what_is_not_the_published_file_is_refused(tmp_path, monkeypatch):
    data = bytes_of(1000)
    with serving(data) as server:
        plain_card(monkeypatch, server.url, "0" * 64)
        with pytest.raises(CheckpointError, match=f"SHA-256 is {hashlib.sha256(data).hexdigest()}, expected 000"):
            fetching.fetch("plain", tmp_path)
        plain_card(monkeypatch, server.url, hashlib.sha256(data).hexdigest())
        assert fetching.fetch("plain", tmp_path) == tmp_path


def test_the_hubs_token_goes_to_no_other_server(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(b"weights") as server:
        plain_card(monkeypatch, server.url)
        fetching.fetch("plain", tmp_path)
        assert server.asked == [""] and server.tokens == []


def test_several_processes_fetch_a_plain_file_once(tmp_path):
    data = bytes_of(3_000_000)
    with serving(data) as server:
        server.heads = 2 * 3  # each asks whether it is online, too
        jobs = [fetching_process(tmp_path, url=f"{server.url}/model.pth") for _ in range(3)]
        assert [job.wait() for job in jobs] == [0, 0, 0]
        assert server.asked == [""]
    assert (tmp_path / "model.pth").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_a_server_that_cannot_be_reached_is_told_in_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "why_offline", hub_client.why_offline)
    plain_card(monkeypatch, "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"far/model.pth: the server cannot be reached \(.+\)\nPut it there by hand"):
        fetching.fetch("plain", tmp_path)
    assert time.monotonic() < began + hub_client.SECONDS + 1
