"""Plain data, as TOML and JSON hold it → dataclasses: every value is held against its field's type and bounds.

What a field may hold is said where it is declared: `steps: Annotated[int, Within(1, 10**9)]`. Known are int, float,
bool, str, Literal, tuple, Mapping, other dataclasses, each of them `| None`, and Any. Bounds of a text, a tuple or a
table are those of its length.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .arguments import choice, did_you_mean, whole
from .errors import AnytokError, UsageError

__all__ = [
    "AT_LEAST_ONE", "Count", "Layers", "Positive", "Share", "Size", "Text", "Within", "build", "check", "multiple",
    "same_length",
]  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Within:
    """Bounds of a number, or of a length; with `above`, `low` itself is out of them."""

    low: float
    high: float
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
Positive = Annotated[float, Within(0, 10**6, above=True)]
Text = Annotated[str, Within(1, 1 << 16)]
AT_LEAST_ONE = Within(1, 1 << 32)


def build(kind: type[T], record: Any, where: str = "", error: type[AnytokError] = UsageError, *, key: str = "") -> T:
    """A table of plain data → the dataclass `kind`, tables in it likewise. A dataclass may refuse, by an AnytokError in
    its `__post_init__`, values that do not go together.

    Raises `error` beginning with `where` (a file's name, say) and naming the key, what came and what is expected;
    `key` is that of the table itself.
    """
    return _table(_Place(where, key, error), record, kind)


def check(record: Any, error: type[AnytokError] = UsageError) -> None:
    """Hold the fields of a dataclass against their types, in its `__post_init__`: for those that users make, too."""
    for name, kind in _hints(type(record)).items():  # type: ignore[arg-type]
        object.__setattr__(record, name, _checked(_Place("", name, error), getattr(record, name), kind))


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


@dataclass(frozen=True)
class _Place:
    """Where a value stands, for messages: "job.toml: sources[1].kind"; and how they are raised."""

    where: str
    path: str
    error: type[AnytokError]

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path) if part)

    def key(self, name: Any) -> _Place:
        return dataclasses.replace(self, path=f"{self.path}.{name}" if self.path else str(name))

    def item(self, number: int) -> _Place:
        return dataclasses.replace(self, path=f"{self.path}[{number}]")

    def refuse(self, value: Any, expected: str) -> AnytokError:
        shown = repr(value)
        shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
        return self.error(f"{self}={shown}: expected {expected}")

    def refuse_whole(self, problem: str) -> AnytokError:
        return self.error(f"{self}: {problem}" if str(self) else problem)


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _table(place: _Place, record: Any, kind: type[T]) -> T:
    if not isinstance(record, Mapping):
        raise place.refuse(record, "a table of settings")
    hints = _hints(kind)  # type: ignore[arg-type]
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    missing = dataclasses.MISSING
    required = [name for name in hints if fields[name].default is fields[name].default_factory is missing]
    problems = [f"unknown key {name!r}{did_you_mean(name, hints)}" for name in record if name not in hints]
    if lacking := [name for name in required if name not in record]:
        problems.append(f"missing {', '.join(map(repr, lacking))}")
    if problems:
        raise place.refuse_whole(f"{'; '.join(problems)}; known: {', '.join(hints)}")
    values = {name: _checked(place.key(name), value, hints[name]) for name, value in record.items()}
    try:
        return kind(**values)
    except AnytokError as error:
        raise place.refuse_whole(str(error)) from error


def _checked(place: _Place, value: Any, kind: Any) -> Any:
    """`value` as a `kind`; raises the place's error."""
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        [kind] = [one for one in get_args(kind) if one is not type(None)]
    kind, bounds = get_args(kind)[:2] if get_origin(kind) is Annotated else (kind, None)
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else _table(place, value, kind)  # type: ignore[arg-type]
    found = _CHECKS.get(get_origin(kind) or kind)
    return found(place, value, bounds, get_args(kind)) if found else value


def _integer(place: _Place, value: Any, bounds: Within | None, _: Any) -> int:
    low, high = (bounds.low, bounds.high) if bounds else (-(1 << 63), (1 << 63) - 1)
    return whole(str(place), value, int(low), int(high), error=place.error)


def _number(place: _Place, value: Any, bounds: Within | None, _: Any) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (bounds is not None and value not in bounds):
        raise place.refuse(value, f"a number{'' if bounds is None else f', {bounds}'}")
    return float(value)


def _switch(place: _Place, value: Any, *_: Any) -> bool:
    if not isinstance(value, bool):
        raise place.refuse(value, "true or false")
    return value


def _text(place: _Place, value: Any, bounds: Within | None, _: Any) -> str:
    if not isinstance(value, str) or "\0" in value or (bounds and len(value.strip()) not in bounds):
        raise place.refuse(value, 'text in quotes, such as "runs/mine"')
    return value


def _word(place: _Place, value: Any, _: Any, words: tuple[Any, ...]) -> Any:
    return choice(str(place), value, words, place.error)


def _list(place: _Place, value: Any, bounds: Within | None, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or (bounds is not None and len(value) not in bounds):
        like = "tables, in TOML [[…]]" if dataclasses.is_dataclass(kinds[0]) else "such as [2, 4]"
        raise place.refuse(value, f"a list{' of at least one' if bounds else ''}, {like}")
    if kinds[-1] is not ... and len(value) != len(kinds):
        raise place.refuse(value, f"a list of {len(kinds)}")
    return tuple(
        _checked(place.item(i), item, kinds[0] if kinds[-1] is ... else kinds[i]) for i, item in enumerate(value)
    )


def _mapping(place: _Place, value: Any, _: Any, kinds: tuple[Any, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise place.refuse(value, "a table, such as { midi = 1.0 }")
    of_key = dataclasses.replace(place, path=f"a key of {place.path}")
    return {_checked(of_key, key, kinds[0]): _checked(place.key(key), item, kinds[1]) for key, item in value.items()}


_CHECKS: dict[Any, Callable[[_Place, Any, Within | None, tuple[Any, ...]], Any]] = {
    int: _integer, float: _number, bool: _switch, str: _text, Literal: _word, tuple: _list, dict: _mapping,
    Mapping: _mapping,
}  # fmt: skip
