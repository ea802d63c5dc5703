"""How far long work is, for whoever waits: a bar on a terminal, elsewhere a line at fixed intervals, plain or JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeAlias

from .arguments import choice

__all__ = ["KINDS", "Progress", "Reporter", "kind_of"]

KINDS = ("auto", "bar", "lines", "json", "none")
SECONDS = 10.0  # between two lines

# What callers give: whether, or in which form, to report to stderr; or whom to tell (done, total or None).
Progress: TypeAlias = bool | str | Callable[[int, int | None], object]


def kind_of(progress: Any) -> str:
    """The form that is asked for, one of KINDS: True is "auto". Raises UsageError on others."""
    return choice("progress", {True: "auto", False: "none"}.get(progress, progress), KINDS)


class Reporter:
    """Reports on stderr while it is entered: `kind` "bar", "lines", "json", "none", or "auto", a bar on a terminal and
    lines elsewhere. What is done before the first interval is over leaves no line."""

    def __init__(self, what: str, total: int | None = None, *, unit: str = "item", kind: str = "auto") -> None:
        if kind == "auto":
            kind = "bar" if sys.stderr.isatty() else "lines"
        self._what, self._unit, self._kind = what, unit, kind
        self._began = self._last = time.monotonic()
        self._state: tuple[int, int | None, int] = (0, total, 0)
        self._wrote = False
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._kind == "bar":
            from tqdm import tqdm

            self._bar = tqdm(total=self._state[1], unit=self._unit, desc=self._what)
        return self

    def update(self, done: int, total: int | None = None, failed: int = 0, note: str = "") -> None:
        """So many are done by now, failed ones included. `note` stands behind the bar."""
        self._state = (done, self._state[1] if total is None else total, failed)
        if self._bar is not None:
            self._bar.total, self._bar.n = self._state[1], done
            self._bar.set_postfix_str(", ".join(part for part in (note, f"{failed} failed" if failed else "") if part))
        elif self._kind in ("lines", "json") and time.monotonic() - self._last >= SECONDS:
            self._write()

    def advance(self) -> None:
        """One more is done."""
        self.update(self._state[0] + 1, failed=self._state[2])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._wrote:
            self._write()

    def _write(self) -> None:
        done, total, failed = self._state
        self._wrote, self._last = True, time.monotonic()
        rate = done / max(1e-9, self._last - self._began)
        left = (total - done) / rate if total is not None and rate else None
        if self._kind == "json":
            record = {"event": "progress", "what": self._what, "done": done, "total": total, "failed": failed}
            line = json.dumps({**record, "per_second": round(rate, 3), "eta_seconds": left and round(left, 1)})
        else:
            of = f" of {total}" if total is not None else ""
            eta = f", about {left:.0f} s left" if left else ""
            line = f"anytok: {self._what}: {done}{of} {self._unit}s, {failed} failed, {rate:.3g} a second{eta}"
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
