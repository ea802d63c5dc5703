"""The order in which stored documents are composed: sources blended by weight, shuffled by a seed.

The rule. Each source is passed over as often as its weight says; the last pass of 2.5 takes about half of the items,
drawn by their keys. All files of all passes are put into one random order, and the documents of `shuffle_files` of them
in a row into one, which needs no more memory than these. Keys of further passes end in #2, #3, …
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..compose.composer import draw
from ..errors import UsageError
from .config import ComposeConfig
from .items import Item
from .sources import Source, listed
from .sources.codes import CodesSource

__all__ = ["arranged"]

LEFT_OUT = "item left out by the weight of its source"


def arranged(config: ComposeConfig, sources: list[tuple[str, Source]]) -> Iterator[Item]:
    """The documents of all sources in the order of the plan. Raises UsageError where a source has none."""
    visits = []
    for prefix, source in sources:
        assert isinstance(source, CodesSource), "checked when the job was read"
        source.begin()
        turns = range(math.ceil(source.config.weight))
        visits += [(prefix, source, turn, number) for turn in turns for number in range(len(source.shards))]
    seed = config.documents.seed
    if config.shuffle:
        visits = [visits[place] for place in np.random.default_rng(seed).permutation(len(visits))]
    files = config.shuffle_files if config.shuffle else 1
    found: set[str] = set()
    for block, start in enumerate(range(0, len(visits), files)):
        items = []
        for prefix, source, turn, number in visits[start : start + files]:
            there = [item.with_prefix(prefix) for item in listed(iter(source.items_of(number)))]
            found |= {source.config.path} if there else set()
            items += _of_turn(there, source, turn, seed)
        if config.shuffle:
            items = [items[place] for place in np.random.default_rng([seed, block]).permutation(len(items))]
        yield from items
    if missing := [source.config.path for _, source in sources if source.config.path not in found]:
        raise UsageError(f"sources {', '.join(missing)} hold no codes")


def _of_turn(items: list[Item], source: CodesSource, turn: int, seed: int) -> list[Item]:
    """Those items that a pass takes, under its own keys."""
    share = min(1.0, source.config.weight - turn)
    taken = [item for item in items if share == 1 or draw(seed, item.key, f"pass {turn}", 2**32) < share * 2**32]
    if len(taken) < len(items) and turn == 0:
        source.ignored[LEFT_OUT] += len(items) - len(taken)
    return [item.with_key(f"{item.key}#{turn + 1}") for item in taken] if turn else taken
