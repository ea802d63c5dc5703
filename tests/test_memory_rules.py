"""What becomes of the new beside the old: tiers, fading, rules of one's own, and a language model's decisions."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from memories import codes_of, remember, scene, shown, spoken

from anytok import Image, StoreError, UsageError
from anytok.memory import Ask, Decision, Item, Memory, Rules, near_duplicate


def test_tiers_rise_by_meeting_again_and_never_sink(tmp_path: Path) -> None:
    with remember(tmp_path) as memory:
        today = memory.within(run="today")
        id = today.add("is tired")
        tiers = [today.get(id).tier]
        for _ in range(3):
            today.add("is tired")
            tiers.append(today.get(id).tier)
        assert tiers == ["short", "mid", "mid", "long"] and today.get(id).times == 4
        kept = memory.add("by hand", tier="long")
        assert memory.add("by hand") == kept and memory.get(kept).tier == "long"


def test_fading_is_the_stated_formula() -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    rules = Rules()
    for tier, days, share in (
        ("short", 0, 1.0), ("short", 1, 0.75), ("mid", 30, 0.75), ("mid", 60, 0.625), ("long", 3000, 1.0),
        ("short", 10_000, 0.5), ("mid", -5, 1.0),
    ):  # fmt: skip
        item = Item("a", tier=tier, score=0.8, seen=now - timedelta(days=days))
        assert rules.faded(item, now) == pytest.approx(0.8 * share), (tier, days)
    assert math.isinf(rules.half_lives["long"])


def test_fading_breaks_ties_and_no_more(tmp_path: Path) -> None:
    """In ten years the old and fitting still goes before the fresh that fits half as well; nothing is gone."""
    with remember(tmp_path) as memory:
        long = memory.add("the red bicycle stands in the cellar", tier="long")
        short = memory.add("in the cellar stands the red bicycle", tier="short")
        other = memory.add("a bicycle", tier="long")
        first = memory.search("the red bicycle stands in the cellar")
        assert {item.id for item in first[:2]} == {long, short}
        assert first[0].score == pytest.approx(first[1].score, abs=1e-3)
        late = memory.search("the red bicycle stands in the cellar", now=datetime.now(UTC) + timedelta(days=3650))
        assert [item.id for item in late] == [long, short, other]
        assert late[1].score == pytest.approx(first[1].score / 2, abs=1e-3) and len(memory.get_all()) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rules(half_lives={"short": 1}), lambda: Rules(half_lives={"short": 1, "mid": 0, "long": 1}),
        lambda: Rules(promote={"eternal": 1}), lambda: Rules(decide=("no rule",)), lambda: Decision("forget"),
        lambda: Decision("update"), lambda: Decision("add", "an id"), lambda: Decision("add", words="  "),
    ],
)  # fmt: skip
def test_wrong_rules_are_told(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def jpeg(seed: int, quality: int) -> Image:
    file = io.BytesIO()
    scene(seed).source.save(file, "JPEG", quality=quality)
    return Image(file.getvalue())


def test_near_duplicates_of_media_are_one_memory(tmp_path: Path) -> None:
    again = codes_of(jpeg(1, 40))
    assert again != shown(1), "the codes differ: without the rule these are two"
    with remember(tmp_path, rules=Rules(decide=(near_duplicate(0.98),))) as memory:
        cat = memory.add([shown(1), "our cat"])
        assert memory.add([again, "from the other phone"]) == cat
        assert memory.get(cat).times == 2 and memory.get(cat).words == "our cat\nfrom the other phone"
        assert memory.get(cat).codes == shown(1), "the first is kept"
        assert memory.add(shown(2)) != cat
        assert memory.add("our cat, one") != memory.add("our cat, two"), "words never are"
    with remember(tmp_path) as memory:
        assert memory.add(again) != cat


def test_other_pictures_of_one_name_are_no_near_duplicates(tmp_path: Path) -> None:
    """Also those that a search by the picture does not meet: there are more than ten, or another tokenizer's."""
    with remember(tmp_path, rules=Rules(decide=(near_duplicate(0.98),))) as memory:
        cats = [memory.add([shown(seed), "our cat"]) for seed in range(14)]
        cats.append(memory.add([spoken(1), "our cat"]))
        assert len(set(cats)) == 15 and all(memory.get(cat).times == 1 for cat in cats)


