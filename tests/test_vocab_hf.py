"""The shared vocabulary in Hugging Face tokenizers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from llama import llama_tokenizer
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from anytok import Vocabulary, VocabularyError, load_multimodal, load_vocabulary
from anytok.vocab import ByteTokenizer, Special, TextIds, build_layout, build_vocabulary
from anytok.vocab.templates import TEMPLATES

ROWS = [json.loads(line) for line in (Path(__file__).parent / "golden/anygpt_strings.jsonl").open(encoding="utf-8")]


@pytest.fixture(scope="module")
def extended() -> Vocabulary:
    vocab = load_vocabulary("anygpt")
    assert vocab.extend(llama_tokenizer()) == 17418
    return vocab


def test_extended_tokenizer_encodes_published_strings_to_our_ids(extended: Vocabulary) -> None:
    tokenizer = extended.text_tokenizer
    assert len(tokenizer) == 49418
    for row in ROWS:
        for modality in {"image", "speech", "music"} & set(row):
            ids = tokenizer(row[modality], add_special_tokens=False)["input_ids"]
            assert ids == extended.to_ids(extended.from_text(row[modality])).tolist()
            assert tokenizer.decode(ids) == row[modality]


def test_extending_twice_adds_nothing(extended: Vocabulary) -> None:
    assert load_vocabulary("anygpt").extend(extended.text_tokenizer) == 0


def test_extend_refuses_another_base_and_leaves_it_alone() -> None:
    tokenizer = llama_tokenizer(31999)
    with pytest.raises(VocabularyError, match="31999 ids, anygpt is laid out for 32000"):
        load_vocabulary("anygpt").extend(tokenizer)
    assert len(tokenizer) == 31999


def test_extend_refuses_a_half_extended_tokenizer() -> None:
    tokenizer = llama_tokenizer(31999)
    tokenizer.add_tokens(["<soim>"])
    with pytest.raises(VocabularyError, match="already has 1 of the 17418"):
        load_vocabulary("anygpt").extend(tokenizer)


def test_no_words_make_media_ids(extended: Vocabulary) -> None:
    words = "".join(token for token in extended.layout.tokens()[::97]) + "<soim><🗣️3></s><s>"
    ids = extended.to_ids(words)
    assert ids.max() < 32000
    assert not {1, 2} & set(ids.tolist())
    assert extended.from_ids(ids) == [words]


@pytest.mark.parametrize("words", ["hi [MMGPT]: yes", "see <👀5>"])
def test_words_stay_words_or_are_refused(words: str) -> None:
    """Ordinary added tokens, as in published tokenizers, are not split; special ones are."""
    tokenizer, tokens = llama_tokenizer(), load_vocabulary("anygpt").layout.tokens()
    tokenizer.add_tokens(tokens)
    vocab = Vocabulary.from_tokenizer(tokenizer)
    for parts in (words, TEMPLATES["anygpt"].render([("user", words)])):
        with pytest.raises(VocabularyError, match=r"words with (\[MMGPT\]|<👀5>): .* special=True"):
            vocab.to_ids(parts)
    said = [AddedToken(token, special=True, normalized=False) for token in ("[MMGPT]", "<👀5>")]
    tokenizer.add_tokens(said, special_tokens=True)
    assert len(tokenizer) == vocab.layout.total
    assert vocab.to_ids(words).max() < 32000
    assert vocab.from_ids(vocab.to_ids(words)) == [words]


def test_words_and_codes_both_ways(extended: Vocabulary) -> None:
    [speech] = extended.from_text(ROWS[1]["speech"])
    parts = ["What is this? ", speech, "It says é 你好 🎶."]
    assert extended.from_ids(extended.to_ids(parts)) == parts


def test_base_tokenizer_is_enough_for_words(extended: Vocabulary) -> None:
    vocab = load_vocabulary("anygpt")
    vocab.text_tokenizer = llama_tokenizer()
    ids = extended.to_ids([TextIds([32000]), "Hello you", TextIds([32002, 32003])])
    assert vocab.from_ids(ids) == ["[Human]Hello you<eoh><eos>"]


def test_from_tokenizer_equals_the_table(extended: Vocabulary) -> None:
    found = Vocabulary.from_tokenizer(extended.text_tokenizer, layout="anygpt")
    assert found.hash == extended.hash


def test_a_tokenizer_wins_over_the_table() -> None:
    """Other order, a token of its own in between, speech without the variation selector, markers swapped."""
    tokenizer = llama_tokenizer()
    tokens = ["<pad>", "<eosp>", "<sosp>", *(f"<🗣{n}>" for n in range(1024)), *(f"<🎶{n}>" for n in range(8192))]
    tokens += ["<somu>", "<eomu>", "<soim>", "<eoim>", "<eos>", "<eoh>", "[MMGPT]", "[Human]", "<eom>"]
    tokens += [f"<👀{n}>" for n in range(8192)]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens])
    vocab = Vocabulary.from_tokenizer(tokenizer)
    assert ("<eom>", 32000 + 3 + 1024 + 8192 + 8) in vocab.layout.specials
    assert vocab.hash != load_vocabulary("anygpt").hash
    for row in ROWS:
        for modality in {"image", "speech", "music"} & set(row):
            text = row[modality].replace("\ufe0f", "")
            codes = vocab.from_text(row[modality])
            assert vocab.to_text(codes) == text
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == vocab.to_ids(codes).tolist()


def test_a_special_token_of_the_base_stays_where_it_is() -> None:
    """As where <eos> has id 1: what is behind it is text."""
    tokenizer = llama_tokenizer()
    wanted = build_layout("x", 32000, ["[Human]", "</s>", "filler7", *load_vocabulary("seed-llama").layout.segments])
    tokenizer.add_tokens([AddedToken("<pad>", special=True), *(t for t in wanted.tokens()[3:]), "[Human]"])
    with pytest.raises(VocabularyError, match=r"filler7 at id .* among its text, and not as a special token"):
        Vocabulary.from_tokenizer(tokenizer, wanted)
    tokenizer.add_special_tokens({"additional_special_tokens": ["filler7"]})
    vocab = Vocabulary.from_tokenizer(tokenizer, wanted)
    assert (vocab.layout.text_size, vocab.layout.specials) == (32001, (("[Human]", 32001 + 8194),))
    ids = vocab.to_ids([Special("</s>"), Special("filler7"), "</s> filler7"])
    assert ids[0] == 2
    assert ids[1] not in ids[2:]
    assert ids.max() < 32000


def test_from_tokenizer_says_what_is_missing() -> None:
    tokenizer = llama_tokenizer()
    with pytest.raises(VocabularyError, match=r"lacks 8192 of the 8192 image codes .* <👀0>"):
        Vocabulary.from_tokenizer(tokenizer)
    tokenizer.add_tokens([f"<img_{n:05d}>" for n in range(8192) if n != 4096])
    with pytest.raises(VocabularyError, match=r"lacks 1 of the 8192 .* <img_04096>"):
        Vocabulary.from_tokenizer(tokenizer, "seed-llama")
    tokenizer.add_tokens(["<img_04096>"])
    with pytest.raises(VocabularyError, match="not contiguous: <img_04095> is 36095, but <img_04096> is 40191"):
        Vocabulary.from_tokenizer(tokenizer, "seed-llama")


def test_seed_llama_markers_come_from_the_tokenizer() -> None:
    tokenizer = llama_tokenizer()
    tokenizer.add_tokens([f"<img_{n:05d}>" for n in range(8192)] + ["</img>", "<img>"])
    [segment] = Vocabulary.from_tokenizer(tokenizer, "seed-llama").layout.segments
    assert (segment.first_id, segment.start_id, segment.end_id) == (32000, 40193, 40192)


def test_vocabulary_imports_no_torch() -> None:
    import subprocess

    code = (
        "import sys, anytok; anytok.load_vocabulary('anygpt'); assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_saved_vocabulary_takes_no_other_text_tokenizer(extended: Vocabulary, tmp_path: Path) -> None:
    extended.save(tmp_path / "v.json")
    partly, elsewhere, more = llama_tokenizer(), llama_tokenizer(), llama_tokenizer()
    partly.add_tokens(extended.layout.tokens()[:-1], special_tokens=True)
    elsewhere.add_tokens(["<pad>", *extended.layout.tokens()], special_tokens=True)
    more.add_tokens([*extended.layout.tokens(), "<pad>"], special_tokens=True)
    for fits in (llama_tokenizer(), extended.text_tokenizer, more, None):
        assert Vocabulary.from_file(tmp_path / "v.json", fits).text_tokenizer is fits
    for other, why in (
        (llama_tokenizer(31999), "has 31999 ids; anygpt is laid out for 32000 text ids"),
        (llama_tokenizer(32001), "has 32001 ids; "),
        (ByteTokenizer(), "has 256 ids; "),
        (partly, r"has 49417 ids; .*<eomu> at 49417"),
        (elsewhere, r"has 49419 ids and \[Human\] at id 32001; .*\[Human\] at 32000"),
    ):
        with pytest.raises(VocabularyError, match=f"the text tokenizer {why}.*base tokenizer, or that one extended"):
            Vocabulary.from_file(tmp_path / "v.json", other)


def other_tokens() -> Any:
    """As many ids as LLaMA's, with two words in each other's place."""
    state = json.loads(llama_tokenizer().backend_tokenizer.to_str())
    words = state["model"]["vocab"]
    words["filler1"], words["filler2"] = words["filler2"], words["filler1"]
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token="<unk>")


def test_a_text_tokenizer_with_other_tokens_is_refused_whatever_its_size(tmp_path: Path) -> None:
    base, other = llama_tokenizer(), other_tokens()
    segments = list(load_vocabulary("seed-llama").layout.segments)
    mine = build_vocabulary("mine", base, segments)
    extended = load_vocabulary("seed-llama")
    extended.extend(llama_tokenizer())
    theirs = llama_tokenizer()
    load_vocabulary("seed-llama").extend(theirs)
    for vocabulary in (
        mine, extended, Vocabulary(load_vocabulary("seed-llama").layout, base),
        Vocabulary.from_tokenizer(theirs, "seed-llama"),
    ):  # fmt: skip
        vocabulary.save(tmp_path / "v.json")
        saved = Vocabulary.from_file(tmp_path / "v.json")
        for fits in (llama_tokenizer(), theirs):
            assert Vocabulary(saved.layout, fits).text_tokenizer is fits
            assert Vocabulary.from_file(tmp_path / "v.json", fits).text_tokenizer is fits
        for give in (
            lambda known=saved: Vocabulary(known.layout, other),
            lambda: Vocabulary.from_file(tmp_path / "v.json", other),
            lambda known=saved: known.extend(other),
            lambda known=saved: setattr(known, "text_tokenizer", other),
            lambda known=saved: load_multimodal(known, text_tokenizer=other),
        ):
            with pytest.raises(VocabularyError, match=r"other tokens than the one that .* at the same 32000 text ids"):
                give()
        assert saved.text_tokenizer is None and len(other) == 32000, "nothing was changed"
    assert Vocabulary(load_vocabulary("seed-llama").layout, other).text_tokenizer is other, "nothing is known of it"


def test_what_text_a_layout_is_for_changes_no_hash(extended: Vocabulary) -> None:
    """Shards, plans and models were recorded under the hash without it."""
    published = load_vocabulary("anygpt")
    assert extended.layout.text_hash and not published.layout.text_hash
    assert extended.hash == published.hash and extended.layout == published.layout
    assert "text_hash" not in json.loads(published.to_json())
