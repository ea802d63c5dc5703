"""Ctrl-C, and other signals that end a process: held back until what was trained is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Stopped", "held_signals"]


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal, its number in `number`, after the step was saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Yields a list that takes the first of SIGINT, SIGTERM and SIGHUP; a second one acts as it would without this.

    Signals that the caller handles or ignores (as nohup does) stay so, as do all outside the main thread.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}

    def hold(number: int, _: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        while previous:
            signal.signal(*previous.popitem())

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                previous[number] = signal.signal(number, hold)
    try:
        yield received
    finally:
        restore()
