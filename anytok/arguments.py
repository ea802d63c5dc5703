"""What users give where a whole number, one of some words, several items, or a folder to write into are wanted."""

from __future__ import annotations

import difflib
import operator
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import AnytokError, DiskError, UsageError

__all__ = ["check_folder", "choice", "did_you_mean", "iterable", "several", "whole"]

T = TypeVar("T")


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


def choice(name: str, value: Any, words: Iterable[Any], error: type[AnytokError] = UsageError) -> Any:
    """`value`, which is one of `words`; else raises `error` naming those, and the one that was probably meant."""
    known = list(words)
    if value not in known:
        shown = ", ".join(repr(word) for word in known if word != "")
        raise error(f"{name}={value!r}: expected {shown}{did_you_mean(value, known)}")
    return value


def did_you_mean(value: Any, known: Iterable[Any]) -> str:
    """"; did you mean 'parquet'?", or "" where no known word is near.

    >>> did_you_mean("parquett", ["parquet", "hf"])
    "; did you mean 'parquet'?"
    """
    words = [word for word in known if isinstance(word, str)]
    near = difflib.get_close_matches(value, words, 1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def several(items: Iterable[T], singular: str) -> list[T]:
    """`items` as a list; raises UsageError where they are one item, or none that can be counted off."""
    return list(iterable(items, singular))


def iterable(items: Iterable[T], singular: str) -> Iterable[T]:
    """`items`; raises UsageError where they are one item, or none that can be counted off."""
    one = isinstance(items, (str, bytes, bytearray, os.PathLike, Mapping)) or hasattr(items, "read")  # a file has lines
    if one or not isinstance(items, Iterable):
        raise UsageError(f"got {type(items).__name__}: expected a list; for one item there is `{singular}`")
    return items


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise UsageError where a folder cannot be, since a file is in its place, and DiskError where nothing can be
    written into it, or it cannot be made: before work is done that would have to be thrown away. Leaves nothing."""
    folder = Path(path)
    there = next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))
    if not there.is_dir():
        where = "" if there == folder else f"{path}: "
        raise UsageError(f"{where}{there} is no folder; choose another, or a name that is free")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise DiskError(
            f"cannot write to {path} ({error.strerror or error}): give it leave to write, or choose another folder"
        ) from error
