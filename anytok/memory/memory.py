"""What users call: add, search, update, link and forget what a user, an agent or a run remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import whole
from ..errors import CodesError, StoreError, UsageError
from ..multimodal import Medium, Multimodal
from ..spec import Codes
from .backend import Backend
from .item import Change, Item, check_words, scope_of
from .rules import Ask, Decision, Rules
from .vectors import MEDIUM_WIDTH, of_codes

__all__ = ["Memory", "load_memory"]

_MOST = 10**9  # mem0 gives 20, unless told otherwise
What = str | Medium | Codes | Sequence[Any]  # words, a medium or its codes, or a list of one of each


class Memory:
    """The memories of one scope: `user`, `agent`, `run`, or several; narrower ones belong to it. Threads may share it.

    An id of another scope is as unknown as one that does not exist: UsageError. Media are read before anything is
    written: MediaError, CodesError. StoreError says what failed of store, words embedder or language model.
    """

    def __init__(self, store: Backend, multimodal: Multimodal, scope: Mapping[str, str], rules: Rules) -> None:
        self._store, self._multimodal, self.scope, self._rules = store, multimodal, dict(scope), rules

    def within(self, *, user: str | None = None, agent: str | None = None, run: str | None = None) -> Memory:
        """A narrower scope of the same folder: `memory.within(run="today")`."""
        given = scope_of(user, agent, run)
        if any(self.scope.get(name, value) != value for name, value in given.items()):
            raise UsageError(f"{given} is not within {self.scope}")
        return Memory(self._store, self._multimodal, {**self.scope, **given}, self._rules)

    def add(self, what: What, *, tier: str | None = None, about: Mapping[str, Any] | None = None) -> str | None:
        """Remember words, a medium, or both; returns the memory's id, None where a rule decided for nothing.

        Equal codes, or equal words alone, are one memory in a scope: it counts once more, and new words beside equal
        codes are put below the old ones. `tier` is "short" in a run, else "mid", unless given; `about` is yours, JSON.
        """
        with self._store.working("nothing was remembered"):
            tier = tier or ("short" if "run_id" in self.scope else "mid")
            new = self._read(what, tier=tier, seen=datetime.now(UTC), about=about or {}, scope=self.scope)
            if equal := self._equal(new):
                return self._again(equal, new)
            similar = self._similar(new) if self._rules.decide else []
            decided: Any = next(filter(None, (rule(new, similar) for rule in self._rules.decide)), Decision("add"))
            decisions = [decided] if isinstance(decided, Decision) else list(decided)
            id = self._carry_out(decisions[0], new)
            for done, decision in enumerate(decisions[1:], 1):
                with self._store.working(f"only {done} of {len(decisions)} decisions are carried out", partly=True):
                    id = self._carry_out(decision, new) or id
            return id

    def deduce(self, dialog: str | list[dict[str, str]]) -> list[str]:
        """Let mem0's language model take facts from a dialog, as mem0's `add(infer=True)`: the ids of what it added."""
        with self._store.working("what the model deduced was not, or not all, remembered") as mem0:
            embedder = self._store.embedder
            embedder.medium, embedder.failure = np.zeros(MEDIUM_WIDTH), None
            ids = [one["id"] for one in mem0.add(dialog, **self.scope, infer=True)["results"]]
            if embedder.failure:  # which mem0 only logs
                raise embedder.failure
            return ids

    def get(self, id: str | Item) -> Item:
        """A memory by its id."""
        with self._store.working("nothing was found"):
            if item := self._find(id):
                return item
            raise UsageError(f"no memory {id} in the scope {self.scope}")

    def get_all(self, **about: Any) -> list[Item]:
        """All memories, oldest first; with `about` only those that were given these values."""
        with self._store.working("nothing was found") as mem0:
            rows = mem0.get_all(filters=self._filters(about), top_k=_MOST)["results"]
            return sorted(map(Item.read, rows), key=lambda item: (str(item.made), item.id))

    def search(
        self, what: str | Medium | Codes, limit: int = 10, *, now: datetime | None = None, **about: Any
    ) -> list[Item]:
        """Memories like these words or this medium, best first, each with its score (1 is equal), faded; see Rules.

        By media, only codes of the same tokenizer and weights are compared. `now` is a time with a zone, if not the
        present.
        """
        with self._store.working("nothing was found"):
            query, now = self._read(what), now or datetime.now(UTC)
            if query.words and query.codes:
                raise UsageError("search by words or by a medium, one at a time")
            if not isinstance(now, datetime) or now.tzinfo is None:
                raise UsageError(f"now={now!r}: expected a datetime with a time zone")
            found = self._nearest(query, 2 * whole("limit", limit, 1, 1000) + 20, about)
            faded = [replace(item, score=self._rules.faded(item, now)) for item in found]
            return sorted(faded, key=attrgetter("score"), reverse=True)[:limit]

    def update(self, id: str | Item, what: What | None = None, *, tier: str | None = None, about: Any = None) -> None:
        """Give a memory new words, another medium (the history keeps the old one), tier, or `about`."""
        with self._store.working("nothing was changed"):
            old, new = self.get(id), Item() if what is None else self._read(what)
            about = old.about if about is None else about
            self._change(old, new.words, new.codes, tier=tier or old.tier, about=about)

    def history(self, id: str | Item) -> list[Change]:
        """What became of a memory, oldest first, with the pictures and sounds that it had; also once it is deleted."""
        with self._store.working("nothing was found") as mem0:
            rows, item = mem0.history(str(getattr(id, "id", id))), None
            if not rows or not rows[-1]["is_deleted"] or not self._store.is_within(self.scope, rows[0]["actor_id"]):
                item = self.get(id)
                if not rows or rows[0]["event"] != "ADD":  # killed between mem0's two writes
                    first = {"event": "ADD", "old_memory": None, "new_memory": item.text, "updated_at": str(item.made)}
                    rows = [first, *rows]
            return [Change.read(row, item) for row in rows]

    def link(self, id: str | Item, name: str, other: str | Item) -> None:
        """Say that a memory has a named relation to another: `link(photo, "shows", cat)`."""
        with self._store.working("nothing was changed"):
            item, edge = self.get(id), (check_words(name), self.get(other).id)
            if edge not in item.links:
                self._change(item, links=(*item.links, edge))

    def linked(self, id: str | Item, name: str | None = None) -> list[Item]:
        """The memories that one is linked to, under a name or any; those deleted since are left out."""
        with self._store.working("nothing was found"):
            others = [self._find(other) for edge, other in self.get(id).links if name in (None, edge)]
            return [*filter(None, others)]

    def delete(self, id: str | Item, *, erase: bool = False) -> None:
        """Forget a memory. mem0 keeps its words in the history; with `erase` they go from there too, with the raw
        messages of its scope, and from the files."""
        with self._store.working("it may not be deleted") as mem0:
            item = self.get(id)
            mem0.delete(item.id)
            if erase:
                self._store.erase(item.scope, [item.id])

    def delete_all(self, *, erase: bool = False) -> None:
        """Forget all memories of the scope, and its raw messages; with `erase` also from the history and the files."""
        with self._store.working("not all may be deleted") as mem0:
            ids = [item.id for item in self.get_all()]
            mem0.delete_all(**self.scope)
            self._store.erase(self.scope, ids if erase else [], deleted=erase)

    def reset(self, *, everyone: bool = False) -> None:
        """Empty the whole folder. Raises UsageError where it holds other scopes' memories, unless told `everyone`."""
        with self._store.working("the folder may be half empty") as mem0:
            if not everyone and len(mem0.vector_store.list(top_k=_MOST)[0]) > len(self.get_all()):
                raise UsageError("other scopes have memories here: delete_all() takes yours, everyone=True takes all")
            mem0.reset()
            self._store.erase(self.scope, [])

    def close(self) -> None:
        """Let others open the folder; every scope of it is closed."""
        self._store.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside, under the lock

    def _read(self, what: Any, **fields: Any) -> Item:
        """What a user gave, its media read into codes that the vocabulary knows."""
        parts = self._multimodal.to_codes(what)
        words = [check_words(part) for part in parts if isinstance(part, str)]
        media = [part for part in parts if isinstance(part, Codes)]
        if not 1 <= len(parts) == len(words) + len(media) or len(words) > 1 or len(media) > 1:
            raise UsageError(f"{len(words)} texts, {len(media)} media: expected words, a medium, or one of each")
        item = Item("".join(words), next(iter(media), None), **fields)
        self._text(item)
        return item

    def _text(self, item: Item) -> str:
        """What mem0 is given for an item, whose medium's vector the embedder now holds. Raises CodesError on codes of
        a tokenizer that the vocabulary does not have."""
        if codes := item.codes:
            layout = self._multimodal.vocabulary.layout
            segment = next((one for one in layout.segments if one.spec.name == codes.spec.name), None)
            if not segment:
                raise CodesError(f"codes of {codes.spec.id}: {layout.name} has no such tokenizer")
            tokenizer = self._multimodal.tokenizer_of(segment)
            tokenizer.check(codes)
            self._store.embedder.medium = of_codes(codes, tokenizer)
        return item.text

    def _find(self, id: str | Item) -> Item | None:
        row = self._store.mem0.get(str(getattr(id, "id", id)))
        return Item.read(row) if row and self.scope.items() <= row.items() else None

    def _filters(self, about: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
        if odd := [key for key, value in about.items() if not isinstance(value, (str, int)) or value == "*"]:
            raise UsageError(f"{odd[0]}={about[odd[0]]!r}: expected a text or whole number that was given as about=")
        return {**self.scope, **{f"about.{key}": value for key, value in about.items()}, **ours}

    def _equal(self, item: Item) -> Item | None:
        rows = self._store.mem0.get_all(filters=self._filters({}, key=item.key), top_k=_MOST)["results"]
        return next((one for one in map(Item.read, rows) if one.scope == self.scope), None)

    def _nearest(self, query: Item, limit: int, about: Mapping[str, Any]) -> list[Item]:
        by, spec = ("codes", {"spec": query.codes.spec.id}) if query.codes else ("words", {})
        filters = self._filters(about, **spec)
        rows = self._store.mem0.search(self._text(query), filters=filters, top_k=limit, threshold=0.0)["results"]
        return [Item.read(row, row["score"] * 2**0.5, by) for row in rows if row["score"] > 1e-6]

    def _similar(self, new: Item) -> list[Item]:
        """For rules: of exactly this scope, by the medium and by the words."""
        queries = [Item(new.words)] * bool(new.words) + [Item(codes=new.codes)] * bool(new.codes)
        found = {one.id: one for query in queries for one in self._nearest(query, 10, {}) if one.scope == self.scope}
        return sorted(found.values(), key=attrgetter("score"), reverse=True)[:10]

    def _carry_out(self, decision: Decision, new: Item) -> str | None:
        """The id of what the new is part of, if of any."""
        old = self.get(decision.of) if decision.of else Item()
        if decision.what == "add":
            new = replace(new, words=decision.words or new.words)
            equal = self._equal(new) if decision.words else None
            return self._again(equal, new) if equal else self._write(new)
        if decision.what == "same":
            return self._again(old, new)
        if decision.what == "update":
            return self._change(old, decision.words or new.words, new.codes)
        if decision.what == "delete":
            self._store.mem0.delete(old.id)
        return None

    def _again(self, old: Item, new: Item) -> str:
        """Count `old` once more, and put words that are new below its own."""
        added = bool(old.codes) and new.words not in ("", old.words, *old.words.splitlines())
        words = "\n".join(filter(None, (old.words, new.words))) if added else ""
        tier = self._rules.tier("long" if new.tier == "long" else old.tier, old.times + 1)
        about = {**old.about, **new.about}
        return self._change(old, words, times=old.times + 1, tier=tier, seen=new.seen, about=about)

    def _change(self, old: Item, words: str = "", codes: Codes | None = None, **fields: Any) -> str:
        past = old.past if codes in (None, old.codes) else (*old.past, *filter(None, [old.codes]))
        words = check_words(words) if words else old.words
        new = replace(old, words=words, codes=codes or old.codes, past=past, **fields)
        if new.key != old.key and (other := self._equal(new)):
            raise UsageError(f"memory {other.id} is equal to that already: delete one of the two")
        return self._write(new, old)

    def _write(self, new: Item, old: Item | None = None) -> str:
        """Keep a new memory, or what has become of an old one. mem0 writes its history last."""
        mem0, text, kept = self._store.mem0, self._text(new), new.metadata()
        try:
            if old:
                mem0.update(old.id, text=text, metadata=kept)
                return old.id
            # mem0's history keeps the name, as actor_id: so it says whose a deleted memory was.
            message = {"role": "user", "content": text, "name": self._store.scope_name(self.scope)}
            return mem0.add([message], **self.scope, infer=False, metadata=kept)["results"][0]["id"]
        except Exception as error:
            if old and self.get(old) != old:
                raise StoreError(f"memory {old.id} is changed, but not its history ({error})") from error
            if not old and (half := self._equal(new)) and not mem0.history(half.id):
                mem0.vector_store.delete(half.id)
            raise


def load_memory(
    folder: str | Path, multimodal: Multimodal, *, user: str | None = None, agent: str | None = None,
    run: str | None = None, words: Any = None, llm: Any = None, rules: Rules | None = None,
    mem0: Mapping[str, Any] | None = None,
) -> Memory:  # fmt: skip
    """The memory in `folder`, made if it is not there, of a user, an agent, a run, or several of these.

    `words` embeds text: a function str → numbers, all of one length, with a `name`; hashed words unless given. `llm`
    has mem0's `generate_response`; `mem0` is mem0's own configuration of llm, embedder and vector_store. Neither is
    needed: without them nothing leaves the machine.

    Open folders of your own alone: mem0's store keeps pickles, and a stranger's could run code.
    """
    rules = rules or Rules()
    if not isinstance(multimodal, Multimodal) or not isinstance(rules, Rules):
        raise UsageError("load_memory(folder, multimodal): expected what load_multimodal returns, and rules=Rules(…)")
    if not (scope := scope_of(user, agent, run)):
        raise UsageError("whose memory? give user=, agent= or run=")
    store = Backend(Path(folder), words, llm, mem0 or {})
    decide = tuple(Ask(store.mem0.llm) if rule == Ask() else rule for rule in rules.decide)
    return Memory(store, multimodal, scope, replace(rules, decide=decide))
