"""Why an item has no codes, which is a row of the ledger; and how any message about an item is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import AnytokError, CodesError, MediaError, UsageError, VocabularyError
from .values import reason_of

__all__ = ["Failure", "stable"]

MAX_MESSAGE = 2000  # characters; what a decoder says of a file may hold the file
_COMPOSING = {CodesError: "other_codes", VocabularyError: "other_words", UsageError: "incomplete"}
_ADDRESS = re.compile(r" ?(?:at|@) 0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True)
class Failure:
    """`kind` is a short stable word, `message` a sentence: never empty, and the same in every run of the job, so
    without the addresses of objects that Python names in its own."""

    kind: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", stable(self.message) or f"no reason was given ({self.kind})")

    @classmethod
    def of(cls, kind: str, error: BaseException) -> Failure:
        """The failure that an exception of anybody's is."""
        return cls(kind, reason_of(error))

    @classmethod
    def in_reading(cls, error: BaseException) -> Failure:
        """The failure that an exception is which came of reading or decoding an item."""
        if isinstance(error, MediaError):
            return cls(error.kind, error.detail)
        if isinstance(error, MemoryError):
            return cls("out_of_memory", "decoding it needs more memory than a reader may have")
        if isinstance(error, FileNotFoundError):
            return cls("missing", "no such file")
        if isinstance(error, OSError):
            return cls("unreadable", f"cannot be read ({error.strerror or reason_of(error)})")
        return cls.of("undecodable", error)

    @classmethod
    def in_composing(cls, error: AnytokError) -> Failure:
        """The failure that an error is which says why there is no document of an item."""
        return cls(_COMPOSING.get(type(error), "other"), str(error))


def stable(message: str) -> str:
    """A message without what differs from run to run, cut to `MAX_MESSAGE` characters."""
    message = _ADDRESS.sub("", message).strip()
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]} …"
