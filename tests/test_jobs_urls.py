"""Sources by pattern and by URL: here, and from a web server of this test's own."""

from __future__ import annotations

import functools
import json
import os
import tarfile
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from job_corpus import rows, speech_folder, speech_job, write_wav

from anytok.errors import JobError, MediaError, NetworkError, UsageError
from anytok.jobs import run_job, verify_job
from anytok.jobs.config import SourceConfig
from anytok.jobs.fetch import fetch
from anytok.jobs.items import Item
from anytok.registry import load_tokenizer


def codes_of(path):
    return load_tokenizer("fake-speech").encode(path).values.tolist()


class Ranges(SimpleHTTPRequestHandler):
    """Files and listings of a folder, and parts of files, as object stores give them."""

    def do_GET(self):
        path = self.translate_path(self.path)
        if "Range" not in self.headers or path.endswith("/"):
            return super().do_GET()
        with open(path, "rb") as stream:
            data = stream.read()
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)

    def end_headers(self):
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_):
        pass


class Whole(SimpleHTTPRequestHandler):
    """A server that only gives whole files, whatever part is asked for."""

    def log_message(self, *_):
        pass


class Endless(Whole):
    """… and that does not say how long they are."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        path = self.translate_path(self.path)
        if os.path.isdir(path):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with open(path, "rb") as stream:
            while piece := stream.read(1000):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
                time.sleep(0.001)
        self.wfile.write(b"0\r\n\r\n")


@contextmanager
def serving(folder, handler):
    """The URL of a folder on a server of this kind."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def served(tmp_path):
    """(folder with five recordings, its URL)."""
    pytest.importorskip("aiohttp")
    folder = speech_folder(tmp_path / "in", 4)
    write_wav(folder / "a b%c#ü.wav", 900, 9)
    with serving(folder, Ranges) as url:
        yield folder, url


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_pattern_is_a_source(tmp_path, scheme):
    source = speech_folder(tmp_path / "in", 3)
    job = speech_job(f"{scheme}{source}/1/*.wav", tmp_path / "out")
    assert run_job(job).written == 1 and run_job(job).finished
    assert rows(tmp_path / "out")[f"{scheme}{source}/1/0001.wav"]["codes"] == codes_of(source / "1" / "0001.wav")
    write_wav(source / "1" / "0001.wav", 777)
    with pytest.raises(JobError, match=r"0001.wav was changed"):
        run_job(job)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_links_match_a_pattern(tmp_path, scheme):
    source = speech_folder(tmp_path / "in", 2)
    (tmp_path / "links" / "folder.wav").mkdir(parents=True)
    for name, target in (("a", "../in/0/0000.wav"), ("b", "nowhere"), ("c", "../in")):
        os.symlink(target, tmp_path / "links" / f"{name}.wav")
    pattern = f"{scheme}{tmp_path}/links/*.wav"
    status = run_job(speech_job(pattern, tmp_path / "out", max_failure_rate=0.5))
    assert status.failures == {"missing": 1}
    assert rows(tmp_path / "out")[pattern.replace("*", "a")]["codes"] == codes_of(source / "0" / "0000.wav")


def test_a_path_that_is_there_is_no_pattern(tmp_path):
    write_wav(tmp_path / "rec [2024]" / "a.wav", 600)
    write_wav(tmp_path / "t1.wav", 700)
    with tarfile.open(tmp_path / "t[1].tar", "w") as tar:
        tar.add(tmp_path / "t1.wav", "t1.wav")
    assert run_job(speech_job(tmp_path / "rec [2024]", tmp_path / "a")).written == 1
    assert run_job(speech_job(f"file://{tmp_path}/rec [2024]", tmp_path / "c")).written == 1
    run_job(speech_job(tmp_path / "t[1].tar", tmp_path / "b"))
    assert set(rows(tmp_path / "b")) == {"t[1].tar/t1.wav"}


def test_a_folder_on_a_server_is_a_source(served, tmp_path):
    folder, url = served
    (folder / "0" / "0002.txt").write_text("Wörter", "utf-8")
    job = speech_job(url, tmp_path / "out").override(sources=(SourceConfig(url, text_suffix=".txt"),))
    status = run_job(job)
    found = rows(tmp_path / "out")
    assert (status.written, len(found)) == (5, 5) and verify_job(tmp_path / "out", one_in=1).ok
    assert found[f"{url}/a%20b%25c%23%C3%BC.wav"]["codes"] == codes_of(folder / "a b%c#ü.wav")
    assert found[f"{url}/0/0002.wav"]["text"] == "Wörter" and found[f"{url}/0/0000.wav"]["text"] is None
    write_wav(folder / "new.wav", 500)
    with pytest.raises(JobError, match=r"new.wav is new"):
        run_job(job)


@pytest.mark.parametrize("pattern", ["0/*.wav", "0/0000.wav"])
def test_patterns_and_single_files_on_a_server(served, tmp_path, pattern):
    folder, url = served
    run_job(
        speech_job(f"{url}/{pattern}", tmp_path / "out").override(sources=(SourceConfig(f"{url}/{pattern}", "glob"),))
    )
    assert rows(tmp_path / "out")[f"{url}/0/0000.wav"]["codes"] == codes_of(folder / "0" / "0000.wav")


