"""What is remembered comes back: words and exact codes, by id, by words and by media, within its scope alone."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memories import any2any, codes_of, recording, remember, scene, shown, spoken

from anytok import Audio, Codes, CodesError, Image, MediaError, Speech, StoreError, UsageError, load_memory
from anytok.memory import Memory


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with remember(tmp_path) as opened:
        yield opened


def test_words_and_codes_come_back(memory: Memory) -> None:
    cat = memory.add([scene(1), "our cat Minka"], about={"place": "home"})
    hello = memory.add(["grandma says hello", recording(1)], tier="long")
    plain = memory.add("the key is under the mat")
    tune = memory.add(spoken(2))
    items = memory.get_all()
    assert [item.id for item in items] == [cat, hello, plain, tune]
    assert items[0].parts == [shown(1), "our cat Minka"] and items[0].about == {"place": "home"}
    assert memory.get(hello).codes == spoken(1) and memory.get(hello).tier == "long"
    assert memory.get(plain).parts == ["the key is under the mat"] and memory.get(plain).kind == "words"
    assert memory.get(tune).words == "" and memory.get(tune).kind == "speech"
    assert [item.id for item in memory.get_all(place="home")] == [cat]


def test_what_is_remembered_can_be_shown_said_and_read_again(memory: Memory) -> None:
    memory.add([recording(1), "grandma says hello"])
    [item] = memory.get_all()
    speech, words = any2any().to_media(item.parts)
    [same] = any2any().to_media([spoken(1)])
    assert np.array_equal(speech.wave, same.wave) and words == "grandma says hello"
    codes, _ = any2any().vocabulary.from_ids(any2any().vocabulary.to_ids(item.parts))
    assert np.array_equal(codes.values, spoken(1).values)


def test_words_find(memory: Memory) -> None:
    cat = memory.add([shown(1), "our cat Minka sleeps on the sofa"])
    memory.add("the train to Rome leaves at nine")
    hello = memory.add([recording(1), "grandma says hello"])
    found = memory.search("where does the cat sleep?")
    assert found[0].id == cat and found[0].score > 2 * found[1].score
    assert memory.search("grandma")[0].id == hello
    exact = memory.search("grandma says hello")[0]
    assert exact.id == hello and exact.score == pytest.approx(1, abs=1e-3)
    assert len(memory.search("the cat", limit=1)) == 1
    assert memory.search("zzz qqq") == []


def test_media_find_their_like(memory: Memory) -> None:
    pictures = {memory.add([shown(seed), f"picture {seed}"]): seed for seed in range(8)}
    sounds = {memory.add(recording(seed)): seed for seed in range(3)}
    for id, seed in pictures.items():
        picture = scene(seed).source
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=30)
        for damaged in (file.getvalue(), picture.crop((12, 12, 228, 228)), picture.resize((120, 120))):
            best = memory.search(Image(damaged))[0]
            assert best.id == id and best.kind == "image"
    for id, seed in sounds.items():
        wave = recording(seed).source.wave
        assert memory.search(Speech(Audio(wave[:, 3200:] / 2, 16000)))[0].id == id


def test_only_codes_of_one_tokenizer_are_compared(memory: Memory) -> None:
    """Codes of other weights, and of other modalities, are in the same store, and no search by media meets them."""
    codes = shown(1)
    other = dataclasses.replace(codes, spec=codes.spec.with_id("seed-mini"))  # a vocabulary's, of unknown weights
    here, there = memory.add(codes), memory.add(other)
    memory.add(recording(1))
    assert here != there
    assert [item.id for item in memory.search(codes)] == [here]
    assert [item.id for item in memory.search(other)] == [there]


def test_equal_codes_are_one_memory(memory: Memory) -> None:
    cat = memory.add([shown(1), "our cat"])
    assert memory.add([shown(1), "our cat"]) == memory.add(shown(1)) == memory.add(shown(1)) == cat
    assert memory.get(cat).times == 4 and memory.get(cat).words == "our cat"
    assert memory.add([shown(1), "asleep again"]) == cat
    assert memory.get(cat).words == "our cat\nasleep again"
    assert memory.add("our cat") != cat
    assert memory.add("our cat") == memory.add("our cat")
    assert memory.add(shown(2)) != cat
    today = memory.within(run="today")
    assert today.add(shown(1)) != cat, "of another scope"
    assert len(memory.get_all()) == 4 and len(today.get_all()) == 1


def test_update_keeps_the_old_picture_in_the_history(memory: Memory) -> None:
    cat = memory.add([shown(1), "our cat"])
    memory.update(cat, "our cat Minka")
    memory.update(cat, shown(2))
    memory.update(cat, about={"age": 3}, tier="long")
    item = memory.get(cat)
    assert item.parts == [shown(2), "our cat Minka"] and item.about == {"age": 3} and item.tier == "long"
    changes = memory.history(cat)
    assert [change.event for change in changes] == ["add", "update", "update", "noted"]
    assert [change.words for change in changes] == ["our cat", *["our cat Minka"] * 3]
    first, second = shown(1), shown(2)
    assert [change.codes for change in changes] == [first, first, second, second]
    assert memory.search(shown(2))[0].id == cat and memory.search("Minka")[0].id == cat
    assert memory.search(shown(2))[0].score == pytest.approx(1, abs=1e-3), "found by its new picture"


def test_an_update_makes_no_second_of_the_same(memory: Memory) -> None:
    one, two = memory.add("one"), memory.add("two")
    with pytest.raises(UsageError, match=f"memory {one} is equal to that already"):
        memory.update(two, "one")
    assert memory.get(two).words == "two"


def test_delete_and_erase(memory: Memory, tmp_path: Path) -> None:
    mem0 = memory._store.mem0
    vectors = mem0.vector_store.client._client.collections["anytok"].storage.storage
    for database in (mem0.db.connection, vectors):  # some builds of sqlite overwrite what they delete, others do not
        database.execute("PRAGMA secure_delete = OFF")
    cat, secret = memory.add([shown(1), "our cat"]), memory.add([shown(2), "xylophone-7731"])
    memory.delete(cat)
    assert [item.id for item in memory.get_all()] == [secret]
    assert [(one.event, one.words) for one in memory.history(cat)] == [("add", "our cat"), ("delete", "our cat")]
    with pytest.raises(UsageError, match="no memory"):
        memory.get(cat)
    assert traces(tmp_path, b"xylophone-7731")
    memory.delete(secret, erase=True)
    assert not traces(tmp_path, b"xylophone-7731") and memory.search(shown(2)) == []
    with pytest.raises(UsageError, match="no memory"):
        memory.history(secret)
    assert memory.history(cat), "erasing one leaves the others"


def traces(folder: Path, words: bytes) -> list[Path]:
    """The files in which these bytes stand."""
    return [path for path in folder.rglob("*") if path.is_file() and words in path.read_bytes()]


def test_delete_all(memory: Memory, tmp_path: Path) -> None:
    other = Memory(memory._store, memory._multimodal, {"user_id": "bob"}, memory._rules)
    theirs = other.add("the key of bob")
    ids = [memory.add(f"number {i}, xylophone-7731") for i in range(3)]
    memory.within(run="today").add("in a run, xylophone-7731")
    memory.delete_all()
    assert memory.get_all() == [] and [item.id for item in other.get_all()] == [theirs]
    assert memory.history(ids[0])[-1].event == "delete"
    memory.delete_all(erase=True)
    assert not traces(tmp_path, b"xylophone-7731") and other.history(theirs)


def test_reset(memory: Memory, tmp_path: Path) -> None:
    other = Memory(memory._store, memory._multimodal, {"user_id": "bob"}, memory._rules)
    memory.add("mine"), other.add([shown(1), "xylophone-7731"])
    with pytest.raises(UsageError, match="other scopes have memories here"):
        memory.reset()
    assert len(memory.get_all()) == len(other.get_all()) == 1
    memory.reset(everyone=True)
    assert memory.get_all() == other.get_all() == [] and not traces(tmp_path, b"xylophone-7731")
    again = memory.add("mine, again")
    memory.reset()
    assert memory.get_all() == []
    with pytest.raises(UsageError, match="no memory"):
        memory.history(again)


def test_links(memory: Memory) -> None:
    cat, photo, sofa = memory.add("Minka, a cat"), memory.add(shown(1)), memory.add("a red sofa")
    memory.link(photo, "shows", cat)
    memory.link(photo, "shows", cat)
    memory.link(photo, "taken on", sofa)
    assert [item.id for item in memory.linked(photo)] == [cat, sofa]
    assert [item.id for item in memory.linked(memory.get(photo), "taken on")] == [sofa]
    assert memory.get(photo).codes == shown(1) and memory.search(shown(1))[0].id == photo
    memory.delete(sofa)
    assert [item.id for item in memory.linked(photo)] == [cat]


def test_reopening_gives_equal_codes(tmp_path: Path) -> None:
    with remember(tmp_path) as memory:
        media = [shown(1), shown(2), recording(1), spoken(2).layers(0, 1)]
        ids = [memory.add([medium, f"number {i}"]) for i, medium in enumerate(media)]
        before = memory.get_all()
        found = [(item.id, item.score) for item in memory.search(shown(1))]
    with remember(tmp_path) as memory:
        after = memory.get_all()
        assert [item.id for item in after] == ids and after == before
        for item, medium in zip(after, media, strict=True):
            codes = medium if isinstance(medium, Codes) else codes_of(medium)
            assert item.codes == codes and item.codes.spec == codes.spec
        assert [item.id for item in memory.search(shown(1))] == [id for id, _ in found]


def calls(id: str, word: str) -> dict[str, Any]:
    """Every method that takes an id, and every one that goes over many, called with another scope's."""
    return {
        "get": lambda one: one.get(id),
        "get_all": lambda one: one.get_all(),
        "search": lambda one: [*one.search(word), *one.search(shown(1))],
        "update": lambda one: one.update(id, "changed"),
        "history": lambda one: one.history(id),
        "link": lambda one: one.link(id, "is", one.add("mine")),
        "linked": lambda one: one.linked(id),
        "delete": lambda one: one.delete(id, erase=True),
        "delete_all": lambda one: one.delete_all(erase=True),
        "reset": lambda one: one.reset(),
        "add": lambda one: one.add([shown(1), word]),
        "within": lambda one: one.within(run="r").get_all() + one.within(run="r").search(word),
        "deduce": lambda one: one.deduce(word),
    }


