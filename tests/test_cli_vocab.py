"""`anytok vocab`: published vocabularies and one's own, from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from llama import llama_tokenizer

from anytok import Codes, Vocabulary, load_tokenizer, load_vocabulary
from anytok.cli import main

SPEECH = Path(__file__).parent / "golden" / "speechtokenizer"
OWN = [
    "vocab", "build", "own", "--text", "32000", "--special", "<eot>", "--tokenizer", "seed-2",
    "--tokenizer", "encodec-24khz", "num_codebooks=2", "pattern=layer-major", "start=<sound>", "end=</sound>",
    "--special", "<last>", "--reserved", "3",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vocab"]) == 0
    assert f"anygpt        49418 ids  {load_vocabulary('anygpt').hash[:12]}" in capsys.readouterr().out
    assert main(["vocab", "--json"]) == 0
    assert "mio" in [entry["name"] for entry in json.loads(capsys.readouterr().out)]
    assert main(["vocab", "show", "anygpt", "--save", "anygpt.json"]) == 0
    table = capsys.readouterr().out
    assert "41224    49415     8192  <🎶0> … <🎶8191>  encodec-32khz" in table
    assert main(["vocab", "show", "anygpt.json"]) == 0
    assert capsys.readouterr().out == table
    assert main(["vocab", "show", "anygpt.json", "--json"]) == 0
    assert capsys.readouterr().out == Path("anygpt.json").read_text("utf-8")


def test_ids_go_by_the_order_of_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*OWN, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    vocabulary = Vocabulary.from_file("own.json")
    assert (said["hash"], said["total"], said["file"]) == (vocabulary.hash, vocabulary.layout.total, "own.json")
    image, sound = vocabulary.layout.segments
    assert vocabulary.layout.specials[:2] == (("<eot>", 32000), ("<last>", sound.end_id + 1))
    assert [token for token, _ in vocabulary.layout.specials[2:]] == ["<reserved_0>", "<reserved_1>", "<reserved_2>"]
    assert (image.first_id, sound.first_id) == (32001, image.end_id + 1)
    assert (sound.num_codebooks, sound.pattern, sound.frame_rate) == (2, "layer-major", 75)
    codes = Codes(np.arange(8).reshape(2, 4), sound.spec)
    assert vocabulary.from_ids(vocabulary.to_ids(codes)) == [codes]
    assert vocabulary.to_text(codes).startswith("<sound><music_0><music_1>")


def test_the_same_command_gives_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(OWN) == 0
    assert main([*OWN, "--out", "again.json"]) == 0
    assert Path("again.json").read_bytes() == Path("own.json").read_bytes()
    assert main(OWN) == 0 and "byte for byte" in capsys.readouterr().err
    before = Path("own.json").read_bytes()
    assert main([*OWN, "--special", "<more>"]) == 2 and Path("own.json").read_bytes() == before
    assert main([*OWN, "--special", "<more>", "--force"]) == 0 and Path("own.json").read_bytes() != before


def test_anygpt_is_built_from_the_command_line() -> None:
    """Its published layout, to the byte."""
    specials = [word for token in ("[Human]", "[MMGPT]", "<eoh>", "<eos>") for word in ("--special", token)]
    speech = ["num_codebooks=1", "code=<🗣\ufe0f{}>", "alias=<🗣{}>", "start=<sosp>", "end=<eosp>"]
    arguments = [
        *("vocab", "build", "anygpt", "--text", "32000", *specials),
        *("--tokenizer", "seed-2", "code=<👀{}>", "start=<soim>", "end=<eoim>"),
        *("--tokenizer", "speechtokenizer-snake", *speech),
        *("--tokenizer", "encodec-32khz", "code=<🎶{}>", "start=<somu>", "end=<eomu>"),
    ]
    assert main(arguments) == 0
    assert Path("anygpt.json").read_text("utf-8") == load_vocabulary("anygpt").to_json()


def test_a_text_tokenizer_from_a_folder(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    llama_tokenizer(400).save_pretrained("llama")
    assert main(["vocab", "build", "own", "--text", "llama", "--tokenizer", "seed-mini"]) == 0
    vocabulary = Vocabulary.from_file("own.json")
    assert vocabulary.layout.text_size == 400
    assert vocabulary.extend(llama_tokenizer(400)) == 8192 + 2
    capsys.readouterr()
    assert main(["vocab", "build", "other", "--text", "llama", "--special", "</s>"]) == 2
    assert "the text tokenizer has 1 of the tokens of other already, first </s>" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["vocab", "build", "other", "--text", "llama"]) == 3
    assert "pip install 'anytok[hf]'" in capsys.readouterr().err


def test_a_name_is_needed() -> None:
    assert main(["vocab", "build", "", "--text", "9"]) == 2 and not Path(".json").exists()


def test_a_checkpoint_pins_the_weights() -> None:
    pinned = ["--tokenizer", "speechtokenizer", f"checkpoint={SPEECH}"]
    assert main(["vocab", "build", "own", "--text", "400", *pinned]) == 0
    tokenizer = load_tokenizer("speechtokenizer", checkpoint=SPEECH)
    [segment] = Vocabulary.from_file("own.json").layout.segments
    assert segment.tokenizer == tokenizer.spec.id
    assert segment.codebook_size == tokenizer.spec.codebook_size


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--text", "no/such/folder"], 2, "no text tokenizer at no/such/folder"),
        (["--text", "empty"], 2, "no text tokenizer at empty"),
        (["--text", "99999999999"], 2, "99999999999 ids; expected at most"),
        (["--text", "9", "--tokenizer", "no-such"], 2, "no-such"),
        (["--text", "9", "--tokenizer", "seed-2", "colour=red"], 2, "no setting is called 'colour'"),
        (["--text", "9", "--tokenizer", "seed-2", "num_codebooks"], 2, "expected KEY=VALUE"),
        (["--text", "9", "--tokenizer", "seed-2", "digits=two"], 2, "digits=two: expected a number"),
        (["--text", "9", "--tokenizer", "seed-2", "digits=999"], 2, "expected a whole number, 0 to 20"),
        (["--text", "9", "--tokenizer", "encodec-32khz", "num_codebooks=5"], 2, "it has 4"),
        (["--text", "9", "--tokenizer", "encodec-32khz", "pattern=delay"], 2, "delay"),
        (["--text", "9", "--tokenizer", "encodec-32khz", "--tokenizer", "encodec-24khz"], 2, "more than one thing"),
        (["--text", "9", "--tokenizer", "seed-2", "--special", "<image_77>"], 2, "<image_77>"),
        (["--text", "0"], 2, "needs at least one id"),
        (["--text", "9", "--reserved", "-1"], 2, "expected 0 or more"),
        (["--text", "9", "--out", "no/folder.json"], 2, "no folder"),
        (["--text", "9", "--out", "empty"], 2, "is not this vocabulary"),
    ],
)
def test_errors_are_one_clean_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    Path("empty").mkdir()
    capsys.readouterr()
    assert main(["vocab", "build", "own", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and said.err.startswith("anytok: ") and words in said.err
    assert not Path("own.json").exists()


@pytest.mark.parametrize("words", [["--json", "anygpt"], ["anygpt", "--json"], ["show", "anygpt", "--json"]])
def test_options_may_stand_before_the_name(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vocab", *words]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "anygpt"


def test_a_published_name_is_not_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("anygpt").write_text("something else")
    assert main(["vocab", "anygpt"]) == 0
    assert "49418 ids" in capsys.readouterr().out
