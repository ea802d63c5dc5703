"""What users call: add, search, update, link and forget what a user, an agent or a run remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import choice, whole
from ..errors import CodesError, StoreError, UsageError, first_line
from ..multimodal import Medium, Multimodal
from ..spec import Codes
from .backend import Backend
from .item import Change, Item, best_first, check_words, checked_id, checked_scope, known_media, plain
from .rules import TIERS, Ask, Decision, Rules
from .vectors import of_codes

__all__ = ["Memory", "load_memory"]

_MOST = 10**9  # mem0 gives 20, unless told otherwise
What = str | Medium | Codes | Sequence[Any]  # words, a medium or its codes, or a list of one of each


class Memory:
    """The memories of one scope: `user`, `agent`, `run`, or several; narrower ones belong to it. Threads may share it.

    An id of another scope is as unknown as one that does not exist: UsageError. Media are read before anything is
    written: MediaError, CodesError. StoreError says what failed of store, words embedder or language model.
    """

    def __init__(self, backend: Backend, multimodal: Multimodal, scope: Mapping[str, str], rules: Rules) -> None:
        self._store, self._multimodal, self.scope, self._rules = backend, multimodal, dict(scope), rules

    def within(self, *, user: str | None = None, agent: str | None = None, run: str | None = None) -> Memory:
        """A narrower scope of the same folder: `memory.within(run="today")`."""
        given = checked_scope(user, agent, run)
        if any(self.scope.get(name, value) != value for name, value in given.items()):
            raise UsageError(f"{given} is not within {self.scope}")
        return Memory(self._store, self._multimodal, {**self.scope, **given}, self._rules)

    def add(self, what: What, *, tier: str | None = None, about: Mapping[str, Any] | None = None) -> str | None:
        """Remember words, a medium, or both; returns the memory's id, None where a rule decided for nothing.

        Equal codes, or equal words alone, are one memory in a scope: it counts once more, and new words beside equal
        codes are put below the old ones. `tier` is "short" in a run, else "mid", unless given; `about` is yours, JSON.
        """
        with self._store.working("nothing was remembered") as mem0:
            words, codes = self._read(what)
            now = datetime.now(UTC)
            tier = choice("tier", tier or ("short" if "run_id" in self.scope else "mid"), TIERS)
            new = Item(words or "", codes, tier=tier, seen=now, about=plain(about or {}), scope=self.scope)
            if equal := self._equal(new):
                return self._again(mem0, equal, new)
            similar = self._similar(new) if self._rules.decide else []
            decided: Any = next(filter(None, (rule(new, similar) for rule in self._rules.decide)), Decision("add"))
            return self._carry_out(mem0, [decided] if isinstance(decided, Decision) else decided, new)

    def deduce(self, dialog: str | list[dict[str, str]]) -> list[str]:
        """Let mem0's language model take facts from a dialog, as mem0's `add(infer=True)`: the ids of what it added."""
        with self._store.working("what the model deduced was not, or not all, remembered") as mem0:
            self._store.embedder.failure = None
            ids = [one["id"] for one in mem0.add(dialog, **self.scope, infer=True)["results"]]
            if failure := self._store.embedder.failure:  # which mem0 only logs
                raise failure
            return ids

    def get(self, id: str | Item) -> Item:
        """A memory by its id."""
        with self._store.working("nothing was found") as mem0:
            id = checked_id(id)
            row = mem0.get(id)
            if row is None or not self.scope.items() <= row.items():
                raise UsageError(f"no memory {id} in the scope {self.scope}")
            return Item.read(row)

    def get_all(self, **about: Any) -> list[Item]:
        """All memories, oldest first; with `about` only those that were given these values."""
        with self._store.working("nothing was found") as mem0:
            rows = mem0.get_all(filters=self._filters(about), top_k=_MOST)["results"]
            return sorted(map(Item.read, rows), key=lambda item: (item.made or datetime.now(UTC), item.id))

    def search(
        self, what: str | Medium | Codes, limit: int = 10, *, now: datetime | None = None, **about: Any
    ) -> list[Item]:
        """Memories like these words or this medium, best first, each with its score (1 is equal), faded; see Rules.

        By media, only codes of the same tokenizer and weights are compared. `now` is a time with a zone, if not the
        present.
        """
        with self._store.working("nothing was found"):
            words, codes = self._read(what)
            if words is not None and codes is not None:
                raise UsageError("search by words or by a medium, one at a time")
            now = now or datetime.now(UTC)
            if not isinstance(now, datetime) or now.tzinfo is None:
                raise UsageError(f"now={now!r}: expected a datetime with a time zone")
            found = self._nearest(Item(words or "", codes), whole("limit", limit, 1, 1000) * 2 + 20, about)
            return best_first(replace(item, score=self._rules.faded(item, now)) for item in found)[:limit]

    def update(self, id: str | Item, what: What | None = None, *, tier: str | None = None, about: Any = None) -> None:
        """Give a memory new words, another medium (the history keeps the old one), tier, or `about`."""
        with self._store.working("nothing was changed") as mem0:
            old = self.get(id)
            words, codes = (None, None) if what is None else self._read(what)
            self._change(mem0, old, words, codes, tier=choice("tier", tier or old.tier, TIERS),
                         about=dict(old.about) if about is None else plain(about))  # fmt: skip

    def history(self, id: str | Item) -> list[Change]:
        """What became of a memory, oldest first, with the pictures and sounds that it had; also once it is deleted."""
        with self._store.working("nothing was found") as mem0:
            rows = mem0.history(checked_id(id))
            whose = {part for row in rows for part in (row["actor_id"] or "").split("&")}
            if rows and rows[-1]["is_deleted"] and {*self._store.scope_name(self.scope).split("&")} <= whose:
                return [Change.read(row, {}) for row in rows]
            item = self.get(id)
            known = known_media(item)
            first = [] if any(row["event"] == "ADD" for row in rows) else [item]  # killed between its two writes
            return [*(Change("add", one.words, one.codes, one.made) for one in first if one.made),
                    *(Change.read(row, known) for row in rows)]  # fmt: skip

    def link(self, id: str | Item, name: str, other: str | Item) -> None:
        """Say that a memory has a named relation to another: `link(photo, "shows", cat)`."""
        with self._store.working("nothing was changed") as mem0:
            item, edge = self.get(id), (check_words(name), self.get(other).id)
            if edge not in item.links:
                self._change(mem0, item, links=(*item.links, edge))

    def linked(self, id: str | Item, name: str | None = None) -> list[Item]:
        """The memories that one is linked to, under a name or any; those deleted since are left out."""
        with self._store.working("nothing was found"):
            found = []
            for edge, other in self.get(id).links:
                with suppress(UsageError):
                    found += [self.get(other)] if name in (None, edge) else []
            return found

    def delete(self, id: str | Item, *, erase: bool = False) -> None:
        """Forget a memory. mem0 keeps its words in the history; with `erase` they go from there too, with the raw
        messages of its scope, and from the files."""
        with self._store.working("it may not be deleted") as mem0:
            item = self.get(id)
            mem0.delete(item.id)
            if erase:
                self._store.erase([item.id], [self._store.scope_name(item.scope)])

    def delete_all(self, *, erase: bool = False) -> None:
        """Forget all memories of the scope, and its raw messages; with `erase` also from the history and the files."""
        with self._store.working("not all may be deleted") as mem0:
            ids = {item.id for item in self.get_all()}
            mem0.delete_all(**self.scope)
            self._store.erase_scope(self.scope, ids if erase else None)

    def reset(self, *, everyone: bool = False) -> None:
        """Empty the whole folder. Raises UsageError where it holds other scopes' memories, unless told `everyone`."""
        with self._store.working("the folder may be half empty") as mem0:
            held = mem0.vector_store.list(top_k=_MOST)[0]
            if not everyone and len(held) > len(self.get_all()):
                raise UsageError("other scopes have memories here: delete_all() takes yours, everyone=True takes all")
            mem0.reset()
            self._store.erase([], [])

    def close(self) -> None:
        """Let others open the folder; every scope of it is closed."""
        self._store.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Memory {self._store.folder}, {', '.join(f'{k[:-3]}={v}' for k, v in self.scope.items())}>"

    # Inside, under the lock

    def _read(self, what: Any) -> tuple[str | None, Codes | None]:
        """Words and codes of what a user gave, its media read."""
        parts = self._multimodal.to_codes(what)
        words = [check_words(part) for part in parts if isinstance(part, str)]
        media = [part for part in parts if isinstance(part, Codes)]
        if not 1 <= len(parts) == len(words) + len(media) or len(words) > 1 or len(media) > 1:
            raise UsageError(f"{len(words)} texts, {len(media)} media: expected words, a medium, or one of each")
        for codes in media:
            self._vector(codes)
        return (words[0] if words else None), (media[0] if media else None)

    def _vector(self, codes: Codes | None) -> np.ndarray | None:
        """Raises CodesError on codes of a tokenizer that this memory's vocabulary does not have."""
        if codes is None:
            return None
        for segment in self._multimodal.vocabulary.layout.segments:
            if segment.spec.name == codes.spec.name:
                tokenizer = self._multimodal.tokenizer_of(segment)
                tokenizer.check(codes)
                return of_codes(codes, tokenizer)
        raise CodesError(f"codes of {codes.spec.id}: {self._multimodal.vocabulary.name} has no such tokenizer")

    @contextmanager
    def _embedding(self, item: Item) -> Iterator[str]:
        """The text for mem0 to embed, which stands for the words and the medium."""
        media = self._store.embedder.media
        media[item.text] = (item.words, self._vector(item.codes))
        try:
            yield item.text
        finally:
            media.clear()

    def _filters(self, about: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
        if odd := [key for key, value in about.items() if not isinstance(value, (str, int)) or value == "*"]:
            raise UsageError(f"{odd[0]}={about[odd[0]]!r}: expected a text or whole number that was given as about=")
        return {**self.scope, **{f"about.{key}": value for key, value in about.items()}, **ours}

    def _equal(self, item: Item) -> Item | None:
        [*rows] = self._store.mem0.get_all(filters=self._filters({}, key=item.key), top_k=_MOST)["results"]
        return next((one for one in map(Item.read, rows) if one.scope == self.scope), None)

    def _nearest(self, item: Item, limit: int, about: Mapping[str, Any]) -> list[Item]:
        with self._embedding(item) as text:
            filters = self._filters(about, **({"spec": item.codes.spec.id} if item.codes else {}))
            rows = self._store.mem0.search(text, filters=filters, top_k=limit, threshold=0.0)["results"]
        return [Item.read(row, row["score"] * 2**0.5) for row in rows if row["score"] > 1e-6]

    def _similar(self, new: Item) -> list[Item]:
        """For rules: of exactly this scope, by the medium and by the words."""
        queries = [Item("", new.codes)] * bool(new.codes) + [Item(new.words)] * bool(new.words)
        found = {one.id: one for query in reversed(queries) for one in self._nearest(query, 10, {})}
        return best_first(one for one in found.values() if one.scope == self.scope)[:10]

    def _carry_out(self, mem0: Any, decisions: Sequence[Decision], new: Item) -> str | None:
        """The id of what the new is part of, if of any."""
        done, olds = None, [self.get(decision.of) if decision.of else new for decision in decisions]
        for place, (decision, old) in enumerate(zip(decisions, olds, strict=True)):
            try:
                if decision.what == "add":
                    done = self._insert(mem0, replace(new, words=decision.words or new.words))
                elif decision.what == "delete":
                    mem0.delete(old.id)
                elif decision.what == "same":
                    done = self._again(mem0, old, new)
                elif decision.what == "update":
                    self._change(mem0, old, decision.words or new.words or None, new.codes)
                    done = old.id
            except Exception as error:
                if place:
                    raise StoreError(f"only {place} of {len(decisions)} were done ({first_line(error)})") from error
                raise
        return done

    def _insert(self, mem0: Any, new: Item) -> str:
        with self._embedding(new) as text:
            # mem0's history keeps the name, as actor_id: so it says whose a deleted memory was.
            message = {"role": "user", "content": text, "name": self._store.scope_name(self.scope)}
            try:
                return mem0.add([message], **self.scope, infer=False, metadata=new.metadata())["results"][0]["id"]
            except Exception:
                if half := self._equal(new):  # kept, but its history was not written
                    mem0.vector_store.delete(half.id)
                raise

    def _again(self, mem0: Any, old: Item, new: Item) -> str:
        lines = [old.words, *([new.words] if new.words not in ("", *old.words.splitlines(), old.words) else [])]
        times = old.times + 1
        tier = max(self._rules.tier(old.tier, times), new.tier if new.tier == "long" else "short", key=TIERS.index)
        words = "\n".join(filter(None, lines)) if old.codes else None
        self._change(mem0, old, words, times=times, tier=tier, seen=new.seen, about={**old.about, **new.about})
        return old.id

    def _change(self, mem0: Any, old: Item, words: str | None = None, codes: Any = None, **fields: Any) -> None:
        past = (*old.past, old.codes) if codes and old.codes and codes != old.codes else old.past
        words = old.words if words is None else check_words(words)
        new = replace(old, words=words, codes=codes or old.codes, past=past, **fields)
        if new.key != old.key and (other := self._equal(new)) and other.id != old.id:
            raise UsageError(f"memory {other.id} is equal to that already: delete one of the two")
        with self._embedding(new) as text:
            try:
                mem0.update(old.id, text=text, metadata=new.metadata())
            except Exception as error:
                if self.get(old.id) != old:
                    raise StoreError(f"memory {old.id} is changed, but not its history ({error})") from error
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
    if not isinstance(multimodal, Multimodal) or not isinstance(rules or Rules(), Rules):
        raise UsageError("load_memory(folder, multimodal): expected what load_multimodal returns, and rules=Rules(…)")
    if not (scope := checked_scope(user, agent, run)):
        raise UsageError("whose memory? give user=, agent= or run=")
    rules = rules or Rules()
    backend = Backend(Path(folder), words, llm, mem0 or {})
    own = tuple(Ask(backend.mem0.llm) if rule == Ask() else rule for rule in rules.decide)
    return Memory(backend, multimodal, scope, replace(rules, decide=own))
