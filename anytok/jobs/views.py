"""The finished shards as their readers expect them: OUT/parquet/000000.parquet, OUT/hf/data/… and so on.

Views are hard links, so they take no room and hold the very bytes that were checked; made anew, they are the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..atomic import replacing
from .commit import Store
from .config import JobConfig
from .sinks import SINKS

__all__ = ["is_published", "publish"]


def publish(config: JobConfig, store: Store) -> None:
    """Lay out every sink's files under OUT/<kind>/, and write the index files that some readers want.

    A shard in which every item failed is left out: some readers stumble over empty files.
    """
    shards = [shard for shard in sorted(store.committed()) if store.record(shard)["written"]]
    for one in config.sinks:
        sink = SINKS[one.kind]
        root = Path(config.output) / one.kind
        (root / sink.folder).mkdir(parents=True, exist_ok=True)
        for shard in shards:
            for view, source in sink.views(root, store.path(shard) / one.kind, shard):
                link(source, view)
        if sink.index:
            sink.index(root, [store.path(shard) / one.kind for shard in shards])


def is_published(kinds: Iterable[str], store: Store, shards: Iterable[int]) -> bool:
    """Whether all files of these shards are where readers of these sinks expect them."""
    stems = [(kind, store.path(shard) / kind, shard) for kind in kinds for shard in shards]
    root = store.folder.parent
    return all(view.exists() for kind, stem, shard in stems for view, _ in SINKS[kind].views(root / kind, stem, shard))


def link(source: Path, target: Path) -> None:
    """Make `target` another name of `source`, or a copy where the file system has no such names."""
    if target.exists() and target.samefile(source):
        return
    with replacing(target) as aside:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)
