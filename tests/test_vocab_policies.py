"""What language models really emit, under every policy: valid output and a full report, or a clear error."""

from __future__ import annotations

import numpy as np
import pytest
from lines import TOY, legal_line, mutated

from anytok import Codes, VocabularyError, load_vocabulary
from anytok.vocab import TextIds, Vocabulary

ANYGPT = load_vocabulary("anygpt")
IMAGE = [40196, *range(32004, 32036), 40197]
REPAIRS = ("truncate", "pad", "drop")


def speech(*numbers: int) -> list[int]:
    return [40198 + number for number in numbers]


def music(*numbers: int) -> list[int]:
    return [41224 + number for number in numbers]


@pytest.mark.parametrize(
    ("ids", "truncate", "pad", "problem"),
    [
        # An image of 31 codes cannot be truncated to whole; of 33 it can.
        ([*IMAGE[:-2], 40197], None, [[*range(31), 30]], "image has <eoim> after 31 codes"),
        ([*IMAGE[:-1], 32004, 40197], [[*range(32)]], [[*range(32)]], "<👀0> after 32 codes; expected <eoim>"),
        (IMAGE[:-1], [[*range(32)]], [[*range(32)]], "nothing after 32"),
        ([41222, *speech(1, 2), 5], [[1, 2]], [[1, 2]], "text after 2"),
        ([41222, *speech(1, 2), 32004, *speech(3), 41223], [[1, 2]], [[1, 2]], "<👀0> after 2"),
        ([41222, 41223], None, None, "<eosp> after 0"),
        (
            [49416, *music(1, 2049, 4097, 6145, 7, 2055), 49417],
            [[1], [1], [1], [1]],
            [[1, 7], [1, 7], [1, 1], [1, 1]],
            "after 6 codes; expected a code of layer 2",
        ),
        (
            [49416, *music(1, 2049, 4097, 6145, 7, 8, 4103, 6151), 49417],
            [[1], [1], [1], [1]],
            [[1, 7], [1, 1], [1, 1], [1, 1]],
            "<🎶8> after 5 codes; expected a code of layer 1",
        ),
    ],
)
def test_faulty_runs(ids: list[int], truncate: object, pad: object, problem: str) -> None:
    for policy, expected in {"truncate": truncate, "pad": pad, "drop": None}.items():
        parts = ANYGPT.from_ids([9, *ids], policy=policy)
        assert parts.pop(0) == TextIds([9])
        codes = [part for part in parts if isinstance(part, Codes)]
        wanted = np.atleast_2d(expected) if expected is not None else None  # type: ignore[call-overload]
        assert [item.values.tolist() for item in codes] == ([wanted.tolist()] if wanted is not None else [])
        report = parts.report
        assert problem in report.faults[0].problem
        assert (report.num_runs, report.num_whole) == (1, 0)
        assert (report.num_repaired, report.num_dropped) == ((1, 0) if codes else (0, 1))


def test_layer_major_runs_give_their_whole_frames() -> None:
    mio = load_vocabulary("mio")
    text = "<spch><spch1><spch2><spch1025><spch1026><spch2049><spch2050><spch3073></spch>"
    with pytest.raises(VocabularyError, match=r"character 70: .* after 7 codes; expected a code of layer 3"):
        mio.from_text(text)
    [cut] = mio.from_text(text, policy="truncate")
    assert cut.values.tolist() == [[1]] * 4
    [padded] = mio.from_text(text, policy="pad")
    assert padded.values.tolist() == [[1, 2], [1, 2], [1, 2], [1, 1]]


def test_strays_and_unknown_ids_are_reported() -> None:
    parts = ANYGPT.from_ids([5, 40198, 40199, 6, 41223, 7, 60000, -3], policy="truncate")
    assert parts == [TextIds([5]), TextIds([6]), TextIds([7])]
    assert [fault.position for fault in parts.report.faults] == [1, 4, 6, 7]
    assert "4: <eosp> outside a run (dropped)" in str(parts.report)
    assert not parts.report.ok


def test_actions_are_counted() -> None:
    ids = [49416, *music(1, 2049, 4097, 6145, 7, 8, 9), 49417]
    actions = {policy: ANYGPT.from_ids(ids, policy=policy).report.faults[0].action for policy in REPAIRS}
    assert actions == {
        "truncate": "run kept, 0 codes made up, 3 dropped",
        "pad": "run kept, 3 codes made up, 2 dropped",
        "drop": "run dropped",
    }


def test_a_fault_costs_one_run_only() -> None:
    ids = [*IMAGE[:-2], 40197, 41222, *speech(3, 4), 41223, 8]
    parts = ANYGPT.from_ids(ids, policy="drop")
    assert [type(part) for part in parts] == [Codes, TextIds]
    assert parts[0].values.tolist() == [[3, 4]]


def check_line(vocab: Vocabulary, ids: np.ndarray) -> None:
    """Strict raises, or all policies agree with it; what a repair gives is strictly legal; faults are reported."""
    try:
        strict = vocab.from_ids(ids)
    except VocabularyError:
        strict = None
    for policy in REPAIRS:
        parts = vocab.from_ids(ids, policy=policy)
        assert vocab.from_ids(vocab.to_ids(parts)).report.ok
        assert parts.report.ok == (strict is not None)
        if strict is not None:
            assert parts == strict
        report = parts.report
        assert report.num_runs == report.num_whole + report.num_repaired + report.num_dropped
        assert sum(isinstance(part, Codes) for part in parts) == report.num_whole + report.num_repaired


@pytest.mark.parametrize("seed", range(10))
def test_mutated_lines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        line = legal_line(rng)
        assert TOY.to_ids(TOY.from_ids(line)).tolist() == line.tolist()
        check_line(TOY, mutated(line, rng))
        check_line(TOY, rng.integers(-1, TOY.layout.total + 2, rng.integers(0, 30)))


@pytest.mark.parametrize("seed", range(3))
def test_mutated_texts(seed: int) -> None:
    """The same for text: a line printed, then some of its characters changed."""
    rng = np.random.default_rng(seed)
    letters = list("<>/_0123456789 imagespeechmusic\ufe0f🗣")
    for _ in range(100):
        codes = [part for part in TOY.from_ids(legal_line(rng)) if isinstance(part, Codes)]
        text = list(TOY.to_text([piece for item in codes for piece in ("so ", item)]))
        for _ in range(rng.integers(0, 4)):
            at = int(rng.integers(0, len(text) + 1))
            text[at : at + int(rng.integers(0, 3))] = [str(rng.choice(letters))]
        for policy in ("strict", *REPAIRS):
            try:
                parts = TOY.from_text("".join(text), policy=policy)
            except VocabularyError as error:
                assert policy == "strict"
                assert "character" in str(error)
                continue
            printed = [part for part in parts if isinstance(part, Codes)]
            assert TOY.from_text(TOY.to_text(printed)) == printed
