"""Tars as people make them: names with dots, texts beside media, links, several archives in a file, cut and damaged."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from job_corpus import listed, opened, rows, speech_job, wav_bytes, write_tar

from anytok.errors import JobError, MediaError
from anytok.jobs import run_job
from anytok.jobs.fetch import fetch


@pytest.fixture
def wav(tmp_path) -> bytes:
    return wav_bytes(tmp_path / "one.wav", 600, 1)


def texts(path: Path, **options) -> dict:
    return {item.key.partition("/")[2]: item.text for item in listed(path, **options)}


def test_a_text_belongs_to_the_medium_of_its_stem_whatever_dots_that_has(tmp_path, wav):
    members = {}
    for name in ("speaker.001", "speaker.002", "a/v1.0/x", "a/v1.0/y"):
        members |= {f"{name}.wav": wav, f"{name}.txt": name.encode(), f"{name}.json": json.dumps({"id": name}).encode()}
    write_tar(tmp_path / "x.tar", {**members, "speaker.003.wav": wav})
    found = {item.key.removeprefix("x.tar/"): item for item in listed(tmp_path / "x.tar")}
    for name in ("speaker.001", "speaker.002", "a/v1.0/x", "a/v1.0/y"):
        assert (found[f"{name}.wav"].text, found[f"{name}.wav"].meta) == (name, {"id": name})
    assert (found["speaker.003.wav"].text, found["speaker.003.wav"].meta) == (None, {})


def test_a_text_that_no_medium_has_for_its_own_is_that_of_its_group(tmp_path, wav):
    """WebDataset's samples: one text for what has several suffixes."""
    members = {"1.left.wav": wav, "1.right.wav": wav, "1.txt": b"both", "2.wav": wav, "2.noise.wav": wav, "2.txt": b"2"}
    write_tar(tmp_path / "x.tar", members)
    assert texts(tmp_path / "x.tar") == {"1.left.wav": "both", "1.right.wav": "both", "2.wav": "2", "2.noise.wav": None}


def test_texts_of_another_suffix_are_named(tmp_path, wav):
    members = {"1.wav": wav, "1.normalized.txt": b"one", "1.original.txt": b"ONE"}
    write_tar(tmp_path / "x.tar", members)
    source = opened(tmp_path / "x.tar")
    assert [item.text for item in source.items()] == [None]
    assert source.ignored == {".txt (beside no medium)": 2}
    assert texts(tmp_path / "x.tar", text_suffix=".normalized.txt") == {"1.wav": "one"}
    with pytest.raises(JobError, match=r"text_suffix = '.lab', but none of its 1 media has such a file"):
        listed(tmp_path / "x.tar", text_suffix=".lab")


def test_marks_and_case_are_no_part_of_a_text(tmp_path, wav):
    mark = "\ufeff".encode()
    write_tar(tmp_path / "x.tar", {"A.WAV": wav, "A.TXT": mark + b"so", "A.JSON": mark + b'{"k": 1}'})
    [item] = listed(tmp_path / "x.tar")
    assert (item.text, item.meta) == ("so", {"k": 1})


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("b.txt", b"\xff\xfe\x00", "no UTF-8 text"),
        ("b.txt", b"x" * (2**20 + 1), "more than the 1048576 bytes"),
        ("b.json", b"{", "no JSON"),
        ("b.json", b"[" * 100_000, "nested too deeply"),
        ("b.json", b'{"a": 1, "a": 2}', "a name is there twice"),
    ],
)
def test_one_bad_text_costs_its_medium_alone(tmp_path, wav, name, data, said):
    write_tar(tmp_path / "x.tar", {"a.wav": wav, "a.txt": b"good", "b.wav": wav, name: data})
    status = run_job(speech_job(tmp_path / "x.tar", tmp_path / "out", max_failure_rate=0.5))
    assert (status.written, status.failures) == (1, {"bad_text": 1})
    [failure] = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text().splitlines())
    assert failure["key"] == "x.tar/b.wav" and said in failure["message"] and name in failure["message"]
    assert rows(tmp_path / "out")["x.tar/a.wav"]["text"] == "good"