def test_rules_of_ones_own(tmp_path: Path) -> None:
    seen: list[tuple[Item, list[Item]]] = []

    def rule(new: Item, similar: list[Item]) -> Any:
        seen.append((new, similar))
        if new.words.startswith("correction: ") and similar:
            return Decision("update", similar[0].id, new.words.removeprefix("correction: "))
        if new.words.startswith("forget ") and similar:
            return [Decision("delete", similar[0].id)]
        return Decision("nothing") if new.words == "hm" else None

    with remember(tmp_path, rules=Rules(decide=(rule,))) as memory:
        cat = memory.add([shown(1), "Minka is two years old"])
        memory.add("the train leaves at nine")
        memory.within(run="r").add("Minka is a cat of the run")
        assert memory.add("correction: Minka is three years old") == cat
        assert memory.get(cat).parts == [shown(1), "Minka is three years old"]
        assert seen[-1][1][0].id == cat and seen[-1][1][0].score > 0.3
        assert all(item.scope == {"user_id": "alice"} for _, similar in seen[-1:] for item in similar)
        assert memory.add("hm") is None
        assert memory.add("forget that Minka is three years old") is None
        assert [item.words for item in memory.get_all()] == ["the train leaves at nine", "Minka is a cat of the run"]


class Scripted:
    """A language model that answers what it was told to, and counts."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []

    def generate_response(self, messages: list[dict[str, str]], tools: Any = None, **_: Any) -> Any:
        self.asked.append((messages, tools))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def calls(*given: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{"name": name, "arguments": fields} for name, fields in given]}


def asked(folder: Path, *answers: Any) -> tuple[Memory, Scripted, str]:
    """A memory with a cat in it, whose model will answer so."""
    llm = Scripted(calls(("add_memory", {})), *answers)
    memory = remember(folder, llm=llm, rules=Rules(decide=(Ask(),)))
    cat = memory.add([shown(1), "Minka is two years old"])
    assert cat
    return memory, llm, cat


def test_a_model_adds(tmp_path: Path) -> None:
    memory, llm, cat = asked(tmp_path, calls(("add_memory", {})))
    with memory:
        assert memory.add([spoken(1), "grandma says hello"]) not in (cat, None) and len(memory.get_all()) == 2
        messages, tools = llm.asked[-1]
        spelled = json.dumps([messages, tools])
        assert len(llm.asked) == 2 and cat not in spelled and len(spelled) < 2500, "short, without ids and codes"
        assert [tool["function"]["name"] for tool in tools] == [
            "add_memory", "update_memory", "delete_memory", "no_change"
        ]  # fmt: skip


def test_a_model_updates(tmp_path: Path) -> None:
    answer = calls(("update_memory", {"memory": 1, "words": "Minka is three years old"}))
    memory, _, cat = asked(tmp_path, answer)
    with memory:
        assert memory.add("Minka had her third birthday") == cat
        assert [item.parts for item in memory.get_all()] == [[shown(1), "Minka is three years old"]]
        assert [one.words for one in memory.history(cat)] == ["Minka is two years old", "Minka is three years old"]


def test_a_model_deletes(tmp_path: Path) -> None:
    memory, _, cat = asked(tmp_path, calls(("add_memory", {}), ("delete_memory", {"memory": 1})))
    with memory:
        new = memory.add("Minka lives elsewhere now")
        assert [item.id for item in memory.get_all()] == [new] and memory.history(cat)[-1].event == "delete"


def test_words_that_a_rule_gives_make_no_second_of_the_same(tmp_path: Path) -> None:
    with remember(tmp_path, rules=Rules(decide=(lambda new, similar: Decision("add", words="a fact"),))) as memory:
        fact = memory.add("a fact")
        assert memory.add("said otherwise") == fact and memory.get(fact).times == 2


def test_what_only_half_of_several_decisions_did_is_told(tmp_path: Path) -> None:
    both = [Decision("add"), Decision("delete", "no-id")]
    with remember(tmp_path, rules=Rules(decide=(lambda new, similar: both,))) as memory:
        with pytest.raises(StoreError, match=r"only 1 of 2 decisions are carried out \(no memory no-id"):
            memory.add("a fact")
        assert [item.words for item in memory.get_all()] == ["a fact"]


def test_a_model_does_nothing(tmp_path: Path) -> None:
    memory, _, cat = asked(tmp_path, calls(("no_change", {})))
    with memory:
        before = memory.get(cat)
        assert memory.add("Minka is two") is None and memory.get_all() == [before]


GARBAGE = [
    "no dict", None, {}, {"tool_calls": None}, {"tool_calls": []}, {"tool_calls": ["update"]}, calls(("no_such", {})),
    calls(("update_memory", {"memory": 77, "words": "x"})), calls(("update_memory", {"memory": 0, "words": "x"})),
    calls(("update_memory", {"memory": "?", "words": "x"})), calls(("update_memory", {"memory": 1, "words": 7})),
    calls(("update_memory", {"memory": 1, "words": "  "})), calls(("update_memory", {"memory": 1})),
    calls(("update_memory", {"memory": 1, "words": "<image 0123456789ab> x"})),
    calls(("delete_memory", {"memory": -1})), calls(("delete_memory", {"memory": 1}), ("no_such", {})),
    calls(("delete_memory", {"memory": 1}), ("update_memory", {"memory": 1, "words": "x"})),
]  # fmt: skip


def test_what_cannot_be_followed_adds_what_was_said(tmp_path: Path) -> None:
    memory, llm, cat = asked(tmp_path, *GARBAGE)
    with memory:
        before = memory.get(cat)
        for number, garbage in enumerate(GARBAGE):
            new = memory.add(f"Minka, part {number}")
            assert new and memory.get(new).words == f"Minka, part {number}", garbage
        assert memory.get(cat) == before and len(memory.get_all()) == 1 + len(GARBAGE) and not llm.answers


def test_a_model_that_does_not_answer_leaves_all_as_it_was(tmp_path: Path) -> None:
    memory, _, cat = asked(tmp_path, TimeoutError("no answer in 60 s"), calls(("add_memory", {})))
    with memory:
        before = memory.get(cat)
        with pytest.raises(StoreError, match=r"nothing was remembered \(no answer in 60 s\)"):
            memory.add("Minka had her third birthday")
        assert memory.get_all() == [before]
        assert memory.add("Minka had her third birthday"), "asked again, it answers"


def test_without_a_model_none_is_asked(tmp_path: Path) -> None:
    with remember(tmp_path, rules=Rules(decide=(Ask(),))) as memory:
        for call in (memory.add, memory.deduce):
            with pytest.raises((UsageError, StoreError), match="no language model"):
                call("a fact")
        assert memory.get_all() == []


class OpenAi(BaseHTTPRequestHandler):
    """What openai's clients ask for: chats get what is next in `chats`, texts a vector of their letters."""

    chats: ClassVar[list[dict[str, Any]]] = []
    paths: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.paths.append(self.path)
        if self.path.endswith("/chat/completions"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **self.chats.pop(0)}}
            answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        else:
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            rows = [[float(text.lower().count(letter)) + 0.01 for letter in "abcdefghijklmnop"] for text in texts]
            data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
            answer = {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def openai() -> Iterator[dict[str, Any]]:
    """mem0's settings for its own openai provider, with a server on this machine."""
    OpenAi.chats, OpenAi.paths = [], []
    server = HTTPServer(("127.0.0.1", 0), OpenAi)
    thread = Thread(target=server.serve_forever)
    thread.start()
    both = {"model": "m", "api_key": "k", "openai_base_url": f"http://127.0.0.1:{server.server_port}/v1"}
    llm = {"provider": "openai", "config": both}
    yield {"llm": llm, "embedder": {"provider": "openai", "config": {**both, "embedding_dims": 16}}}
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_openai_provider_of_mem0(tmp_path: Path, openai: dict[str, Any]) -> None:
    facts = {"memory": [{"text": "Minka is a cat"}, {"text": "Minka likes fish"}]}
    OpenAi.chats = [{"content": json.dumps(facts)}]
    with remember(tmp_path, mem0=openai) as memory:
        photo = memory.add([shown(1), "a bicycle"])
        assert OpenAi.paths == ["/v1/embeddings"], "one embedding, no chat"
        ids = memory.deduce([{"role": "user", "content": "my cat Minka likes fish"}])
        assert [memory.get(id).words for id in ids] == ["Minka is a cat", "Minka likes fish"]
        assert [change.event for change in memory.history(ids[0])] == ["add"]
        assert memory.search("a bicycle")[0].id == photo and memory.search(shown(1))[0].id == photo
        memory.link(ids[0], "shown on", photo)
        memory.update(ids[1], "Minka hates fish")
        assert memory.get(ids[1]).words == "Minka hates fish"
        with pytest.raises(UsageError, match="no memory"):
            memory.within(run="r").get(ids[0])
        memory.delete_all(erase=True)
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"Minka" in path.read_bytes()]


