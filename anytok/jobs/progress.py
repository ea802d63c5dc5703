"""How a run goes, for a bar or a log."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..progress import Reporter, kind_of

__all__ = ["Log", "Meter", "Progress", "ProgressListener", "listening"]

_logger = logging.getLogger(__name__)

LOG = "log.jsonl"
LOG_SECONDS = 10.0  # between two lines of progress


@dataclass(frozen=True)
class Progress:
    """A moment of a run. `items` counts those done, failed ones included; the rates are of this run alone."""

    items: int
    total: int
    failed: int
    items_per_second: float
    media_seconds_per_second: float  # seconds of sound encoded in a second
    eta_seconds: float | None


ProgressListener: TypeAlias = Callable[[Progress], None]


@contextmanager
def listening(progress: ProgressListener | bool | str | None, what: str) -> Iterator[ProgressListener | None]:
    """Who is told of progress: the listener given, or one that reports to stderr in the form given, see
    `anytok.progress`, as `what`; none for None and False. Raises UsageError on other forms."""
    if progress is None or callable(progress):
        yield progress
        return
    with Reporter(what, kind=kind_of(progress)) as reporter:

        def report(now: Progress) -> None:
            sound = f"{now.media_seconds_per_second:.0f} s of sound/s" if now.media_seconds_per_second else ""
            reporter.update(now.items, now.total, now.failed, sound)

        yield report


class Meter:
    """Counts items as batches come in, and what shards really brought when they are committed."""

    def __init__(self, total: int, listener: ProgressListener | None) -> None:
        self.total, self._listener, self._began = total, listener, time.monotonic()
        self._committed, self._failed = 0, 0  # what shards say
        self._open, self._open_failed = 0, 0  # what batches say of shards that are not committed yet
        self._new, self._media_seconds = 0, 0.0

    def batch(self, items: int, failed: int, media_seconds: float) -> None:
        """Items that went through the model, or failed."""
        self._open += items
        self._open_failed += failed
        self._new += items
        self._media_seconds += media_seconds
        if self._listener:
            self._listener(self.now())

    def shard(self, items: int, failed: int, new: bool = True) -> None:
        """A committed shard: done before this run, or just now, in which case batches counted it already."""
        self._committed += items
        self._failed += failed
        if new:
            self._open = max(0, self._open - items)
            self._open_failed = max(0, self._open_failed - failed)

    @property
    def failed(self) -> int:
        """Failures in committed shards."""
        return self._failed

    def now(self) -> Progress:
        elapsed = max(1e-9, time.monotonic() - self._began)
        items = min(self.total, self._committed + self._open)
        rate = self._new / elapsed
        eta = (self.total - items) / rate if rate else None
        return Progress(items, self.total, self._failed + self._open_failed, rate, self._media_seconds / elapsed, eta)


class Log:
    """OUT/_anytok/log.jsonl: one JSON object a line, appended; several processes may write to it."""

    def __init__(self, folder: Path) -> None:
        self._path, self._last = folder / LOG, 0.0

    def write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}) + "\n"
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(line)
        _logger.info("%s: %s", event, ", ".join(f"{name}={value}" for name, value in fields.items()))

    def progress(self, progress: Progress) -> None:
        """A line of progress, at most one in ten seconds."""
        if time.monotonic() - self._last >= LOG_SECONDS:
            self._last = time.monotonic()
            self.write("progress", **asdict(progress))
