"""Where items come from: each kind of source, what it lists, what it refuses, and what it keeps beside the media."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from job_corpus import listed, rows, speech_folder, speech_job, wav_bytes, write_png, write_tar, write_wav

from anytok.errors import JobError, MediaError, UsageError
from anytok.jobs import JobConfig, run_job, verify_job
from anytok.jobs import fetch as fetching
from anytok.jobs.config import SourceConfig, TokenizerConfig
from anytok.jobs.fetch import fetch
from anytok.jobs.sources import open_sources
from anytok.registry import load_tokenizer


def codes_of(path: Path):
    return load_tokenizer("fake-speech").encode(path).values.tolist()


def test_a_folder_is_listed_in_one_order_and_counts_what_it_passes_over(tmp_path):
    for name in ("b/2.wav", "b/10.WAV", "a.wav", "b/c/x.flac", "notes.md", "README"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    config = JobConfig("out", (SourceConfig(str(tmp_path)),), {"speech": TokenizerConfig("fake-speech")})
    [(_, source)] = open_sources(config)
    assert [item.key for item in source.items()] == ["a.wav", "b/10.WAV", "b/2.wav", "b/c/x.flac"]
    assert source.ignored == {".md": 1, "no suffix": 1}
    for number in range(30):  # no file system lists thirty files by name without being asked
        (tmp_path / "b" / "c" / f"{number * 7 % 30:02d}.wav").write_bytes(b"x")
    assert [item.key for item in source.items()][3:-1] == [f"b/c/{number:02d}.wav" for number in range(30)]


def test_a_job_does_not_eat_its_own_output(tmp_path):
    write_png(tmp_path / "a.png")
    job = JobConfig(str(tmp_path / "out"), (SourceConfig(str(tmp_path)),), {"image": TokenizerConfig("fake-image")})
    run_job(job)
    write_png(tmp_path / "out" / "stats.png")
    assert run_job(job).items == 1


def test_a_source_is_no_output_and_a_skipped_folder_is_named(tmp_path):
    write_wav(tmp_path / "in" / "a.wav", 600)
    os.symlink("in", tmp_path / "link")
    for output in ("in", "link", "in/../in/"):
        with pytest.raises(UsageError, match=r"is also a source, and would spoil it"):
            run_job(speech_job(tmp_path / "in", f"{tmp_path}/{output}"))
    assert os.listdir(tmp_path / "in") == ["a.wav"]
    (tmp_path / "in" / "_anytok").mkdir()
    with pytest.raises(UsageError, match=rf"passed over: .*{tmp_path}/in \(a job's output: it holds _anytok\)"):
        run_job(speech_job(tmp_path / "in", tmp_path / "out"))


def test_another_spelling_of_a_path_is_the_same_source(tmp_path, monkeypatch):
    speech_folder(tmp_path / "in", 2)
    write_wav(tmp_path / "in" / "bad.wav", 0)
    monkeypatch.chdir(tmp_path)
    for number, first in enumerate(("in", "./in/")):
        done = run_job(speech_job(first, f"out{number}", max_failure_rate=0.5))
        for again in ("in", "in/", "./in", "0/../in"):
            status = run_job(speech_job(again, f"out{number}", max_failure_rate=0.5))
            assert (status.written, status.shards) == (2, done.shards)
        run_job(speech_job("in/", f"out{number}", max_failure_rate=0.5), retry_failed=True)
        with pytest.raises(JobError, match=r"work.sources\[0\].path was '.*in/?', is now 'in/0'"):
            run_job(speech_job("in/0", f"out{number}"))


def test_odd_names_and_odd_files_neither_stop_nor_hang_a_job(tmp_path):
    source = speech_folder(tmp_path / "in", 2)
    write_wav(source / "-leading dash, \n newline 🎶.wav", 700)
    name = os.fsencode(str(source)) + b"/not\xffutf8.wav"
    os.rename(source / "0" / "0000.wav", name)
    os.mkfifo(source / "pipe.wav")
    os.symlink(source, source / "1" / "loop")
    os.symlink("nowhere", source / "dangling.wav")
    (source / "folder.wav").mkdir()
    status = run_job(speech_job(source, tmp_path / "out", max_failure_rate=0.5))
    assert status.failures == {"not_a_file": 1, "missing": 1}
    assert set(rows(tmp_path / "out")) == {"-leading dash, \n newline 🎶.wav", "not\\udcffutf8.wav", "1/0001.wav"}
    assert verify_job(tmp_path / "out").ok


def test_quotes_may_be_text(tmp_path):
    """As in Common Voice, whose tables put none around a field."""
    rows = 'a.wav\t"Hello\nb.wav\tWorld" he said\nc.wav\t""\n'
    (tmp_path / "list.tsv").write_text(f"path\ttext\n{rows}")
    assert [item.text for item in listed(tmp_path / "list.tsv", quotes=False)] == ['"Hello', 'World" he said', '""']


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_manifests_keep_text_and_metadata(tmp_path, kind):
    write_wav(tmp_path / "media" / "a.wav", 700, 1)
    write_wav(tmp_path / "media" / "b.wav", 900, 2)
    table = [
        {"file": "media/a.wav", "id": "A", "caption": "eins, zwei", "speaker": "x"},
        {"file": "media/b.wav", "id": "B", "caption": "drei", "speaker": "y"},
    ]
    path = tmp_path / f"list.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(table), path)
    else:
        mark = "," if kind == "csv" else "\t"
        lines = [mark.join(table[0]), *(mark.join(f'"{one}"' for one in row.values()) for row in table)]
        path.write_text("\n".join(lines) + "\n")
    columns = {"path": "file", "key": "id", "text": "caption"}
    source = SourceConfig(str(path), kind="manifest", columns=columns)
    run_job(JobConfig(str(tmp_path / "out"), (source,), {"speech": TokenizerConfig("fake-speech")}))
    found = rows(tmp_path / "out")
    assert set(found) == {"A", "B"}
    assert found["A"]["text"] == "eins, zwei" and json.loads(found["B"]["meta"]) == {"speaker": "y"}
    assert found["B"]["codes"] == codes_of(tmp_path / "media" / "b.wav")


def test_a_manifest_row_without_a_path_is_named(tmp_path):
    (tmp_path / "list.jsonl").write_text('{"path": "a.wav"}\n{"file": "b.wav"}\n')
    with pytest.raises(JobError, match=r"row 2: no 'path'"):
        listed(tmp_path / "list.jsonl")
    (tmp_path / "list.csv").write_text("path,text\na.wav\n")
    with pytest.raises(JobError, match=r"row 1: fewer fields"):
        listed(tmp_path / "list.csv")


@pytest.mark.parametrize(("name", "text"), [("x.csv", "path,text\na.wav,ä\n"), ("x.jsonl", '{"path": "a.wav"}\n')])
def test_a_manifest_may_open_with_a_byte_order_mark(tmp_path, name, text):
    (tmp_path / name).write_text(text, "utf-8-sig")
    assert [item.key for item in listed(tmp_path / name)] == ["a.wav"]


def test_a_key_of_zero_is_a_key(tmp_path):
    lines = ['{"path": "a.wav", "key": 0}\n', '{"path": "b.wav", "key": null}\n', '{"path": "c.wav", "key": ""}\n']
    (tmp_path / "list.jsonl").write_text("".join(lines))
    assert [item.key for item in listed(tmp_path / "list.jsonl")] == ["0", "b.wav", "c.wav"]


def test_a_name_too_long_for_a_caption_has_none(tmp_path):
    for name in ("a" * 251, "b"):
        write_wav(tmp_path / f"{name}.wav", 600)
    (tmp_path / "b.lab.txt").write_text("so")
    texts = {item.key[0]: item.text for item in listed(tmp_path, text_suffix=".lab.txt")}
    assert texts == {"a": None, "b": "so"}


def test_a_stray_quote_in_a_manifest_does_not_swallow_rows(tmp_path):
    (tmp_path / "list.tsv").write_text('path\ttext\na.wav\t"Hello\nb.wav\tWorld" he said\nc.wav\tx\n')
    with pytest.raises(JobError, match=r"list.tsv, line 3: .*expected after.*double the quotes"):
        listed(tmp_path / "list.tsv")
    (tmp_path / "list.tsv").write_text('path\ttext\na.wav\t"Hello\nb.wav\the said "World"\nc.wav\tsaid "\n')
    with pytest.raises(JobError, match=r"list.tsv"):
        listed(tmp_path / "list.tsv")
    (tmp_path / "list.tsv").write_text('path\ttext\na.wav\t"Hello\nb.wav\tWorld"\nc.wav\tx\n')
    with pytest.raises(JobError, match=r"list.tsv, line 3: a line break within quotes; double the quotes"):
        listed(tmp_path / "list.tsv")
    (tmp_path / "list.csv").write_text('path,text\na.wav,"eins\nzwei"\nb.wav,"""drei"" vier"\n')
    assert [item.text for item in listed(tmp_path / "list.csv")] == ["eins\nzwei", '"drei" vier']


