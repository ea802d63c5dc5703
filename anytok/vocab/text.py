"""Text with media runs in it ⇄ symbols: finds every spelling of a media token, exactly."""

from __future__ import annotations

import re

import numpy as np

from ..spec import Codes
from .grammar import Grammar
from .layout import Segment

__all__ = ["Lexer", "print_codes"]


class Lexer:
    """`scan(text)` gives symbols for a Grammar. Code numbers are decimal and spelled in one way: no zeros
    in front, or with as many as the segment's `digits` say; anything close to it is the symbol `unknown`.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.markers: dict[str, int] = {}  # start and end markers, and their ids
        forms: list[str] = []
        self._forms: list[Segment] = []
        for segment in grammar.layout.segments:
            self.markers |= {segment.start: segment.start_id, segment.end: segment.end_id}
            for code in (segment.code, *segment.aliases):
                before, after = code.split("{}")
                forms.append(f"{re.escape(before)}([0-9]+){re.escape(after)}")
                self._forms.append(segment)
        self._token = re.compile("|".join([*forms, *map(re.escape, self.markers)]) or r"(?!)")  # which never matches

    def scan(self, text: str) -> tuple[np.ndarray, list[int]]:
        """Symbols, int64 `[N]`, and where they begin in the text, with its length behind: `[N + 1]`."""
        symbols: list[int] = []
        starts: list[int] = []
        end = 0
        for match in self._token.finditer(text):
            if match.start() > end:
                symbols.append(self.grammar.text)
                starts.append(end)
            symbols.append(self._symbol(match))
            starts.append(match.start())
            end = match.end()
        if end < len(text):
            symbols.append(self.grammar.text)
            starts.append(end)
        return np.array(symbols, np.int64), [*starts, len(text)]

    def find(self, words: str, behind: str) -> str | None:
        """The first media token that words spell, also together with the media `behind` them, or None."""
        match = self._token.search(words + behind)
        return match.group() if match and match.start() < len(words) else None

    def _symbol(self, match: re.Match[str]) -> int:
        if match.lastindex is None:
            return self.markers[match.group()]
        segment, digits = self._forms[match.lastindex - 1], match.group(match.lastindex)
        number = int(digits[:9])
        canonical = digits == str(number).zfill(segment.digits) and number < segment.num_ids
        return segment.first_id + number if canonical else self.grammar.unknown


def print_codes(segment: Segment, codes: Codes) -> str:
    """Codes → "<sosp><🗣️12>…<eosp>"; raises CodesError where they do not fit the segment."""
    numbers = segment.numbers(codes).tolist()
    return segment.start + "".join(map(segment.text_of, numbers)) + segment.end
