"""Ids piece by piece: however the line is cut, the same words and frames as at once, and as soon as can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lines import TOY, legal_line, mutated
from llama import llama_tokenizer

from anytok import Codes, VocabularyError, load_vocabulary
from anytok.vocab import Frames, TextIds


def at_once(parts: list[Any]) -> list[Any]:
    """Parts in a form that pieces can be joined to."""
    return [part.values.tolist() if isinstance(part, Codes) else part for part in parts]


def joined(pieces: list[Any]) -> list[Any]:
    """Frames of one item joined; text pieces left alone."""
    out: list[Any] = []
    open_item: list[np.ndarray] = []
    for piece in pieces:
        if isinstance(piece, Frames):
            open_item.append(piece.values)
            if piece.last:
                out.append(np.concatenate(open_item, axis=1).tolist())
                open_item = []
        else:
            assert not open_item, "words within an item"
            out.append(piece)
    assert not open_item, "an item that was never closed"
    return out


def words_joined(parts: list[Any]) -> list[Any]:
    """Neighbouring TextIds joined, as a cut may fall between them."""
    out: list[Any] = []
    for part in parts:
        if isinstance(part, TextIds) and out and isinstance(out[-1], TextIds):
            out[-1] = TextIds(np.concatenate([out[-1].ids, part.ids]))
        else:
            out.append(part)
    return out


def outcome(report: Any) -> Any:
    """A report without the words for what followed a run, which may be in the next piece."""
    counts = (report.num_runs, report.num_whole, report.num_repaired, report.num_dropped)
    return counts, [(fault.position, fault.action) for fault in report.faults]


@pytest.mark.parametrize("policy", ["truncate", "pad", "drop"])
@pytest.mark.parametrize("seed", range(4))
def test_every_cut_gives_the_same(policy: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        ids = mutated(legal_line(rng), rng) if rng.random() < 0.7 else legal_line(rng)
        expected = words_joined(at_once(TOY.from_ids(ids, policy)))
        for size in (1, 2, 3, 7, max(1, len(ids))):
            stream, pieces = TOY.stream(policy), []
            for start in range(0, len(ids), size):
                pieces += stream.push(ids[start : start + size])
            pieces += stream.finish()
            assert words_joined(joined(pieces)) == expected
            assert outcome(stream.report) == outcome(TOY.from_ids(ids, policy).report)


def test_strict_raises_at_once_and_names_the_place() -> None:
    vocab = load_vocabulary("anygpt")
    stream = vocab.stream()
    stream.push([1, 2, 49416, 41224])
    stream.push([41224 + 2048])
    with pytest.raises(VocabularyError, match=r"id 5: .*<🎶0> after 2 codes"):
        stream.push([41224])


def test_frames_come_with_their_last_id() -> None:
    vocab = load_vocabulary("anygpt")
    stream = vocab.stream()
    ids = [49416, *(41224 + 2048 * layer + frame for frame in range(2) for layer in range(4)), 49417]
    came = [
        [piece.values[:, 0].tolist() if piece.values.size else "end" for piece in stream.push([id_])] for id_ in ids
    ]
    assert came == [[], [], [], [], [[0, 0, 0, 0]], [], [], [], [[1, 1, 1, 1]], ["end"]]


def test_speech_comes_id_by_id_and_pictures_whole() -> None:
    vocab = load_vocabulary("anygpt")
    stream = vocab.stream()
    assert [len(stream.push([id_])) for id_ in (41222, 40198, 40199, 41223)] == [0, 1, 1, 1]
    assert [len(stream.push([id_])) for id_ in (40196, *range(32004, 32036), 40197)] == [0] * 33 + [1]


def test_words_come_without_half_characters() -> None:
    vocab = load_vocabulary("anygpt")
    vocab.text_tokenizer = llama_tokenizer()
    said = "Grüße, 你好 🎶 and <eoh> so on"
    ids = vocab.to_ids(said)
    stream = vocab.stream()
    pieces = [piece for id_ in ids for piece in stream.push([id_])] + stream.finish()
    assert "".join(pieces) == said
    assert all("\ufffd" not in piece for piece in pieces)
    assert len(pieces) > 20


def test_words_that_end_in_half_a_character_are_said_at_the_end() -> None:
    vocab = load_vocabulary("anygpt")
    vocab.text_tokenizer = llama_tokenizer()
    ids = vocab.to_ids("né")[:-1]
    stream = vocab.stream()
    pieces = stream.push(ids) + stream.finish()
    assert "".join(pieces) == vocab.from_ids(ids)[0]


@pytest.mark.parametrize("tail", [b"", b"\xf0", b"\xf0\x9f", b"\xb5"])
def test_bytes_are_said_when_their_row_has_ended(tail: bytes) -> None:
    """One stray byte makes U+FFFD of whole characters before it."""
    vocab = load_vocabulary("anygpt")
    vocab.text_tokenizer = llama_tokenizer()
    bytes_ = [3 + byte for byte in "€".encode() + tail]
    ids = [*vocab.to_ids("a"), *bytes_, *vocab.to_ids("b"), *bytes_]
    for size in (1, 2, 3, len(ids)):
        stream, pieces = vocab.stream(), []
        for start in range(0, len(ids), size):
            pieces += stream.push(ids[start : start + size])
        assert "".join([*pieces, *stream.finish()]) == vocab.from_ids(ids)[0]


@pytest.mark.parametrize("policy", ["strict", "truncate"])
def test_words_between_runs(policy: str) -> None:
    """Half a character before a run is said before the run, and words behind it begin afresh."""
    mini = load_vocabulary("mini")
    codes = Codes(np.arange(8).reshape(4, 2), mini.layout.segment("music-mini").spec)
    ids = mini.to_ids(["Grüße ", codes, "ü", codes, TextIds([0xC3]), codes, TextIds([0xBC, 10])])
    expected = at_once(mini.from_ids(ids, policy))
    assert expected[4:] == ["\ufffd", codes.values.tolist(), "\ufffd\n"]
    for size in range(1, len(ids) + 1):
        stream, pieces = mini.stream(policy), []
        for start in range(0, len(ids), size):
            pieces += stream.push(ids[start : start + size])
        out: list[Any] = []
        for piece in joined([*pieces, *stream.finish()]):
            if isinstance(piece, str) and out and isinstance(out[-1], str):
                out[-1] += piece
            else:
                out.append(piece)
        assert out == expected


@pytest.mark.parametrize("policy", ["truncate", "pad", "drop"])
def test_stray_codes_are_one_fault_however_many_come(policy: str) -> None:
    vocab = load_vocabulary("anygpt")
    stream = vocab.stream(policy)
    pieces = [piece for _ in range(1000) for piece in stream.push([41224])]
    pieces += stream.push([5])
    assert len(stream.report.faults) == 1 and pieces == [TextIds([5])] and stream.finish() == []
