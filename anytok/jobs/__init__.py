"""Jobs: source → tokenizer → sink, shard by shard; can be killed, resumed, audited, and spread out.

Names load on use: a process that only reads media starts without the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audit import Verification as Verification
    from .audit import verify_job as verify_job
    from .canonical import Canonical as Canonical
    from .canonical import check_canonical as check_canonical
    from .config import JobConfig as JobConfig
    from .config import load_config as load_config
    from .estimate import JobEstimate as JobEstimate
    from .estimate import plan_job as plan_job
    from .progress import Progress as Progress
    from .run import run_job as run_job
    from .stats import JobStats as JobStats
    from .stats import job_stats as job_stats
    from .status import JobStatus as JobStatus
    from .status import job_status as job_status
    from .written import JobCodes as JobCodes

_HOME = {
    **dict.fromkeys(["Verification", "verify_job"], "audit"),
    **dict.fromkeys(["Canonical", "check_canonical"], "canonical"),
    **dict.fromkeys(["JobConfig", "load_config"], "config"),
    **dict.fromkeys(["JobEstimate", "plan_job"], "estimate"),
    **dict.fromkeys(["JobStats", "job_stats"], "stats"),
    **dict.fromkeys(["JobStatus", "job_status"], "status"),
    "JobCodes": "written",
    "Progress": "progress",
    "run_job": "run",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'anytok.jobs' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
