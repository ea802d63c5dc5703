"""Nothing is passed over in silence: which files are media, what links lead to, and what the summaries say."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import warnings
from collections import Counter
from pathlib import Path

import pytest
from job_corpus import listed, opened, rows, speech_folder, speech_job, write_png, write_tar, write_wav

from anytok.cli import main
from anytok.errors import UsageError
from anytok.jobs import JobConfig, job_status, plan_job, run_job, verify_job
from anytok.jobs.config import SourceConfig, TokenizerConfig
from anytok.jobs.failures import Failure
from anytok.jobs.reading import read
from anytok.jobs.warned import Warned, add_up
from anytok.media import formats
from anytok.registry import load_tokenizer


def files_below(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder, followlinks=True))


def entries(source) -> int:
    """Items, and what is beside them: read, or passed over."""
    return len(list(source.items())) + source.sidecars.total() + source.ignored.total()


def test_every_file_is_an_item_or_counted(tmp_path):
    speech_folder(tmp_path, 6)
    for name in ("0/0000.txt", "1/0003.TXT", "1/alone.txt", "notes.md", "README", ".hidden", "0/cover.jpg", "x.json"):
        (tmp_path / name).write_text("x")
    os.symlink("nowhere", tmp_path / "dangling.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink("loop", tmp_path / "loop")
    source = opened(tmp_path, text_suffix=".txt")
    assert len(list(source.items())) == 8 and source.sidecars == {".txt": 2}
    assert source.ignored == {".txt": 1, ".md": 1, "no suffix": 3, ".jpg": 1, ".json": 1}
    assert entries(source) == files_below(tmp_path)
    pattern = opened(f"{tmp_path}/**", text_suffix=".txt")
    assert entries(pattern) == files_below(tmp_path) and pattern.ignored == source.ignored


def test_pictures_that_encode_reads_are_found_by_a_job(tmp_path):
    suffixes = (".jpe", ".jfif", ".dib", ".jp2", ".qoi", ".ppm", ".heif", ".avifs")
    write_png(tmp_path / "a.png")
    for suffix in suffixes:  # what it holds decides how it is read
        shutil.copy(tmp_path / "a.png", tmp_path / f"a{suffix}")
    image = {"image": TokenizerConfig("fake-image")}
    assert run_job(JobConfig(str(tmp_path / "out"), (SourceConfig(str(tmp_path)),), image)).written == 9
    assert set(rows(tmp_path / "out")) == {f"a{suffix}" for suffix in (".png", *suffixes)}


@pytest.mark.parametrize("suffix", [".wave", ".aifc", ".m4b", ".adts", ".3gp", ".mka", ".mkv", ".mov", ".WAV"])
def test_a_recording_that_encode_reads_is_found_by_a_job(tmp_path, suffix):
    write_wav(tmp_path / f"a{suffix}", 600)
    assert [item.key for item in listed(tmp_path)] == [f"a{suffix}"]


def test_suffixes_are_those_of_the_formats():
    """What a format is called by its own name, at least, a job must find."""
    known = [found for _, found in formats._BEGINNINGS] + list(formats._CONTENTS.values())
    for one in known:
        name = {"JPEG2000": "jp2", "WebM/Matroska": "mkv"}.get(one.name, one.name.lower())
        assert formats.kind_of(f".{name}") == one.kind, one.name
    assert formats.kind_of(".txt") is None


def test_all_summaries_say_what_was_passed_over(tmp_path, capsys, monkeypatch):
    speech_folder(tmp_path / "in", 2)
    for name in ("a.xyz", "b.xyz", "0/0000.txt"):
        (tmp_path / "in" / name).write_text("x")
    job = tmp_path / "job.toml"
    job.write_text(
        f'output = "{tmp_path}/out"\n[[sources]]\npath = "{tmp_path}/in"\ntext_suffix = ".txt"\n'
        '[tokenizers.speech]\nname = "fake-speech"\n'
    )
    ignored = ({".xyz": 2}, {".txt": 1})
    assert (plan_job(str(job)).ignored, plan_job(str(job)).sidecars) == ignored
    for command in (["run", str(job)], ["status", str(tmp_path / "out")], ["verify", str(tmp_path / "out")]):
        assert main(command) == 0
        said = capsys.readouterr().out
        assert "passed over 2 .xyz\n" in said and "beside     1 .txt, read with their media\n" in said
        assert main([*command, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["ignored"], found["sidecars"]) == ignored
    for ask in (job_status, verify_job):
        assert (ask(tmp_path / "out").ignored, ask(tmp_path / "out").sidecars) == ignored


def test_a_source_that_holds_nothing_is_refused_though_another_holds_something(tmp_path):
    speech_folder(tmp_path / "in", 2)
    (tmp_path / "empty").mkdir()
    sources = tuple(SourceConfig(str(tmp_path / name), name=name) for name in ("in", "empty"))
    with pytest.raises(UsageError, match=r"sources \S*/empty hold no media for speech"):
        run_job(speech_job(tmp_path / "in", tmp_path / "out").override(sources=sources))


# Links to folders.


def test_links_to_folders_are_followed_out_of_the_source_and_once(tmp_path):
    speech_folder(tmp_path / "elsewhere", 2)
    write_wav(tmp_path / "in" / "a.wav", 600)
    write_wav(tmp_path / "in" / "v3" / "b.wav", 600)
    links = {"link": "../elsewhere", "again": "../elsewhere/1", "latest": "v3", "around": "..", "v3/up": ".."}
    for name, target in links.items():
        os.symlink(target, tmp_path / "in" / name)
    os.symlink("../in", tmp_path / "elsewhere" / "back")
    source = opened(tmp_path / "in")
    keys = [item.key for item in source.items()]
    assert keys == ["a.wav", "again/0001.wav", "link/0/0000.wav", "v3/b.wav"]
    elsewhere = ("around", "latest", "link/1", "link/back", "v3/up")
    assert source.ignored == {f"{name} (a folder that is listed elsewhere)": 1 for name in elsewhere}
    status = run_job(speech_job(tmp_path / "in", tmp_path / "out"))
    assert status.written == len(keys) and status.ignored == source.ignored


def test_a_pattern_goes_through_links_as_a_shell_does(tmp_path):
    write_wav(tmp_path / "real" / "a.wav", 600)
    (tmp_path / "in").mkdir()
    os.symlink("../real", tmp_path / "in" / "link")
    os.symlink("../in", tmp_path / "real" / "loop")
    for pattern in ("in/*/*.wav", "in/**/*.wav"):
        assert [item.key for item in listed(f"{tmp_path}/{pattern}")] == [f"{tmp_path}/in/link/a.wav"]


# Names that look like something else.

NAMES = ("run 1::a", "s3:x", "50%", "50%25", "a#b", "a?b", "x [1]", "a&b=c", "~tilde", "ü ö")


@pytest.mark.parametrize("name", NAMES)
def test_local_paths_that_look_like_urls_are_local(tmp_path, name):
    folder = tmp_path / name
    write_wav(folder / "x.wav", 600)
    write_wav(folder / "one%20two.wav", 600)
    data = (folder / "x.wav").read_bytes()
    write_tar(folder / "s.tar", {"x.wav": data})
    (folder / "list.csv").write_text("path\nx.wav\none%20two.wav\n")
    escaped = str(folder).replace("[", "[[]").replace("?", "[?]")
    for path, count in (
        (folder, 2), (folder / "s.tar", 1), (f"{escaped}/*.wav", 2), (folder / "list.csv", 2),
        (f"file://{folder}", 2), (f"file://{folder}/s.tar", 1), (f"file://{escaped}/*.wav", 2),
    ):  # fmt: skip
        items = listed(path)
        assert len(items) == count, path
        assert all(item.num_bytes == len(data) and item.stamp for item in items), path
    assert len(listed(f"file://{folder}/list.csv")) == 2
    status = run_job(speech_job(f"file://{folder}", tmp_path / "out"))
    assert (status.written, status.failed) == (2, 0) and run_job(speech_job(f"file://{folder}", tmp_path / "out"))


def test_percent_signs_of_a_file_url_are_decoded_unless_they_are_there(tmp_path):
    write_wav(tmp_path / "one two" / "a.wav", 600)
    for scheme in ("file://", "file://localhost", "FILE://"):
        [item] = listed(f"{scheme}{tmp_path}/one%20two/*.wav")
        assert item.key == f"file://{tmp_path}/one two/a.wav" and item.stamp
    write_wav(tmp_path / "one%20two" / "b.wav", 600)
    [item] = listed(f"file://{tmp_path}/one%20two")
    assert item.key == f"file://{tmp_path}/one%20two/b.wav"
    assert run_job(speech_job(f"file://{tmp_path}/one%20two/b.wav", tmp_path / "out")).written == 1


def test_what_only_begins_like_a_url_is_a_url(tmp_path):
    from anytok.jobs.urls import is_pattern, is_url

    for path in ("s3://b/x", "https://h/a?b", "zip://a.wav::/data/x.zip", "simplecache::s3://b/x", "file:///a"):
        assert is_url(path)
    for path in ("/data/s3://x", "a/b::c", "x::y", "C:/a", "a::/b://c", "", "://x"):
        assert not is_url(path)
    assert not is_pattern("https://h/list.csv?token=1") and is_pattern("https://h/*.wav")


# Messages of the ledger.


def test_messages_of_the_ledger_are_the_same_in_every_run_and_never_empty():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    messages = [Failure.of("undecodable", ValueError(f"cannot read {object()!r}")).message for _ in range(2)]
    assert messages[0] == messages[1] == "ValueError: cannot read <object object>"
    assert Failure("broken", "[aac @ 0x55d0c8a4f2c0] at 0x7f12").message == "[aac] at 0x7f12"
    for error in (ValueError(), ValueError(" \n"), Mute()):
        assert Failure.of("undecodable", error).message == type(error).__name__
    assert Failure("broken", "").message == "no reason was given (broken)"
    assert len(Failure("broken", "x" * 10**6).message) < 3000


def test_a_decoder_that_names_its_objects_gives_the_same_ledger_twice(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (tmp_path / "in" / "b.gif").write_bytes(b"GIF89a" + bytes(5))
    write_png(tmp_path / "in" / "good.png")
    seen = Counter()
    for number in range(2):
        job = JobConfig(
            str(tmp_path / str(number)), (SourceConfig(str(tmp_path / "in")),), {"image": TokenizerConfig("fake-image")}
        )
        run_job(job.override(max_failure_rate=1.0))
        ledger = map(json.loads, (tmp_path / str(number) / "failures.jsonl").read_text().splitlines())
        seen.update((one["key"], one["message"]) for one in ledger)
    assert len(seen) == 2 and set(seen.values()) == {2}
    assert not any(re.search("0x[0-9a-f]{6,}", message) for _, message in seen)


def test_warnings_are_one_line_each_and_not_without_end(tmp_path, monkeypatch):
    """Some messages name numbers of their item; what Python says to developers is no word about the data."""
    from anytok import media

    def warn(*_, **__):
        for _ in range(2):
            warnings.warn("tag 7 of <Tag at 0x7f31c0de> is cut", stacklevel=1)
        logging.getLogger("anytok.media").warning("%d channels", 3)
        logging.getLogger("anytok.media").info("details")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        warnings.warn("x" * 5000, RuntimeWarning, stacklevel=1)

    write_wav(tmp_path / "a.wav", 500)
    monkeypatch.setattr(media, "prepare", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read(listed(tmp_path)[0], load_tokenizer("fake-speech").spec)
    assert found.warnings == ("tag 7 of <Tag> is cut", "3 channels", "x" * 2000 + " …")
    many = [Warned(f"cut at byte {number // 2}", 1, f"{number}.wav") for number in range(100)]
    counted = add_up(many)
    assert len(counted) == 21 and sum(one.items for one in counted) == 100
    assert counted[:2] == [Warned("cut at byte 0", 2, "0.wav"), Warned("cut at byte 1", 2, "2.wav")]
    assert (counted[-1].items, counted[-1].first) == (60, "40.wav")
    assert add_up(counted + counted)[-1].items == 120, "shards are added up in the same way"
