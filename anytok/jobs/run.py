"""Running a job from its first to its last step."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..errors import JobError, UsageError
from .checks import note_damage, repair
from .commit import Store, check_output, disk_error, write_aside
from .config import JobConfig, load_config
from .local import Listener, LocalRunner
from .plan import Plan, add_round, check_retry, freeze, load_plan
from .progress import Log, Meter, ProgressListener, listening
from .schedule import Schedule
from .sources import look_at_sources
from .status import LEDGER, JobStatus, failed_items, job_status, write_ledger
from .views import publish
from .vocabulary import load_job_vocabulary

__all__ = ["run_job"]


class Runner(Protocol):
    """What a way of doing shards looks like."""

    def specs(self) -> Any: ...

    def run(self, schedule: Schedule, tell: Listener) -> None: ...

    def close(self) -> None: ...


def run_job(
    job: str | Path | JobConfig,
    *,
    retry_failed: bool = False,
    shard: str = "",
    progress: ProgressListener | bool | str | None = None,
    **overrides: Any,
) -> JobStatus:
    """Tokenize a dataset, or compose sequences of stored codes: start the job, or go on where it was stopped.

    `job` is a TOML file or a JobConfig; `overrides` replace its settings (`output=…`, `workers=2`,
    `runner="ray"`). `shard="3/8"` does the shards whose number leaves 3 when divided by 8, for Slurm arrays
    and the like: 0/8 … 7/8 together are the job. `retry_failed` takes up the items in the ledger once more,
    or goes on with that where it was stopped. `progress` is called with a `Progress` after every batch; True reports to
    stderr, as a bar on a terminal and elsewhere a line every 10 seconds, and so do "bar", "lines" and "json" in this
    one form. What happens beside is logged by the logger "anytok.jobs": worker processes that died, and at the level of
    information each shard.

    A shard that is damaged, or that `verify_job` found to be, is made anew.

    Returns how far the job is now. Raises UsageError on wrong settings, DiskError where nothing can be written,
    NetworkError where a source cannot be reached, MissingExtraError where a package is missing, CheckpointError on
    unusable weights, and JobError where the job is not the planned one, cannot go on, or fails for too many items.
    """
    config = (job if isinstance(job, JobConfig) else load_config(job)).override(**overrides)
    share = Share.from_text(shard) if shard else Share()
    check_output(config.output)
    with listening(progress, "compose" if config.compose else "run") as listener:
        _run(config, share, listener, retry_failed)
    return job_status(config.output)


def _run(config: JobConfig, share: Share, listener: ProgressListener | None, retry_failed: bool) -> None:
    """What is known to be wrong is raised first, before weights are loaded."""
    store = Store.of(config.output)
    vocabulary = load_job_vocabulary(config)
    if not load_plan(store.folder):
        look_at_sources(config)
    runner: Runner | None = None
    try:
        store.open()
        runner = _runner(config)
        specs = runner.specs()
        plan = freeze(config, specs, vocabulary, store.folder, check=not retry_failed)
        store.create()
        suspects = repair(plan, store, config)
        if retry_failed:
            plan = _plan_retry(plan, config, store)
        job_record = {"folder": os.getcwd(), **asdict(config)}  # where relative paths begin
        write_aside(store.folder, "job.json", [json.dumps(job_record, indent=1).encode()])
        _carry_out(config, plan, store, runner, share, listener)
        if len(store.committed()) >= plan.num_shards:
            publish(config, store, suspects)
            if config.compose and vocabulary:  # whose runs may be the job's own: readers need it
                write_aside(store.folder.parent, "vocabulary.json", [vocabulary.to_json().encode()])
            note_damage(store, ())
    except OSError as error:
        raise disk_error(error, config.output) from error
    finally:
        if runner:
            runner.close()
        store.close()


@dataclass(frozen=True)
class Share:
    """Which shards are this process's: all, or every `of`-th."""

    number: int = 0
    of: int = 1

    @classmethod
    def from_text(cls, text: str) -> Share:
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            raise UsageError(f"shard={text!r}: expected i/n with i from 0 to n - 1, such as 0/8 … 7/8")
        return cls(int(number), int(of))

    def has(self, shard: int) -> bool:
        return shard % self.of == self.number


def _runner(config: JobConfig) -> Runner:
    if config.run.runner == "local":
        return LocalRunner(config)
    from .ray_runner import RayRunner

    return RayRunner(config)


def _plan_retry(plan: Plan, config: JobConfig, store: Store) -> Plan:
    """The plan with the ledger's items once more; as it is, where the ledger is empty, or where a retry was stopped:
    that one goes on first."""
    left = set(range(plan.num_shards)) - store.committed()
    if any(shard < plan.rounds[0].num_shards for shard in left):
        raise JobError(f"{len(left)} shards are still to do: finish the run without retry_failed first")
    failed = list(failed_items(plan, store))
    if left:
        check_retry(plan, config, failed)
        return plan
    return add_round(plan, config, failed) if failed else plan


def _carry_out(
    config: JobConfig, plan: Plan, store: Store, runner: Runner, share: Share, listener: ProgressListener | None
) -> None:
    """Do what is left of this process's share."""
    mine = [number for number in range(plan.num_shards) if share.has(number)]
    committed = store.committed()
    done = [number for number in mine if number in committed]
    log = Log(store.folder)
    meter = Meter(sum(map(plan.size, mine)), listener)
    failures: Counter[str] = Counter()  # of committed shards, by kind

    def count(shard: int) -> None:
        record = store.record(shard)
        failures.update(failure["kind"] for failure in record["failures"])
        meter.shard(record["read"], len(record["failures"]), new=False)

    for shard in done:
        count(shard)
    log.write("start", plan=plan.hash, shards=len(mine), done=len(done), run=asdict(config.run))
    limit = config.run.max_failure_rate if len(plan.rounds) == 1 else 1.0  # what is retried has failed before
    check_rate = partial(_check_rate, sum(map(plan.size, range(plan.num_shards))), limit, config.output)

    def tell(kind: str, content: Any) -> None:
        if kind == "progress":
            meter.batch(*content)
            log.progress(meter.now())
            return
        meter.shard(content.items, sum(content.failures.values()))
        log.write("shard", shard=content.shard, items=content.items, failures=content.failures)
        failures.update(content.failures)
        check_rate(failures)

    try:
        runner.run(Schedule(store, [number for number in mine if number not in committed], count), tell)
        check_rate(Counter(one["kind"] for shard in store.committed() for one in store.record(shard)["failures"]))
    finally:
        write_ledger(plan, store)
    log.write("finish", **asdict(meter.now()))


def _check_rate(total: int, limit: float, output: str, failures: Counter[str]) -> None:
    """Stop once it is certain that too large a share of all items fails, wherever in the job they lie."""
    if failures.total() > limit * total:
        reasons = ", ".join(f"{count} {kind}" for kind, count in failures.most_common())
        raise JobError(
            f"{failures.total()} of {total} items failed, more than max_failure_rate = {limit:g} allows: {reasons}. "
            f"What is done is kept. See {output}/{LEDGER}; raise the limit (--max-failure-rate) to go on "
            "(--retry-failed takes up what was mended)"
        )
