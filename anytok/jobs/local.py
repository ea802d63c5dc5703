"""The runner of one machine: worker processes that hold the models, fed and watched from here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from typing import Any

from ..errors import JobError
from ..spec import Spec
from .child import Child
from .config import JobConfig
from .schedule import RETRY_SECONDS, Schedule

__all__ = ["Listener", "LocalRunner"]

_logger = logging.getLogger(__name__)

AHEAD = 3  # shards a worker has at hand: one being written, one in the model, one being read
MAX_STARTS = 3  # deaths in a row before a worker gets anything done

Listener = Callable[[str, Any], None]  # ("progress", (items, failures, seconds)) or ("done", Outcome)


class LocalRunner:
    """`specs` loads the tokenizers once; `run` does the shards with `config.run.workers` processes."""

    def __init__(self, config: JobConfig) -> None:
        self._config = config
        self._workers: list[_Handle] = [_Handle(config, 0)]

    def specs(self) -> Mapping[str, Spec]:
        """What the tokenizers say they are, weights included."""
        return self._workers[0].wait_until_ready()

    def run(self, schedule: Schedule, tell: Listener) -> None:
        """Do all shards of the schedule. Raises what stopped a worker: no disk space, unusable weights."""
        for number in range(len(self._workers), min(self._config.run.workers, schedule.num_waiting)):
            self._workers.append(_Handle(self._config, number))
        while not schedule.finished:
            for worker in self._workers:
                self._feed(worker, schedule)
            ready = wait([worker.child.pipe for worker in self._workers], timeout=RETRY_SECONDS)
            for worker in [one for one in self._workers if one.child.pipe in ready]:
                try:
                    kind, content = worker.child.pipe.recv()
                except (EOFError, OSError):
                    self._replace(worker, schedule)
                else:
                    worker.receive(kind, content, schedule, tell)

    def _feed(self, worker: _Handle, schedule: Schedule) -> None:
        enough = AHEAD if schedule.num_waiting > len(self._workers) else 1
        while worker.ready and len(worker.shards) < enough and (task := schedule.next()):
            worker.shards.append(task.shard)
            try:
                worker.child.pipe.send(task)
            except OSError:
                return  # it has died; its pipe says so next

    def _replace(self, worker: _Handle, schedule: Schedule) -> None:
        how = worker.child.death()
        worker.num_deaths += 1
        if not worker.ready and worker.num_deaths >= MAX_STARTS:
            raise _no_start(how)
        _logger.warning("a worker process died (%s); another one takes up its shards %s", how, worker.shards)
        for shard in reversed(worker.shards):
            schedule.died(shard, how)
        worker.restart()

    def close(self) -> None:
        """End all workers at once; what they had not committed is done again another time."""
        for worker in self._workers:
            worker.child.stop()


class _Handle:
    """One worker process as its parent sees it."""

    def __init__(self, config: JobConfig, number: int) -> None:
        self._config, self._number = config, number
        self.num_deaths = 0
        self.restart()

    def restart(self) -> None:
        workers = self._config.run.workers
        threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else 0  # workers share the cores
        self.child = Child("anytok.jobs.worker_loop:serve", self._config, self._number, threads=threads)
        self.ready = False
        self.shards: list[int] = []

    def wait_until_ready(self) -> Mapping[str, Spec]:
        for _ in range(MAX_STARTS):
            try:
                kind, content = self.child.pipe.recv()
            except (EOFError, OSError):
                how = self.child.death()
                self.restart()
                continue
            if kind == "stop":
                raise content
            self.ready = True
            return content
        raise _no_start(how)

    def receive(self, kind: str, content: Any, schedule: Schedule, tell: Listener) -> None:
        if kind == "stop":
            raise content
        if kind == "ready":
            self.ready = True
        elif kind == "busy":
            self.shards.remove(content)
            schedule.busy(content)
        elif kind == "done":
            self.shards.remove(content.shard)
            self.num_deaths = 0
            schedule.done(content.shard)
            tell(kind, content)
        else:
            tell(kind, content)


def _no_start(how: str) -> JobError:
    why = "is there memory for the model?" if how.startswith("killed") else "its output is above"
    return JobError(f"a worker died {MAX_STARTS} times while it started ({how}): {why}")
