"""What a worker does with the items of a shard. The engine plans, claims, watches, commits and audits; a kind of work
makes outputs of items: `encoding` codes of media, `composing` sequences of stored codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ..spec import Spec
from .failures import Failure
from .items import Item

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["Made", "Output", "Results", "Watch", "Work", "failed"]


class Made(Protocol):
    """What became of one item."""

    item: Item

    @property
    def digest(self) -> int:
        """64 bits that tell whether the item comes to the same again."""
        ...

    @property
    def seconds(self) -> float | None:
        """Length of its sound, where that is known."""
        ...


class Output(Protocol):
    """What one shard holds, for its sinks to write."""

    number: int

    @property
    def num_rows(self) -> int:
        """Rows in each sink."""
        ...

    def write_tally(self, path: Path) -> None:
        """Counts for statistics, as an .npz; among them `digests`, uint64, of what was made, in the plan's order."""
        ...


Results: TypeAlias = Mapping[int, Any]  # index in the shard → Made or Failure
# With the items under way and their size, as a multiple of a usual batch, while they are.
Watch: TypeAlias = Callable[[Sequence[int], float], AbstractContextManager[None]]


class Work(Protocol):
    """One kind of work, with all that it needs loaded."""

    @property
    def specs(self) -> Mapping[str, Spec]:
        """Of the codes that it makes or reads; part of the plan."""
        ...

    @property
    def vocabulary(self) -> Vocabulary | None: ...

    def begin(self, wanted: Sequence[tuple[int, Item]]) -> Any:
        """Begin to read these items of a shard ahead; returns what `results` takes."""
        ...

    def results(self, begun: Any, items: Sequence[Item], suspects: frozenset[int], watch: Watch) -> Iterator[Results]:
        """What becomes of each item that was begun, some at a time; `suspects` each alone."""
        ...

    def completed(self, made: dict[int, Any]) -> Results:
        """The same, with what sinks write beside codes: for rows that are read back from a shard."""
        ...

    def shard(self, number: int, rows: list[Any], plan_hash: str) -> Any:
        """The Output of what was made, in the order of the plan."""
        ...

    def close(self) -> None: ...


def failed(results: Results) -> int:
    """How many of the results are failures."""
    return sum(isinstance(one, Failure) for one in results.values())
