"""What has become of the sources since a job was planned, and the round that takes it up.

An item is known by its key. Where size, time and place are as they were, it is the same; where they differ, and its
bytes are those that were read when it was encoded, it was only touched. What is new, and what has other bytes, is
encoded. Where text or metadata alone differ, the row is written anew with the codes that it has.

No output may hold a row that is no longer so, and readers know of no list of such rows. So a shard with one is
superseded: the round lists what else it holds once more, with the place (`Item.origin`) from which a worker takes over
codes, or failure. Once the round is done, the superseded shard is deleted. Other shards stay as they are.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from .commit import Store, write_aside
from .config import JobConfig
from .fetch import close_containers, content_hash, fetch
from .inputs import input_lines
from .items import Item, key_hash
from .plan import Plan, items_of, with_round
from .reread import contents_in, failed_in, read_tally
from .rounds import Extension, ListFile, doubled_keys, write_round
from .sources import open_sources, passed_over, sidecars

__all__ = ["extend"]

# What has become of an item of the plan.
REMOVED, SAME, TOUCHED, RELABELLED, CHANGED = range(5)
WORDS = {REMOVED: "removed", RELABELLED: "relabelled", CHANGED: "changed"}


def extend(plan: Plan, config: JobConfig, store: Store) -> Plan:
    """The plan with a round for what has become of the sources since; as it is, where nothing has.

    All shards of the plan must be done. Raises what listing the sources raises.
    """
    config = config.spelled_as(plan.record["work"])
    sources, folder = open_sources(config), plan.folder
    inputs = ListFile(*write_aside(folder, "inputs-{}.jsonl", input_lines(sources)))
    with tempfile.TemporaryFile(dir=folder) as touched:
        found = _Comparison(plan, store, config.run.identify == "content", touched)
        try:
            one = write_round(folder, found.items(items_of(config, sources)), config.shard_items)
        finally:
            close_containers()
        opened = [source for _, source in sources]
        ignored, beside = passed_over(opened), sidecars(opened)
        if not found.differs and (inputs, ignored, beside) == (plan.inputs, plan.ignored, plan.sidecars):
            _drop(folder, one.items_file, {past.items_file for past in plan.rounds})
            return plan
        changes = ListFile(*write_aside(folder, "changes-{}.jsonl", found.changes()))
        offsets: dict[str, tuple[int, int]] = {}
        refreshed = ListFile(*write_aside(folder, "refreshed-{}.jsonl", found.refreshed(offsets)))
        changed, relabelled, touched_items, removed = map(found.count, (CHANGED, RELABELLED, TOUCHED, REMOVED))
        extension = Extension(
            found.num_items, found.num_new, changed, relabelled, touched_items, removed,
            tuple(sorted(found.superseded)), changes, refreshed, offsets, inputs, ignored, beside,
        )  # fmt: skip
    return with_round(plan, replace(one, extension=extension))


def _drop(folder: Path, name: str, kept: set[str]) -> None:
    if name not in kept:
        (folder / name).unlink(missing_ok=True)


class _Comparison:
    """The items of today against those of the plan, in about 40 bytes for each of the plan's."""

    def __init__(self, plan: Plan, store: Store, by_content: bool, touched: IO[bytes]) -> None:
        self._plan, self._store, self._by_content = plan, store, by_content
        self._touched, self._places_touched = touched, dict[int, int]()
        self._known = _Known(plan, store)
        self._contents = lru_cache(maxsize=16)(self._contents_of)
        self._changes = np.full(len(self._known), REMOVED, np.uint8)
        self.num_new, self.num_items = 0, 0

    @property
    def differs(self) -> bool:
        """Whether any item is not as it was."""
        return self.num_new > 0 or bool((self._changes != SAME).any())

    def count(self, change: int) -> int:
        return int((self._changes == change).sum())

    def items(self, today: Iterator[Item]) -> Iterator[Item]:
        """The items of the new round: those to encode, those to write anew, and the rest of the superseded shards."""
        for item in today:
            self.num_items += 1
            place = self._known.place(item.key)
            if place is None:
                self.num_new += 1
                yield item
                continue
            if self._changes[place] != REMOVED:  # met before
                raise doubled_keys([item.key])
            self._changes[place] = change = self._change_of(place, item)
            if change == CHANGED:
                yield item
            elif change == RELABELLED:
                yield replace(item, origin=self._known.location(place))
            elif change == TOUCHED:
                self._places_touched[place] = self._touched.seek(0, 2)
                self._touched.write(item.to_line())
        for shard in sorted(self.superseded):
            for index, item, place in self._current_in(shard):
                if self._changes[place] in (SAME, TOUCHED):
                    yield replace(self._today(place, item), origin=(shard, index))

    @property
    def superseded(self) -> set[int]:
        """The shards that hold rows which are no longer so. An item that had failed has no row."""
        gone = np.isin(self._changes, list(WORDS)) & (self._known.written == 1)
        return set(self._known.shards[gone].tolist())

    def changes(self) -> Iterator[bytes]:
        """A line for each item of the plan that is not there any more, or not as it was."""
        for shard in sorted(set(self._known.shards[np.isin(self._changes, list(WORDS))].tolist())):
            for _, item, place in self._current_in(shard):
                if word := WORDS.get(int(self._changes[place])):
                    yield json.dumps({"key": item.key, "change": word}).encode() + b"\n"

    def refreshed(self, offsets: dict[str, tuple[int, int]]) -> Iterator[bytes]:
        """The items of each shard that stays in which some were touched, as they are today; fills `offsets`."""
        shards = set(self._known.shards[self._changes == TOUCHED].tolist()) - self.superseded
        end = 0
        for shard in sorted(shards):
            today = {index: self._today(place, item) for index, item, place in self._current_in(shard)}
            lines = [today.get(index, item).to_line() for index, item in enumerate(self._plan.items(shard))]
            offsets[str(shard)] = (end, end := end + sum(map(len, lines)))
            yield from lines

    def _change_of(self, place: int, item: Item) -> int:
        known = self._known
        same_source = known.sources[place] == item.source_hash
        same_beside = known.besides[place] == item.beside_hash
        if not known.written[place]:
            return SAME if same_source and same_beside else CHANGED
        if (self._by_content or not same_source) and not self._same_content(place, item):
            return CHANGED
        if not same_beside:
            return RELABELLED
        return SAME if same_source else TOUCHED

    def _same_content(self, place: int, item: Item) -> bool:
        """Whether an item's bytes are those that its codes are of; False where that cannot be told."""
        shard, index = self._known.location(place)
        modality, content = self._contents(shard)[index]
        if not content:  # of shards of earlier versions it is not known: there are only size and time
            return bool(self._known.sources[place] == item.source_hash)
        try:
            return item.modality == modality and content_hash(item, fetch(item)) == content
        except Exception:  # it cannot be read: encoding it says why, in the ledger
            return False

    def _contents_of(self, shard: int) -> dict[int, tuple[str, int]]:
        """Modality and `content_hash` of each row of a shard, by its index in the plan."""
        items, failed = self._plan.items(shard), failed_in(self._store, shard)
        written = [index for index in range(len(items)) if index not in failed]
        contents = contents_in(read_tally(self._store, shard))
        return {index: (items[index].modality, one) for index, one in zip(written, contents, strict=True)}

    def _current_in(self, shard: int) -> Iterator[tuple[int, Item, int]]:
        """Index, item and place among the known, of those items of a shard whose last outcome is there."""
        for index, item in enumerate(self._plan.items(shard)):
            place = self._known.place(item.key)
            if place is not None and self._known.location(place) == (shard, index):
                yield index, item, place

    def _today(self, place: int, item: Item) -> Item:
        """A touched item as it is listed now; another as it is."""
        if place not in self._places_touched:
            return item
        self._touched.seek(self._places_touched[place])
        return replace(Item.from_line(self._touched.readline()), origin=item.origin)


