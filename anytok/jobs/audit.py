"""Is the output what it should be? Every planned item exactly once, every byte as written, codes as they would be."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..arguments import whole
from ..errors import AnytokError, JobError
from .commit import Store, sha256_of
from .config import JobConfig, from_record
from .items import Item, key_hash
from .plan import Plan
from .reading import Failure
from .sinks import SINKS
from .status import open_failures, open_job
from .tally import TALLY, digest
from .urls import is_url
from .worker import Worker

__all__ = ["Verification", "verify_job"]


@dataclass(frozen=True)
class Verification:
    """What an audit found. `problems` are sentences; none means that the output can be trusted."""

    items: int
    written: int
    failed: int
    files: int  # whose checksum was compared
    reencoded: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_job(output: str | Path, *, one_in: int = 0, device: str = "") -> Verification:
    """Check a job's output against its plan.

    Every planned item is in the output exactly once or in the ledger exactly once; every file has the SHA-256
    that was recorded, and every page of parquet its checksum. With `one_in` = N, about one item in N is read,
    encoded and compared once more (with the job's own tokenizers, on `device` if given; relative paths begin
    in the folder the job was last run in). Raises JobError if there is no job.
    """
    one_in = whole("one_in", one_in, 0)
    plan, store = open_job(output)
    job, folder = _job_of(store)
    audit = _Audit(plan, store, job, folder)
    audit.lists()
    audit.shards()
    if one_in:
        audit.encode_again(one_in, device)
    failed = len(open_failures(plan, store)) if not audit.damaged else 0
    if not audit.damaged and audit.written + failed != plan.num_items:
        audit.problems.append(f"{audit.written} written and {failed} failed items do not make {plan.num_items}")
    return Verification(plan.num_items, audit.written, failed, audit.files, audit.reencoded, tuple(audit.problems))


def _job_of(store: Store) -> tuple[JobConfig, str]:
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
        self.written, self.files, self.reencoded, self.damaged = 0, 0, 0, False
        self.problems: list[str] = []

    def lists(self) -> None:
        """What was planned: the items of each round, and the inputs they came from."""
        inputs = self._plan.record["inputs"]
        files = [(inputs["file"], inputs["sha256"])]
        files += [(one.items_file, one.items_sha256) for one in self._plan.rounds]
        for name, sha256 in files:
            path = self._store.folder / name
            if not path.is_file() or sha256_of(path) != sha256:
                self.problems.append(
                    f"{name} is not the list that was planned: nothing that rests on it can be trusted"
                )

    def shards(self) -> None:
        done = self._store.committed()
        missing = sorted(set(range(self._plan.num_shards)) - done)
        if missing:
            self.damaged = True
            self.problems.append(f"{len(missing)} of {self._plan.num_shards} shards are not there: {missing[:5]}")
        if extra := sorted(done - set(range(self._plan.num_shards))):
            self.problems.append(f"shards {extra[:5]} are not in the plan")
        for shard in sorted(done - set(extra)):
            try:
                self._shard(shard)
            except (AnytokError, OSError, ValueError, KeyError, TypeError) as error:
                self.damaged = True
                self.problems.append(f"shard {shard}: {error}")

    def _shard(self, shard: int) -> None:
        record, items = self._store.record(shard), self._plan.items(shard)
        if record["plan"] != self._plan.hash:
            raise JobError("it was made by another plan")
        for name, facts in record["files"].items():
            self.files += 1
            if sha256_of(self._store.path(shard) / name) != facts["sha256"]:
                raise JobError(f"{name} was changed after it was written")
        failed = [failure["index"] for failure in record["failures"]]
        keys = [item.key for index, item in enumerate(items) if index not in set(failed)]
        if len(keys) + len(failed) != len(items) or len(keys) != record["written"]:
            raise JobError(f"{record['written']} written and {len(failed)} failed items do not make {len(items)}")
        for sink in self._config.sinks:
            self._check_keys(shard, sink.kind, keys)
        self.written += len(keys)

    def _check_keys(self, shard: int, kind: str, keys: list[str]) -> None:
        """What a reader of this sink finds: the very items, in the plan's order (their number, where keys are lost)."""
        sink, stem = SINKS[kind], self._store.path(shard) / kind
        found = sink.keys(stem)
        if found != (keys if isinstance(found, list) else len(keys)):
            raise JobError(f"{kind} holds other items than the plan says")
        for view, source in sink.views(self._store.folder.parent / kind, stem, shard):
            if keys and not (view.exists() and (view.samefile(source) or sha256_of(view) == sha256_of(source))):
                raise JobError(f"{view} is not the shard's file: run the job again, it lays the files out anew")

    def encode_again(self, one_in: int, device: str) -> None:
        """Read and encode about one item in `one_in`, and compare."""
        with tempfile.TemporaryDirectory() as folder:
            config = _as_run(self._config, self._folder, device).override(output=folder)
            Store.of(folder).create()
            worker = Worker(config)
            if worker.specs != self._plan.specs:
                raise JobError("the tokenizers of today are not those of the plan: nothing can be compared")
            for shard in sorted(self._store.committed()):
                self._compare(worker, list(self._drawn(shard, one_in)))
            worker.readers.close()

    def _drawn(self, shard: int, one_in: int) -> Iterator[tuple[Item, int]]:
        """Items of a shard that the draw takes, with the digest of their codes."""
        failed = {failure["index"] for failure in self._store.record(shard)["failures"]}
        written = [item for index, item in enumerate(self._plan.items(shard)) if index not in failed]
        digests = np.load(self._store.path(shard) / TALLY)["digests"].tolist()
        for item, wanted in zip(written, digests, strict=True):
            if key_hash(item.key) % one_in == 0:
                yield replace(item, path=_join(self._folder, item.path)), wanted

    def _compare(self, worker: Worker, drawn: list[tuple[Item, int]]) -> None:
        results = worker.encode_items([item for item, _ in drawn])
        for index, (item, wanted) in enumerate(drawn):
            self.reencoded += 1
            result = results[index]
            if isinstance(result, Failure):
                self.problems.append(f"{item.key} cannot be encoded again: {result.message} [{result.kind}]")
            elif digest(result.values) != wanted:
                self.problems.append(f"{item.key} encodes to other codes than it did")


def _as_run(config: JobConfig, folder: str, device: str) -> JobConfig:
    """The job with its files where they were when it was run in `folder`, on another device if one is given."""
    tokenizers = {}
    for modality, one in config.tokenizers.items():
        checkpoint = one.checkpoint and _join(folder, os.path.expanduser(one.checkpoint))
        if checkpoint and not os.path.exists(checkpoint):  # a tokenizer of someone else's may take other names
            checkpoint = one.checkpoint
        tokenizers[modality] = replace(one, device=device or one.device, checkpoint=checkpoint)
    name = config.vocabulary
    vocabulary = _join(folder, name) if name.endswith(".json") else name
    return config.override(tokenizers=tokenizers, vocabulary=vocabulary)


def _join(folder: str, path: str) -> str:
    return path if is_url(path) else os.path.join(folder, path)
