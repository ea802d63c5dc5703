"""The runner for a Ray cluster, or for Ray on this machine: one plain task for each shard.

Ray only finds a place for the work. It neither writes shards nor retries: whether a shard is done is decided by
its commit, and what happens after a death by the same Schedule as in the local runner.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ..errors import AnytokError, JobError, MissingExtraError
from ..spec import Spec
from .commit import disk_error
from .config import JobConfig
from .local import Listener
from .schedule import RETRY_SECONDS, Schedule
from .worker import Task, Worker

__all__ = ["RayRunner"]


class RayRunner:
    """Uses the Ray that this process has started, else the cluster at `ray_address`, else starts one here."""

    def __init__(self, config: JobConfig) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtraError("ray", "ray", 'runner = "ray"') from error
        self._config, self._ray, self._mine = config, ray, not ray.is_initialized()
        if self._mine:
            start_ray(ray, config.run.ray_address)
        gpus = 1 if any(one.device.startswith("cuda") for one in config.tokenizers.values()) else 0
        share = 1 if gpus else max(1, int(ray.cluster_resources().get("CPU", 1)) // config.run.workers)
        remote = ray.remote(max_retries=0, num_cpus=share, num_gpus=gpus)
        self._specs, self._do = remote(_specs), remote(_do)

    def specs(self) -> Mapping[str, Spec]:
        """What the tokenizers say they are, weights included."""
        return self._get(self._specs.remote(self._config, os.getcwd()))

    def run(self, schedule: Schedule, tell: Listener) -> None:
        """Do all shards of the schedule, `config.run.workers` at a time."""
        running: dict[Any, int] = {}
        while not schedule.finished:
            while len(running) < self._config.run.workers and (task := schedule.next()):
                running[self._do.remote(self._config, os.getcwd(), task)] = task.shard
            ready, _ = self._ray.wait(list(running), timeout=RETRY_SECONDS) if running else ([], [])
            for reference in ready:
                self._receive(reference, running.pop(reference), schedule, tell)

    def _receive(self, reference: Any, shard: int, schedule: Schedule, tell: Listener) -> None:
        try:
            outcome, seconds = self._get(reference)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError) as error:
            return schedule.died(shard, type(error).__name__)
        if outcome is None:
            return schedule.busy(shard)
        schedule.done(shard)
        tell("progress", (outcome.items, sum(outcome.failures.values()), seconds))
        tell("done", outcome)

    def _get(self, reference: Any) -> Any:
        """A task's result; what it raised on purpose comes back as it was."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AnytokError):
                raise error.cause from None
            if isinstance(error.cause, OSError):
                raise disk_error(error.cause, self._config.output) from error
            raise JobError(f"a task failed: {error.cause!r}") from error

    def close(self) -> None:
        if self._mine:
            self._ray.shutdown()


def start_ray(ray: Any, address: str) -> None:
    """Join the cluster at `address`, or start Ray on this machine, with this process's import path; both quietly."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
        return
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {"env_vars": {"PYTHONPATH": paths}}
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=environment)


_held: dict[str, Worker] = {}  # Ray uses its processes again, and loading a model for every shard would be dear


def _worker(config: JobConfig, folder: str) -> Worker:
    os.chdir(folder)  # relative paths mean what they mean where the job was started
    name = repr(config)
    if name not in _held:
        for worker in _held.values():
            worker.work.close()
        _held.clear()
        _held[name] = Worker(config, own_process=True)
    return _held[name]


def _specs(config: JobConfig, folder: str) -> Mapping[str, Spec]:
    return _worker(config, folder).specs


def _do(config: JobConfig, folder: str, task: Task) -> tuple[Any, float]:
    """One shard, from start to commit; (None, 0) if another process has it."""
    worker = _worker(config, folder)
    worker.attach()
    started = worker.start(task)
    if started is None:
        return None, 0.0
    counts: list[float] = []
    results = worker.results(started, lambda items, failures, seconds: counts.append(seconds))
    return worker.commit(started, results), sum(counts)
