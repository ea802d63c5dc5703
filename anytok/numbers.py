"""Whole numbers that users give."""

from __future__ import annotations

import operator
from typing import Any

from .errors import AnytokError, UsageError

__all__ = ["whole"]


def whole(name: str, value: Any, low: int, high: int | None = None, error: type[AnytokError] = UsageError) -> int:
    """`value` as a Python int; raises `error` unless it is a whole number (numpy's and torch's are, True is not) from
    `low` to `high`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < low or (high is not None and number > high):
        bounds = f"{low} to {high}" if high is not None else f"at least {low}"
        raise error(f"{name}={value!r}: expected a whole number, {bounds}")
    return number
