"""The work on one shard: read, encode, write aside, commit. Every runner does its shards through a Worker."""

from __future__ import annotations

import faulthandler
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .. import __version__
from ..errors import CodesError, JobError, UsageError, VocabularyError
from ..media import Audio
from ..registry import load_tokenizer
from ..spec import Codes
from .batches import Encoder, Window, num_frames
from .commit import Store, sha256_of
from .config import JobConfig
from .items import Item
from .plan import Plan, load_plan
from .reading import Failure, Readers, Reading
from .shard import TALLY, Row, Shard, write_tally
from .sinks import SINKS

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["Outcome", "Task", "Worker"]


@dataclass(frozen=True)
class Task:
    """One shard to do. Items in `suspects` were in a batch that killed a worker: each goes alone this time.
    Items in `doomed` killed it alone, as often as they may: they go to the ledger."""

    shard: int
    suspects: frozenset[int] = frozenset()
    doomed: Mapping[int, Failure] = field(default_factory=dict)


@dataclass
class Started:
    """A shard under way: claimed, its items being read."""

    task: Task
    items: list[Item]
    reading: Reading
    claim: ExitStack
    began: float


@dataclass(frozen=True)
class Outcome:
    """What became of a shard."""

    shard: int
    items: int
    failures: Mapping[str, int]  # by kind


Results: TypeAlias = dict[int, Row | Failure]
Batch: TypeAlias = tuple[str, list[tuple[int, Any]]]
Report = Callable[[int, int, float], None]  # items, failures, seconds of sound since the last call


