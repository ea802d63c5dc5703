"""Special tokens in text: which there are, and which a text may spell because its caller allows them by name."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from ..arguments import did_you_mean
from ..errors import UsageError
from ..vocab import Special, Vocabulary

__all__ = ["allow_special", "control_pattern", "special_tokens"]


def special_tokens(vocabulary: Vocabulary) -> dict[str, int]:
    """The special tokens of the layout and of its text tokenizer, with their ids; never those of media."""
    layout, tokenizer = vocabulary.layout, vocabulary.text_tokenizer
    known = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    added = getattr(tokenizer, "added_tokens_decoder", {})
    known |= {token.content: number for number, token in added.items() if token.special}
    media = {number for segment in layout.segments for number in (segment.start_id, segment.end_id)}
    own = {token: number for token, number in known.items() if number < layout.text_size and number not in media}
    return own | dict(layout.specials)


def control_pattern(vocabulary: Vocabulary) -> re.Pattern[str]:
    """What words may not spell as they stand: special tokens, and those of media if the text tokenizer has them."""
    names = {token for token in special_tokens(vocabulary) if not token.isspace()}
    forms: set[str] = set()
    if len(vocabulary.text_tokenizer) > vocabulary.layout.text_size:
        for segment in vocabulary.layout.segments:
            names |= {segment.start, segment.end}
            forms |= {"[0-9]+".join(map(re.escape, form.split("{}"))) for form in (segment.code, *segment.aliases)}
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join([*forms, *map(re.escape, longest_first)]) or "(?!)")  # which never matches


def allow_special(parts: list[Any], allowed: str | Collection[str], vocabulary: Vocabulary) -> list[Any]:
    """The parts, with the special tokens of these names (or "all") cut out of their words, as Special.

    Raises UsageError on names that are no special tokens; those of media are none, since media come as media.
    """
    if not allowed:
        return parts
    known = special_tokens(vocabulary)
    names = sorted(known if allowed == "all" else [allowed] if isinstance(allowed, str) else allowed, key=len)
    for name in names:
        if name not in known:
            raise UsageError(
                f"allowed_special has {name!r}: expected 'all', or special tokens of the text, which are "
                f"{', '.join(known)}{did_you_mean(name, known)}"
            )
    pattern = re.compile(f"({'|'.join(map(re.escape, reversed(names)))})")
    done: list[Any] = []
    for part in parts:
        pieces = pattern.split(part) if isinstance(part, str) else [part]
        done += [Special(piece) if place % 2 else piece for place, piece in enumerate(pieces) if piece != ""]
    return done
