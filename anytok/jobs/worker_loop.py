"""What a worker process does: it takes shards from a pipe; one is read, one worked on, one written."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from ..errors import AnytokError, JobError, MediaError
from .commit import disk_error
from .config import JobConfig
from .values import reason_of
from .work import Results
from .worker import Started, Worker

__all__ = ["serve"]


def serve(pipe: Connection, config: JobConfig, number: int) -> None:
    """What a worker process does: Tasks in; what it is, what it has done, and why it stops, out."""
    try:
        worker = Worker(config, number, own_process=True)
        pipe.send(("ready", worker.specs))
        try:
            _Loop(pipe, worker).run()
        except OSError as error:
            raise disk_error(error, config.output) from error
    except AnytokError as error:
        pipe.send(("stop", _portable(error)))


class _Loop:
    """Three shards at a time: one is read, one worked on, one written."""

    def __init__(self, pipe: Connection, worker: Worker) -> None:
        self._pipe, self._worker, self._lock = pipe, worker, threading.Lock()
        self._started: deque[Started] = deque()

    def run(self) -> None:
        writing: Future[None] | None = None
        with ThreadPoolExecutor(1) as writer:
            while True:
                self._take_tasks()
                one = self._started.popleft()
                results = self._worker.results(one, lambda *counts: self._send("progress", counts))
                if writing:
                    writing.result()
                writing = writer.submit(self._commit, one, results)

    def _take_tasks(self) -> None:
        while not self._started or self._pipe.poll():
            task = self._pipe.recv()
            one = self._worker.start(task)
            if one:
                self._started.append(one)
            else:
                self._send("busy", task.shard)

    def _commit(self, started: Started, results: Results) -> None:
        try:
            self._send("done", self._worker.commit(started, results))
        except OSError as error:
            self._send("stop", disk_error(error, self._worker.config.output))
        except AnytokError as error:
            self._send("stop", _portable(error))
        except Exception as error:  # nobody may ever look into the Future
            self._send("stop", JobError(f"shard {started.task.shard}: {reason_of(error)}"))

    def _send(self, kind: str, content: Any) -> None:
        with self._lock:
            self._pipe.send((kind, content))


def _portable(error: AnytokError) -> AnytokError:
    """An error that survives the pipe, with its type but for MediaError, whose parts do not make it again."""
    return JobError(str(error)) if isinstance(error, MediaError) else error
