"""Plain data, as TOML and JSON hold it → dataclasses: pydantic holds every value against its field's type and bounds.

What a field may hold is said where it is declared: `steps: Annotated[int, Within(1, 10**9)]`. Values are read as JSON
in pydantic's strict mode: a number is no text, 1.0 is no whole number, true is no number, NaN is none either. pydantic
is imported with the first record, not with this module.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import os
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .arguments import did_you_mean
from .errors import AnytokError, UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "AT_LEAST_ONE", "Checked", "Count", "Layers", "Line", "Positive", "Share", "Size", "Text", "Within", "build",
    "check", "multiple", "read_toml", "same_length",
]  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Within:
    """Bounds of a number, or of the length of a text or list; with `above`, `low` itself is out of them. Text with
    bounds has no NUL, and of a least length it is not blank."""

    low: float
    high: float
    above: bool = False

    def __str__(self) -> str:
        return f"above {self.low}, {self.high} at most" if self.above else f"{self.low} to {self.high}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        if schema["type"] in ("int", "float"):
            return {**schema, "gt" if self.above else "ge": self.low, "le": self.high}
        if schema["type"] == "str":
            schema["pattern"] = r"^[^\x00]*[^\s\x00][^\x00]*$" if self.low else r"^[^\x00]*$"
        return {**schema, "min_length": self.low, "max_length": self.high}


# The upper ends only stop what is a slip of the keyboard, or more than any machine holds.
Count = Annotated[int, Within(0, 10**9)]
Size = Annotated[int, Within(1, 1 << 16)]
Layers = Annotated[int, Within(1, 999)]
Share = Annotated[float, Within(0, 1)]
Positive = Annotated[float, Within(0, 10**6, above=True)]
Text = Annotated[str, Within(1, 1 << 16)]
Line = Annotated[str, Within(0, 1 << 16)]
AT_LEAST_ONE = Within(1, 1 << 32)


def build(kind: type[T], record: Any, where: str = "", error: type[AnytokError] = UsageError, *, key: str = "") -> T:
    """A table of plain data → the dataclass `kind`, tables in it likewise. A dataclass may refuse values that do not go
    together, by an error of ours that is a ValueError, in its `__post_init__`.

    Raises `error` beginning with `where` (a file's name, say) and naming the keys, what came and what is expected;
    `key` is that of the table itself.
    """
    from pydantic import ValidationError

    try:
        data = json.dumps([record], default=_plain)
        [found] = _adapter(kind).validate_json(data)  # type: ignore[arg-type]
    except ValidationError as refused:
        problems = _problems(kind, key, refused.errors(include_url=False))
        raise error(_colon(where, "; ".join(problems[:_SHOWN]))) from refused
    except (TypeError, ValueError, RecursionError) as refused:  # of json
        raise error(_colon(where, key, str(refused))) from refused
    return found


def check(record: Any, error: type[AnytokError] = UsageError) -> None:
    """Hold the fields of a dataclass against their types, in its `__post_init__`: for those that users make, too."""
    fields = _fields(type(record))  # type: ignore[arg-type]
    values = build(fields, {name: getattr(record, name) for name in _hints(fields)}, error=error)
    for name, value in values.items():
        object.__setattr__(record, name, value)


class Checked:
    """A base of dataclasses that are checked whoever makes them."""

    def __post_init__(self) -> None:
        check(self)


def read_toml(path: str | os.PathLike[str], wanted: str) -> dict[str, Any]:
    """What a TOML file holds; raises UsageError where it is none, saying what was `wanted`, such as "a job file"."""
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"{wanted} that is a {type(path).__name__}: expected the path of a TOML file")
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected {wanted}") from error
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8, and lists without end
        raise UsageError(f"{path} is not a TOML file: {error}; expected {wanted}") from error


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


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Reads lists of one record: plain dataclasses take the config of what they stand in, and have none themselves."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(tuple[kind], config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))


@cache
def _fields(kind: type) -> Any:
    """The fields of a dataclass as a TypedDict, which reads them without making the dataclass."""
    from typing_extensions import TypedDict

    return TypedDict(kind.__name__, _hints(kind))  # type: ignore[operator]


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    others = {field.name for field in getattr(kind, "__dataclass_fields__", {}).values() if not field.init}
    return {name: hint for name, hint in hints.items() if name not in others}


def _plain(value: Any) -> Any:
    """What JSON has in the place of a value from Python."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in _hints(type(value))}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__index__"):  # numpy's and torch's
        return operator.index(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"{value!r}: expected text, a number, true or false, a list or a table")


