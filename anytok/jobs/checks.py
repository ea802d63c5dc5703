"""One committed shard against the plan: what an audit looks at, and what a run repairs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import AnytokError, JobError
from .commit import Store, sha256_of, write_aside
from .config import JobConfig
from .plan import Plan
from .sinks import SINKS
from .values import reason_of

__all__ = ["Checked", "check_shard", "check_views", "damaged", "note_damage", "repair"]

DAMAGED = "damaged.json"  # in OUT/_anytok: the shards in which an audit has found damage


@dataclass(frozen=True)
class Checked:
    """What a shard was found to hold. `problem`, if not empty, is what is wrong with it."""

    keys: tuple[str, ...] = ()
    files: int = 0  # whose checksum was compared
    problem: str = ""


def check_shard(plan: Plan, store: Store, config: JobConfig, shard: int) -> Checked:
    """Compare every file's SHA-256 with the recorded one, and the keys in it with those of the plan."""
    files = 0
    try:
        record, items = store.record(shard), plan.items(shard)
        if record["plan"] != plan.hash:
            raise JobError("it was made by another plan")
        for name, facts in record["files"].items():
            files += 1
            if sha256_of(store.path(shard) / name) != facts["sha256"]:
                raise JobError(f"{name} was changed after it was written")
        failed = {failure["index"] for failure in record["failures"]}
        keys = [item.key for index, item in enumerate(items) if index not in failed]
        if len(keys) + len(record["failures"]) != len(items) or len(keys) != record["written"]:
            raise JobError(
                f"{record['written']} written and {len(record['failures'])} failed items do not make {len(items)}"
            )
        for sink in config.sinks:  # what a reader finds: these items, in order (their number, where keys are lost)
            found = SINKS[sink.kind].keys(store.path(shard) / sink.kind)
            if config.compose and isinstance(found, list):  # which packing puts into another order
                found.sort()
            expected = sorted(keys) if config.compose else keys
            if found != (expected if isinstance(found, list) else record.get("rows", len(keys))):
                raise JobError(f"{sink.kind} holds other items than the plan says")
    except Exception as error:  # of a damaged record or file, its reader raises anything
        return Checked(files=files, problem=reason_of(error))
    return Checked(tuple(keys), files)


def check_views(store: Store, config: JobConfig, shard: int) -> str:
    """What is wrong with the files that readers of the sinks see of a shard; "" if nothing is."""
    for sink in config.sinks:
        stem, root = store.path(shard) / sink.kind, store.folder.parent / sink.kind
        for view, source in SINKS[sink.kind].views(root, stem, shard):
            if not (view.exists() and (view.samefile(source) or sha256_of(view) == sha256_of(source))):
                return f"{view} is not the shard's file: run the job again, it lays the files out anew"
    return ""


def note_damage(store: Store, shards: Iterable[int]) -> None:
    """Leave word for the next run of which shards to look at. Where there is no leave to write, it looks at none."""
    with suppress(OSError):
        if found := sorted(shards):
            write_aside(store.folder, DAMAGED, [json.dumps({"shards": found}).encode()])
        else:
            (store.folder / DAMAGED).unlink(missing_ok=True)


def repair(plan: Plan, store: Store, config: JobConfig) -> set[int]:
    """Take away every damaged shard, so that it is made anew; returns the shards that were suspect, whose views are to
    be laid out anew.

    Suspect are those in which an audit found damage, and those whose files are not as long as recorded, or younger
    than the record, which is written last.
    """
    done = store.committed() & plan.live  # and not those beyond the plan, of a round that another process plans now
    suspects = {shard for shard in done if _is_suspect(store, shard)} | (damaged(store) & done)
    for shard in sorted(suspects):
        with store.claim(shard) as mine:
            if mine and store.is_committed(shard) and check_shard(plan, store, config, shard).problem:
                store.discard(shard)
    return suspects


def damaged(store: Store) -> set[int]:
    """The shards in which the last audit has found damage."""
    try:
        record = json.loads((store.folder / DAMAGED).read_bytes())
        return {shard for shard in record["shards"] if isinstance(shard, int)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _is_suspect(store: Store, shard: int) -> bool:
    try:
        record: dict[str, Any] = store.record(shard)
        written = (store.path(shard) / "record.json").stat().st_mtime_ns
        found = [((store.path(shard) / name).stat(), facts["bytes"]) for name, facts in record["files"].items()]
    except (AnytokError, OSError, KeyError, TypeError):
        return True
    return any(one.st_size != size or one.st_mtime_ns > written for one, size in found)
