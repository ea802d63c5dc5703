"""Whether media tokens, written one behind the other, can be told apart again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

__all__ = ["ambiguity"]

_DIGITS = frozenset("0123456789")
_NUMBER = "{}"  # one element of a spelling; all others are single characters


def ambiguity(forms: Sequence[str], markers: Sequence[str]) -> str | None:
    """What makes a line of tokens readable in two ways, in words, or None.

    `forms` are texts of codes, with `{}` for any number; `markers` are plain texts. Where no token begins with
    another, and no number runs on into what follows, there is one way to read a line from left to right.
    """
    numbered = [_split(form) for form in forms]
    tokens = [*numbered, *map(list, markers)]
    for (one, spelling), (other, another) in combinations(zip([*forms, *markers], tokens, strict=True), 2):
        if _may_begin_alike(spelling, another):
            return f"text may begin with {one!r} and with {other!r} at once"
    for form, spelling in zip(forms, numbered, strict=True):
        behind = spelling[spelling.index(_NUMBER) + 1 :]
        if any(first in {_NUMBER, *_DIGITS} for first, *_ in ([behind] if behind else tokens)):
            return f"the number in {form!r} runs on into digits that may stand behind it"
    return None


def _split(form: str) -> list[str]:
    before, after = form.split(_NUMBER)
    return [*before, _NUMBER, *after]


def _may_begin_alike(one: list[str], other: list[str]) -> bool:
    """Whether some text of one spelling begins with some text of the other: both are walked along together."""
    places, seen = [(0, 0)], set()
    while places:
        i, j = place = places.pop()
        if i == len(one) or j == len(other):
            return True
        a, b = one[i], other[j]
        if place not in seen and (a == b or (_NUMBER in (a, b) and {a, b} <= {_NUMBER, *_DIGITS})):
            seen.add(place)
            # Behind a digit, a number may end or go on.
            places += [(i + 1, j + 1), *([(i, j + 1)] if a == _NUMBER else []), *([(i + 1, j)] if b == _NUMBER else [])]
    return False
