"""What an interleaved line is made of: words, special tokens, text ids, Codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..spec import Codes
from .runs import Report

__all__ = ["Part", "Parts", "Special", "TextIds"]


@dataclass(frozen=True, eq=False)
class TextIds:
    """A stretch of text ids where no text tokenizer is at hand to spell them: `ids`, int64 `[N]`."""

    ids: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", np.asarray(self.ids, np.int64))

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self.ids, other.ids) if isinstance(other, TextIds) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Special:
    """A special token that is meant as one, such as `Special("<eoh>")`; in a plain str it would be words."""

    token: str


Part: TypeAlias = str | Special | TextIds | Codes


class Parts(list[Any]):
    """Parts in order, a plain list; `report` says how well they parsed."""

    def __init__(self, parts: Sequence[Any], report: Report) -> None:
        super().__init__(parts)
        self.report = report

    def __radd__(self, text: str) -> Parts:
        """What a text-generation pipeline does with its prompt."""
        return Parts([text, *self], self.report)
