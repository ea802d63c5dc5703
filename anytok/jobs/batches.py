"""Which items go through the model together, and what happens when they do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import CacheError, MediaError
from ..spec import Codes, Spec
from ..tokenizer import Tokenizer
from .failures import Failure

__all__ = ["Encoder", "Window", "cut", "num_frames"]

WINDOW = 4  # batches' worth of items among which neighbours of one length are sought


def num_frames(medium: Any, spec: Spec) -> int:
    """Frames that a prepared medium becomes: what its place in a batch costs."""
    samples = getattr(medium, "num_samples", None)
    return spec.frames_of(samples) if samples is not None else spec.num_frames or 1


class Window:
    """Prepared media of one modality that wait until there are enough to choose neighbours of like length from."""

    def __init__(self, spec: Spec, max_items: int) -> None:
        self._spec, self._max_items = spec, max_items
        self._waiting: list[tuple[int, int, Any]] = []  # frames, index, medium
        self._frames = 0

    def add(self, index: int, medium: Any) -> None:
        frames = num_frames(medium, self._spec)
        self._waiting.append((frames, index, medium))
        self._frames += frames

    def is_full(self, max_frames: int) -> bool:
        return self._frames >= WINDOW * max_frames or len(self._waiting) >= WINDOW * self._max_items

    def take(self, max_frames: int, last: bool = False) -> list[list[tuple[int, Any]]]:
        """Batches of (index, medium), longest media first. The shortest wait for others to fill a batch with, unless
        these are the `last`: a model is at its slowest with few."""
        waiting = sorted(self._waiting, key=lambda one: (-one[0], one[1]))
        bounds = list(cut([frames for frames, _, _ in waiting], max_frames, self._max_items))
        left = len(waiting) if last or not bounds else bounds.pop()[0]
        self._waiting = waiting[left:]
        self._frames = sum(frames for frames, _, _ in self._waiting)
        return [[(index, medium) for _, index, medium in waiting[start:end]] for start, end in bounds]


def cut(lengths: Sequence[int], max_frames: int, max_items: int) -> Iterator[tuple[int, int]]:
    """Bounds of batches over descending `lengths`: longest × count ≤ `max_frames`, count ≤ `max_items`.

    An item longer than `max_frames` goes alone.

    >>> list(cut([100, 30, 10, 10], max_frames=60, max_items=8))
    [(0, 1), (1, 3), (3, 4)]
    """
    start = 0
    for end in range(1, len(lengths)):
        if end - start == max_items or lengths[start] * (end - start + 1) > max_frames:
            yield start, end
            start = end
    if lengths:
        yield start, len(lengths)


class Encoder:
    """A tokenizer that survives its batches. `max_frames` shrinks when memory runs out; codes do not change,
    because a tokenizer gives an item the same codes in every batch. With `margins`, codes have them."""

    def __init__(self, tokenizer: Tokenizer, max_frames: int, margins: bool = False) -> None:
        self.tokenizer, self.max_frames = tokenizer, max_frames
        self._options = {"margins": True} if margins else {}

    def encode(self, media: Sequence[Any]) -> list[Codes | Failure]:
        """Codes of each medium, or its Failure. A batch that fails is halved until the culprit is alone."""
        try:
            codes = self.tokenizer.encode_prepared(media, **self._options)
        except CacheError:  # no item is to blame
            raise
        except Exception as error:
            if "CUDA error" in str(error):  # the device is lost to this process; let a new one try
                raise
            memory = is_out_of_memory(error)
            if memory:
                _free_memory()
                self.max_frames = max(1, self.max_frames // 2)
            if len(media) == 1:
                return [_failure(error, memory)]
            half = len(media) // 2
            return self.encode(media[:half]) + self.encode(media[half:])
        return list(codes)


def is_out_of_memory(error: Exception) -> bool:
    """Whether host or device memory ran out, by the names torch and numpy give it (torch may not be there)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))


def _free_memory() -> None:
    import sys

    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failure(error: Exception, memory: bool) -> Failure:
    if isinstance(error, MediaError):
        return Failure(error.kind, error.detail)
    if memory:
        return Failure("out_of_memory", "encoding it alone needs more memory than there is")
    return Failure.of("encode_failed", error)