class _Known:
    """Where each item of a plan stands, sorted by the hash of its key: shard, index in it, whether it was written, and
    what it was."""

    def __init__(self, plan: Plan, store: Store) -> None:
        columns = {name: array(code) for name, code in zip(self._NAMES, "QQQiib", strict=True)}

        def add(*values: int) -> None:
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)

        first = 0
        for one in plan.rounds:
            for key in plan.removed_in(one):
                add(key_hash(key), 0, 0, -1, -1, 0)
            for shard in sorted(plan.live.intersection(range(first, first + one.num_shards))):
                failed = failed_in(store, shard)
                for index, item in enumerate(plan.items(shard)):
                    hashes = (key_hash(item.key), item.source_hash, item.beside_hash)
                    add(*hashes, shard, index, index not in failed)
            first += one.num_shards
        table = {name: np.array(column) for name, column in columns.items()}
        order = np.argsort(table["keys"], kind="stable")
        keys = table["keys"][order]
        last = np.append(keys[1:] != keys[:-1], [True] * (len(keys) > 0))  # of several rounds with an item, the last
        order = order[last]
        order = order[table["shards"][order] >= 0]
        self.keys, self.sources, self.besides, self.shards, self.indexes, self.written = (
            column[order] for column in table.values()
        )

    _NAMES = ("keys", "sources", "besides", "shards", "indexes", "written")

    def __len__(self) -> int:
        return len(self.keys)

    def place(self, key: str) -> int | None:
        """The place of an item in the columns; None where the plan does not have it."""
        wanted = key_hash(key)
        found = bisect_left(self.keys, wanted)
        return found if found < len(self.keys) and self.keys[found] == wanted else None

    def location(self, place: int) -> tuple[int, int]:
        """The shard where an item's last outcome is, and its index there."""
        return int(self.shards[place]), int(self.indexes[place])