BY_ID = ("get", "update", "history", "link", "linked", "delete")
OTHERS = [{"user": "bob"}, {"agent": "alice"}, {"run": "alice"}, {"user": "alice", "run": "r2"}, {"user": "alice&x=1"}]


@pytest.mark.parametrize("scope", OTHERS, ids=str)
def test_no_scope_reaches_another(tmp_path: Path, scope: dict[str, str]) -> None:
    """Whatever is called, by id or by search, returns nothing of it and leaves it as it was, deleted or not."""
    with remember(tmp_path) as memory:
        alice = memory.within(run="r1")
        id, gone = alice.add([shown(1), "a secret word"]), alice.add("deleted words")
        alice.delete(gone)
        before, changes, left = alice.get(id), alice.history(id), alice.history(gone)
        methods = {name for name in vars(Memory) if not name.startswith("_")} - {"close"}
        assert methods == set(calls(id, "")), "a method that is not walked"
        names = {"user": "user_id", "agent": "agent_id", "run": "run_id"}
        for name in calls(id, ""):
            given = {names[key]: value for key, value in scope.items()}
            other = Memory(memory._store, memory._multimodal, given, memory._rules)
            for victim in (id, gone):
                try:
                    result = calls(victim, "a secret word")[name](other)
                except (UsageError, StoreError):
                    continue
                assert name not in BY_ID, f"{name} knew another's id"
                listed = result if isinstance(result, list) else [result]
                assert not {id, gone} & {getattr(one, "id", one) for one in listed}, f"{name} gave another's"
            other.delete_all(erase=True)
            assert alice.get(id) == before and alice.history(id) == changes and alice.history(gone) == left, name


