"""The settings that a checkpoint was trained with, held against those of the run that goes on from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError

__all__ = ["check_settings", "flat"]

_logger = logging.getLogger(__name__)

# How long a run is, and how it is computed and saved; not what a step does.
_FREE = {"run.steps", "run.threads", "run.save_every"}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables → one, keys joined by dots; values as JSON has them."""
    result: dict[str, Any] = {}
    for key, value in json.loads(json.dumps(settings)).items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def check_settings(checkpoint: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any], allow: bool) -> None:
    """Raise UsageError naming the settings that differ; log a warning of them instead if they only change how long a
    run is, or with `allow`."""
    if before is None:
        _logger.warning(
            "%s is of an earlier version, which did not record settings: that they are the same is not checked",
            checkpoint,
        )
        return
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not changed:
        return
    said = ", ".join(f"{key} was {before.get(key, 'not set')}, is {now.get(key, 'not set')}" for key in changed)
    if not allow and not set(changed) <= _FREE:
        raise UsageError(
            f"{checkpoint} was trained with other settings: {said}. Set them back, give `out` another folder to begin "
            f"anew, or go on with the new ones by --allow-changes (train(…, allow_changes=True))"
        )
    _logger.warning("%s: training goes on with other settings: %s", checkpoint, said)
