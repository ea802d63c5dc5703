"""Are a job's codes those of float64? Items with a code that another precision might decide otherwise are encoded once
more, in float64."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import JobError, UsageError
from .audit import as_run, job_of, rows_of
from .commit import Store
from .config import TokenizerConfig
from .failures import Failure
from .items import Item
from .plan import Plan
from .status import open_job
from .worker import Worker

__all__ = ["BOUND", "Canonical", "check_canonical"]

# Of margins. A code can be another one in float64 only where float32's latent is off by its margin or more, as a share
# of its length: at published sizes some 1e-6, and 2e-6 at most where it was measured (benchmarks/canonical.py).
BOUND = 1e-5
_SHOWN = 20  # keys of items that differ


@dataclass(frozen=True)
class Canonical:
    """What was found: of `items`, those with a margin below `bound` were encoded again, and `differ` have other codes
    in float64. `failed` could not be encoded again."""

    bound: float
    items: int
    recomputed: int
    differ: int
    failed: int
    keys: tuple[str, ...]  # of some that differ or failed


def check_canonical(output: str | Path, *, bound: float = BOUND, device: str = "") -> Canonical:
    """Encode in float64 those items of a job whose least margin is below `bound`, and count those whose codes differ.

    The job must have kept margins (`margins = true`). Its tokenizers are loaded again, on `device` if given; paths are
    as for `verify_job`. Raises JobError where there are no margins, or other weights than the job had.
    """
    if not isinstance(bound, int | float) or not bound > 0:
        raise UsageError(f"bound={bound!r}: expected a number above 0, such as {BOUND}")
    plan, store = open_job(output)
    config, folder = job_of(store)
    if not config.margins:
        raise JobError(f"{output} holds no margins: run the job with margins = true (--margins), in another folder")
    items = recomputed = differ = failed = 0
    keys: list[str] = []
    with tempfile.TemporaryDirectory() as aside:
        job = as_run(config, folder, device)
        exact = {modality: _in_float64(one) for modality, one in job.tokenizers.items()}
        Store.of(aside).create()
        worker = Worker(job.override(tokenizers=exact, output=aside, margins=False, cache=""))
        _check_weights(plan, worker)
        for shard in sorted(store.committed() & plan.live):
            count, chosen = _chosen(plan, store, shard, folder, bound)
            results = worker.results_of([item for item, _ in chosen])
            items, recomputed = items + count, recomputed + len(chosen)
            for index, (item, wanted) in enumerate(chosen):
                result = results[index]
                failed += isinstance(result, Failure)
                differ += not isinstance(result, Failure) and result.digest != wanted
                if isinstance(result, Failure) or result.digest != wanted:
                    keys.append(item.key)
        worker.work.close()
    return Canonical(float(bound), items, recomputed, differ, failed, tuple(keys[:_SHOWN]))


def _in_float64(one: TokenizerConfig) -> TokenizerConfig:
    """Without what is only for speed in other dtypes."""
    options = {name: value for name, value in one.options.items() if name not in ("batch_size", "compile")}
    return replace(one, dtype="float64", options=options)


def _chosen(plan: Plan, store: Store, shard: int, folder: str, bound: float) -> tuple[int, list[tuple[Item, int]]]:
    """How many rows a shard has, and the items whose margin is below the bound, with the digest of their codes."""
    written, tally = rows_of(plan, store, shard, folder)
    if not written:
        return 0, []
    each: Iterator[tuple[Item, int, float]] = zip(written, tally["digests"].tolist(), tally["margins"], strict=True)
    return len(written), [(item, wanted) for item, wanted, margin in each if margin < bound]


def _check_weights(plan: Plan, worker: Worker) -> None:
    for modality, spec in plan.specs.items():
        if not worker.specs[modality].accepts(spec):
            raise JobError(f"the weights of today are {worker.specs[modality].id}; the job had {spec.id}")