def test_webdataset_shards(tmp_path):
    for number in range(2):
        data = wav_bytes(tmp_path / f"{number}.wav", 800 + number, number)
        more = {f"a/{number}.txt": b" caption ", f"a/{number}.json": b'{"speaker": 7}', f"a/{number}.cls": b"1"}
        members = {f"a/{number}.wav": data, **more, "../escape.wav": data, "/abs.wav": data}
        write_tar(tmp_path / f"{number}.tar", members)
    run_job(speech_job(tmp_path / "*.tar", tmp_path / "out"))
    found = rows(tmp_path / "out")
    assert len(found) == 6 and not (tmp_path.parent / "escape.wav").exists()
    row = found["1.tar/a/1.wav"]
    assert row["text"] == "caption" and json.loads(row["meta"]) == {"speaker": 7}
    assert row["codes"] == codes_of(tmp_path / "1.wav")


def test_links_and_devices_in_a_tar_are_no_items(tmp_path):
    write_tar(tmp_path / "x.tar", {"a.wav": wav_bytes(tmp_path / "a.wav", 500, 1)})
    with tarfile.open(tmp_path / "x.tar", "a") as tar:
        for name, kind in (("b.wav", tarfile.SYMTYPE), ("c.wav", tarfile.CHRTYPE), ("d.wav", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    assert [item.key for item in listed(tmp_path / "x.tar")] == ["x.tar/a.wav"]


def test_members_with_holes_are_not_read_as_if_whole(tmp_path):
    with open(tmp_path / "hole.wav", "wb") as stream:
        stream.write(wav_bytes(tmp_path / "whole.wav", 500, 1))
        stream.truncate(2**20)
    (tmp_path / "hole.txt").write_text("a caption")
    names = ["hole.wav", "hole.txt", "whole.wav"]
    subprocess.run(["tar", "-S", "-cf", "x.tar", *names], cwd=tmp_path, check=True)
    status = run_job(speech_job(tmp_path / "x.tar", tmp_path / "out", max_failure_rate=0.5))
    assert (status.written, status.failures) == (1, {"sparse": 1})
    assert rows(tmp_path / "out")["x.tar/whole.wav"]["codes"] == codes_of(tmp_path / "whole.wav")


def test_a_cut_tar_is_refused_before_work_starts(tmp_path):
    write_tar(tmp_path / "x.tar", {f"{n}.wav": wav_bytes(tmp_path / "a.wav", 5000, n) for n in range(3)})
    data = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(JobError, match=r"x.tar is no readable tar"):
        run_job(speech_job(tmp_path / "x.tar", tmp_path / "out"))


def write_container(path: Path, seeds: range) -> None:
    """Recordings of one length, so that another version of the container has the very same size and places."""
    data = [wav_bytes(path.parent / "one.wav", 600, seed) for seed in seeds]
    if path.suffix == ".tar":
        write_tar(path, {f"{number}.wav": one for number, one in enumerate(data)})
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"audio": data}), path, row_group_size=1)
    else:
        datasets = pytest.importorskip("datasets")
        features = datasets.Features({"audio": datasets.Image(decode=False)})  # its Audio wants torchcodec
        columns = {"audio": [{"bytes": one, "path": None} for one in data]}
        datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(path))


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("name", ["x.tar", "x.parquet", "x"])
def test_what_lies_in_a_container_that_was_changed_is_not_taken(tmp_path, name, replaced):
    path, other = tmp_path / name, tmp_path / f"other{Path(name).suffix}"
    write_container(path, range(3))
    first, second, _ = listed(path, kind="" if path.suffix else "hf")
    assert len(fetch(first)) == len(fetch(second)) == (tmp_path / "one.wav").stat().st_size
    write_container(other, range(3, 6))
    if replaced:
        shutil.move(path, tmp_path / "old")
        shutil.move(other, path)
        for cached in (fetching._opened, fetching._column, fetching._dataset):
            cached.cache_clear()  # as in a reader that starts now
    else:
        for one in [other] if other.is_file() else sorted(other.iterdir()):
            (path if other.is_file() else path / one.name).write_bytes(one.read_bytes())
    for item in (first, second):
        with pytest.raises(MediaError, match=r"changed after the plan"):
            fetch(item)