def test_a_wider_scope_holds_the_narrower(memory: Memory) -> None:
    today = memory.within(run="today")
    id = today.add("is tired")
    assert memory.get(id).scope == {"user_id": "alice", "run_id": "today"} and today.get(id).tier == "short"
    assert [item.id for item in memory.search("tired")] == [id]
    with pytest.raises(UsageError, match="'bob'} is not within"):
        memory.within(user="bob")


@pytest.mark.parametrize("name", ["*", "", " ", "a b", 7])
def test_a_scope_is_a_name(tmp_path: Path, name: Any) -> None:
    """mem0 takes "*" for everyone."""
    with pytest.raises(UsageError, match="expected a name"):
        remember(tmp_path, user=name)
    assert not (tmp_path / "memories").exists()


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no picture": (Image(b"not a picture"), MediaError, "unsupported_format"),
    "a truncated picture": (Image(b"\xff\xd8\xff\xe0" + b"\0" * 100), MediaError, r"\["),
    "NaN sound": (Speech(Audio(np.full(16000, np.nan), 16000)), MediaError, "not_finite"),
    "no file": ([Image("no/such.png"), "words"], MediaError, "no/such.png"),
    "words like a mark": ("<image 0123456789ab> a cat", UsageError, "begin otherwise"),
    "a mark beside a picture": ([shown(1), "<speech 0123456789ab> a cat"], UsageError, "begin otherwise"),
    "1 MB of words": ("word " * 200_000, UsageError, "1000000 characters"),
    "blank words": (" \n", UsageError, "not blank"),
    "no words": ("", UsageError, "not blank"),
    "half a surrogate pair": ("caf\ud800", UsageError, "UTF-8"),
    "nothing": ([], UsageError, "expected words, a medium"),
    "a number": (7, UsageError, "int"),
    "bytes": (b"words", UsageError, "bytes"),
    "two pictures": ([shown(1), shown(2)], UsageError, "2 media"),
    "two texts": (["one", "two"], UsageError, "2 texts"),
    "foreign codes": (
        dataclasses.replace(shown(1), spec=dataclasses.replace(shown(1).spec, name="other", id="other@1")),
        CodesError, "no such tokenizer",
    ),
    "codes of other weights": (
        dataclasses.replace(shown(1), spec=shown(1).spec.with_id("seed-mini@0123")), CodesError, "made by",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_leaves_nothing(memory: Memory, case: str, tmp_path: Path) -> None:
    what, error, says = BAD[case]
    kept = memory.add([shown(9), "kept"])
    before = files(tmp_path)
    for call in (lambda: memory.add(what), lambda: memory.update(kept, what)):
        with pytest.raises(error, match=says):
            call()
    assert files(tmp_path) == before and memory.get(kept).words == "kept"
    assert memory.add("and it goes on")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "call",
    [
        lambda memory: memory.add("a", tier="eternal"),
        lambda memory: memory.add("a", about={"a": {1}}),
        lambda memory: memory.add("a", about={"a": float("nan")}),
        lambda memory: memory.get("no-id"),
        lambda memory: memory.get(None),
        lambda memory: memory.search("a", limit=0),
        lambda memory: memory.search(["a", shown(1)]),
        lambda memory: memory.link(memory.add("a"), " ", memory.add("b")),
        lambda memory: memory.get_all(place="*"),
        lambda memory: memory.search("a", now=datetime(2026, 1, 1)),
        lambda memory: [memory.add([shown(1), f"{number}" * 40_000]) for number in range(2)],  # one below the other
        lambda memory: load_memory("x", any2any()),
        lambda memory: load_memory("x", "mini", user="a"),
    ],
)
def test_wrong_arguments_are_told(memory: Memory, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        call(memory)
    assert not Path("x").exists()


def test_words_that_only_look_odd_are_kept_as_they_are(memory: Memory) -> None:
    odd = ("<b>bold</b>", "  spaces  ", "line\nline", "猫は寝る", "\U0001f408", "a <image 0123456789ab> inside", "*")
    for place, words in enumerate(odd):
        assert memory.get(memory.add(words)).words == words
        assert memory.get(memory.add([shown(place), words])).words == words
    assert memory.search("猫")[0].words == "猫は寝る"


def test_jsonl_of_codes_can_be_remembered(memory: Memory, tmp_path: Path) -> None:
    """What `anytok encode` writes."""
    lines = [json.dumps(shown(seed).to_dict()) for seed in range(3)]
    ids = [memory.add(Codes.from_dict(json.loads(line))) for line in lines]
    assert [json.dumps(memory.get(id).codes.to_dict()) for id in ids] == lines
