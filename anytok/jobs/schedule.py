"""Which shards are still to do, and what has been learnt about those that killed their worker."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from ..errors import JobError
from .commit import Store
from .failures import Failure
from .worker import Task

__all__ = ["Schedule"]

MAX_DEATHS = 3  # of workers on one item alone, before it goes to the ledger
MAX_SHARD_DEATHS = 20  # of workers on one shard, whatever the reason, since it last got on, before the job gives up
RETRY_SECONDS = 0.2  # until a shard that another process has is looked at again


class Schedule:
    """Hands out Tasks, the same for every runner. A shard leaves it when it is done; `found` is called with those that
    are there without a report: done by another process, or by a worker that died before it could report."""

    def __init__(self, store: Store, shards: Iterable[int], found: Callable[[int], None] = lambda shard: None) -> None:
        self._store, self._found = store, found
        self._waiting = deque(Task(shard) for shard in shards)
        self._away: dict[int, Task] = {}  # handed out
        self._elsewhere: deque[tuple[float, Task]] = deque()  # being done by another process
        self._deaths: Counter[int] = Counter()
        self._lone_deaths: Counter[tuple[int, int]] = Counter()

    @property
    def finished(self) -> bool:
        return not (self._waiting or self._away or self._elsewhere)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting) + len(self._elsewhere)

    def next(self) -> Task | None:
        """The next shard to hand out; None if there is none just now."""
        while self._elsewhere and self._elsewhere[0][0] <= time.monotonic():
            _, task = self._elsewhere.popleft()
            if self._store.is_committed(task.shard):
                self._found(task.shard)
            else:
                self._waiting.append(task)
        if not self._waiting:
            return None
        task = self._waiting.popleft()
        self._away[task.shard] = task
        return task

    def done(self, shard: int) -> None:
        self._away.pop(shard, None)

    def busy(self, shard: int) -> None:
        """Another process has this shard: look again later, it may die."""
        self._elsewhere.append((time.monotonic() + RETRY_SECONDS, self._away.pop(shard)))

    def died(self, shard: int, how: str) -> None:
        """A worker died with this shard at hand. What was in the model then is suspect, and goes alone next time;
        an item that was alone each time is doomed."""
        task = self._away.pop(shard)
        self._deaths[shard] += 1
        if self._store.is_committed(shard):
            return self._found(shard)
        if self._deaths[shard] > MAX_SHARD_DEATHS:
            raise JobError(f"workers died {self._deaths[shard]} times at shard {shard} ({how}): see the machine's log")
        inflight, late = self._inflight(shard)
        doomed = dict(task.doomed)
        if len(inflight) == 1:
            self._lone_deaths[shard, inflight[0]] += 1
            if self._lone_deaths[shard, inflight[0]] >= MAX_DEATHS:
                self._deaths[shard] = 0  # it got on: as many deadly items as there are come to their end
                doomed[inflight[0]] = (
                    Failure("timeout", f"the model did not finish it in time (batch_seconds), {MAX_DEATHS} times")
                    if late
                    else Failure("crashed", f"the model's process died of it {MAX_DEATHS} times ({how})")
                )
        self._waiting.appendleft(Task(shard, task.suspects | set(inflight), doomed))

    def _inflight(self, shard: int) -> tuple[list[int], bool]:
        """What was in the model, and whether its time was over."""
        try:
            note = json.loads(self._store.inflight(shard).read_text())
        except (OSError, ValueError):
            return [], False
        return note["items"], time.time() >= note["deadline"]
