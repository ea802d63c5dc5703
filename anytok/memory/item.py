"""One memory: what was said, the codes of what was shown or heard, and how mem0 holds both."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..arguments import choice
from ..errors import StoreError, UsageError
from ..spec import Codes

__all__ = ["SCOPES", "TIERS", "Change", "Item", "check_words", "split_mark"]

TIERS = ("short", "mid", "long")
SCOPES = ("user_id", "agent_id", "run_id")
MAX_WORDS = 1 << 16
_MARK = re.compile(r"<[^<>]+ ([0-9a-f]{12})>(?: |$)")  # stands for a medium in the text that mem0 keeps


def split_mark(text: str) -> tuple[str, str]:
    """The 12 digits of the mark that mem0's text begins with, or "", and the words after it."""
    mark = _MARK.match(text)
    return (mark[1], text[mark.end() :]) if mark else ("", text)


def check_words(words: str) -> str:
    """Raise UsageError on text that is not to be remembered, or searched for."""
    if not words.strip() or len(words) > MAX_WORDS:
        raise UsageError(f"{words[:40]!r}, {len(words)} characters: expected text of 1 to {MAX_WORDS}, not blank")
    if _MARK.match(words):
        raise UsageError(f"words that begin with {words[:40]!r}, as the text of a medium does: begin otherwise")
    if any("\ud800" <= letter <= "\udfff" for letter in words):
        raise UsageError("words with half of a surrogate pair: expected text that UTF-8 can write")
    return words


@dataclass(frozen=True)
class Item:
    """A memory. `score` says how well it fits what was searched for, 1 if equal, and `found_by` whether that is the
    likeness of the "words" or of the "codes". `links` are (name, id) of others, `about` is the user's own, JSON;
    `times` and `seen` say how often and when last the same was remembered."""

    words: str = ""
    codes: Codes | None = None
    id: str = ""
    tier: str = "mid"
    times: int = 1
    made: datetime | None = None
    seen: datetime | None = None
    score: float = 0.0
    found_by: str = ""
    links: tuple[tuple[str, str], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    past: tuple[Codes, ...] = ()  # media that updates replaced

    def __post_init__(self) -> None:
        choice("tier", self.tier, TIERS)
        try:
            object.__setattr__(self, "about", json.loads(json.dumps(dict(self.about), allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise UsageError(f"about={self.about!r}: expected a table that JSON can hold ({error})") from None

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
        return hashlib.sha256((_written(self.codes) or f"words {self.words}").encode()).hexdigest()

    @property
    def text(self) -> str:
        """What mem0 sees: `<image 3f2a91c0d4e5> our cat Minka`. Codes are never spelled: they would be the prompt."""
        return " ".join(filter(None, [self.codes and f"<{self.kind} {self.key[:12]}>", self.words]))

    @property
    def media(self) -> dict[str, Codes]:
        """The codes that it has and had, by the 12 digits of their marks."""
        return {Item(codes=codes).key[:12]: codes for codes in (*self.past, self.codes) if codes}

    def metadata(self) -> dict[str, Any]:
        """The fixed fields that lie beside the text, as text and numbers."""
        return {
            "kind": self.kind, "key": self.key, "tier": self.tier, "times": self.times, "about": self.about,
            "spec": self.codes.spec.id if self.codes else "", "codes": _written(self.codes),
            "seen": self.seen.isoformat() if self.seen else "", "links": [list(link) for link in self.links],
            "past": [_written(codes) for codes in self.past],
        }  # fmt: skip

    @classmethod
    def read(cls, row: Mapping[str, Any], score: float = 0.0, found_by: str = "") -> Item:
        """From what mem0 gives back; raises StoreError where that is damaged. What mem0's deduction wrote has none of
        our fields."""
        kept = row.get("metadata") or {}
        try:
            codes, *past = [text and Codes.from_dict(json.loads(text)) for text in (kept.get("codes"), *kept.get("past", ()))]
            return cls(
                split_mark(row["memory"])[1], codes or None, row["id"], kept.get("tier", "mid"), kept.get("times", 1),
                datetime.fromisoformat(row["created_at"]), datetime.fromisoformat(kept.get("seen") or row["created_at"]),
                score, found_by, tuple((name, other) for name, other in kept.get("links", ())), kept.get("about", {}),
                {name: row[name] for name in SCOPES if row.get(name)}, tuple(past),
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
    def read(cls, row: Mapping[str, Any], media: Mapping[str, Codes]) -> Change:
        """From a row of mem0's history, and the memory's `media`."""
        old, new = row["old_memory"], row["new_memory"]
        mark, words = split_mark((old if row["event"] == "DELETE" else new) or "")
        at = datetime.fromisoformat(row["updated_at"] or row["created_at"])
        return cls("noted" if old == new else row["event"].lower(), words, media.get(mark), at)


def _written(codes: Codes | None) -> str:
    return json.dumps(codes.to_dict(), sort_keys=True, separators=(",", ":")) if codes else ""
