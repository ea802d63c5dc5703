"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

import anytok
from anytok.cli import build_parser, main
from anytok.errors import MissingExtraError, UsageError

SPEECH = Path(__file__).parent / "golden" / "speechtokenizer"


def commands(parser: argparse.ArgumentParser | None = None, before: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every command, and those below it as "vocab build"."""
    found = {}
    for action in (parser or build_parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found |= {before + name: command, **commands(command, f"{before}{name} ")}
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with two recordings and one broken file."""
    monkeypatch.chdir(tmp_path)
    time = np.arange(12000) / 16000
    for name, pitch in (("hello", 220), ("world", 330)):
        anytok.Audio(np.sin(2 * np.pi * pitch * time), 16000).save(f"{name}.wav")
    Path("broken.wav").write_bytes(b"RIFF but no more")
    return tmp_path


ENCODE = ["encode", "hello.wav", "world.wav", "--tokenizer", "speechtokenizer", "--checkpoint", str(SPEECH)]


@pytest.mark.parametrize("name", commands())
def test_every_command_shows_an_example_that_parses(name: str) -> None:
    described = commands()[name].description or ""
    examples = re.findall(r"^ +anytok (.+)$", described.partition("Example:")[2], re.MULTILINE)
    assert examples, f"anytok {name} --help has no example"
    for example in examples:
        assert f"{example} ".startswith(f"{name} ")
        build_parser().parse_args(shlex.split(example))


@pytest.mark.parametrize("name", commands())
def test_every_option_has_help(name: str) -> None:
    assert not [action.dest for action in commands()[name]._actions if not action.help]


@pytest.mark.parametrize("command", ["encode", "decode", "eval", "bench", "run", "plan"])
def test_the_help_of_dtype_names_all_that_a_tokenizer_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By what the engines say where they are given another."""
    wanted: set[str] = set()
    for name in ("seed-mini", "speech-mini"):
        with pytest.raises(UsageError) as caught:
            anytok.load_tokenizer(name, dtype="int8")
        wanted |= set(str(caught.value).partition("expected one of ")[2].split(", "))
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = re.sub(r"\s+", " ", capsys.readouterr().out.partition("--dtype DTYPE ")[2].partition(" --")[0])
    assert len(wanted) > 5 and wanted == {name for name in wanted if re.search(rf"\b{name}\b", told)}, told


def test_list_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "speechtokenizer-snake" in capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"name", "modality", "engines", "weights"} <= set(listed[0])
    assert main(["info", "seed-2"]) == 0
    assert "seed_quantizer.pt" in capsys.readouterr().out
    assert main(["info", "encodec-48khz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_codebooks"] == 16


def test_voices_are_listed_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    for name in anytok.list_voices():
        assert f"codebook 1 of {anytok.registry.speech_of(name)} " in lines[name]
    assert main(["list", "--json"]) == 0
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    assert records["voice-mini"]["kind"] == "voice" and records["voice-mini"]["speech"] == "speech-mini"
    assert set(anytok.list_voices()) | set(anytok.list_tokenizers()) == set(records)
    assert main(["info", "soundstorm"]) == 0
    told = capsys.readouterr().out
    assert "speechtokenizer_soundstorm_mls.pt" in told and "anytok.load_voice('soundstorm')" in told
    assert main(["info", "voice-mini", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == records["voice-mini"]
    assert main(["info", "voice-mimi"]) == 2
    assert "no tokenizer or voice is called 'voice-mimi'" in (told := capsys.readouterr().err)
    assert "did you mean 'voice-mini'?" in told


def test_encode_then_decode(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ENCODE) == 0
    lines = [json.loads(line) for line in Path("codes.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == ["hello.wav", "world.wav"]
    assert "tensors used" in capsys.readouterr().err  # the load report
    tokenizer = anytok.load_tokenizer("speechtokenizer", checkpoint=SPEECH)
    assert lines[0]["codes"] == tokenizer.encode("hello.wav").values.tolist()

    assert main(["decode", "codes.jsonl", "--checkpoint", str(SPEECH), "--out", "back"]) == 0
    assert capsys.readouterr().out.split() == ["back/hello.wav", "back/world.wav"]
    audio = anytok.media.audio.load_audio("back/hello.wav")
    assert (audio.num_samples, audio.sample_rate) == (12000, 16000)


def test_options_reach_the_tokenizer(here: Path) -> None:
    assert main([*ENCODE, "--option", "num_codebooks=2", "--engine", "native"]) == 0
    assert len(json.loads(Path("codes.jsonl").read_text().splitlines()[0])["codes"]) == 2


def test_stdout_is_a_pipe_for_codes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ENCODE, "--out", "-"]) == 0
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 2


def test_a_bad_file_is_named_and_the_others_go_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "broken.wav", "absent.wav", *ENCODE[1:]]) == 1
    said = capsys.readouterr().err
    assert "anytok: broken.wav: " in said and "anytok: absent.wav: " in said and "2 of 4 files" in said
    assert len(Path("codes.jsonl").read_text().splitlines()) == 2


def test_a_file_that_needs_another_package_is_named_and_the_others_go_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = anytok.Tokenizer.encode

    def picky(self: anytok.Tokenizer, media: Any) -> anytok.Codes:
        if media == "broken.wav":
            raise MissingExtraError("av", "media", "M4A sound")
        return encode(self, media)

    monkeypatch.setattr(anytok.Tokenizer, "encode", picky)
    assert main(["encode", "broken.wav", *ENCODE[1:]]) == 1
    assert "pip install 'anytok[media]'" in capsys.readouterr().err
    assert len(Path("codes.jsonl").read_text().splitlines()) == 2


def test_where_nothing_can_be_encoded_nothing_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ["encode", "broken.wav", *ENCODE[3:]]
    assert main(bad) == 1 and not Path("codes.jsonl").exists()
    assert "0 of 1 files encoded; codes.jsonl is left as it was" in capsys.readouterr().err
    assert main(ENCODE) == 0
    before = Path("codes.jsonl").read_text()
    assert main([*bad, "--force"]) == 1 and Path("codes.jsonl").read_text() == before


def test_force_replaces_files_and_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("real.jsonl").write_text("old")
    Path("link.jsonl").symlink_to("real.jsonl")
    Path("real.jsonl.unfinished").write_text("mine")
    assert main([*ENCODE, "--out", "link.jsonl", "--force"]) == 0
    assert Path("link.jsonl").is_symlink() and len(Path("real.jsonl").read_text().splitlines()) == 2
    assert Path("real.jsonl.unfinished").read_text() == "mine"
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for other in ("pipe", "folder"):
        assert main([*ENCODE, "--out", other, "--force"]) == 2
        assert "no regular file" in capsys.readouterr().err
    assert Path("pipe").is_fifo()


def test_nothing_is_replaced_without_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("codes.jsonl").write_text("mine")
    assert main(ENCODE) == 2 and Path("codes.jsonl").read_text() == "mine"
    assert main([*ENCODE, "--force"]) == 0
    decode = ["decode", "codes.jsonl", "--checkpoint", str(SPEECH), "--out", "."]
    before = Path("hello.wav").read_bytes()
    assert main(decode) == 2 and Path("hello.wav").read_bytes() == before
    assert main([*decode, "--force"]) == 0 and Path("hello.wav").read_bytes() != before


def test_an_interrupted_encode_leaves_no_half_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object, media: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anytok.Tokenizer, "encode", interrupted)
    assert main(ENCODE) == 130
    assert sorted(path.name for path in here.iterdir()) == ["broken.wav", "hello.wav", "world.wav"]


def test_sources_are_labels_not_paths(here: Path) -> None:
    assert main(ENCODE) == 0
    record = json.loads(Path("codes.jsonl").read_text().splitlines()[0])
    sources = [
        "../../up.wav",
        "/etc/passwd",
        "a/same.flac",
        "b/same.wav",
        "b\\Same.wav",
        "...",
        "",
        "x" * 300,
        "né\n☃",
        "道" * 90,
    ]
    text = "\n".join(json.dumps({**record, "source": source}) for source in sources)
    Path("hostile.jsonl").write_text(text)
    assert main(["decode", "hostile.jsonl", "--checkpoint", str(SPEECH), "--out", "out"]) == 0
    names = sorted(path.name for path in Path("out").iterdir())
    assert len(names) == len(sources)
    assert {"up.wav", "passwd.wav", "same.wav", "same-2.wav", "item.wav", "item-2.wav"} <= set(names)
    assert all(len(name.encode()) < 120 and re.fullmatch(r"[\w-]+\.wav", name) for name in names)


def test_names_of_any_bytes_and_breaks_come_there_and_back(here: Path) -> None:
    names = ["two\u2028lines.wav", "next\x85.wav", os.fsdecode(b"x\xff.wav")]
    for name in names:
        Path(name).write_bytes(Path("hello.wav").read_bytes())
    assert main(["encode", *names, "--tokenizer", "speechtokenizer", "--checkpoint", str(SPEECH), "--out", "c"]) == 0
    sources = [json.loads(line)["source"] for line in Path("c").read_text("utf-8").split("\n")[:-1]]
    assert sources == [*names[:2], "x\\udcff.wav"]
    assert main(["decode", "c", "--checkpoint", str(SPEECH), "--out", "back"]) == 0
    assert len(list(Path("back").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["info", "no-such"], 2),
        (["encode", "hello.wav", "--tokenizer", "no-such"], 2),
        ([*ENCODE, "--option", "num_codebooks"], 2),
        ([*ENCODE, "--option", "nothing=1"], 2),
        ([*ENCODE, "--option", "device=cpu"], 2),
        ([*ENCODE, "--option", "name=a"], 2),
        ([*ENCODE, "--engine", "magic"], 2),
        ([*ENCODE, "--device", "cuda:77"], 2),
        ([*ENCODE, "--dtype", "int3"], 2),
        ([*ENCODE, "--out", "no/such/folder.jsonl"], 2),
        ([*ENCODE[:-1], "no-such-folder"], 4),
        ([*ENCODE[:-1], str(SPEECH.parent / "encodec_32khz")], 4),
        (["decode", "absent.jsonl"], 2),
        (["decode", "good.jsonl", "--out", "hello.wav"], 2),
        (["decode", "hello.wav"], 1),
        (["decode", "empty.jsonl"], 1),
        (["decode", "junk.jsonl"], 1),
        (["decode", "list.jsonl"], 1),
        (["decode", "deep.jsonl"], 1),
        (["decode", "loud.jsonl"], 1),
        (["decode", "good.jsonl", "--decode-option", "codes=1"], 2),
        (["decode", "good.jsonl", "--decode-option", "self=1"], 2),
    ],
)
def test_errors_are_one_clean_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    Path("empty.jsonl").touch()
    Path("junk.jsonl").write_text("{not json\n")
    Path("list.jsonl").write_text("[1, 2]\n")
    Path("deep.jsonl").write_text("[" * 100_000)
    spec = anytok.Spec("speech-mini", "speech", 8, 512)
    good = anytok.Codes(np.array([[1]]), spec).to_dict()
    Path("good.jsonl").write_text(json.dumps(good))
    Path("loud.jsonl").write_text(json.dumps({**good, "scales": [10**400]}))
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and said.err.startswith("anytok: ")
    assert not Path("codes.jsonl").exists()


def test_a_full_disk_is_said(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(anytok.Tokenizer, "encode", full)
    assert main(ENCODE) == 3
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]


def test_the_command_runs_as_a_module_and_survives_head() -> None:
    run = [sys.executable, "-m", "anytok"]
    version = subprocess.run([*run, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"anytok {anytok.__version__}\n"
    piped = subprocess.run(
        f"{shlex.join([*run, 'list'])} | true", shell=True, capture_output=True, text=True, check=True
    )
    assert "Traceback" not in piped.stderr and "Error" not in piped.stderr
    wrong = subprocess.run([*run, "lst"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "invalid choice" in wrong.stderr


def test_options_that_are_true_or_false(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def load(name: str, **options: Any) -> None:
        given.update(options)
        raise anytok.UsageError("seen")

    monkeypatch.setattr(anytok.registry, "load_tokenizer", load)
    assert main([*ENCODE, "--option", "compile=False", "--option", "a=true", "--option", "b=1"]) == 2
    assert (given["compile"], given["a"], given["b"]) == (False, True, 1) and given["a"] is True


def test_without_a_network_the_surroundings_are_to_blame(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(here / "hub"))
    assert main(["encode", "hello.wav", "--tokenizer", "speechtokenizer"]) == 3
    assert "could not be fetched" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "said"),
    [
        (">&-", "list", 3, "anytok: stdout is closed, and results go there"),
        ("2>&-", "list", 0, "speech-mini"),
        ("2>&-", "info no-such", 2, ""),
        (">/dev/full", "list", 3, "anytok: [Errno 28] No space left on device"),
    ],
)
def test_streams_that_take_nothing(closed: str, arguments: str, code: int, said: str) -> None:
    command = f"{shlex.join([sys.executable, '-m', 'anytok'])} {arguments} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == code and said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
