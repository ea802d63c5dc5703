"""What a training run learns from, told by content: data may be made anew under the same path."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import UsageError

__all__ = ["check_data", "hash_files"]

_logger = logging.getLogger(__name__)

_MOST_NAMED = 5


def hash_files(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by its path; raises UsageError where one cannot be read."""
    found = {}
    for path in paths:
        try:
            with open(path, "rb") as stream:
                found[str(path)] = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    return found


def check_data(checkpoint: Path, before: Mapping[str, str] | None, now: Mapping[str, str], allow: bool) -> None:
    """Raise UsageError naming the files that are not those which a checkpoint learned from; with `allow` they are
    logged instead."""
    if before is None:
        _logger.warning(
            "%s is of an earlier version, which did not record its data: that they are the same is not checked",
            checkpoint,
        )
        return
    changed = sorted(path for path in {**before, **now} if before.get(path) != now.get(path))
    if not changed:
        return
    named = [f"{path} {_change(path, before, now)}" for path in changed[:_MOST_NAMED]]
    said = "; ".join(named) + (f"; and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else "")
    if not allow:
        raise UsageError(
            f"{checkpoint} was trained on other data: {said}. Put them back, give `out` another folder to begin anew, "
            f"or go on with the new ones by --allow-changes (train(…, allow_changes=True))"
        )
    _logger.warning("%s: training goes on with other data: %s", checkpoint, said)


def _change(path: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    return "is new" if path not in before else "is gone" if path not in now else "was changed"
