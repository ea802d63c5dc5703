"""Is the output what it should be? Every planned item exactly once, every byte as written, codes as they would be."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..arguments import whole
from ..errors import JobError
from .checks import check_shard, check_views, note_damage
from .commit import Store, sha256_of
from .config import JobConfig, from_record
from .failures import Failure
from .items import Item, key_hash
from .plan import Plan
from .reread import read_tally, written_items
from .status import LEDGER, ledger_lines, open_failures, open_job
from .urls import is_url
from .views import superseded_views
from .worker import Worker

__all__ = ["Verification", "as_run", "job_of", "rows_of", "verify_job"]


@dataclass(frozen=True)
class Verification:
    """What an audit found. `problems` are sentences; none means that the output can be trusted. `repair` says what
    mends them, where something does."""

    items: int
    written: int
    failed: int
    files: int  # whose checksum was compared
    reencoded: int
    problems: tuple[str, ...]
    repair: str
    ignored: Mapping[str, int]  # what the sources hold beside the items and was passed over, by reason
    sidecars: Mapping[str, int]  # files beside the media whose text or metadata was taken, by suffix

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_job(output: str | Path, *, one_in: int = 0, device: str = "") -> Verification:
    """Check a job's output against its plan.

    Every planned item is in the output exactly once or in the ledger exactly once; every file has the SHA-256
    that was recorded, and every page of parquet its checksum. With `one_in` = N, about one item in N is read,
    encoded and compared once more (with the job's own tokenizers, on `device` if given; relative paths begin
    in the folder the job was last run in). Damaged shards are noted in OUT, for the next run to repair. Raises
    UsageError if there is no job.
    """
    one_in = whole("one_in", one_in, 0)
    plan, store = open_job(output)
    job, folder = job_of(store)
    audit = _Audit(plan, store, job, folder)
    audit.lists()
    audit.shards()
    audit.ledger()
    if one_in:
        audit.encode_again(one_in, device)
    failed = len(open_failures(plan, store)) if not audit.anew else 0
    if not audit.anew and audit.written + failed != plan.num_items:
        audit.problems.append(f"{audit.written} written and {failed} failed items do not make {plan.num_items}")
    return Verification(
        plan.num_items, audit.written, failed, audit.files, audit.reencoded, tuple(audit.problems), audit.repair(),
        dict(plan.ignored), dict(plan.sidecars),
    )  # fmt: skip


def job_of(store: Store) -> tuple[JobConfig, str]:
    """The job as it was last run, and the folder it was run in; "", the one of today, where that is gone."""
    try:
        record = json.loads((store.folder / "job.json").read_bytes())
        folder = str(record.pop("folder", ""))
        return from_record(record, "job.json"), folder if os.path.isdir(folder) else ""
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise JobError(f"{store.folder}/job.json cannot be read ({error}): run the job again, it writes it") from error


class _Audit:
    def __init__(self, plan: Plan, store: Store, config: JobConfig, folder: str) -> None:
        self._plan, self._store, self._config, self._folder = plan, store, config, folder
        self.written, self.files, self.reencoded = 0, 0, 0
        self.problems: list[str] = []
        self.lists_are_damaged, self.ledger_is_wrong = False, False
        self.absent: set[int] = set()  # shards that are not there: lost, or not made yet
        self.anew: set[int] = set()  # these, and damaged ones
        self._done, self._does = "encoded", "encodes to other codes"
        if config.compose:
            self._done, self._does = "composed", "composes to other ids"
        self.laid_out_wrong: set[int] = set()  # shards whose copies for readers are not what they were

    def lists(self) -> None:
        """What was planned: the items of each round, and the inputs they came from."""
        lists = [self._plan.inputs, *(part for one in self._plan.extensions for part in (one.changes, one.refreshed))]
        files = [(one.items_file, one.items_sha256) for one in self._plan.rounds]
        for name, sha256 in [*files, *((one.file, one.sha256) for one in lists)]:
            path = self._store.folder / name
            if not path.is_file() or sha256_of(path) != sha256:
                self.lists_are_damaged = True
                self.problems.append(
                    f"{name} is not the list that was planned: nothing that rests on it can be trusted"
                )

    def shards(self) -> None:
        done = self._store.committed() - self._plan.superseded
        missing = sorted(self._plan.live - done)
        if missing:
            self.anew |= set(missing)
            self.absent = set(missing)
            self.problems.append(f"{len(missing)} of {len(self._plan.live)} shards are not there: {missing[:5]}")
        if extra := sorted(done - self._plan.live):
            self.problems.append(f"shards {extra[:5]} are not in the plan")
        self._superseded()
        for shard in sorted(done - set(extra)):
            found = check_shard(self._plan, self._store, self._config, shard)
            self.files += found.files
            self.written += len(found.keys)
            if found.problem:
                self.anew.add(shard)
            elif found.keys and (wrong := check_views(self._store, self._config, shard)):
                self.laid_out_wrong.add(shard)
                found = replace(found, problem=wrong)
            if found.problem:
                self.problems.append(f"shard {shard}: {found.problem}")
        note_damage(self._store, (self.anew - set(missing)) | self.laid_out_wrong)

    def _superseded(self) -> None:
        """What is left of shards that hold rows which are no longer so: it goes once the shards after them are done."""
        kinds = [one.kind for one in self._config.sinks]
        left = [str(view) for view in superseded_views(kinds, self._store, self._plan)]
        left += [f"shard {shard}" for shard in sorted(self._plan.superseded & self._store.committed())]
        if left and not self.absent:
            self.laid_out_wrong |= self._plan.superseded
            self.problems.append(f"{', '.join(left[:5])}: still there, though later shards have taken its place")

    def ledger(self) -> None:
        """The failures as a reader finds them, once all shards are there."""
        path = self._store.folder.parent / LEDGER
        if self.anew or (path.is_file() and path.read_bytes() == b"".join(ledger_lines(self._plan, self._store))):
            return
        self.ledger_is_wrong = True
        self.problems.append(f"{path} is not the ledger of these shards")

    def repair(self) -> str:
        """What mends the damage that was found."""
        if self.lists_are_damaged:
            return "what was planned is lost: start anew in another folder"
        if not (self.anew or self.laid_out_wrong or self.ledger_is_wrong):
            return ""
        damaged = sorted(self.anew - self.absent)
        shards = ", ".join(map(str, damaged[:5])) + (f" and {len(damaged) - 5} more" if len(damaged) > 5 else "")
        does = [f"goes on with the {len(self.absent)} shards that are not there"] if self.absent else []
        does += [f"makes shards {shards} anew"] if damaged else []
        return f"run the same job again (anytok run …): it {' and '.join([*does, 'lays the files out'])}"

    def encode_again(self, one_in: int, device: str) -> None:
        """Read and make about one item in `one_in`, and compare."""
        with tempfile.TemporaryDirectory() as folder:
            config = as_run(self._config, self._folder, device).override(output=folder, cache="")
            Store.of(folder).create()
            worker = Worker(config)
            if worker.specs != self._plan.specs:
                raise JobError("the tokenizers of today are not those of the plan: nothing can be compared")
            for shard in sorted(self._store.committed() & self._plan.live):
                self._compare(worker, list(self._drawn(shard, one_in)))
            worker.work.close()

    def _drawn(self, shard: int, one_in: int) -> Iterator[tuple[Item, int]]:
        """Items of a shard that the draw takes, with the digest of what was made of them."""
        written, tally = rows_of(self._plan, self._store, shard, self._folder)
        for item, wanted in zip(written, tally["digests"].tolist(), strict=True):
            if key_hash(item.key) % one_in == 0:
                yield item, wanted

    def _compare(self, worker: Worker, drawn: list[tuple[Item, int]]) -> None:
        results = worker.results_of([item for item, _ in drawn])
        for index, (item, wanted) in enumerate(drawn):
            self.reencoded += 1
            result = results[index]
            if isinstance(result, Failure):
                self.problems.append(f"{item.key} cannot be {self._done} again: {result.message} [{result.kind}]")
            elif result.digest != wanted:
                self.problems.append(f"{item.key} {self._does} than it did")


def rows_of(plan: Plan, store: Store, shard: int, folder: str) -> tuple[list[Item], Mapping[str, np.ndarray]]:
    """The items that a shard's rows are of, their files where they were when the job was run in `folder`; its tally."""
    items = [item.moved(partial(_join, folder)) for item in written_items(plan, store, shard)]
    return items, read_tally(store, shard)


def as_run(config: JobConfig, folder: str, device: str) -> JobConfig:
    """The job with its files where they were when it was run in `folder`, on another device if one is given."""
    tokenizers = {}
    for modality, one in config.tokenizers.items():
        checkpoint = one.checkpoint and _join(folder, os.path.expanduser(one.checkpoint))
        if checkpoint and not os.path.exists(checkpoint):  # a tokenizer of someone else's may take other names
            checkpoint = one.checkpoint
        tokenizers[modality] = replace(one, device=device or one.device, checkpoint=checkpoint)
    name = config.vocabulary
    vocabulary = _join(folder, name) if name.endswith(".json") else name
    config = config.override(tokenizers=tokenizers, vocabulary=vocabulary)
    return config.moved(partial(_join, folder))


def _join(folder: str, path: str) -> str:
    return path if is_url(path) else os.path.join(folder, path)