def test_links_are_read_where_they_lead_and_counted_where_they_lead_nowhere(tmp_path, wav):
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    (folder / "a.wav").write_bytes(wav)
    (folder / "a.txt").write_text("text")
    os.link(folder / "a.wav", folder / "b.wav")
    os.link(folder / "a.txt", folder / "b.txt")
    os.symlink("../a.wav", folder / "below" / "c.wav")
    os.symlink("below/c.wav", folder / "d.wav")
    for name, target in (("e.wav", "/etc/passwd"), ("f.wav", "below"), ("g.wav", "g.wav"), ("h.wav", "../a.wav")):
        os.symlink(target, folder / name)
    os.mkfifo(folder / "pipe.wav")
    subprocess.run(["tar", "--sort=name", "-C", folder, "-cf", tmp_path / "x.tar", "."], check=True)
    source = opened(tmp_path / "x.tar")
    items = {item.key.removeprefix("x.tar/./"): item for item in source.items()}
    assert set(items) == {"a.wav", "b.wav", "below/c.wav", "d.wav"}
    assert all(fetch(item) == wav for item in items.values())
    assert (items["a.wav"].text, items["b.wav"].text) == ("text", "text")
    assert source.ignored == {".wav (a link to no file of this tar)": 4, ".wav (no file)": 1}
    files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    assert len(items) + source.ignored.total() + source.sidecars.total() == len(files)


def test_all_archives_in_a_file_are_read(tmp_path, wav):
    for name in "ab":
        write_tar(tmp_path / f"{name}.tar", {f"{name}.wav": wav, f"{name}.txt": name.encode()})
    both = (tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(both)
    items = listed(tmp_path / "x.tar")
    assert [(item.key, item.text) for item in items] == [("x.tar/a.wav", "a"), ("x.tar/b.wav", "b")]
    assert all(fetch(item) == wav for item in items)
    (tmp_path / "x.tar").write_bytes(both + b"not a tar")
    source = opened(tmp_path / "x.tar")
    assert len(list(source.items())) == 2
    assert source.ignored == {"x.tar (bytes behind the end of a tar, which are no tar)": 1}


def three(tmp_path, wav) -> tuple[bytes, int]:
    """A tar of three recordings, and where its third header begins."""
    write_tar(tmp_path / "x.tar", {f"{number}.wav": wav for number in range(3)})
    with tarfile.open(tmp_path / "x.tar") as tar:
        return (tmp_path / "x.tar").read_bytes(), tar.getmembers()[2].offset


def test_a_tar_that_is_cut_between_members_says_so(tmp_path, wav):
    data, third = three(tmp_path, wav)
    (tmp_path / "x.tar").write_bytes(data[:third])
    status = run_job(speech_job(tmp_path / "x.tar", tmp_path / "out"))
    assert (status.written, status.ignored) == (2, {"x.tar (a tar without its end mark: what followed is missing)": 1})


@pytest.mark.parametrize("cut", [1, 511])
def test_a_tar_that_is_cut_within_a_header_is_refused(tmp_path, wav, cut):
    data, third = three(tmp_path, wav)
    (tmp_path / "x.tar").write_bytes(data[: third + cut])
    with pytest.raises(JobError, match=rf"x.tar is no readable tar \(it is cut within the header at byte {third}\)"):
        listed(tmp_path / "x.tar")


def test_a_damaged_header_does_not_end_a_tar(tmp_path, wav):
    data, third = three(tmp_path, wav)
    (tmp_path / "x.tar").write_bytes(data[: third + 5] + b"\xff" + data[third + 6 :])
    with pytest.raises(JobError, match=rf"x.tar is no readable tar \(the header is damaged at byte {third}\)"):
        listed(tmp_path / "x.tar")


def test_a_header_that_leads_backwards_does_not_hang(tmp_path, wav):
    """A size of minus 1,024 bytes, in base 256: `tarfile` would read the same headers for ever."""
    write_tar(tmp_path / "x.tar", {"a.wav": wav, "b.wav": wav})
    data = bytearray((tmp_path / "x.tar").read_bytes())
    with tarfile.open(tmp_path / "x.tar") as tar:
        start = tar.getmembers()[1].offset
    data[start + 124 : start + 136] = b"\xff" * 10 + b"\xfc\x00"
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = f"{sum(data[start : start + 512]):06o}\0 ".encode()
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(JobError, match="leads backwards"):
        listed(tmp_path / "x.tar")


def test_what_earlier_plans_say_of_members_with_holes_still_holds(tmp_path, wav):
    from dataclasses import replace

    write_tar(tmp_path / "x.tar", {"a.wav": wav})
    [item] = listed(tmp_path / "x.tar")
    with pytest.raises(MediaError, match="stored with holes"):
        fetch(replace(item, place=("sparse",)))
