"""The files that a plan was made from: whether they are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import JobError
from .items import Input
from .sources import Source, listed

__all__ = ["check_inputs", "input_lines"]


def check_inputs(
    planned: Path,
    sha256: str,
    sources: list[tuple[str, Source]],
    mended: Mapping[str, Any],
    allowed: Collection[str] = (),
) -> dict[str, Any]:
    """Compare the inputs of today with those in the file `planned`. Returns the changed ones that are in `allowed`,
    old and new; raises JobError naming others.

    `mended`: those that were allowed to change earlier, path → (old, new)."""
    digest = hashlib.sha256()
    for line in input_lines(sources, mended):
        digest.update(line)
    if digest.hexdigest() == sha256:
        return {}
    with open(planned, "rb") as stream:
        old = {one.path: one for one in map(Input.from_line, stream)}
    new = {one.path: one for one in map(Input.from_line, input_lines(sources, mended))}
    changed = [path for path in old.keys() | new.keys() if old.get(path) != new.get(path)]
    refused = sorted(path for path in changed if path not in allowed or path not in new)
    if refused or not changed:
        raise JobError(
            f"the input is not the planned one: {_name_changes(refused, old, new) or 'its order changed'}. "
            "Put it back, take up what has changed (anytok run … --extend), or start anew in another folder"
        )
    return {path: [list(vars(old[path]).values()), list(vars(new[path]).values())] for path in changed}


def _name_changes(paths: list[str], old: Mapping[str, Input], new: Mapping[str, Input]) -> str:
    words = [
        f"{path} {'is new' if path not in old else 'is gone' if path not in new else 'was changed'}" for path in paths
    ]
    return "; ".join(words[:5]) + (f"; and {len(words) - 5} more" if len(words) > 5 else "")


def input_lines(sources: list[tuple[str, Source]], mended: Mapping[str, Any] | None = None) -> Iterator[bytes]:
    """A line for each input; one that was mended counts as the one it replaced."""
    for _, source in sources:
        for one in listed(source.inputs()):
            old, new = (mended or {}).get(one.path, (None, None))
            yield (Input(*old) if old and one == Input(*new) else one).to_line()
