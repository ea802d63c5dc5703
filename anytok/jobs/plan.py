"""The frozen plan: which item goes into which shard. Made once, hashed, and independent of who does the work.

It lies in OUT/_anytok: `plan.json`, the items it lists, the inputs they came from, and one `round-N.json` for each time
that failed items were planned anew, or what had changed in the sources (`extend`). A rerun must find the job and its
inputs as they were.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import JobError
from ..records import build
from ..spec import Spec
from .arrange import arranged
from .commit import write_aside
from .config import JobConfig, from_record
from .inputs import check_inputs, input_lines
from .items import Item
from .rounds import FORMAT, Extension, ListFile, Round, hash_of, publish, write_round
from .sources import Source, no_media, open_sources, passed_over, sidecars, wanted_items
from .vocabulary import text_identity

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["Plan", "add_round", "check_retry", "freeze", "items_of", "load_plan", "with_round"]


@dataclass(frozen=True)
class Plan:
    """What is to be done, read from OUT/_anytok. Shards are counted through all rounds."""

    folder: Path
    record: Mapping[str, Any]  # plan.json: work, specs, vocabulary, inputs, ignored, sidecars, hash
    rounds: tuple[Round, ...]

    @property
    def hash(self) -> str:
        return self.record["hash"]

    @cached_property
    def specs(self) -> dict[str, Spec]:
        return {modality: build(Spec, fields, modality, JobError) for modality, fields in self.record["specs"].items()}

    @cached_property
    def extensions(self) -> list[Extension]:
        return [one.extension for one in self.rounds if one.extension]

    @property
    def inputs(self) -> ListFile:
        """The files that the sources were when they were last listed."""
        return self.extensions[-1].inputs if self.extensions else ListFile(**self.record["inputs"])

    @property
    def ignored(self) -> Mapping[str, int]:
        """What the listing of the sources passed over, by reason."""
        return self.extensions[-1].ignored if self.extensions else self.record["ignored"]

    @property
    def sidecars(self) -> Mapping[str, int]:
        """Files beside the media whose text or metadata was taken, by suffix; plans did not always count them."""
        return self.extensions[-1].sidecars if self.extensions else self.record.get("sidecars", {})

    @property
    def num_items(self) -> int:
        """Items of the source; retries are no new items."""
        return self.extensions[-1].num_items if self.extensions else self.rounds[0].num_items

    @cached_property
    def superseded(self) -> frozenset[int]:
        """Shards whose items a later round lists, those that are still there: they are no part of the output."""
        return frozenset(shard for one in self.extensions for shard in one.superseded)

    @cached_property
    def live(self) -> frozenset[int]:
        """The shards that the output is made of."""
        return frozenset(range(self.num_shards)) - self.superseded

    @property
    def num_shards(self) -> int:
        """Of all rounds, superseded ones included."""
        return sum(one.num_shards for one in self.rounds)

    def is_retry(self, shard: int) -> bool:
        """Whether a shard is of a round that takes up what had failed."""
        number, _ = self._locate(shard)
        return number > 0 and self.rounds[number].extension is None

    def size(self, shard: int) -> int:
        """How many items a shard has."""
        number, shard = self._locate(shard)
        one, full = self.rounds[number], self.record["work"]["shard_items"]
        return full if shard < one.num_shards - 1 else one.num_items - full * shard

    def items(self, shard: int) -> list[Item]:
        """The items of one shard, in order."""
        for extension in reversed(self.extensions):
            if found := extension.refreshed_offsets.get(str(shard)):
                return self._read(extension.refreshed.file, *found)
        number, shard = self._locate(shard)
        return self._read(self.rounds[number].items_file, *self.rounds[number].offsets[shard : shard + 2])

    def _locate(self, shard: int) -> tuple[int, int]:
        """Which round a shard is of, and which one of it."""
        rest = shard
        for number, one in enumerate(self.rounds):
            if rest < one.num_shards:
                return number, rest
            rest -= one.num_shards
        raise JobError(f"shard {shard} is beyond the plan, which has {self.num_shards}")

    def removed_in(self, one: Round) -> set[str]:
        """The keys of the items that were no longer in the source when a round extended the job."""
        if not (one.extension and one.extension.removed):
            return set()
        with open(self.folder / one.extension.changes.file, "rb") as stream:
            return {line["key"] for line in map(json.loads, stream) if line["change"] == "removed"}

    def _read(self, name: str, start: int, end: int) -> list[Item]:
        with open(self.folder / name, "rb") as stream:
            stream.seek(start)
            return [Item.from_line(line) for line in stream.read(end - start).splitlines()]


def load_plan(folder: Path) -> Plan | None:
    """The plan in OUT/_anytok, or None. Raises JobError if its files are damaged."""
    rounds = []
    for number in itertools.count():
        path = _plan_file(folder, number)
        if not path.exists():
            break
        try:
            record = json.loads(path.read_bytes())
            one = build(Round, record["round"], "round", JobError)
            rounds.append((record, one))
            whole = os.path.getsize(folder / one.items_file) == one.offsets[-1]
        except (OSError, ValueError, KeyError, TypeError, JobError) as error:
            raise JobError(f"the plan {path} is damaged ({error!r}): start anew in another folder") from error
        if record.get("format") != FORMAT or record["hash"] != hash_of(record) or not whole:
            raise JobError(f"the plan {path} was altered, or made by another version: start anew in another folder")
    return Plan(folder, rounds[0][0], tuple(one for _, one in rounds)) if rounds else None


def _plan_file(folder: Path, number: int) -> Path:
    """The file of a round: one name for every kind, so that where two processes plan it, one of them does."""
    if not number:
        return folder / "plan.json"
    earlier = folder / f"retry-{number}.json"  # the name while there were only retries
    return earlier if earlier.exists() else folder / f"round-{number}.json"


def freeze(
    config: JobConfig, specs: Mapping[str, Spec], vocabulary: Vocabulary | None, folder: Path, *, check: bool = True
) -> Plan:
    """List the sources and write the plan; if there is one already, check that it is the same job and (`check`) that
    the inputs are the same.

    Raises JobError naming what differs, and on items with the same key.
    """
    found = load_plan(folder)
    config = config.spelled_as(found.record["work"]) if found else config
    sources = open_sources(config)
    record = {
        "work": config.work(),
        "specs": {modality: spec.to_dict() for modality, spec in sorted(specs.items())},
        "vocabulary": vocabulary.hash if vocabulary else "",
        "words": text_identity(vocabulary),
    }
    if found is not None:
        _check_same(found, record, config.output)
        if check:
            _check_inputs(found, sources)
        return found
    folder.mkdir(parents=True, exist_ok=True)
    inputs_file, inputs_sha256 = write_aside(folder, "inputs-{}.jsonl", input_lines(sources))
    first = write_round(folder, items_of(config, sources), config.shard_items)
    opened = [source for _, source in sources]
    record.update(inputs={"file": inputs_file, "sha256": inputs_sha256})
    record.update(ignored=passed_over(opened), sidecars=sidecars(opened))
    publish(folder / "plan.json", record, first)
    plan = load_plan(folder)
    assert plan is not None, "just written"
    _check_same(plan, record, config.output)  # another process may have been first
    return plan


def items_of(config: JobConfig, sources: list[tuple[str, Source]]) -> Iterator[Item]:
    """The items of all sources. Raises UsageError where one of them has none."""
    if config.compose is not None:
        yield from arranged(config.compose, sources)
        return
    for prefix, source in sources:
        is_empty = True
        for item in wanted_items(config, source):
            is_empty = False
            yield item.with_prefix(prefix)
        if is_empty:
            raise no_media(config, [source])


def add_round(plan: Plan, config: JobConfig, failed: Iterable[Item]) -> Plan:
    """Plan the failed items once more. Their files may have changed since (mended, fetched again); others may not."""
    failed = list(failed)
    replaced = check_retry(plan, config, failed)
    again = _listed_again(plan, config, failed)
    items = (replace(again.get(item.key) or _refreshed(item, replaced), origin=()) for item in failed)
    return with_round(plan, write_round(plan.folder, items, config.shard_items, replaced))


def with_round(plan: Plan, one: Round) -> Plan:
    """The plan with one round more: this one, or what another process was quicker with."""
    publish(_plan_file(plan.folder, len(plan.rounds)), {"plan": plan.hash}, one)
    grown = load_plan(plan.folder)
    assert grown is not None, "just written"
    return grown


def _listed_again(plan: Plan, config: JobConfig, failed: list[Item]) -> dict[str, Item]:
    """What the sources say today of items that were unusable when they were listed: a caption may have been mended."""
    keys = {item.key for item in failed if item.place[:1] == ("unusable",)}
    sources = open_sources(config.spelled_as(plan.record["work"])) if keys else []
    return {item.key: item for item in items_of(config, sources) if item.key in keys}


def check_retry(plan: Plan, config: JobConfig, failed: Iterable[Item]) -> dict[str, Any]:
    """`_check_inputs`, where the files of failed items may have changed."""
    allowed = {item.path for item in failed if not item.place}
    return _check_inputs(plan, open_sources(config.spelled_as(plan.record["work"])), allowed)


def _check_inputs(plan: Plan, sources: list[tuple[str, Source]], allowed: Collection[str] = ()) -> dict[str, Any]:
    listed_by = max(number for number, one in enumerate(plan.rounds) if one.extension or not number)
    mended = {path: pair for one in plan.rounds[listed_by:] for path, pair in one.replaced.items()}
    return check_inputs(plan.folder / plan.inputs.file, plan.inputs.sha256, sources, mended, allowed)


def _check_same(plan: Plan, record: Mapping[str, Any], output: str) -> None:
    """Raise JobError naming every setting in which the job differs from the planned one. What could not be set yet
    when the plan was made has its default."""
    settings = ("work", "specs", "vocabulary", "words")
    work = from_record({**plan.record["work"], "output": output}, str(plan.folder / "plan.json")).work()
    planned, given = (
        dict(_leaves(json.loads(json.dumps({name: one[name] for name in settings}))))
        for one in ({"words": "", **plan.record, "work": work}, record)
    )
    changed = sorted(name for name in planned.keys() | given.keys() if planned.get(name) != given.get(name))
    if changed:
        words = [f"{name} was {planned.get(name)!r}, is now {given.get(name)!r}" for name in changed[:5]]
        raise JobError(
            f"{plan.folder.parent} holds another job: {'; '.join(words)}. "
            "Give the same settings, or another output folder"
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _leaves(one, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value:
        for number, one in enumerate(value):
            yield from _leaves(one, f"{name}[{number}]")
    else:
        yield name, value


def _refreshed(item: Item, replaced: Mapping[str, Any]) -> Item:
    if item.place or item.path not in replaced:
        return item
    _, (_, num_bytes, stamp) = replaced[item.path]
    return replace(item, num_bytes=num_bytes, stamp=stamp)