def test_archives_on_a_server_are_read_in_parts(served, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder, url = served
    paths = sorted(folder.rglob("*.wav"))
    with tarfile.open(folder / "x.tar", "w") as tar:
        for path in paths:
            tar.add(path, path.name)
    pq.write_table(pa.table({"audio": [path.read_bytes() for path in paths]}), folder / "x.parquet", row_group_size=2)
    for kind, key in (("tar", "x.tar/{}"), ("parquet", "x.parquet/{}")):
        run_job(speech_job(f"{url}/x.{kind}", tmp_path / kind))
        names = [path.name for path in paths] if kind == "tar" else range(len(paths))
        wanted = {key.format(name): codes_of(path) for name, path in zip(names, paths, strict=True)}
        assert {name: row["codes"] for name, row in rows(tmp_path / kind).items()} == wanted


def test_a_manifest_on_a_server_and_what_it_names(served, tmp_path):
    folder, url = served
    lines = [{"path": "0/0000.wav"}, {"path": f"{url}/1/0001.wav"}, {"path": "none.wav"}]
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status = run_job(speech_job(f"{url}/list.jsonl", tmp_path / "out", max_failure_rate=0.5))
    assert status.failures == {"missing": 1} and set(rows(tmp_path / "out")) == {"0/0000.wav", f"{url}/1/0001.wav"}


def test_a_file_that_is_no_longer_the_planned_one_is_found(served):
    folder, url = served
    size = (folder / "0" / "0000.wav").stat().st_size
    assert len(fetch(Item("a", "speech", f"{url}/0/0000.wav", size))) == size
    with pytest.raises(MediaError, match=r"changed after the plan"):
        fetch(Item("a", "speech", f"{url}/0/0000.wav", size + 1))
    assert len(fetch(Item("a", "speech", f"{url}/0/0000.wav", 44, f"{size}:", ("tar", 0, 44)))) == 44
    with pytest.raises(MediaError, match=r"changed after the plan"):
        fetch(Item("a", "speech", f"{url}/0/0000.wav", 44, f"{size + 1}:", ("tar", 0, 44)))


def test_what_cannot_be_reached_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"'nosuch://x/\*.wav' cannot be opened: Protocol not known"):
        run_job(speech_job("nosuch://x/*.wav", tmp_path / "out"))
    with pytest.raises(NetworkError, match=r"cannot be reached \(.*127.0.0.1:9.*check the address"):
        run_job(speech_job("http://127.0.0.1:9/*.wav", tmp_path / "out"))


@pytest.mark.parametrize("handler", [Whole, Endless])
def test_media_come_from_servers_that_give_whole_files_only(tmp_path, handler):
    """… and those that hold others are refused before work starts, unless they are downloaded first."""
    pytest.importorskip("aiohttp")
    folder = speech_folder(tmp_path / "in", 2)
    write_wav(folder / "long.wav", 400_000, 3)
    paths = sorted(folder.rglob("*.wav"))
    with tarfile.open(folder / "x.tar", "w") as tar:
        for path in paths:
            tar.add(path, path.name)
    with serving(folder, handler) as url:
        lines = [json.dumps({"path": f"{url}/{path.relative_to(folder)}", "key": path.name}) for path in paths]
        (tmp_path / "list.jsonl").write_text("\n".join(lines))
        assert run_job(speech_job(tmp_path / "list.jsonl", tmp_path / "a")).finished
        assert {key: row["codes"] for key, row in rows(tmp_path / "a").items()} == {p.name: codes_of(p) for p in paths}
        with pytest.raises(JobError, match=r"gives no parts of files \(HTTP ranges\).*filecache::http"):
            run_job(speech_job(f"{url}/x.tar", tmp_path / "b"))
        assert not (tmp_path / "b").exists()
        assert run_job(speech_job(f"filecache::{url}/x.tar", tmp_path / "c")).written == len(paths)
    wanted = {f"x.tar/{path.name}": codes_of(path) for path in paths}
    assert {key: row["codes"] for key, row in rows(tmp_path / "c").items()} == wanted


def test_chains_of_file_systems_work_end_to_end(served, tmp_path):
    folder, url = served
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for number in (0, 2):
            archive.write(folder / "0" / f"000{number}.wav", f"deep/000{number}.wav")
    for source, keys in (
        (f"zip://**/*.wav::file://{folder}/x.zip", f"zip://deep/{{}}::file://{folder}/x.zip"),
        (f"zip://deep/*.wav::{url}/x.zip", f"zip://deep/{{}}::{url}/x.zip"),
        (f"simplecache::{url}/0/*.wav", f"simplecache::{url}/0/{{}}"),
    ):
        output = tmp_path / str(hash(source))
        run_job(speech_job(source, output).override(sources=(SourceConfig(source, "glob"),)))
        wanted = {keys.format(name): codes_of(folder / "0" / name) for name in ("0000.wav", "0002.wav")}
        assert {key: row["codes"] for key, row in rows(output).items()} == wanted
        assert verify_job(output, one_in=1).ok


def test_what_lists_files_that_no_url_opens_is_refused_before_work(tmp_path, monkeypatch):
    """A file system whose names leave out what its URLs say."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    class Forgetful(LocalFileSystem):
        protocol = "forgetful"

        def __init__(self, place="", **options):
            super().__init__(**options)

        @classmethod
        def _strip_protocol(cls, path):
            return f"/{path.partition('://')[2].split('/', 2)[2]}" if "://" in path else path

        @staticmethod
        def _get_kwargs_from_urls(path):
            return {"place": path.partition("://")[2].split("/")[1]}

    fsspec.register_implementation("forgetful", Forgetful, clobber=True)
    folder = speech_folder(tmp_path / "in", 2)
    with pytest.raises(UsageError, match=r"no URL of one, such as 'forgetful:///.*opens it again: copy them"):
        run_job(speech_job(f"forgetful://server/repository{folder}/*/*.wav", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_listed_is_not_called_a_full_disk(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(JobError, match=r"a source cannot be listed: .*Permission denied"):
        run_job(speech_job(tmp_path, tmp_path / "out"))
