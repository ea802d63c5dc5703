"""What a job will cost, before it starts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arguments import whole
from .commit import Store
from .config import JobConfig, load_config
from .failures import Failure
from .items import Item
from .plan import Plan, freeze
from .sinks import SINKS
from .sources import look_at_sources
from .warned import Warned, count_warnings
from .work import Results
from .worker import Worker

__all__ = ["JobEstimate", "plan_job"]


@dataclass(frozen=True)
class JobEstimate:
    """A dry run's answer: what was counted, and what a measured sample says of the rest."""

    items: int
    bytes: int  # of media, where known
    modalities: Mapping[str, int]  # items of each
    ignored: Mapping[str, int]  # what the sources hold beside the items and is passed over, by reason
    sidecars: Mapping[str, int]  # files beside the media whose text or metadata is taken, by suffix
    shards: int
    specs: Mapping[str, str]  # modality → Spec id
    sampled: int
    sample_failures: Mapping[str, str]  # key → reason
    sample_warnings: list[Warned]  # that came up while the others of the sample were read
    seconds: float  # for the whole job, with the workers asked for
    output_bytes: int


def plan_job(job: str | Path | JobConfig, *, sample: int = 16, **overrides: Any) -> JobEstimate:
    """List a job's sources, work on `sample` items drawn evenly from them, and say what the whole will take.

    Nothing is written to the output folder. Raises what `run_job` would: a wrong setting, a missing source,
    unusable weights, two items with one key.
    """
    config = (job if isinstance(job, JobConfig) else load_config(job)).override(**overrides)
    sample = whole("sample", sample, 1)
    look_at_sources(config)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(config.override(output=folder, cache=""))  # which would hold the sample the next time
        store = Store.of(folder)
        store.create()
        plan = freeze(config, worker.specs, worker.work.vocabulary, store.folder)
        drawn = _draw(plan, min(sample, plan.num_items))
        worker.results_of(drawn[:1])  # the first item pays for start-up
        began = time.monotonic()
        results = worker.results_of(drawn)
        seconds = (time.monotonic() - began) / max(1, len(drawn)) * plan.num_items / config.run.workers
        written = _written_bytes(worker, plan, results, Path(folder))
        worker.work.close()
    failures = {drawn[index].key: one.message for index, one in results.items() if isinstance(one, Failure)}
    return JobEstimate(
        plan.num_items, plan.rounds[0].num_bytes, plan.rounds[0].modalities, plan.ignored, plan.sidecars,
        plan.num_shards, {modality: spec.id for modality, spec in plan.specs.items()}, len(drawn), failures,
        count_warnings(one for _, one in sorted(results.items())), seconds,
        int(written / max(1, len(drawn)) * plan.num_items),
    )  # fmt: skip


def _draw(plan: Plan, count: int) -> list[Item]:
    """`count` items, evenly spaced over the plan."""
    size = plan.record["work"]["shard_items"]
    places = [number * plan.num_items // count for number in range(count)]
    return [plan.items(place // size)[place % size] for place in places]


def _written_bytes(worker: Worker, plan: Plan, results: Results, folder: Path) -> int:
    rows = [row for _, row in sorted(results.items()) if not isinstance(row, Failure)]
    shard = worker.work.shard(0, rows, plan.hash)
    staged = folder / "sample"
    staged.mkdir()
    for sink in worker.config.sinks:
        SINKS[sink.kind].write(staged / sink.kind, shard)
    return sum(path.stat().st_size for path in staged.iterdir())
