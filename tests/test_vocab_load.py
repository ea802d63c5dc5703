"""One door for vocabularies: a name or a file, everywhere; what is wrong is told before anything is fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from llama import llama_tokenizer

from anytok import CheckpointError, UsageError, VocabularyError, load_multimodal, load_vocabulary, multimodal
from anytok.cli import main
from anytok.vocab import LAYOUTS


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    load_vocabulary("seed-llama").save(tmp_path / "mine.json")
    return tmp_path / "mine.json"


def test_a_name_or_a_file(saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    wanted = load_vocabulary("seed-llama").hash
    (saved.parent / "plain").write_bytes(saved.read_bytes())
    for source in (saved, str(saved), "mine.json", "plain", Path("plain")):
        assert load_vocabulary(source).hash == load_multimodal(source).vocabulary.hash == wanted
        assert main(["vocab", "show", str(source)]) == 0
        assert wanted in capsys.readouterr().out


def test_a_name_wins_over_a_file_called_like_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    saved.rename("anygpt")
    assert load_vocabulary("anygpt").name == "anygpt"
    assert load_vocabulary(Path("anygpt").absolute()).name == "seed-llama"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("anygtp", "no vocabulary is called 'anygtp'; known: anygpt, anygpt-chat, seed-llama, mio, mini; did you mean"),
        ("my vocabulary", "no vocabulary is called 'my vocabulary'; known: anygpt"),
        ("mine2.json", "vocabulary 'mine2.json': no such file; expected a file that `anytok vocab build` wrote"),
        ("no/such", "vocabulary 'no/such': no such file"),
        (Path("gone"), "vocabulary 'gone': no such file"),
        (".", "vocabulary '.': a folder; expected a file"),
        ("", "vocabulary '': expected a name (anygpt, anygpt-chat, seed-llama, mio, mini) or a file"),
        (None, "vocabulary None: expected a name"),
        (LAYOUTS, "expected a name"),
    ],
)
def test_what_is_neither(source: Any, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for load in (load_vocabulary, load_multimodal):
        with pytest.raises(UsageError, match=re.escape(why)):
            load(source)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(VocabularyError, match=r"words.json is no file of Vocabulary.save"):
        load_multimodal(tmp_path / "words.json")


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        ({"checkpoints": {"seed2": "."}}, UsageError, "checkpoints for 'seed2': anygpt speaks encodec-32khz, "),
        ({"options": {"sed-2": {}}}, UsageError, "speechtokenizer-snake; did you mean 'seed-2'?"),
        ({"tokenizers": {"encodec": None}}, UsageError, "tokenizers for 'encodec'"),
        ({"engine": "referense"}, UsageError, "no engine 'referense'; it has native, reference; did you mean 'refer"),
        ({"voice": "soundstrom"}, UsageError, "did you mean 'soundstorm'?"),
        ({"voice": "voice-mini"}, UsageError, "a voice for layer 1 of speech-mini: anygpt writes nothing of it"),
        ({"checkpoints": {"seed-2": "gone"}}, CheckpointError, "checkpoints={'seed-2': 'gone'}: no such file or f"),
    ],
)
def test_wrong_names_are_told_before_anything_is_read(
    given: dict[str, Any], error: type[Exception], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multimodal, "load_text_tokenizer", lambda _: pytest.fail("read before all names were checked"))
    with pytest.raises(error, match=re.escape(why)):
        load_multimodal("anygpt", text_tokenizer="meta-llama/Llama-2-7b-hf", **given)


def test_another_models_text_tokenizer() -> None:
    why = "has 31000 ids and no token of anygpt, which is laid out behind 32000 text ids: give it the text tokenizer"
    with pytest.raises(VocabularyError, match=why):
        load_multimodal("anygpt", text_tokenizer=llama_tokenizer(31000))
