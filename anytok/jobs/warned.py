"""Warnings that came up while items were read, counted: readers print where nobody looks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .shard import Row

__all__ = ["Warned", "add_up", "count_warnings"]

MAX_KINDS = 20  # some messages name numbers of their item, and are as many as these
_OTHERS = "other warnings, of more kinds than are kept apart"


@dataclass(frozen=True)
class Warned:
    """A message, of how many written items it came up for, and the key of the first of them in the plan."""

    message: str
    items: int
    first: str


def count_warnings(results: Iterable[Any]) -> list[Warned]:
    """The warnings of the Rows among `results`, in the order in which they first come; an item that failed has its
    reason in the ledger."""
    rows = (row for row in results if isinstance(row, Row))
    return add_up(Warned(message, 1, row.item.key) for row in rows for message in row.warnings)


def add_up(warned: Iterable[Warned]) -> list[Warned]:
    """One entry for each message, and one for all that come after `MAX_KINDS` of them."""
    found: dict[str, Warned] = {}
    for one in warned:
        message = one.message if one.message in found or len(found) < MAX_KINDS else _OTHERS
        before = found.get(message)
        items, first = (before.items, before.first) if before else (0, one.first)
        found[message] = Warned(message, items + one.items, first)
    return list(found.values())
