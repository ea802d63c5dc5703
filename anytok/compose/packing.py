"""Documents → sequences of at most a length, by best fit among a bounded number of open ones."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from ..arguments import whole
from ..errors import UsageError
from .document import Document, Sequence

__all__ = ["Packer", "pack"]

WINDOW = 256  # open sequences; at 4,096 ids each a few MB


class Packer:
    """Takes documents one by one; each goes into the open sequence in which it leaves the least room, else into a new
    one. A sequence closes when it is full, or, where more than `window` are open, when it is the fullest.

    Which documents share a sequence depends on their order alone. None is cut: cut those that are longer before, with
    `Composer.cut`. The memory is that of `window` sequences.
    """

    def __init__(self, length: int, window: int = WINDOW) -> None:
        self.length = whole("length", length, 1)
        self.window = whole("window", window, 1)
        self._open: dict[int, list[Document]] = {}  # by number, in the order of opening
        self._room: list[tuple[int, int]] = []  # (ids that still fit, number), sorted
        self._opened = 0

    def add(self, document: Document) -> list[Sequence]:
        """Take one document; returns the sequences that close by it, in order. Raises UsageError for a document that
        is empty or longer than a sequence."""
        size = len(document)
        if not 1 <= size <= self.length:
            raise UsageError(f"{document.key} has {size} ids: expected 1 to {self.length}; cut longer ones before")
        place = bisect_left(self._room, (size, -1))
        if place < len(self._room):
            room, number = self._room.pop(place)
        else:
            room, number = self.length, self._opened
            self._opened += 1
            self._open[number] = []
        self._open[number].append(document)
        if room == size:
            return [self._close(number)]
        insort(self._room, (room - size, number))
        return [self._close(self._room.pop(0)[1])] if len(self._room) > self.window else []

    def finish(self) -> list[Sequence]:
        """Close what is still open, in the order of opening."""
        self._room.clear()
        return [self._close(number) for number in list(self._open)]

    @property
    def open(self) -> list[list[Document]]:
        """The documents of each open sequence, in the order of opening: all that the packer remembers."""
        return list(self._open.values())

    def _close(self, number: int) -> Sequence:
        return Sequence(tuple(self._open.pop(number)))


def pack(documents: Iterable[Document], length: int, window: int = WINDOW) -> Iterator[Sequence]:
    """Sequences of at most `length` ids, none padded, which hold each document once; see `Packer`."""
    packer = Packer(length, window)
    for document in documents:
        yield from packer.add(document)
    yield from packer.finish()
