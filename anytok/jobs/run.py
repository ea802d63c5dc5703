"""Running a job from its first to its last step."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..arguments import check_folder
from ..errors import JobError, UsageError
from .checks import note_damage, repair
from .commit import Store, disk_error, write_aside
from .config import JobConfig, load_config
from .extend import extend as extend_plan
from .local import Listener, LocalRunner
from .plan import Plan, add_round, check_retry, freeze, load_plan
from .progress import Log, Meter, ProgressListener, listening
from .schedule import Schedule
from .sources import look_at_sources
from .status import LEDGER, JobStatus, failed_items, job_status, open_failures, write_ledger
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
    extend: bool = False,
    shard: str = "",
    progress: ProgressListener | bool | str | None = None,
    **overrides: Any,
) -> JobStatus:
    """Tokenize a dataset, or compose sequences of stored codes: start the job, or go on where it was stopped.

    `job` is a TOML file or a JobConfig; `overrides` replace its settings (`output=…`, `workers=2`,
    `runner="ray"`). `shard="3/8"` does the shards whose number leaves 3 when divided by 8, for Slurm arrays
    and the like: 0/8 … 7/8 together are the job. `retry_failed` takes up the items in the ledger once more,
    or goes on with that where it was stopped.

    `extend` takes up what has become of the sources since they were listed, once all that was planned is done: what is
    new or changed is encoded, what was removed leaves the output, and `JobStatus.extensions` counts it. Where nothing
    is planned yet, it is a run like any other. The setting `identify` says what tells whether an item is as it was.

    `progress` is called with a `Progress` after every batch; True reports to stderr, as a bar on a terminal and
    elsewhere a line every 10 seconds, and so do "bar", "lines" and "json" in this one form. What happens beside is
    logged by the logger "anytok.jobs": worker processes that died, and at the level of information each shard.

    A shard that is damaged, or that `verify_job` found to be, is made anew.

    Returns how far the job is now. Raises UsageError on wrong settings, DiskError where nothing can be written,
    NetworkError where a source cannot be reached, MissingExtraError where a package is missing, CheckpointError on
    unusable weights, and JobError where the job is not the planned one, cannot go on, or fails for too many items.
    """
    config = (job if isinstance(job, JobConfig) else load_config(job)).override(**overrides)
    share = Share.from_text(shard) if shard else Share()
    check_folder(config.output)
    if extend and (retry_failed or config.compose):
        why = "it takes up changed items, failed ones among them" if retry_failed else "compose into another folder"
        raise UsageError(f"extend together with {'retry_failed' if retry_failed else '[compose]'}: {why}")
    with listening(progress, "compose" if config.compose else "run") as listener:
        _run(config, share, listener, retry_failed, extend)
    return job_status(config.output)


def _run(config: JobConfig, share: Share, listener: ProgressListener | None, retry_failed: bool, extend: bool) -> None:
    """What is known to be wrong is raised first, before weights are loaded."""
    store = Store.of(config.output)
    vocabulary = load_job_vocabulary(config)
    is_new = load_plan(store.folder) is None
    if is_new:
        look_at_sources(config)
    runner: Runner | None = None
    try:
        store.open()
        runner = _runner(config)
        specs = runner.specs()
        plan = freeze(config, specs, vocabulary, store.folder, check=not (retry_failed or extend))
        store.create()
        store.hold()
        plan = load_plan(store.folder) or plan  # another process may have extended it, and deleted shards
        suspects = repair(plan, store, config)
        if retry_failed:
            plan = _plan_retry(plan, config, store)
        job_record = {"folder": os.getcwd(), **asdict(config)}  # where relative paths begin
        write_aside(store.folder, "job.json", [json.dumps(job_record, indent=1).encode()])
        if is_new or not (extend and _is_done(plan, store)):
            _carry_out(config, plan, store, runner, share, listener)
        if extend and not is_new and _is_done(plan, store):
            plan = _plan_extension(plan, config, store)
            _carry_out(config, plan, store, runner, share, listener)
        if _is_done(plan, store):
            publish(config, store, plan, suspects)
            if config.compose and vocabulary:  # whose runs may be the job's own: readers need it
                write_aside(store.folder.parent, "vocabulary.json", [vocabulary.to_json().encode()])
            store.discard_unused(plan.superseded)
            note_damage(store, ())
    except OSError as error:
        raise disk_error(error, config.output) from error
    finally:
        if runner:
            runner.close()
        store.close()


def _is_done(plan: Plan, store: Store) -> bool:
    return plan.live <= store.committed()


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
    left = plan.live - store.committed()
    if not all(map(plan.is_retry, left)):
        raise JobError(f"{len(left)} shards are still to do: finish the run without retry_failed first")
    failed = list(failed_items(plan, store))
    if left:
        check_retry(plan, config, failed)
        return plan
    return add_round(plan, config, failed) if failed else plan


def _plan_extension(plan: Plan, config: JobConfig, store: Store) -> Plan:
    """The plan with what has become of the sources; as it is, where nothing has."""
    grown = extend_plan(plan, config, store)
    if len(grown.rounds) > len(plan.rounds) and (found := grown.rounds[-1].extension):
        counts = {name: getattr(found, name) for name in ("new", "changed", "relabelled", "touched", "removed")}
        Log(store.folder).write("extend", **counts, changes=found.changes.file)
    return grown


def _carry_out(
    config: JobConfig, plan: Plan, store: Store, runner: Runner, share: Share, listener: ProgressListener | None
) -> None:
    """Do what is left of this process's share."""
    mine = [number for number in sorted(plan.live) if share.has(number)]
    committed = store.committed()
    done = [number for number in mine if number in committed]
    log = Log(store.folder)
    meter = Meter(sum(map(plan.size, mine)), listener)
    num_failures = len(open_failures(plan, store))  # or more, later: an item that is planned again counts twice

    def count(shard: int) -> None:
        record = store.record(shard)
        meter.shard(record["read"], len(record["failures"]), new=False)

    for shard in done:
        count(shard)
    log.write("start", plan=plan.hash, shards=len(mine), done=len(done), run=asdict(config.run))
    is_retry = len(plan.rounds) > 1 and plan.rounds[-1].extension is None  # what is retried has failed before
    limit = 1.0 if is_retry else config.run.max_failure_rate

    def tell(kind: str, content: Any) -> None:
        nonlocal num_failures
        if kind == "progress":
            meter.batch(*content)
            log.progress(meter.now())
            return
        meter.shard(content.items, sum(content.failures.values()))
        log.write("shard", shard=content.shard, items=content.items, failures=content.failures)
        num_failures += sum(content.failures.values())
        if num_failures > limit * plan.num_items:
            _check_rate(plan, store, limit, config.output)

    try:
        runner.run(Schedule(store, [number for number in mine if number not in committed], count), tell)
        _check_rate(plan, store, limit, config.output)
    finally:
        write_ledger(plan, store)
    log.write("finish", **asdict(meter.now()))


def _check_rate(plan: Plan, store: Store, limit: float, output: str) -> None:
    """Stop once it is certain that too large a share of all items fails, wherever in the job they lie."""
    failures = {failure["key"]: failure["kind"] for failure in open_failures(plan, store)}
    if len(failures) <= limit * plan.num_items:
        return
    for shard in plan.live - store.committed():  # those that a later round has still before it may turn out well
        for item in plan.items(shard):
            failures.pop(item.key, None)
    if len(failures) > limit * plan.num_items:
        reasons = ", ".join(f"{count} {kind}" for kind, count in Counter(failures.values()).most_common())
        raise JobError(
            f"{len(failures)} of {plan.num_items} items failed, more than max_failure_rate = {limit:g} allows: "
            f"{reasons}. What is done is kept. See {output}/{LEDGER}; raise the limit (--max-failure-rate) to go on "
            "(--retry-failed takes up what was mended)"
        )
