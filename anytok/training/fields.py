"""What a config's fields may hold, said where they are declared: `steps: Annotated[int, Within(1, 10**9)]`.

Every value is held against its field's type and bounds before any work is done: a training run must not find out
after hours that it cannot save.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..arguments import whole
from ..errors import UsageError

__all__ = [
    "Count", "Layers", "Positive", "Share", "Size", "Weight", "Within", "build", "multiple", "same_length",
]  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Within:
    """Bounds of a number; with `above`, `low` itself is out of them."""

    low: int
    high: int
    above: bool = False

    def __contains__(self, number: float) -> bool:  # NaN is in no bounds
        return (self.low < number if self.above else self.low <= number) and number <= self.high

    def __str__(self) -> str:
        return f"above {self.low}, {self.high} at most" if self.above else f"{self.low} to {self.high}"


# The upper ends only stop what is a slip of the keyboard, or more than any machine holds.
Count = Annotated[int, Within(0, 10**9)]
Size = Annotated[int, Within(1, 1 << 16)]
Layers = Annotated[int, Within(1, 999)]
Share = Annotated[float, Within(0, 1)]
Weight = Annotated[float, Within(0, 10**6)]
Positive = Annotated[float, Within(0, 10**6, above=True)]


def build(kind: type[T], table: Any, path: str | Path, *names: str) -> T:
    """The table `[names]` of a TOML file → the dataclass `kind`, tables in it likewise. A dataclass may refuse, by a
    UsageError in its `__post_init__`, values that do not go together.

    Raises UsageError naming the file, the key, what came and what is expected.
    """
    where = f"{path}: [{'.'.join(names)}]" if names else f"{path}:"
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {table!r}: expected a table of settings")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    required = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    missing = sorted(required - set(table))
    if unknown or missing:
        raise UsageError(
            f"{where} unknown keys {unknown or 'none'}, missing keys {missing or 'none'}; known: {', '.join(fields)}"
        )
    types = get_type_hints(kind, include_extras=True)
    values = {
        key: build(types[key], value, path, *names, key)
        if dataclasses.is_dataclass(types[key])
        else _checked(f"{where} {key}", value, types[key])
        for key, value in table.items()
    }
    try:
        return kind(**values)
    except UsageError as error:
        raise UsageError(f"{where} {error}") from error


def multiple(name: str, number: int, part: str, divisor: int) -> None:
    """Raise UsageError unless `number` is a multiple of `divisor`."""
    if number % divisor:
        raise UsageError(f"{name}={number}: expected a multiple of {part}, {divisor}")


def same_length(sizes: Any, *names: str) -> None:
    """Raise UsageError unless these lists of a dataclass, one entry a block, are of one length."""
    lengths = {name: len(getattr(sizes, name)) for name in names}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UsageError(f"{counts}: expected as many of each, one a block")


def _checked(name: str, value: Any, kind: Any) -> Any:
    """`value`, as TOML gives it, as a `kind`; raises UsageError beginning with `name`."""
    kind, bounds = get_args(kind) if get_origin(kind) is Annotated else (kind, None)
    check = _CHECKS.get(get_origin(kind) or kind)
    return check(name, value, get_args(kind) if bounds is None else bounds) if check else value


def _integer(name: str, value: Any, bounds: Within) -> int:
    return whole(name, value, bounds.low, bounds.high)


def _number(name: str, value: Any, bounds: Within) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value not in bounds:
        raise UsageError(f"{name}={value!r}: expected a number, {bounds}")
    return float(value)


def _switch(name: str, value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}={value!r}: expected true or false")
    return value


def _text(name: str, value: Any, _: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UsageError(f'{name}={value!r}: expected text in quotes, such as "runs/mine"')
    return value


def _word(name: str, value: Any, words: tuple[str, ...]) -> str:
    if value not in words:
        raise UsageError(f"{name}={value!r}: expected {' or '.join(map(repr, words))}")
    return str(value)


def _list(name: str, value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        raise UsageError(f"{name}={value!r}: expected a list of at least one, such as [2, 4]")
    return tuple(_checked(f"{name}[{i}]", item, kinds[0]) for i, item in enumerate(value))


def _table(name: str, value: Any, kinds: tuple[Any, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name}={value!r}: expected a table, such as {{ midi = 1.0 }}")
    return {key: _checked(f"{name}.{key}", item, kinds[1]) for key, item in value.items()}


_CHECKS: dict[Any, Callable[[str, Any, Any], Any]] = {
    int: _integer, float: _number, bool: _switch, str: _text, Literal: _word, tuple: _list, dict: _table,
}  # fmt: skip
