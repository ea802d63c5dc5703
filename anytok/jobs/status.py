"""How far a job is: read from the plan and the shards' records alone, while it runs or after."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import JobError, UsageError
from .commit import Store, write_aside
from .items import Item
from .plan import Plan, load_plan
from .views import is_published
from .warned import Warned, add_up

__all__ = ["Extended", "JobStatus", "failed_items", "job_status", "ledger_lines", "open_job", "write_ledger"]

LEDGER = "failures.jsonl"
SHOWN = 5  # keys


@dataclass(frozen=True)
class Extended:
    """What a round took up that extended the job: how many items were new, or of those before had other bytes, another
    text or other metadata, another place or time alone, or were gone. `kept` items were written anew without work."""

    new: int
    changed: int
    relabelled: int
    touched: int
    removed: int
    kept: int
    removed_keys: tuple[str, ...]  # of some
    changes: str  # path of the changed, relabelled and removed, one JSON line each


@dataclass(frozen=True)
class JobStatus:
    """Items planned, written and failed so far; `failures` counts the open ones by kind."""

    output: str
    plan: str  # hash
    items: int
    written: int
    failed: int
    failures: dict[str, int]
    shards: int
    shards_done: int
    bytes_written: int
    seconds: float  # of work, summed over shards
    ledger: str  # path of the failures, one JSON line each; written at the end of every run
    finished: bool  # all shards are done, and laid out for their readers: not where too many items failed
    ignored: dict[str, int]  # what the sources hold beside the items and was passed over, by reason
    sidecars: dict[str, int]  # files beside the media whose text or metadata was taken, by suffix
    warnings: list[Warned]  # that came up while items were read which were then written
    extensions: list[Extended]  # by the rounds that took up what had become of the sources

    def __repr__(self) -> str:
        state = "finished" if self.finished else f"{self.shards_done} of {self.shards} shards"
        failures = "".join(f", {count} {kind}" for kind, count in self.failures.items())
        return f"<JobStatus {self.output}: {state}; {self.items} items, {self.written} written{failures}>"


def open_job(output: str | Path) -> tuple[Plan, Store]:
    """The plan and the shards of a job's output. Raises UsageError if there is no job, JobError if its files are
    damaged, or if it was stopped before it had a plan."""
    expected = "expected the output folder of a job, OUT of `anytok run SOURCE OUT`"
    if not Path(output).is_dir():
        what = "is a file" if Path(output).exists() else "there is no such folder"
        raise UsageError(f"{output}: {what}; {expected}")
    store = Store.of(output)
    plan = load_plan(store.folder)
    if plan is None and store.folder.is_dir():
        raise JobError(
            f"{output}: this job has no plan yet: it is listing its sources, or was stopped while it did. If it does "
            "not run, run the same command again"
        )
    if plan is None:
        raise UsageError(f"{output} holds no job: there is no _anytok/plan.json in it; {expected}")
    return plan, store


def job_status(output: str | Path) -> JobStatus:
    """How far the job in `output` is. Raises UsageError if there is none, JobError if a record is
    damaged."""
    plan, store = open_job(output)
    written, seconds, num_bytes, failures = 0, 0.0, 0, Counter[str]()
    done = sorted(store.committed() & plan.live)
    holding = []  # shards in which something was written
    warned: list[Warned] = []
    for shard in done:
        record = store.record(shard)
        written += record["written"]
        holding += [shard] if record["written"] else []
        seconds += record["seconds"]
        num_bytes += sum(one["bytes"] for one in record["files"].values())
        warned += [Warned(**one) for one in record.get("warnings", ())]  # shards of before have none
    for failure in open_failures(plan, store):
        failures[failure["kind"]] += 1
    kinds = [sink["kind"] for sink in plan.record["work"]["sinks"]]
    finished = len(done) == len(plan.live) and is_published(kinds, store, plan, holding)
    return JobStatus(
        str(output), plan.hash, plan.num_items, written, failures.total(), dict(failures.most_common()),
        len(plan.live), len(done), num_bytes, round(seconds, 3), str(Path(output) / LEDGER), finished,
        dict(plan.ignored), dict(plan.sidecars), add_up(warned), list(_extended(plan)),
    )  # fmt: skip


def _extended(plan: Plan) -> Iterator[Extended]:
    for one in plan.rounds:
        if found := one.extension:
            kept = one.num_items - found.new - found.changed
            removed, changes = tuple(sorted(plan.removed_in(one))[:SHOWN]), str(plan.folder / found.changes.file)
            counts = (found.new, found.changed, found.relabelled, found.touched, found.removed)
            yield Extended(*counts, kept, removed, changes)


def open_failures(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """The failures that stand: where an item was planned again, its last outcome counts."""
    standing: dict[str, dict[str, Any]] = {}
    done, first = store.committed() & plan.live, 0
    for number, one in enumerate(plan.rounds):
        for key in plan.removed_in(one) if standing else ():
            standing.pop(key, None)
        for shard in sorted(done.intersection(range(first, first + one.num_shards))):
            for item in plan.items(shard) if number and standing else ():
                standing.pop(item.key, None)
            for failure in store.record(shard)["failures"]:
                standing[failure["key"]] = {**failure, "shard": shard}
        first += one.num_shards
    return list(standing.values())


def failed_items(plan: Plan, store: Store) -> Iterator[Item]:
    """The items of the failures that stand."""
    for failure in open_failures(plan, store):
        yield plan.items(failure["shard"])[failure["index"]]


def write_ledger(plan: Plan, store: Store) -> None:
    """Write OUT/failures.jsonl anew: key, kind, message, when, and where in the plan."""
    write_aside(store.folder.parent, LEDGER, ledger_lines(plan, store))


def ledger_lines(plan: Plan, store: Store) -> Iterator[bytes]:
    """What OUT/failures.jsonl holds once all shards are done."""
    for failure in open_failures(plan, store):
        yield (json.dumps(failure, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
