"""Packing and cutting, held against their laws for any documents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lines import DELAYED, TOY, legal_line

from anytok import CodesError, UsageError
from anytok.compose import Document, Packer, pack
from anytok.compose.document import cut
from anytok.vocab.grammar import CODE, START, Grammar


def documents(sizes: list[int]) -> list[Document]:
    """Each id is there once."""
    ends = np.cumsum([0, *sizes])
    return [
        Document(f"{n}", np.arange(start, start + size), np.ones(size, bool))
        for n, (start, size) in enumerate(zip(ends, sizes, strict=False))
    ]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 50), max_size=120), st.integers(50, 200), st.integers(1, 12))
def test_nothing_is_lost_doubled_or_cut(sizes, length, window):
    given_out = list(pack(documents(sizes), length, window))
    assert all(1 <= len(one) <= length for one in given_out)
    found = [document for one in given_out for document in one.documents]
    assert sorted(int(one.key) for one in found) == list(range(len(sizes)))
    assert sorted(np.concatenate([one.input_ids for one in given_out] or [[]]).tolist()) == list(range(sum(sizes)))
    assert all(len(one) == sizes[int(one.key)] for one in found)
    for one in given_out:
        assert one.segment_ids.tolist() == np.repeat(np.arange(len(one.documents)), np.diff(one.cu_seqlens)).tolist()
        starts = np.flatnonzero(one.position_ids == 0).tolist()
        assert starts == one.cu_seqlens[:-1].tolist()


def by_looking_at_all(sizes: list[int], length: int, window: int) -> list[list[str]]:
    """Best fit as it is defined: of the open sequences with room, the fullest, and of those the oldest."""
    bins: list[list[int]] = []
    closed = []
    for number, size in enumerate(sizes):
        rooms = [length - sum(sizes[n] for n in one) for one in bins]
        fitting = [(room, place) for place, room in enumerate(rooms) if room >= size]
        if not fitting:
            bins.append([number])
        else:
            bins[min(fitting)[1]].append(number)
        full = [one for one in bins if sum(sizes[n] for n in one) == length]
        if not full and len(bins) > window:
            full = [max(bins, key=lambda one: sum(sizes[n] for n in one))]
        closed += full
        bins = [one for one in bins if one not in full]
    return [[str(number) for number in one] for one in closed + bins]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 50), max_size=80), st.integers(50, 120), st.integers(1, 6))
def test_the_fit_is_the_best_and_the_memory_bounded(sizes, length, window):
    packer, given_out = Packer(length, window), []
    for document in documents(sizes):
        given_out += packer.add(document)
        assert len(packer.open) <= window
    given_out += packer.finish()
    found = [[document.key for document in one.documents] for one in given_out]
    assert found == by_looking_at_all(sizes, length, window)


def test_best_fit_by_hand():
    [first, second] = pack(documents([6, 5, 3, 4, 1]), 10)
    assert [one.key for one in first.documents] == ["0", "2", "4"]  # 3 leaves less behind 6
    assert [one.key for one in second.documents] == ["1", "3"]
    closed = Packer(10, 1)
    assert [len(closed.add(one)) for one in documents([6, 5])] == [0, 1]
    assert [one.key for one in closed.finish()[0].documents] == ["1"]  # 0 was the fullest of two


def test_what_does_not_fit_is_refused():
    for size in (0, 11):
        with pytest.raises(UsageError, match=f"0 has {size} ids: expected 1 to 10"):
            Packer(10).add(documents([size])[0])
    with pytest.raises(UsageError, match="length=0"):
        Packer(0)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([TOY, DELAYED]))
def test_cuts_lie_at_the_end_of_frames(seed, length, vocabulary):
    grammar = Grammar(vocabulary.layout)
    ids = legal_line(np.random.default_rng(seed), vocabulary, 8)
    document = Document("d", ids, np.arange(len(ids)) % 3 == 0)
    try:
        pieces = list(cut(document, length, grammar))
    except CodesError:
        # Only where a picture, or a run that is not frame-major, is longer than a piece; or a frame of music.
        assert length < max(grammar.layout.segments[0].num_frames + 2, 3 * 5 + 2)
        return
    assert np.concatenate([[], *(one.ids for one in pieces)]).tolist() == ids.tolist()
    assert np.concatenate([[], *(one.learned for one in pieces)]).tolist() == document.learned.tolist()
    assert [one.offset for one in pieces] == np.cumsum([0, *map(len, pieces)])[:-1].tolist()
    for one in pieces[1:]:
        before, first = ids[one.offset - 1], ids[one.offset]
        assert grammar.kind[before] != START
        if grammar.kind[before] == CODE:  # inside a run: of music, and between its frames
            assert grammar.family[before] == grammar.family[first] == 2 and grammar.kind[first] == CODE
            assert (grammar.layer[before], grammar.layer[first]) == (1, 0)
    if len(pieces) > 1:
        assert all(len(one) <= length for one in pieces)


def test_cuts_are_as_late_as_they_may_be():
    grammar = Grammar(TOY.layout)
    music = TOY.layout.segments[2]
    run = [music.start_id, *[music.first_id, music.first_id + 8] * 6, music.end_id]
    document = Document("d", np.array([1, 2, *run, 3]), np.ones(17, bool))
    assert [one.ids.tolist() for one in cut(document, 7, grammar)] == [
        [1, 2, *run[:5]], run[5:11], [*run[11:], 3]
    ]  # fmt: skip


def test_a_realistic_mix_fills_the_positions():
    """Captioned pictures, speech of 2 to 15 s at 50 ids a second, music of 5 to 20 s at 200."""
    draw = np.random.default_rng(0)
    pictures = 34 + draw.integers(8, 40, 3000)
    speech = 2 + 50 * draw.uniform(2, 15, 2000)
    music = 2 + 200 * draw.uniform(5, 20, 300)
    sizes = np.concatenate([pictures, speech, music]).astype(int)
    draw.shuffle(sizes)
    sequences = list(pack(documents(sizes.tolist()), 4096))
    assert sum(sizes) / (4096 * len(sequences)) >= 0.98