@pytest.mark.parametrize("struct", [False, True])
def test_parquet_with_media_in_it(tmp_path, struct):
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = [wav_bytes(tmp_path / f"{n}.wav", 600 + 100 * n, n) for n in range(5)]
    media = [{"bytes": one, "path": None} for one in data] if struct else data
    table = pa.table({"audio": media, "text": [f"t{n}" for n in range(5)], "speaker": list(range(5))})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    config = JobConfig(
        str(tmp_path / "out"), (SourceConfig(str(tmp_path / "x.parquet")),), {"speech": TokenizerConfig("fake-speech")}
    )
    run_job(config)
    found = rows(tmp_path / "out")
    assert [row["text"] for _, row in sorted(found.items())] == [f"t{n}" for n in range(5)]
    assert found["x.parquet/3"]["codes"] == codes_of(tmp_path / "3.wav")
    assert json.loads(found["x.parquet/3"]["meta"]) == {"speaker": 3}


def speech_table(path: Path, /, **columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"media": [wav_bytes(path.parent / "one.wav", 600, 1)], **columns}), path)


def test_parts_of_a_table_that_share_a_name_are_told_apart_by_their_folders(tmp_path):
    for language in ("en", "de"):
        speech_table(tmp_path / "hive" / f"lang={language}" / "part-0.parquet")
    pattern = tmp_path / "hive" / "*" / "*.parquet"
    run_job(speech_job(pattern, tmp_path / "out"))
    assert set(rows(tmp_path / "out")) == {"lang=de/part-0.parquet/0", "lang=en/part-0.parquet/0"}


