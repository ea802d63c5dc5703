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

__all__ = ["SCOPES", "TIERS", "Change", "Item", "check_words", "scope_of", "split_mark"]

TIERS = ("short", "mid", "long")
SCOPES = ("user_id", "agent_id", "run_id")
_TEXT = re.compile(r"(?s)(?:<[^<>]+ ([0-9a-f]{12})>(?: |$))?(.*)")  # a mark that stands for a medium, and words
_MAX = 1 << 16


def scope_of(*values: str | None) -> dict[str, str]:
    """By mem0's names; raises UsageError on what mem0 would change, or take for everyone's."""
    given = {name: value for name, value in zip(SCOPES, values, strict=True) if value is not None}
    for name, value in given.items():
        if not isinstance(value, str) or value == "*" or not re.fullmatch(r"\S+", value):
            raise UsageError(f"{name[:-3]}={value!r}: expected a name without spaces, and not '*'")
    return given


def split_mark(text: str) -> tuple[str | None, str]:
    """The 12 digits of the mark that mem0's text begins with, if it does, and its words."""
    return _TEXT.fullmatch(text).groups()  # type: ignore[union-attr, return-value]


def check_words(words: str) -> str:
    """Raise UsageError on text that is not to be remembered, or searched for."""
    if not words.strip() or len(words) > _MAX or re.search("[\ud800-\udfff]", words) or split_mark(words)[0]:
        raise UsageError(
            f"{words[:40]!r}, {len(words)} characters: expected 1 to {_MAX} that UTF-8 can write, not blank; what "
            f"begins like the text of a medium, <image 0123456789ab>, has to begin otherwise"
        )
    return words


@dataclass(frozen=True)
class Item:
    """A memory. `score` says how well it fits what was searched for, 1 if equal, `found_by` whether by its "words" or
    "codes". `links` are (name, id) of others, `about` is the user's own, JSON; `times` and `seen` say how often and
    when last the same was remembered."""

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
        return " ".join([f"<{self.kind} {self.key[:12]}>"] * bool(self.codes) + [self.words] * bool(self.words))

    def metadata(self) -> dict[str, Any]:
        """The fixed fields that lie beside the text, as text and numbers."""
        return {
            "kind": self.kind, "key": self.key, "spec": self.codes.spec.id if self.codes else "", "tier": self.tier,
            "times": self.times, "seen": str(self.seen or ""), "links": self.links, "about": self.about,
            "codes": _written(self.codes), "past": [*map(_written, self.past)],
        }  # fmt: skip

    @classmethod
    def read(cls, row: Mapping[str, Any], score: float = 0.0, found_by: str = "") -> Item:
        """From what mem0 gives back, which for its own deduction is without our fields; StoreError if damaged."""
        kept, made = row.get("metadata") or {}, row["created_at"]
        try:
            written = (kept.get("codes"), *kept.get("past", ()))
            codes, *past = (Codes.from_dict(json.loads(text)) if text else None for text in written)
            seen, links = kept.get("seen") or made, tuple(map(tuple, kept.get("links", ())))
            return cls(
                split_mark(row["memory"])[1], codes, row["id"], kept.get("tier", "mid"), kept.get("times", 1),
                datetime.fromisoformat(made), datetime.fromisoformat(seen), score, found_by, links,
                kept.get("about", {}), {name: row[name] for name in SCOPES if row.get(name)}, tuple(filter(None, past)),
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
    def read(cls, row: Mapping[str, Any], item: Item | None) -> Change:
        """From a row of mem0's history, and the memory that it is of."""
        media = {Item(codes=codes).key[:12]: codes for codes in (*item.past, item.codes) if codes} if item else {}
        old, new = row["old_memory"], row["new_memory"]
        mark, words = split_mark(new or old)
        at = datetime.fromisoformat(row["updated_at"] or row["created_at"])
        return cls("noted" if old == new else row["event"].lower(), words, media.get(mark or ""), at)


def _written(codes: Codes | None) -> str:
    return json.dumps(codes.to_dict(), sort_keys=True, separators=(",", ":")) if codes else ""
