"""One memory: what was said, the codes of what was shown or heard, and how mem0 holds both."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..errors import StoreError, UsageError
from ..spec import Codes

__all__ = ["Change", "Item", "best_first", "check_words", "checked_id", "checked_scope", "known_media", "plain"]

SCOPES = ("user_id", "agent_id", "run_id")
MARK = re.compile(r"<([^<>]+) ([0-9a-f]{12})>(?: |$)")  # stands for a medium in the text that mem0 keeps
MAX_WORDS = 1 << 16


def check_words(words: str) -> str:
    """Raise UsageError on text that is not to be remembered, or searched for."""
    if not words.strip() or len(words) > MAX_WORDS:
        raise UsageError(f"{words[:40]!r}, {len(words)} characters: expected text of 1 to {MAX_WORDS}, not blank")
    if MARK.match(words):
        raise UsageError(f"words that begin with {words[:40]!r}, as the text of a medium does: begin otherwise")
    if any("\ud800" <= letter <= "\udfff" for letter in words):
        raise UsageError("words with half of a surrogate pair: expected text that UTF-8 can write")
    return words


@dataclass(frozen=True)
class Item:
    """A memory. `score` says how well it fits what was searched for, 1 if equal. `links` are (name, id) of others,
    `about` is the user's own, JSON; `times` and `seen` say how often and when last the same was remembered."""

    words: str = ""
    codes: Codes | None = None
    id: str = ""
    tier: str = "mid"
    times: int = 1
    made: datetime | None = None
    seen: datetime | None = None
    score: float = 0.0
    links: tuple[tuple[str, str], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    past: tuple[Codes, ...] = ()  # media that updates replaced

    @property
    def parts(self) -> list[Codes | str]:
        """The codes, if any, then the words, if any: what `Multimodal.to_media` and `Vocabulary.to_ids` take."""
        return [part for part in (self.codes, self.words) if part]

    @property
    def kind(self) -> str:
        """The modality, or "words"."""
        return self.codes.spec.modality if self.codes else "words"

    @property
    def key(self) -> str:
        """SHA-256 of the codes and of whose they are; of the words, where there are no codes."""
        return _key(self.codes) if self.codes else hashlib.sha256(f"words {self.words}".encode()).hexdigest()

    @property
    def text(self) -> str:
        """What mem0 sees: `<image 3f2a91c0d4e5> our cat Minka`. Codes are never spelled: they would be the prompt."""
        return " ".join([f"<{self.kind} {self.key[:12]}>"] * bool(self.codes) + [self.words] * bool(self.words))

    def metadata(self) -> dict[str, Any]:
        """The fixed fields that lie beside the text, as text and numbers."""
        return {
            "kind": self.kind, "key": self.key, "tier": self.tier, "times": self.times,
            "spec": self.codes.spec.id if self.codes else "", "codes": _written(self.codes),
            "seen": self.seen.isoformat() if self.seen else "", "links": [list(link) for link in self.links],
            "past": [_written(codes) for codes in self.past], "about": dict(self.about),
        }  # fmt: skip

    @classmethod
    def read(cls, row: Mapping[str, Any], score: float = 0.0) -> Item:
        """From what mem0 gives back; raises StoreError where that is damaged. What mem0's deduction wrote has none of
        our fields."""
        kept, text = row.get("metadata") or {}, row["memory"]
        try:
            codes = _codes(kept.get("codes"))
            made = datetime.fromisoformat(row["created_at"])
            return cls(
                text[MARK.match(text).end() :] if codes else text,  # type: ignore[union-attr]
                codes, row["id"], kept.get("tier", "mid"), kept.get("times", 1), made,
                datetime.fromisoformat(kept["seen"]) if kept.get("seen") else made, score,
                tuple((name, other) for name, other in kept.get("links", ())), kept.get("about", {}),
                {name: row[name] for name in SCOPES if row.get(name)},
                tuple(filter(None, map(_codes, kept.get("past", ())))),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"memory {row['id']} is damaged ({error})") from error


@dataclass(frozen=True)
class Change:
    """One step of a memory's history: `event` is "add", "update", "delete", or "noted", where only counts, tier, links
    or `about` changed. Of what was deleted, only the words are left."""

    event: str
    words: str
    codes: Codes | None
    at: datetime

    @classmethod
    def read(cls, row: Mapping[str, Any], known: Mapping[str, Codes]) -> Change:
        """From a row of mem0's history, media being `known` by the first 12 digits of their key."""
        text = (row["old_memory"] if row["event"] == "DELETE" else row["new_memory"]) or ""
        mark = MARK.match(text)
        event = "noted" if row["old_memory"] == row["new_memory"] else row["event"].lower()
        at = datetime.fromisoformat(row["updated_at"] or row["created_at"])
        return cls(event, text[mark.end() :] if mark else text, known.get(mark[2]) if mark else None, at)


def known_media(item: Item) -> dict[str, Codes]:
    """What `Change.read` needs: the codes that a memory has and had."""
    return {_key(codes)[:12]: codes for codes in (*item.past, item.codes) if codes}


def checked_scope(*values: str | None) -> dict[str, str]:
    """By mem0's names; raises UsageError on what mem0 would change, or take for everyone's."""
    given = {name: value for name, value in zip(SCOPES, values, strict=True) if value is not None}
    for name, value in given.items():
        if not isinstance(value, str) or not value or value == "*" or any(map(str.isspace, value)):
            raise UsageError(f"{name[:-3]}={value!r}: expected a name without spaces, and not '*'")
    return given


def best_first(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: -item.score)


def checked_id(given: str | Item) -> str:
    try:
        return str(uuid.UUID(given.id if isinstance(given, Item) else given))
    except (ValueError, AttributeError, TypeError):
        raise UsageError(f"{given!r} is no id of a memory") from None


def plain(about: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(about), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"about={about!r}: expected a table that JSON can hold ({error})") from None


def _key(codes: Codes) -> str:
    return hashlib.sha256(_written(codes).encode()).hexdigest()


def _written(codes: Codes | None) -> str:
    return json.dumps(codes.to_dict(), sort_keys=True, separators=(",", ":")) if codes else ""


def _codes(text: str | None) -> Codes | None:
    return Codes.from_dict(json.loads(text)) if text else None
