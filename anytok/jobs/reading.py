"""Reading and decoding in processes of their own, ahead of the model.

A file that crashes, hangs or bloats its decoder costs that process and that item, nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ..errors import JobError
from ..spec import Spec
from .child import Child
from .failures import Failure, stable
from .items import Item
from .values import reason_of

__all__ = ["Failure", "Prepared", "Readers", "Reading"]

MAX_TRIES = 2  # for an item whose reader dies; once may be bad luck
BUFFER_BYTES = 256 * 2**20  # of prepared media that may wait for the model
READER_BYTES = 16 * 2**30  # address space of a reader; the largest recording that is read needs most of it


@dataclass(frozen=True)
class Prepared:
    """A medium as the model takes it, the warnings that came up while it was read, each once; `content`, see
    `content_hash`."""

    medium: Any
    warnings: tuple[str, ...] = ()
    content: int = 0


class Reading:
    """The items of one shard on their way: iterate to get (index, Prepared or Failure), as they come."""

    def __init__(self, num_items: int, budget: _Budget) -> None:
        self._num_items, self._budget = num_items, budget
        self._results: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

    def put(self, index: int, result: Any) -> None:
        self._budget.add(_num_bytes(result))
        self._results.put((index, result))

    def __iter__(self) -> Iterator[tuple[int, Prepared | Failure]]:
        for _ in range(self._num_items):
            index, result = self._results.get()
            self._budget.add(-_num_bytes(result))
            if isinstance(result, JobError):
                raise result
            yield index, result


class Readers:
    """A few reader processes, fed in the order of `start`; each is watched by a thread of this process."""

    def __init__(self, specs: Mapping[str, Spec], num_readers: int, item_seconds: float) -> None:
        self._specs, self._item_seconds = dict(specs), item_seconds
        self._tasks: queue.SimpleQueue[tuple[Reading, int, Item] | None] = queue.SimpleQueue()
        self._budget = _Budget(BUFFER_BYTES)
        self._threads = [threading.Thread(target=self._watch, daemon=True) for _ in range(num_readers)]
        for thread in self._threads:
            thread.start()

    def start(self, items: Sequence[tuple[int, Item]]) -> Reading:
        """Begin to read these items; returns at once."""
        reading = Reading(len(items), self._budget)
        for index, item in items:
            self._tasks.put((reading, index, item))
        return reading

    def close(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)

    def _watch(self) -> None:
        child: Child | None = None
        while (task := self._tasks.get()) is not None:
            reading, index, item = task
            self._budget.wait()
            try:
                child, result = self._read(child, item)
            except Exception as error:  # not the item's fault, and its shard waits for it: no process can be started
                child, result = None, JobError(f"cannot read {item.key}: {reason_of(error)}")
            reading.put(index, result)
        if child:
            child.stop()

    def _read(self, child: Child | None, item: Item) -> tuple[Child | None, Any]:
        """One item through the reader process, with a new one where it dies or hangs."""
        death, fresh = "", False
        for _ in range(MAX_TRIES):
            if child is None or not child.alive():
                child = Child(f"{__name__}:serve", self._specs, threads=1, quiet=True)
                fresh = True
            try:
                if fresh:  # its start is no item's time
                    child.pipe.recv()
                    fresh = False
                child.pipe.send(item)
                if not child.pipe.poll(self._item_seconds):
                    child.stop()
                    return None, Failure("timeout", f"not decoded within {self._item_seconds:g} s (item_seconds)")
                return child, child.pipe.recv()
            except (EOFError, OSError):
                death = child.death()
                child = None
        return None, Failure("crashed", f"its decoder died {MAX_TRIES} times ({death})")


class _Budget:
    """Bytes of prepared media that wait for the model; readers pause while they are too many."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._changed = limit, 0, threading.Condition()

    def add(self, num_bytes: int) -> None:
        with self._changed:
            self._held += num_bytes
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._held < self._limit)


def serve(pipe: Connection, specs: Mapping[str, Spec]) -> None:
    """What a reader process does: items in, prepared media or Failures out."""
    _limit_memory()
    from .. import media  # noqa: F401 - before the clock of the first item runs

    pipe.send("ready")
    while True:
        item = pipe.recv()
        pipe.send(read(item, specs[item.modality]))


def read(item: Item, spec: Spec) -> Prepared | Failure:
    """The item as the model takes it, or why it cannot be had. Decoders raise anything, so anything is caught.

    Warnings go with the item, since nobody sees what a reader prints."""
    from ..media import prepare
    from .fetch import content_hash, fetch

    with _caught_warnings() as caught:
        try:
            fetched = fetch(item)
            medium = prepare(fetched, spec)
            content = content_hash(item, fetched)
        except Exception as error:
            return Failure.in_reading(error)
    return Prepared(medium, tuple(dict.fromkeys(map(stable, caught))), content)


@contextmanager
def _caught_warnings() -> Iterator[list[str]]:
    """What anytok logs, and what decoders warn of, but for warnings to developers, such as DeprecationWarning."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("anytok")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for category in (UserWarning, RuntimeWarning):
                warnings.simplefilter("always", category)
            warnings.showwarning = lambda message, *_, **__: found.append(str(message))  # type: ignore[assignment]
            yield found
    finally:
        logger.removeHandler(handler)


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (READER_BYTES, READER_BYTES))
    except (ImportError, ValueError, OSError):
        pass  # a system without such limits; the media limits still hold


def _num_bytes(result: Any) -> int:
    medium = getattr(result, "medium", None)
    wave = getattr(medium, "wave", None)
    if wave is not None:
        return wave.nbytes
    size = getattr(medium, "size", None)  # of a PIL picture
    return size[0] * size[1] * 3 if isinstance(size, tuple) else 1024
