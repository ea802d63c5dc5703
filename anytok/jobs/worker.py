"""One shard from claim to commit, whatever the work on it is. Every runner does its shards through a Worker."""

from __future__ import annotations

import faulthandler
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import JobError
from .commit import Store, sha256_of
from .config import JobConfig
from .failures import Failure
from .items import Item
from .kept import Kept
from .plan import Plan, load_plan
from .shard import TALLY
from .sinks import SINKS
from .warned import count_warnings
from .work import Results, Work, failed

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
    begun: Any
    claim: ExitStack
    began: float
    kept: Mapping[int, Any] = field(default_factory=dict)  # what an earlier round has made of some


@dataclass(frozen=True)
class Outcome:
    """What became of a shard."""

    shard: int
    items: int
    failures: Mapping[str, int]  # by kind


Report = Callable[[int, int, float], None]  # items, failures, seconds of sound since the last call


class Worker:
    """Holds what the work needs; `start` a shard to have it read ahead, then get its `results`, then `commit` it.

    `own_process` allows it to end the process in which a model hangs."""

    def __init__(self, config: JobConfig, number: int = 0, own_process: bool = False) -> None:
        self.config, self._own_process = config, own_process
        self.work = _work_of(config, number)
        self.specs = self.work.specs
        self.store = Store.of(config.output)
        self.plan: Plan | None = None
        self._kept = Kept(config, self.store, self.work.vocabulary)

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
        kept = self.work.completed(self._kept.results_of(self.plan, items))
        wanted = [(index, item) for index, item in enumerate(items) if index not in task.doomed and index not in kept]
        return Started(task, items, self.work.begin(wanted), claim, time.monotonic(), kept)

    def results(self, started: Started, report: Report) -> Results:
        """What was made of every item, or its Failure, by its place in the shard."""
        task, found = started.task, dict[int, Any]({**started.kept, **started.task.doomed})
        report(len(found), failed(found), 0.0)
        for some in self.work.results(started.begun, started.items, task.suspects, partial(self._watched, task.shard)):
            found.update(some)
            made = [one for one in some.values() if not isinstance(one, Failure)]
            report(len(some), failed(some), sum(one.seconds or 0.0 for one in made))
        self.store.inflight(task.shard).unlink(missing_ok=True)
        return found

    def results_of(self, items: list[Item]) -> Results:
        """The same for items that are no shard: to sample and to check."""
        begun = self.work.begin(list(enumerate(items)))
        return self.results(Started(Task(0), items, begun, ExitStack(), time.monotonic()), lambda *_: None)

    @contextmanager
    def _watched(self, shard: int, indexes: Sequence[int], size: float) -> Iterator[None]:
        """Leave word of what is under way, for whoever has to find out what killed this process; if it takes too
        long, this process ends itself and prints the traceback of where it hangs."""
        seconds = self.config.run.batch_seconds * max(1.0, size)
        note = {"items": list(indexes), "deadline": time.time() + seconds}
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
        rows = [row for _, row in sorted(results.items()) if not isinstance(row, Failure)]
        shard = self.work.shard(started.task.shard, rows, self.plan.hash)
        with started.claim, self.store.staging(shard.number) as staged:
            for sink in self.config.sinks:
                SINKS[sink.kind].write(staged / sink.kind, shard)
            shard.write_tally(staged / TALLY)
            record = self._record(started, results, staged) | {"rows": shard.num_rows}
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
            "warnings": [asdict(one) for one in count_warnings(row for _, row in sorted(results.items()))],
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


def _work_of(config: JobConfig, number: int) -> Work:
    """The work of a job; `number` is that of the worker, among those that share the machine's GPUs."""
    if config.compose is not None:
        from .composing import Composing

        return Composing(config)
    from .encoding import Encoding

    return Encoding(config, number)