class Worker:
    """Holds the tokenizers; `start` a shard to have it read ahead, then `encode` it, then `commit` it.

    `own_process` allows it to end the process in which a model hangs."""

    def __init__(self, config: JobConfig, number: int = 0, own_process: bool = False) -> None:
        self.config, self._own_process = config, own_process
        self.encoders = {modality: _load(config, modality, number) for modality in config.tokenizers}
        self.specs = {modality: encoder.tokenizer.spec for modality, encoder in self.encoders.items()}
        self.vocabulary = load_job_vocabulary(config.vocabulary, map(_probe, self.encoders.values()))
        self.readers = Readers(self.specs, config.run.readers, config.run.item_seconds)
        self.store = Store.of(config.output)
        self.plan: Plan | None = None

    def attach(self) -> None:
        """Take up the plan that lies in the output folder; raises JobError if it is for other tokenizers."""
        self.plan = load_plan(self.store.folder)
        if self.plan is None or self.plan.specs != self.specs:
            ids = ", ".join(sorted(spec.id for spec in self.specs.values()))
            raise JobError(f"this worker holds {ids}, which the plan does not name")

    def start(self, task: Task) -> Started | None:
        """Claim the shard and begin to read it; None if another process has it."""
        claim = ExitStack()
        if not claim.enter_context(self.store.claim(task.shard)) or self.store.is_committed(task.shard):
            claim.close()
            return None
        if self.plan is None or task.shard >= self.plan.num_shards:
            self.attach()
        assert self.plan is not None
        items = self.plan.items(task.shard)
        self.store.inflight(task.shard).unlink(missing_ok=True)
        wanted = [(index, item) for index, item in enumerate(items) if index not in task.doomed]
        return Started(task, items, self.readers.start(wanted), claim, time.monotonic())

    def encode(self, started: Started, report: Report) -> Results:
        """Every item's Row or Failure, by its place in the shard."""
        results: Results = dict(started.task.doomed.items())
        report(len(results), len(results), 0.0)

        def ready() -> Iterator[tuple[int, str, Any]]:
            for index, medium in started.reading:
                if isinstance(medium, Failure):
                    results[index] = medium
                    report(1, 1, 0.0)
                else:
                    yield index, started.items[index].modality, medium

        for modality, batch in self._batches(ready(), started.task.suspects):
            with self._watched(started.task.shard, modality, batch):
                encoded = self.encoders[modality].encode([medium for _, medium in batch])
            for (index, _), codes in zip(batch, encoded, strict=True):
                results[index] = codes if isinstance(codes, Failure) else Row(started.items[index], codes)
            rows = [row for row in (results[index] for index, _ in batch) if isinstance(row, Row)]
            report(len(batch), len(batch) - len(rows), sum(row.seconds or 0.0 for row in rows))
        self.store.inflight(started.task.shard).unlink(missing_ok=True)
        return results

    def encode_items(self, items: list[Item]) -> Results:
        """The same for items that are no shard: to sample and to check."""
        reading = self.readers.start(list(enumerate(items)))
        return self.encode(Started(Task(0), items, reading, ExitStack(), time.monotonic()), lambda *_: None)

    def _batches(self, ready: Iterator[tuple[int, str, Any]], suspects: frozenset[int]) -> Iterator[Batch]:
        """(modality, [(index, medium), …]); suspects alone."""
        windows = {modality: Window(spec, self.config.run.batch_items) for modality, spec in self.specs.items()}
        for index, modality, medium in ready:
            if index in suspects:
                yield modality, [(index, medium)]
                continue
            window = windows[modality]
            window.add(index, medium)
            if window.is_full(self.encoders[modality].max_frames):
                yield from ((modality, batch) for batch in window.take(self.encoders[modality].max_frames))
        for modality, window in windows.items():
            yield from ((modality, batch) for batch in window.take(self.encoders[modality].max_frames, last=True))

    @contextmanager
    def _watched(self, shard: int, modality: str, batch: list[tuple[int, Any]]) -> Iterator[None]:
        """Leave word of what is being encoded, for whoever has to find out what killed this process; if it takes too
        long, this process ends itself and prints the traceback of where it hangs."""
        frames = sum(num_frames(medium, self.specs[modality]) for _, medium in batch)
        seconds = self.config.run.batch_seconds * max(1.0, frames / self.config.run.batch_frames)
        note = {"items": [index for index, _ in batch], "deadline": time.time() + seconds}
        self.store.inflight(shard).write_text(json.dumps(note))
        if self._own_process:
            faulthandler.dump_traceback_later(seconds, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def commit(self, started: Started, results: Results) -> Outcome:
        """Write every sink, the tally and the record aside, and make them the shard, all at once."""
        assert self.plan is not None, "attach comes first"
        rows = [row for _, row in sorted(results.items()) if isinstance(row, Row)]
        shard = Shard(started.task.shard, rows, self.specs, self.plan.hash, self.vocabulary)
        with started.claim, self.store.staging(shard.number) as staged:
            for sink in self.config.sinks:
                SINKS[sink.kind].write(staged / sink.kind, shard)
            write_tally(staged / TALLY, rows)
            record = self._record(started, results, staged)
            if not self.store.commit(shard.number, staged, record):
                record = self.store.record(shard.number)
        kinds = Counter(failure["kind"] for failure in record["failures"])
        return Outcome(shard.number, record["read"], dict(kinds))

    def _record(self, started: Started, results: Results, staged: Path) -> dict[str, Any]:
        """What is kept about a shard: read = written + quarantined, and a checksum of every file."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        failures = [
            {"index": index, "key": started.items[index].key, "kind": one.kind, "message": one.message, "when": now}
            for index, one in sorted(results.items())
            if isinstance(one, Failure)
        ]
        return {
            "shard": started.task.shard,
            "plan": self.plan.hash if self.plan else "",
            "read": len(started.items),
            "written": len(results) - len(failures),
            "failures": failures,
            "files": {path.name: _described(path) for path in sorted(staged.iterdir())},
            "seconds": round(time.monotonic() - started.began, 3),
            "finished": now,
            "versions": versions(),
        }


def _described(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def versions() -> dict[str, str]:
    """What made the codes and the files: for the record, because decoders and kernels differ between versions."""
    found = {"anytok": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in ("numpy", "torch", "soundfile", "pillow", "pyarrow"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _load(config: JobConfig, modality: str, number: int) -> Encoder:
    one = config.tokenizers[modality]
    device = _device(number) if one.device == "cuda" else one.device
    tokenizer = load_tokenizer(
        one.name, engine=one.engine, checkpoint=one.checkpoint, device=device, dtype=one.dtype, **one.options
    )
    if tokenizer.spec.modality != modality:
        raise UsageError(f"[tokenizers.{modality}]: {one.name} is for {tokenizer.spec.modality}")
    if config.margins and "margins" not in tokenizer.options("encode"):
        raise UsageError(f"[tokenizers.{modality}]: {one.name} ({one.engine}) gives no margins: leave them out")
    return Encoder(tokenizer, config.run.batch_frames, config.margins)


def _device(number: int) -> str:
    """The GPU of the worker of this number, where several share a machine."""
    import torch

    return f"cuda:{number % max(1, torch.cuda.device_count())}"


def _probe(encoder: Encoder) -> Codes:
    """Codes such as this tokenizer's. Those of segments may carry loudness, which only it can say."""
    spec = encoder.tokenizer.spec
    if spec.segment_samples is None or spec.sample_rate is None:
        return Codes(np.zeros((spec.num_codebooks, spec.num_frames or 1), np.int64), spec)
    return encoder.tokenizer.encode(Audio(np.zeros((spec.channels or 1, 1), np.float32), spec.sample_rate))


def load_job_vocabulary(name: str, probes: Iterable[Codes] = ()) -> Vocabulary | None:
    """The job's vocabulary, by the name of a layout or the path of a file; None for "". Raises UsageError if it cannot
    be read, or has no ids for codes such as `probes`."""
    if not name:
        return None
    from ..vocab import Vocabulary, load_vocabulary

    try:
        vocabulary = Vocabulary.from_file(name) if name.endswith(".json") else load_vocabulary(name)
        for codes in probes:
            vocabulary.to_ids(codes)
    except (VocabularyError, CodesError) as error:
        raise UsageError(str(error)) from error
    return vocabulary
