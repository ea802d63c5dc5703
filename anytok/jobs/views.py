"""The finished shards as their readers expect them: OUT/parquet/000000.parquet, OUT/hf/data/… and so on.

Views are copies, so that whoever edits one leaves the shard as it was checked; made anew, they are the same. Where the
file system can share what is equal until one of both changes (Btrfs, XFS), they take no space.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ..atomic import replacing
from .commit import Store
from .config import JobConfig
from .plan import Plan
from .sinks import SINKS

__all__ = ["is_published", "publish", "superseded_views"]

FICLONE = 0x40049409  # linux/fs.h: the number of the call that makes one file share another's blocks


def publish(config: JobConfig, store: Store, plan: Plan, again: Collection[int] = ()) -> None:
    """Lay out every sink's files under OUT/<kind>/, those of the shards in `again` whatever is there, and write the
    index files that some readers want; first take away those of superseded shards.

    A shard in which every item failed is left out: some readers stumble over empty files.
    """
    shards = [shard for shard in sorted(plan.live) if store.record(shard)["written"]]
    kinds = [one.kind for one in config.sinks]
    for view in superseded_views(kinds, store, plan):
        view.unlink(missing_ok=True)
    for one in config.sinks:
        sink = SINKS[one.kind]
        root = Path(config.output) / one.kind
        (root / sink.folder).mkdir(parents=True, exist_ok=True)
        for shard in shards:
            for view, source in sink.views(root, store.path(shard) / one.kind, shard):
                if shard in again or not _is_copy(view, source):
                    copy(source, view)
        if sink.index:
            sink.index(root, [store.path(shard) / one.kind for shard in shards])


def superseded_views(kinds: Iterable[str], store: Store, plan: Plan) -> list[Path]:
    """The files of superseded shards that are still laid out, where readers of these sinks would find them."""
    root = store.folder.parent
    stems = [(kind, shard) for kind in kinds for shard in sorted(plan.superseded)]
    pairs = (pair for kind, shard in stems for pair in SINKS[kind].views(root / kind, Path(kind), shard))
    return [view for view, _ in pairs if view.exists()]


def is_published(kinds: Sequence[str], store: Store, plan: Plan, shards: Iterable[int]) -> bool:
    """Whether all files of these shards are where readers of these sinks expect them, and none of superseded ones."""
    if plan.superseded & store.committed() or superseded_views(kinds, store, plan):
        return False
    stems = [(kind, store.path(shard) / kind, shard) for kind in kinds for shard in shards]
    root = store.folder.parent
    pairs = (pair for kind, stem, shard in stems for pair in SINKS[kind].views(root / kind, stem, shard))
    return all(_size(view) == _size(source) for view, source in pairs)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _is_copy(view: Path, source: Path) -> bool:
    """Whether a view is as `copy` left it, by size and time, and no hard link, as it was in earlier versions."""
    try:
        one, other = view.stat(), source.stat()
    except OSError:
        return False
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns) and not os.path.samestat(one, other)


def copy(source: Path, target: Path) -> None:
    """Make `target` a file of its own that is equal to `source`, also in its time."""
    with replacing(target) as aside:
        try:
            with open(source, "rb") as ours, open(aside, "wb") as theirs:
                fcntl.ioctl(theirs, FICLONE, ours.fileno())
        except OSError:  # a file system that shares no blocks
            shutil.copyfile(source, aside)
        shutil.copystat(source, aside)
