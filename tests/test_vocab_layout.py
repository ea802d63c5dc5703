"""Layouts as data: built, checked, hashed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anytok import Codes, Spec, Vocabulary, VocabularyError
from anytok.vocab import LAYOUTS, Layout, Segment, build_layout, segment_of
from anytok.vocab.layouts import find_layout

IMAGE = Segment("seed-2", "image", 1, 16, "<i{}>", "<a>", "</a>", num_frames=4)
SOUND = Segment("codec", "music", 2, 8, "<m{}>", "<b>", "</b>")


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts_survive_json(name: str) -> None:
    layout = find_layout(name)
    again = Layout.from_dict(layout.to_dict())
    assert again == layout
    assert again.hash == layout.hash
    assert len(layout.tokens()) == layout.total - layout.text_size == len(set(layout.tokens()))


def test_a_layout_is_checked_in_milliseconds() -> None:
    """Its texts are spelled in one pass: with a `replace` of the Segment for each of them this took 100 ms and more."""
    seconds = []
    for _ in range(5):
        started = time.process_time()
        find_layout("anygpt")
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.06


def test_hash_sees_every_change() -> None:
    layout = build_layout("x", 10, ["<s>", IMAGE, SOUND])
    changed = [
        build_layout("y", 10, ["<s>", IMAGE, SOUND]),
        build_layout("x", 11, ["<s>", IMAGE, SOUND]),
        build_layout("x", 10, ["<s>", SOUND, IMAGE]),
        build_layout("x", 10, ["<s>", replace(IMAGE, tokenizer="seed-2@12"), SOUND]),
        build_layout("x", 10, ["<s>", IMAGE, replace(SOUND, pattern="layer-major")]),
    ]
    assert len({layout.hash, *(other.hash for other in changed)}) == 6


def test_places_in_order() -> None:
    layout = build_layout("x", 10, ["<s>", IMAGE, "<t>", SOUND], reserved=2)
    image, sound = layout.segments
    assert (image.first_id, image.start_id, image.end_id) == (11, 27, 28)
    assert (sound.first_id, sound.start_id, sound.end_id) == (30, 46, 47)
    assert layout.specials == (("<s>", 10), ("<t>", 29), ("<reserved_0>", 48), ("<reserved_1>", 49))
    assert layout.total == 50


def test_a_spec_gives_a_segment() -> None:
    spec = Spec("my-codec", "speech", 8, 1024, frame_rate=50, id="my-codec@77")
    segment = segment_of(spec, num_codebooks=2, pattern="layer-major", start="<sp>")
    assert (segment.tokenizer, segment.num_codebooks, segment.num_ids) == ("my-codec@77", 2, 2048)
    assert (segment.text_of(3), segment.start, segment.end) == ("<speech_3>", "<sp>", "</speech>")
    assert segment.spec.id == "my-codec@77"
    with pytest.raises(VocabularyError, match="it has 8"):
        segment_of(spec, num_codebooks=9)


def test_layouts_that_do_not_hold() -> None:
    good = build_layout("x", 10, ["<s>", IMAGE, SOUND])
    image, sound = good.segments
    wrong = [
        (replace, {"total": good.total + 1}, "total is"),
        (replace, {"text_size": 9}, "gap"),
        (replace, {"text_size": 11}, "overlap"),
        (replace, {"segments": (image, replace(sound, first_id=sound.first_id - 1))}, "overlap"),
        (replace, {"segments": (image, replace(sound, start=image.start))}, "more than one"),
        (replace, {"segments": (image, replace(sound, code=image.code))}, "more than one"),
    ]
    for change, fields, words in wrong:
        with pytest.raises(VocabularyError, match=words):
            change(good, **fields)
    with pytest.raises(VocabularyError, match="delay"):
        replace(SOUND, pattern="delay")
    with pytest.raises(VocabularyError, match="exactly once"):
        replace(SOUND, code="<m>")
    for fields in ({"codebook_size": 0}, {"num_codebooks": 0}, {"num_frames": 0}, {"num_frames": -1}):
        with pytest.raises(VocabularyError, match=f"{next(iter(fields))}=.*: expected a whole number, 1 to"):
            replace(SOUND, **fields)


def test_a_tokenizer_has_one_segment() -> None:
    """Its codes would find no way back to the second."""
    first = replace(SOUND, num_codebooks=1, code="<n{}>", start="<c>", end="</c>")
    for other in (first, replace(first, tokenizer="codec@77")):
        with pytest.raises(VocabularyError, match="2 segments of codec; expected one"):
            build_layout("x", 10, [other, IMAGE, SOUND])


@pytest.mark.parametrize(
    ("image", "sound"),
    [
        ({"code": "{}"}, {}),
        ({"code": "i{}", "end": "5"}, {}),
        ({"code": "<i{}0>"}, {}),
        ({"start": "<s"}, {"start": "<s>"}),
        ({"start": "<m5>x"}, {}),
        ({"end": "<m"}, {}),
        ({"code": "<c{}>", "codebook_size": 10}, {"code": "<c1{}>"}),
        ({"code": "<c{}>"}, {"code": "<c0>{}>"}),
        ({"code": "<c{}x17>"}, {"code": "<c1x{}>"}),
        ({"aliases": ("<m{}>>",)}, {}),
        ({"code": "<m{}>", "digits": 3}, {}),
    ],
)
def test_text_could_be_read_in_two_ways(image: dict[str, Any], sound: dict[str, Any]) -> None:
    for order in (1, -1):
        with pytest.raises(VocabularyError, match="read in two ways"):
            build_layout("x", 10, [replace(IMAGE, **image), replace(SOUND, **sound)][::order])


@pytest.mark.parametrize(
    ("image", "sound"),
    [
        ({"code": " i{}", "aliases": ("i{},",)}, {"code": "m{}"}),
        ({"code": "{}>"}, {}),
        ({"code": "<c1_{}>"}, {"code": "<c2_{}>"}),
        ({"code": "<c1{}x>"}, {"code": "<c{}y>"}),
        ({"start": "<a1>", "end": "<a12>"}, {"start": "<a>", "end": "<{}>"}),
        ({"code": "<i{}>", "digits": 5}, {"code": "<i_{}>"}),
    ],
)
def test_text_is_read_in_one_way(image: dict[str, Any], sound: dict[str, Any]) -> None:
    vocab = Vocabulary(build_layout("x", 10, [replace(IMAGE, **image), replace(SOUND, **sound)]))
    parts = [Codes(np.array([[0, 1, 15, 5]]), vocab.layout.segments[0].spec)]
    parts += [Codes(np.array([[0, 1], [7, 2]]), vocab.layout.segments[1].spec)]
    for line in (parts, parts[::-1], ["a", *parts, "b"]):
        assert vocab.from_text(vocab.to_text(line)) == line


def test_records_of_the_wrong_type() -> None:
    record = build_layout("x", 10, ["<s>", IMAGE]).to_dict()
    for change in ({"total": "29"}, {"total": True}, {"name": 3}, {"segments": [{"tokenizer": 1}]}, {"colour": 1}):
        with pytest.raises(VocabularyError):
            Layout.from_dict({**record, **change})


@pytest.mark.parametrize("reserved", [-1, 10**11, 1.5, "2"])
def test_reserved_ids_are_bounded_before_they_are_named(reserved: Any) -> None:
    with pytest.raises(VocabularyError, match=r"reserved=.*expected a whole number, 0 to 16777216"):
        build_layout("x", 10, [], reserved=reserved)
