"""`anytok decode` of a job's output, whatever its kind, and of stdin: media by their keys, as decoding the codes of
each file gives them."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from job_corpus import speech_folder, speech_job, write_png, write_wav
from test_jobs_sinks import KINDS

import anytok
from anytok.cli import main
from anytok.errors import JobError, UsageError
from anytok.jobs import JobCodes, JobConfig, run_job
from anytok.jobs.config import SinkConfig, SourceConfig, TokenizerConfig

FILES = {"talk/a.wav": 4000, "talk/b.wav": 5001, "a.wav": 6400, "a.png": 0, "pics/b.png": 0}
NAMES = {"talk/a.wav": "talk_a.wav", "talk/b.wav": "talk_b.wav", "a.wav": "a.wav", "a.png": "a.png",
         "pics/b.png": "pics_b.png"}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with media (one of them broken), and a job that has written them into every sink."""
    folder = tmp_path_factory.mktemp("decode")
    for number, (name, samples) in enumerate(FILES.items()):
        if samples:
            write_wav(folder / "in" / name, samples, number)
        else:
            write_png(folder / "in" / name, number)
    (folder / "in" / "broken.wav").write_bytes(b"RIFF")
    run_job(make_job(folder, KINDS))
    return folder


def make_job(folder: Path, kinds: tuple[str, ...], output: str = "out") -> JobConfig:
    tokenizers = {"speech": TokenizerConfig("speech-mini"), "image": TokenizerConfig("seed-mini")}
    sinks = tuple(SinkConfig(kind) for kind in kinds)
    job = JobConfig(str(folder / output), (SourceConfig(str(folder / "in")),), tokenizers, sinks, "mini", shard_items=4)
    return job.override(max_failure_rate=0.5)


@pytest.fixture(scope="module")
def wanted(made: Path) -> dict[str, bytes]:
    """By name, the file that each medium comes back as, without any job."""
    found = {}
    for name in FILES:
        tokenizer = anytok.load_tokenizer("speech-mini" if name.endswith(".wav") else "seed-mini")
        path = made / "wanted" / NAMES[name]
        path.parent.mkdir(exist_ok=True)
        tokenizer.decode(tokenizer.encode(made / "in" / name)).save(path)
        found[NAMES[name]] = path.read_bytes()
    return found


