"""A function in a fresh interpreter, at the other end of a pipe.

Not multiprocessing's own processes: those import the caller's main script again, so a plain script that runs a
job without an `if __name__` guard would start itself over and over. Here only the named function is imported.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

from ..openmp import share_cores

__all__ = ["Child"]


class Child:
    """Runs `target` ("module:function") as target(pipe, *arguments) in a process of its own.

    `pipe` here and there are two ends of one connection. The child ends when this end closes or dies. `threads`
    limits its mathematics, where given; a limit that the user has set holds.
    """

    def __init__(self, target: str, *arguments: Any, threads: int = 0, quiet: bool = False) -> None:
        ours, theirs = _pipe()
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        environment = {**limit, **os.environ, "PYTHONPATH": paths}
        share_cores(environment)
        with theirs:
            self._process = _start(target, theirs.fileno(), environment, quiet)
        self.pipe = ours
        self.pipe.send(arguments)

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def death(self) -> str:
        """How the child ended, in words."""
        code = self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """Close the pipe and end the child at once."""
        self.pipe.close()
        self._process.kill()
        self._process.wait()


def _start(target: str, handle: int, environment: dict[str, str], quiet: bool) -> subprocess.Popen[bytes]:
    """A function of its own for the tests: tests/forked.py has one that forks."""
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.Popen(
        # -P: a folder of data that is stood in must not be one of modules, too.
        [sys.executable, "-P", "-c", f"from {__name__} import _main; _main({target!r}, {handle})"],
        pass_fds=[handle],
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=sink,
        env=environment,
    )


def _pipe() -> tuple[Connection, Connection]:
    import socket

    here, there = socket.socketpair()
    return Connection(here.detach()), Connection(there.detach())


def _main(target: str, handle: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    pipe = Connection(handle)
    module, _, function = target.partition(":")
    try:
        arguments = pipe.recv()
        getattr(importlib.import_module(module), function)(pipe, *arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