def test_the_openai_provider_decides_by_tools(tmp_path: Path, openai: dict[str, Any]) -> None:
    function = {"name": "update_memory", "arguments": json.dumps({"memory": 1, "words": "Minka is three"})}
    added = {"name": "add_memory", "arguments": "{}"}
    OpenAi.chats = [
        {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": one}]} for one in (added, function)
    ]
    with remember(tmp_path, mem0={"llm": openai["llm"]}, rules=Rules(decide=(Ask(),))) as memory:
        cat = memory.add([shown(1), "Minka is two"])
        assert memory.add("Minka turned three") == cat and memory.get(cat).words == "Minka is three"
        assert OpenAi.paths == ["/v1/chat/completions"] * 2


def test_deduction_that_fails_is_told(tmp_path: Path) -> None:
    def words(text: str) -> list[float]:
        if "fish" in text:
            raise ConnectionError("the embedder is down")
        return [1.0, float(len(text))]

    facts = json.dumps({"memory": [{"text": "Minka is a cat"}, {"text": "Minka likes fish"}]})
    with remember(tmp_path, llm=Scripted(facts, TimeoutError("late")), words=words) as memory:
        with pytest.raises(StoreError, match=r"not all, remembered \(the embedder is down\)"):
            memory.deduce("my cat likes food")
        with pytest.raises(StoreError, match="late"):
            memory.deduce("my cat likes food")