# pydantic's errors in our words: of each key what came, and what is expected.

_SHOWN = 5  # problems
_CUT = 200  # characters of a value
_EXPECTED = {
    int: "a whole number", float: "a number", bool: "true or false", str: 'text in quotes, such as "runs/mine"',
    Mapping: "a table, such as { midi = 1.0 }", dict: "a table, such as { midi = 1.0 }",
}  # fmt: skip


def _problems(kind: Any, key: str, found: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is missing, a table at a time, and then all the rest."""
    lacking: dict[str, list[str]] = {}
    rest: list[str] = []
    for one in found:
        if one["type"] == "missing":
            lacking.setdefault(_path(key, one["loc"][1:-1]), []).append(repr(one["loc"][-1]))
        else:
            rest.append(_problem(kind, key, one))
    return [_colon(table, f"missing {', '.join(names)}") for table, names in lacking.items()] + rest


def _problem(kind: Any, key: str, found: Mapping[str, Any]) -> str:
    """One error of pydantic's, as "sources[1].kind='zip': expected …"."""
    what, loc, value = found["type"], found["loc"][1:], found["input"]
    if what == "json_invalid":
        return _colon(key, f"text that is no Unicode, such as a path in another encoding, or too deep ({found['msg']})")
    if what in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _hints(_parts(_at(kind, loc[:-1]))[0])
        said = f"unknown key {loc[-1]!r}{did_you_mean(loc[-1], known)}; known: {', '.join(known)}"
        return _colon(_path(key, loc[:-1]), said)
    if what == "value_error":
        return _colon(_path(key, loc), str(found["ctx"]["error"]))
    if loc[-1:] == ("[key]",):  # pydantic has the key itself before it
        loc = (*loc[:-2], "[key]")
    shown = repr(value) if len(repr(value)) <= _CUT else f"{value!r:.{_CUT}}…"
    return f"{_path(key, loc) or 'this'}={shown}: expected {_expected(_at(kind, loc), value)}"


def _expected(hint: Any, value: Any) -> str:
    kind, bounds = _parts(hint)
    origin = get_origin(kind) or kind
    if origin is Literal:
        known = get_args(kind)
        return ", ".join(repr(word) for word in known if word != "") + did_you_mean(value, known)
    if origin is tuple:
        tables = dataclasses.is_dataclass(_parts(get_args(kind)[0])[0])
        like = "tables, in TOML [[…]]" if tables else "such as [2, 4]"
        return f"a list{' of at least one' if bounds else ''}, {like}"
    words = _EXPECTED.get(origin, "a table of settings")
    return f"{words}, {bounds}" if bounds and origin in (int, float) else words


def _at(hint: Any, loc: tuple[int | str, ...]) -> Any:
    """The annotation of what stands at a place of errors."""
    for part in loc:
        hint, _ = _parts(hint)
        inner = get_args(hint)
        if isinstance(part, int):
            hint = inner[0] if inner[-1] is ... else inner[part]
        else:
            hint = inner[0 if part == "[key]" else 1] if inner else _hints(hint)[part]
    return hint


def _parts(hint: Any) -> tuple[Any, Within | None]:
    """An annotation without `| None`, and its bounds."""
    if get_origin(hint) in (Union, types.UnionType):
        [hint] = [one for one in get_args(hint) if one is not type(None)]
    return get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)


def _path(key: str, loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (key, *loc) if part != "")[1:]


def _colon(*parts: str) -> str:
    return ": ".join(filter(None, parts))
