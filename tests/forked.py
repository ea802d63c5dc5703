"""The processes of jobs, forked from one that has imported what they need: half of a small job's time is imports.

In place of fresh interpreters, which `tests/test_jobs_processes.py`, `make day` and tests that start a script or a
command as a process have. Not by multiprocessing's Process, which would set neither environment nor outputs.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import forkserver, get_context
from multiprocessing.popen_forkserver import Popen
from multiprocessing.reduction import DupFd
from typing import Any

from anytok.jobs import child

get_context("forkserver").set_forkserver_preload([
    "anytok.jobs.composing", "anytok.jobs.encoding", "anytok.jobs.reading", "anytok.jobs.sinks.tables",
    "anytok.jobs.worker_loop", "anytok.media.image", "pyarrow.parquet", "PIL.Image", "soundfile", __name__,
])  # fmt: skip


def start(target: str, handle: int, environment: dict[str, str], quiet: bool) -> Popen:
    """In place of `anytok.jobs.child._start`."""
    return Popen(_Work(target, handle, environment, quiet))


class _Work:
    """What multiprocessing takes for its Process: pickled here, with open files, and run there."""

    _name = "work"

    def __init__(self, target: str, handle: int, environment: dict[str, str], quiet: bool) -> None:
        self.target, self.handle, self.environment, self.quiet = target, handle, environment, quiet

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "files": [DupFd(number) for number in (self.handle, 1, 2)]}

    def _bootstrap(self, parent_sentinel: int) -> int:
        child._start = start  # its own processes, too, and from the same server, whose address it has inherited
        forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
        os.environ.clear()
        os.environ.update(self.environment)
        handle, *outputs = (file.detach() for file in self.files)  # type: ignore[attr-defined]
        null = os.open(os.devnull, os.O_RDWR)
        for number, file in enumerate([null, *([null, null] if self.quiet else outputs)]):
            os.dup2(file, number)
        child._main(self.target, handle)
        sys.stdout.flush()
        return 0