def test_further_columns_of_bytes_are_no_metadata(tmp_path):
    speech_table(tmp_path / "x.parquet", cover=[{"bytes": b"png", "path": None}], raw=[b"png"], key=[b"k"], year=[1999])
    status = run_job(speech_job(tmp_path / "x.parquet", tmp_path / "out"))
    [row] = rows(tmp_path / "out").values()
    assert json.loads(row["meta"]) == {"year": 1999} and status.written == 1
    plan = json.loads((tmp_path / "out" / "_anytok" / "plan.json").read_text())
    assert plan["ignored"] == {"column cover": 1, "column raw": 1}


@pytest.mark.parametrize("kind", ["parquet", "manifest"])
def test_a_damaged_table_is_named(tmp_path, kind):
    speech_table(tmp_path / "x.parquet", path=["a.wav"])
    data = (tmp_path / "x.parquet").read_bytes()
    for damaged in (b"", data[: len(data) // 2], data[:-9] + b"\xff" * 9):
        (tmp_path / "x.parquet").write_bytes(damaged)
        with pytest.raises(JobError, match=r"x.parquet is no readable parquet file"):
            listed(tmp_path / "x.parquet", kind=kind)


def test_what_spark_leaves_beside_its_parts_is_passed_over(tmp_path):
    speech_table(tmp_path / "d.parquet" / "part-0.parquet")
    (tmp_path / "d.parquet" / "one.wav").unlink()
    (tmp_path / "d.parquet" / "_SUCCESS").touch()
    assert [item.key for item in listed(tmp_path / "d.parquet")] == ["part-0.parquet/0"]


def test_a_dataset_saved_by_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for number, path in enumerate(paths):
        write_png(path, number)
    columns = {"image": [{"bytes": path.read_bytes(), "path": None} for path in paths], "text": ["a", "b", "c"]}
    features = datasets.Features({"image": datasets.Image(decode=False), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "ds"))
    source = SourceConfig(str(tmp_path / "ds"), kind="hf")
    run_job(JobConfig(str(tmp_path / "out"), (source,), {"image": TokenizerConfig("fake-image")}))
    found = rows(tmp_path / "out")
    assert [found[key]["text"] for key in sorted(found)] == ["a", "b", "c"]
    assert found["000000001"]["codes"] == load_tokenizer("fake-image").encode(paths[1]).values.tolist()


def test_sound_that_may_be_speech_or_music_must_be_told(tmp_path):
    write_wav(tmp_path / "in" / "a.wav", 600)
    tokenizers = {"speech": TokenizerConfig("fake-speech"), "music": TokenizerConfig("fake-music")}
    with pytest.raises(UsageError, match=r"\.wav files may be speech or music"):
        run_job(JobConfig(str(tmp_path / "out"), (SourceConfig(str(tmp_path / "in")),), tokenizers))
    sources = (
        SourceConfig(str(tmp_path / "in"), modality="speech", name="talk"),
        SourceConfig(str(tmp_path / "in"), modality="music", name="songs"),
    )
    run_job(JobConfig(str(tmp_path / "out"), sources, tokenizers))
    found = rows(tmp_path / "out")
    assert {key: row["modality"] for key, row in found.items()} == {"talk/a.wav": "speech", "songs/a.wav": "music"}
    assert (len(found["talk/a.wav"]["codes"]), len(found["songs/a.wav"]["codes"])) == (2, 4)


def test_a_folder_without_media_is_refused(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "old" / "_anytok").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"hold no media for speech; passed over: 1 \.md, 1 .*/old \(a job's output"):
        run_job(speech_job(tmp_path, tmp_path / "out"))
