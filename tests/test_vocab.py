"""Codes ⇄ ids ⇄ text: the published numbers, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anytok import Codes, CodesError, Spec, UsageError, Vocabulary, VocabularyError, load_vocabulary
from anytok.vocab import ByteTokenizer, Special, TextIds, build_layout, build_vocabulary, segment_of
from anytok.vocab.rows import to_chat_row

ROWS = [json.loads(line) for line in (Path(__file__).parent / "golden/anygpt_strings.jsonl").open(encoding="utf-8")]
RUNS = [(modality, text) for row in ROWS for modality, text in row.items() if modality != "text"]

ANYGPT = load_vocabulary("anygpt")
SPEECH = Spec("speechtokenizer-snake", "speech", 8, 1024, frame_rate=50, sample_rate=16000)


def music(frames: int = 3) -> Codes:
    spec = Spec("encodec-32khz", "music", 4, 2048, frame_rate=50, sample_rate=32000, id="encodec-32khz@abc")
    return Codes(np.arange(4 * frames).reshape(4, frames), spec)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("[Human]", 32000),
        ("[MMGPT]", 32001),
        ("<eoh>", 32002),
        ("<eos>", 32003),
        ("<👀0>", 32004),
        ("<👀8191>", 40195),
        ("<soim>", 40196),
        ("<eoim>", 40197),
        ("<🗣️0>", 40198),
        ("<🗣️1023>", 41221),
        ("<sosp>", 41222),
        ("<eosp>", 41223),
        ("<🎶0>", 41224),
        ("<🎶8191>", 49415),
        ("<somu>", 49416),
        ("<eomu>", 49417),
    ],
)
def test_anygpt_table(text: str, number: int) -> None:
    assert ANYGPT.layout.tokens()[number - 32000] == text
    assert ANYGPT.layout.total == 49418


def test_other_tables() -> None:
    chat = load_vocabulary("anygpt-chat").layout.tokens()
    assert chat[:-2] == ANYGPT.layout.tokens()
    assert chat[-2:] == ["<-Res->", "<-Ins->"]
    seed = load_vocabulary("seed-llama").layout
    assert seed.total == 40194
    assert seed.tokens()[0] == "<img_00000>"
    assert seed.tokens()[8191:] == ["<img_08191>", "<img>", "</img>"]


@pytest.mark.parametrize(("modality", "text"), RUNS, ids=[modality for modality, _ in RUNS])
def test_published_strings(modality: str, text: str) -> None:
    [codes] = ANYGPT.from_text(text)
    assert codes.spec.modality == modality
    assert ANYGPT.to_text(codes) == text
    ids = ANYGPT.to_ids(codes)
    assert ids.dtype == np.uint16
    assert len(ids) == text.count("<")
    assert ANYGPT.from_ids(ids) == [codes]


def test_published_music_is_frame_major() -> None:
    """<🎶166><🎶3979><🎶6115><🎶7914><🎶166>…: layer = number div 2048."""
    [codes] = ANYGPT.from_text(ROWS[2]["music"])
    assert codes.values.shape == (4, 250)
    assert codes.values[:, 0].tolist() == [166, 3979 - 2048, 6115 - 4096, 7914 - 6144]
    assert codes.values[0, 1] == 166


def test_speech_prefix_without_its_variation_selector() -> None:
    text = ROWS[1]["speech"]
    assert "\ufe0f" in text
    assert ANYGPT.from_text(text.replace("\ufe0f", "")) == ANYGPT.from_text(text)


def test_parts_keep_their_order() -> None:
    speech = ROWS[1]["speech"]
    parts = ANYGPT.from_text(f"Hear {speech}! And {speech}")
    assert [type(part) for part in parts] == [str, Codes, str, Codes]
    assert ANYGPT.to_text(parts) == f"Hear {speech}! And {speech}"
    ids = ANYGPT.to_ids([TextIds([5, 6]), parts[1], TextIds([32002])])
    back = ANYGPT.from_ids(ids)
    assert back == [TextIds([5, 6]), parts[1], TextIds([32002])]
    assert ANYGPT.to_ids(back).tolist() == ids.tolist()
    assert back.report.ok


def test_first_layers_are_taken() -> None:
    codes = Codes(np.arange(16).reshape(8, 2), SPEECH, num_samples=640)
    assert ANYGPT.to_ids(codes).tolist() == [41222, 40198, 40199, 41223]


def test_layer_major() -> None:
    spec = Spec("speechtokenizer", "speech", 8, 1024, frame_rate=50)
    mio = load_vocabulary("mio")
    text = mio.to_text(Codes(np.arange(16).reshape(8, 2), spec))
    assert text == "<spch><spch0><spch1><spch1026><spch1027><spch2052><spch2053><spch3078><spch3079></spch>"
    [codes] = mio.from_text(text)
    assert codes.values.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_ids_are_as_wide_as_needed() -> None:
    assert ANYGPT.dtype == np.uint16
    assert load_vocabulary("mio").dtype == np.uint32


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (Codes(np.zeros((1, 32), int), Spec("seed-3", "image", 1, 8192)), "no ids for seed-3"),
        (music().layers(0, 2), "at least 4 codebooks"),
        (music().layers(1, 4), r"layers \[1, 4\)"),
        (Codes(np.zeros((8, 2), int), SPEECH).layers(1, 8), r"layers \[1, 8\)"),
        (Codes(np.zeros((1, 31), int), Spec("seed-2", "image", 1, 8192)), "31 frames"),
        (Codes(np.zeros((4, 2), int), Spec("encodec-32khz", "music", 4, 1024)), "codebooks of 1024"),
    ],
)
def test_codes_that_do_not_fit(codes: Codes, words: str) -> None:
    for write in (ANYGPT.to_ids, ANYGPT.to_text):
        with pytest.raises((CodesError, VocabularyError), match=words):
            write(codes)


def test_pinned_weights() -> None:
    spec = Spec("mine", "music", 2, 8, id="mine@aa")
    vocab = Vocabulary(build_layout("x", 10, [segment_of(spec)]))
    codes = Codes(np.array([[1, 2], [3, 4]]), spec)
    assert vocab.from_ids(vocab.to_ids(codes)) == [codes]
    with pytest.raises(CodesError, match="mine@bb: this vocabulary holds mine@aa"):
        vocab.to_ids(Codes(codes.values, replace(spec, id="mine@bb")))


def test_ones_own() -> None:
    speech = segment_of(SPEECH, num_codebooks=2, pattern="layer-major", code="<sp{}>", start="<sp>", end="</sp>")
    vocab = build_vocabulary("mine", 500, ["<eot>", Spec("pic", "image", 1, 16, num_frames=4), speech], reserved=3)
    assert vocab.layout.total == 500 + 1 + (16 + 2) + (2048 + 2) + 3
    assert vocab.layout.tokens()[-3:] == ["<reserved_0>", "<reserved_1>", "<reserved_2>"]
    assert vocab.to_text(Codes(np.array([[1, 2], [3, 4]]), speech.spec)) == "<sp><sp1><sp2><sp1027><sp1028></sp>"


def test_mini_speaks_bytes() -> None:
    mini = load_vocabulary("mini")
    codes = Codes(np.arange(16).reshape(8, 2), Spec("speech-mini", "speech", 8, 512))
    parts = ["Grüße <speech_3> ", codes, "\n"]
    ids = mini.to_ids(parts)
    assert ids[:3].tolist() == list(b"Gr\xc3")
    back = mini.from_ids(ids)
    assert [back[0], back[2]] == [parts[0], "\n"]
    assert back[1].values.tolist() == codes.values.tolist()
    assert mini.from_ids([257, *b"a", 256]) == ["</s>a<s>"]


IMAGE = "".join(f"<👀{n}>" for n in range(32))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("ab<👀5>", 2, "<👀5> outside a run"),
        ("ab<eoim>", 2, "<eoim> outside a run"),
        ("<soim><👀1><eoim>", 10, "<eoim> after 1 codes; expected a code"),
        (f"<soim>{IMAGE}<👀1><eoim>", 6 + len(IMAGE), "<👀1> after 32 codes; expected <eoim>"),
        (f"<soim>{IMAGE}", 6 + len(IMAGE), "nothing after 32 codes"),
        (f"<soim>{IMAGE}<eosp>", 6 + len(IMAGE), "<eosp> after 32 codes"),
        ("<sosp><eosp>", 6, "after 0 codes"),
        ("<sosp><👀1><eosp>", 6, "<👀1> after 0 codes"),
        ("<sosp><🗣1> <🗣2><eosp>", 10, "text after 1 codes"),
        ("<sosp><🗣1><sosp>", 10, "<sosp> after 1 codes"),
        ("<sosp><🗣01><eosp>", 6, "unknown token"),
        ("<sosp><🗣1024><eosp>", 6, "unknown token <🗣1024> after 0 codes"),
        ("<sosp><🗣" + "9" * 5000 + "><eosp>", 6, "unknown token"),
        ("<👀9000>", 0, "unknown token <👀9000> outside a run"),
        ("<somu><🎶0><🎶1>", 10, "<🎶1> after 1 codes; expected a code of layer 1"),
        ("<somu><🎶0><🎶2048><🎶4096><eomu>", 24, "<eomu> after 3 codes; expected a code of layer 3"),
    ],
)
def test_strict_text_names_the_character(text: str, place: int, words: str) -> None:
    with pytest.raises(VocabularyError, match=f"character {place}: .*{words}"):
        ANYGPT.from_text(text)


@pytest.mark.parametrize(
    ("ids", "place", "words"),
    [
        ([1, 2, 32004], 2, "<👀0> outside"),
        ([1, 49418], 1, r"the unknown id 49418 \(anygpt has 0 to 49417\) outside"),
        ([-1], 0, "the unknown id -1 "),
        ([41222, 40198, 99999, 41223], 2, r"the unknown id 99999 \(anygpt has 0 to 49417\) after 1 codes"),
        ([41222, 40198, 40199], 3, "nothing after 2 codes"),
        ([41222, 40198, 5, 41223], 2, "text after 1 codes"),
        ([49416, 41224, 41224 + 2048, 41224 + 4096, 41224 + 6144, 41224 + 2048, 49417], 5, ""),
    ],
)
def test_strict_ids_name_the_place(ids: list[int], place: int, words: str) -> None:
    """The same in whole lines and in streams, however they are cut."""
    with pytest.raises(VocabularyError, match=f"id {place}: .*{words}"):
        ANYGPT.from_ids(ids)
    stream = ANYGPT.stream()
    with pytest.raises(VocabularyError, match=f"id {place}: .*{words}"):
        [stream.push([number]) for number in ids], stream.finish()


@pytest.mark.parametrize("ids", [[[1, 2]], [1.5], ["a"], None, [[1], [1, 2]], [10**30], 7])
def test_not_a_line_of_ids(ids: object) -> None:
    with pytest.raises(VocabularyError, match=r"integers \[N\]"):
        ANYGPT.from_ids(ids)


def test_nothing_is_nothing() -> None:
    assert ANYGPT.from_ids([]) == []
    assert ANYGPT.from_text("") == []
    assert ANYGPT.to_ids([]).tolist() == []


def test_words_do_not_become_media() -> None:
    with pytest.raises(VocabularyError, match="media token <👀5>"):
        ANYGPT.to_text(["a <👀5>"])
    with pytest.raises(VocabularyError, match="no text id"):
        ANYGPT.to_ids(TextIds([40196]))
    with pytest.raises(UsageError, match="text tokenizer"):
        ANYGPT.to_ids("words")


@pytest.mark.parametrize(
    "parts",
    [
        ["<so", "sp>"],
        ["<🗣️1", "2", ">"],
        ["a <so", Special("sp>")],
        ["<s", TextIds(list(b"os")), "p>"],
        [Special("<👀5>")],
        [Special("<soim>"), "<so", "im>"],
    ],
)
def test_parts_do_not_become_media_together(parts: list[Any]) -> None:
    vocab = Vocabulary(ANYGPT.layout, ByteTokenizer())
    with pytest.raises(VocabularyError, match="words that spell the media token <"):
        vocab.to_text(parts)
    with pytest.raises(VocabularyError, match="words that spell the media token <"):
        to_chat_row(vocab, "7", [[("user", parts)]])


def test_words_do_not_become_media_with_what_is_behind() -> None:
    speech = segment_of(SPEECH, num_codebooks=1, start="|sp>")
    vocab = build_vocabulary("mine", 10, [speech, segment_of(Spec("pic", "image", 1, 16), end="<|sp>")])
    [codes] = vocab.from_text("|sp><speech_1></speech>")
    assert vocab.from_text(vocab.to_text(["a", codes])) == ["a", codes]
    with pytest.raises(VocabularyError, match=r"the media token <\|sp>"):
        vocab.to_text(["a<", codes])


def test_special_tokens_keep_their_place_in_text() -> None:
    [speech] = ANYGPT.from_text("<sosp><🗣️12><eosp>")
    parts = [Special("<eoh>"), "<", speech, ">", Special("<eos>"), Special("<soim>")]
    assert ANYGPT.to_text(parts) == "<eoh><<sosp><🗣️12><eosp>><eos><soim>"


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="anygpt-chat, seed-llama"):
        load_vocabulary("gpt")
    with pytest.raises(UsageError, match="truncate, pad"):
        ANYGPT.from_ids([1], policy="fix")


def test_file_is_exact_and_guarded(tmp_path: Path) -> None:
    path, again = tmp_path / "vocab.json", tmp_path / "again.json"
    ANYGPT.save(path)
    Vocabulary.from_file(path).save(again)
    assert path.read_bytes() == again.read_bytes()
    assert Vocabulary.from_file(path).hash == ANYGPT.hash
    path.write_text(path.read_text(encoding="utf-8").replace("encodec-32khz", "encodec-24khz"), encoding="utf-8")
    with pytest.raises(VocabularyError, match="changed since"):
        Vocabulary.from_file(path)
    for junk in (
        "",
        "[]",
        "{}",
        '{"hash": 1}',
        '{"hash": "", "segments": [{"name": 3}]}',
        '{"hash": "", "segments": 7}',
    ):
        path.write_text(junk)
        with pytest.raises(VocabularyError):
            Vocabulary.from_file(path)


def test_dump_is_for_eyes(tmp_path: Path) -> None:
    ANYGPT.dump(tmp_path / "anygpt.txt")
    lines = (tmp_path / "anygpt.txt").read_text(encoding="utf-8").splitlines()
    assert "49418 ids, uint16" in lines[0]
    assert lines[-3].split()[:3] == ["41224", "49415", "8192"]


def test_a_vocabulary_of_words_alone_reads_words() -> None:
    bare = Vocabulary(build_layout("bare", 256, []), ByteTokenizer())
    assert bare.from_text("hi") == bare.from_ids([*b"hi"]) == ["hi"]
    assert (bare.to_text(["hi"]), bare.to_ids("hi").tolist()) == ("hi", [*b"hi"])
