"""What the demo's page is made of: panels of figures, tables and listings. Data alone; `page` makes HTML of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..media import Decoded

__all__ = ["Figure", "Panel", "Table", "count"]


@dataclass(frozen=True)
class Figure:
    """A picture, a sound, words, or codes alone (None), under a caption that says what it is.

    `seen` is what a picture shows, for people who do not see it; without it its colours are described. `codes`,
    `[K, T]`, are drawn below.
    """

    caption: str
    medium: Decoded | str | None
    seen: str = ""
    codes: np.ndarray | None = None


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as `columns`; the first cell of a row names it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Panel:
    """A titled part of the page: words about it, then figures row by row, tables, and listings under their names."""

    title: str
    text: str
    figures: Sequence[Sequence[Figure]] = ()
    tables: Sequence[Table] = ()
    listings: Sequence[tuple[str, str]] = ()


def count(number: int, what: str) -> str:
    """A number and what it counts: "1 frame", "1,600 codes"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
