"""Rows that an earlier round has made, for a shard that lists their items once more: nothing is done again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import JobError
from .checks import check_shard
from .commit import Store
from .config import JobConfig
from .failures import Failure
from .items import Item
from .plan import Plan
from .reread import read_rows
from .values import reason_of

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["Kept"]

_logger = logging.getLogger(__name__)


class Kept:
    """Holds the shard that was read last: the items of one lie side by side."""

    def __init__(self, config: JobConfig, store: Store, vocabulary: Vocabulary | None) -> None:
        self._config, self._store, self._vocabulary = config, store, vocabulary
        self._held: tuple[int, Mapping[int, Any]] = (-1, {})

    def results_of(self, plan: Plan, items: Sequence[Item]) -> dict[int, Any]:
        """What was made of those items that an earlier round has done, by their index here: a Row of the item as it is
        now, or its Failure. An item whose shard is damaged, or gone, is not among them: it is to be done again."""
        found = {}
        for index, item in enumerate(items):
            if item.origin:
                shard, place = item.origin
                if self._held[0] != shard:
                    self._held = (shard, self._read(plan, shard))
                if place in self._held[1]:
                    found[index] = _about(item, self._held[1][place])
        return found

    def _read(self, plan: Plan, shard: int) -> dict[int, Any]:
        """What was made of each item of a shard, by its index there; of none, where it cannot be had."""
        try:
            if problem := check_shard(plan, self._store, self._config, shard).problem:
                raise JobError(problem)
            failures = self._store.record(shard)["failures"]
            rows = read_rows(plan, self._store, self._config.sinks, self._vocabulary, shard)
        except Exception as error:  # of a damaged shard, its readers raise anything
            _logger.warning("shard %s cannot be taken over (%s): its items are done again", shard, reason_of(error))
            return {}
        found: dict[int, Any] = {one["index"]: Failure(one["kind"], one["message"]) for one in failures}
        places = (index for index in range(plan.size(shard)) if index not in found)
        return {**found, **dict(zip(places, rows, strict=True))}


def _about(item: Item, made: Any) -> Any:
    if not isinstance(made, Failure):
        made.item = item
    return made
