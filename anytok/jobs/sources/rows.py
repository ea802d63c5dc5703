"""A row of a manifest, a table or a dataset → what it says about its medium."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ...errors import JobError
from ..items import Item, valid_text
from ..values import ValueRefused, plain, text_of
from .source import Source, named

__all__ = ["Facts", "Rows"]


@dataclass
class Facts:
    """What a row says; `problem`, if not empty, is why its item cannot be used: a cell that could not be kept."""

    key: str | None
    text: str | None
    modality: str | None
    path: str | None
    meta: dict[str, Any]
    problem: str

    def about(self, item: Item) -> Item:
        return item.unusable("bad_cell", self.problem)

    def key_or(self, name: str) -> str:
        """The key of the row's item; `name` where the row has none."""
        return valid_text(self.key or name)


class Rows:
    """Takes rows apart by the columns' names: as the job gives them (`columns`; "" for none), else the usual ones."""

    def __init__(self, source: Source) -> None:
        given = cast(Mapping[str, str], source.config.columns)
        self.told = {one: name for one, name in given.items() if name}
        self.names = {one: name for one in source.columns if (name := given.get(one, one))}

    def check(self, there: Collection[str], where: str) -> None:
        """Raise JobError unless the columns of a table are those named by the job, each there once."""
        if doubled := sorted({name for name in there if list(there).count(name) > 1}):
            raise JobError(f"{where}: several columns are called {doubled[0]!r}: rename all but one")
        named(list(self.told.values()), there, where)

    def facts(self, row: Mapping[str, Any], where: str) -> Facts:
        """What the row says. A cell that is no text, or that JSON cannot hold, makes it a problem, named by `where`."""
        problems: list[str] = []

        def kept(column: str, convert: Callable[[Any], Any]) -> Any:
            try:
                return convert(row.get(column))
            except (ValueRefused, RecursionError) as error:
                what = str(error) if isinstance(error, ValueRefused) else "it is nested too deeply"
                problems.append(f"{where}, column {column!r}: {what}")
                return None

        found = {one: kept(name, _CONVERT.get(one, text_of)) for one, name in self.names.items() if one != "media"}
        used = set(self.names.values())
        meta = {name: kept(name, plain) for name in row if name not in used}
        key, text, modality, path = (found.get(one) for one in ("key", "text", "modality", "path"))
        return Facts(key, text, modality, path, meta, problems[0] if problems else "")


def path_of(value: Any) -> str | None:
    """A path may hold bytes that are no Unicode: file systems allow them."""
    return value if isinstance(value, str) else text_of(value)


_CONVERT: dict[str, Callable[[Any], Any]] = {"path": path_of}
