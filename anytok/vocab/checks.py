"""What makes a layout hold: every id has one owner, every text one meaning, and a line of text one reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from ..errors import VocabularyError

if TYPE_CHECKING:
    from .layout import Layout

__all__ = ["MAX_IDS", "check_layout"]

MAX_IDS = 2**24  # far beyond any language model, and tables of this size still fit into memory

_DIGITS = frozenset("0123456789")
_NUMBER = "{}"  # one element of a spelling; all others are single characters


def check_layout(layout: Layout) -> None:
    """Raise VocabularyError unless ids and texts of the layout can be told apart."""
    _check_names(layout)
    _check_tiling(layout)
    _check_texts(layout)


def _check_names(layout: Layout) -> None:
    """No tokenizer has two segments: codes carry its name, which says where their ids are."""
    names = Counter(segment.tokenizer.partition("@")[0] for segment in layout.segments)
    for name, count in names.items():
        if count > 1:
            raise VocabularyError(
                f"layout {layout.name}: {count} segments of {name}; expected one for each tokenizer, since codes say "
                f"only whose they are: keep the one with most codebooks"
            )


def _check_tiling(layout: Layout) -> None:
    """Every id has exactly one owner."""
    expected = 0
    for first, last, owner in layout.stretches():
        if first != expected or last < first:
            problem = "overlap what comes before" if first < expected else "leave a gap before them"
            raise VocabularyError(
                f"layout {layout.name}: ids {first} to {last - 1} ({owner}) {problem}; expected {expected}"
            )
        expected = last
    if expected != layout.total:
        raise VocabularyError(f"layout {layout.name}: total is {layout.total}, but its parts end at {expected}")
    if layout.total > MAX_IDS:
        raise VocabularyError(f"layout {layout.name}: {layout.total} ids; expected at most {MAX_IDS}")


def _check_texts(layout: Layout) -> None:
    """No two tokens are spelled alike, and those of media can be told apart, so text parses in one way only."""
    texts = [token for token, _ in layout.specials]
    for segment in layout.segments:
        texts += [segment.start, segment.end]
        for form in (segment.code, *segment.aliases):
            texts += segment.texts(form)
    if len(set(texts)) < len(texts) or "" in texts:
        doubled = [text for text, count in Counter(texts).items() if count > 1]
        raise VocabularyError(f"layout {layout.name}: {doubled[:5] or 'an empty text'} names more than one thing")
    forms = [form for segment in layout.segments for form in (segment.code, *segment.aliases)]
    markers = [marker for segment in layout.segments for marker in (segment.start, segment.end)]
    if problem := _ambiguity(forms, markers):
        raise VocabularyError(
            f"layout {layout.name}: {problem}, so that it could be read in two ways; spell them otherwise"
        )


def _ambiguity(forms: Sequence[str], markers: Sequence[str]) -> str | None:
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