def only(made: Path, folder: Path, kind: str) -> str:
    """The output as a job with this sink alone would have left it."""
    shutil.copytree(made / "out", folder / "out")
    record = json.loads((folder / "out" / "_anytok" / "job.json").read_text())
    record["sinks"] = [{"kind": kind}]
    (folder / "out" / "_anytok" / "job.json").write_text(json.dumps(record))
    for path in (folder / "out").rglob("*"):
        if path.is_file() and path.name.split(".")[0] in KINDS and path.name.split(".")[0] != kind:
            path.unlink()
    for other in set(KINDS) - {kind}:
        shutil.rmtree(folder / "out" / other)
    return str(folder / "out")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_sink_comes_back_as_media_named_after_their_keys(
    made: Path, wanted: dict[str, bytes], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = only(made, tmp_path, kind)
    assert main(["decode", output, "--out", str(tmp_path / "back")]) == 0
    assert files(tmp_path / "back") == wanted
    shown = capsys.readouterr()
    assert sorted(shown.out.split()) == sorted(str(tmp_path / "back" / name) for name in wanted)
    assert "5 items decoded" in shown.err


def test_a_job_of_ids_alone_comes_back(made: Path, wanted: dict[str, bytes], tmp_path: Path) -> None:
    run_job(make_job(made, ("megatron",), "ids"))
    assert (
        main(["decode", str(made / "ids"), "--key", "talk/b.wav", "pics/b.png", "--out", str(tmp_path / "back")]) == 0
    )
    assert files(tmp_path / "back") == {name: wanted[name] for name in ("talk_b.wav", "pics_b.png")}


def test_codes_of_a_job_by_the_api(made: Path) -> None:
    found = dict(JobCodes(made / "out"))
    assert len(JobCodes(made / "out")) == 5 and set(found) == set(FILES)
    tokenizer = anytok.load_tokenizer("speech-mini")
    assert found["talk/a.wav"] == tokenizer.encode(made / "in" / "talk" / "a.wav")
    assert [key for key, _ in JobCodes(made / "out", ["a.png"])] == ["a.png"]


def test_keys_choose_and_unknown_ones_are_named(
    made: Path, wanted: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, back = str(made / "out"), tmp_path / "back"
    assert main(["decode", output, "--key", "talk/a.wav", "--key", "a.png", "--out", str(back)]) == 0
    assert files(back) == {name: wanted[name] for name in ("talk_a.wav", "a.png")}
    capsys.readouterr()
    for key, said in (
        ("talk/c.wav", "no item has the key 'talk/c.wav'; did you mean 'talk/"),
        ("broken.wav", "broken.wav could not be encoded: "),
    ):
        assert main(["decode", output, "--key", "a.wav", key, "--out", str(tmp_path / "none")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_what_is_there_is_replaced_only_when_told(made: Path, tmp_path: Path) -> None:
    decode = ["decode", str(made / "out"), "--key", "a.png", "--out", str(tmp_path)]
    (tmp_path / "a.png").write_bytes(b"mine")
    assert main(decode) == 2 and (tmp_path / "a.png").read_bytes() == b"mine"
    assert main([*decode, "--force"]) == 0 and (tmp_path / "a.png").read_bytes() != b"mine"


def test_keys_written_by_anyone_stay_in_the_folder(tmp_path: Path) -> None:
    """And two that come to one name are both written."""
    names = ["../../up", "/etc/passwd", "x/same", "x_same", "...", "é 道", "deep/" * 60 + "end"]
    for number in range(len(names)):
        write_wav(tmp_path / "in" / f"{number}.wav", 700 + number, number)
    rows = "".join(f"{number}.wav,{name}\n" for number, name in enumerate(names))
    (tmp_path / "in" / "list.csv").write_text("path,key\n" + rows, "utf-8")
    job = JobConfig.simple(str(tmp_path / "in" / "list.csv"), str(tmp_path / "out"), "speech-mini")
    run_job(job)
    assert main(["decode", str(tmp_path / "out"), "--out", str(tmp_path / "a" / "b" / "back")]) == 0
    found = sorted(path.name for path in (tmp_path / "a" / "b" / "back").iterdir())
    assert len(found) == len(names) and {"up.wav", "etc_passwd.wav", "x_same.wav", "x_same-2.wav", "item.wav"} <= set(
        found
    )
    assert all(len(name.encode()) < 120 and re.fullmatch(r"[\w-]+\.wav", name) for name in found)
    assert not list((tmp_path / "a").glob("*.wav")) and not list((tmp_path / "a" / "b").glob("*.wav"))


def test_a_damaged_shard_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Path(only(made, tmp_path, "webdataset"))
    path = output / "_anytok" / "shards" / "000000" / "webdataset.tar"
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    assert main(["decode", str(output), "--out", str(tmp_path / "back")]) == 4
    assert "webdataset.tar is not as it was written: run the job again" in capsys.readouterr().err


def test_another_vocabulary_is_refused(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = only(made, tmp_path, "litdata")
    record = json.loads((Path(output) / "_anytok" / "job.json").read_text())
    (Path(output) / "_anytok" / "job.json").write_text(json.dumps({**record, "vocabulary": "anygpt"}))
    with pytest.raises(JobError, match="vocabulary 'anygpt' is not the one that the ids were written with"):
        list(JobCodes(output))


def test_what_is_done_of_an_unfinished_job_is_decoded(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(made, ("parquet",), "half")
    run_job(job, shard="0/2")
    assert main(["decode", job.output, "--out", str(tmp_path / "back")]) == 0
    said = capsys.readouterr().err
    assert "half is not finished: the 4 items that are done are decoded" in said or "the 3 items" in said
    with pytest.raises(UsageError, match=r"or it is not done yet"):
        JobCodes(job.output, ["nothing"])


def test_what_was_removed_is_named(tmp_path: Path) -> None:
    source = speech_folder(tmp_path / "in", 3)
    job = speech_job(source, tmp_path / "out")
    run_job(job)
    victim = sorted(source.rglob("*.wav"))[0]
    key = str(victim.relative_to(source))
    victim.unlink()
    run_job(job, extend=True)
    with pytest.raises(UsageError, match=f"{key} is no longer in the sources: the job was extended without it"):
        JobCodes(tmp_path / "out", [key])
    assert len(JobCodes(tmp_path / "out")) == 2


def test_sequences_are_refused_with_where_their_codes_are(made: Path, tmp_path: Path) -> None:
    from anytok.jobs.config import ComposeConfig

    job = JobConfig(
        str(tmp_path / "sequences"),
        (SourceConfig(str(made / "out"), "codes"),),
        compose=ComposeConfig(),
        vocabulary="mini",
    )
    run_job(job)
    with pytest.raises(UsageError, match=f"sequences that were composed: give the output of .*{made}/out"):
        JobCodes(tmp_path / "sequences")


# Lines.


@pytest.fixture
def line(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `encode` writes of two sounds; and an empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    sources = [str(made / "in" / name) for name in ("talk/a.wav", "talk/b.wav")]
    assert main(["encode", *sources, "--tokenizer", "speech-mini", "--out", "codes.jsonl"]) == 0
    return Path("codes.jsonl").read_text("utf-8")


def test_lines_come_from_stdin(wanted: dict[str, bytes], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(line.encode())))
    assert main(["decode", "-", "--out", "back"]) == 0
    assert files(Path("back")) == {name[5:]: wanted[name] for name in ("talk_a.wav", "talk_b.wav")}


def test_encode_and_decode_are_a_pipe(made: Path, wanted: dict[str, bytes], tmp_path: Path) -> None:
    anytok_command = f"{sys.executable} -m anytok"
    command = f"{anytok_command} encode {made}/in/a.wav --tokenizer speech-mini --out - | {anytok_command} decode -"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=environment, capture_output=True)
    assert files(tmp_path / "decoded") == {"a.wav": wanted["a.wav"]}


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "stdin: holds no codes"), (b"[1]", "stdin, line 1"), (b"\xff", "stdin: not text")]
)
def test_what_is_wrong_with_stdin_is_told(
    data: bytes, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert main(["decode", "-"]) == 1
    assert said in capsys.readouterr().err


def test_a_line_is_chosen_by_its_source(made: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(made / "in" / "talk" / "b.wav")
    assert main(["decode", "codes.jsonl", "--key", source, "--out", "back"]) == 0
    assert [path.name for path in Path("back").iterdir()] == ["b.wav"]
    capsys.readouterr()
    assert main(["decode", "codes.jsonl", "--key", source[:-5], "--out", "none"]) == 2
    assert f"codes.jsonl: no line has the source '{source[:-5]}'; did you mean" in capsys.readouterr().err


def test_layers_that_the_vocabulary_does_not_write_do_not_come_back(tmp_path: Path) -> None:
    """Told, not hidden: ids hold one layer, and so does what comes back of them."""
    from anytok.vocab import build_vocabulary, segment_of

    spec = anytok.load_tokenizer("speech-mini").spec
    build_vocabulary("one", 100, [segment_of(spec, num_codebooks=1)]).save(tmp_path / "one.json")
    write_wav(tmp_path / "in" / "a.wav", 4000)
    job = JobConfig.simple(
        str(tmp_path / "in"), str(tmp_path / "out"), "speech-mini", vocabulary=str(tmp_path / "one.json")
    )
    run_job(job.override(sinks=(SinkConfig("litdata"),)))
    [(_, codes)] = JobCodes(tmp_path / "out")
    whole = anytok.load_tokenizer("speech-mini").encode(tmp_path / "in" / "a.wav")
    assert codes.num_samples == 4000 and np.array_equal(codes.values, whole.values[:1])
