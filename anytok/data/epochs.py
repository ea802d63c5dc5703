"""Every row once an epoch, in an order of its own, split among ranks and workers; stopped and resumed anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..arguments import whole
from ..compose.packing import WINDOW
from ..errors import JobError, UsageError
from ..jobs.stored import KEPT
from .codes import CodesDataset
from .sharded import Row, ShardedDataset

__all__ = ["EpochDataset"]

BATCH = 64  # documents composed together where they are not packed
_PLACE = ("epoch", "stream", "row", "item")


class EpochDataset(IterableDataset[Row]):
    """An iterable dataset over a map-style one: each of its rows once an epoch, whatever the numbers of ranks and of
    DataLoader workers; the shares of ranks, and of their workers, differ by one row at most.

    The rule. The files are put in an order by `seed` and epoch; of all rows in that order, each worker of each rank
    takes an equal stretch; there, those of `shuffle_files` files in a row, 16 at most, are put in a random order, so
    that no more files are open. Without `shuffle`, rows come as they are stored. The epoch is 0 until `set_epoch`.

    With a `length`, a CodesDataset's documents are packed into sequences of at most as many ids: those of `pack_items`
    documents in a row together, as a job packs those of a shard. Then nobody knows before how many come.

    `rank` of `num_ranks` processes share the epoch. They may be left out in a single process alone. Under
    transformers' Trainer they are 0 of 1: its accelerate splits what an iterable dataset gives.

    `state_dict` is where this process's iteration stands; with DataLoader workers, take torchdata's StatefulDataLoader,
    which asks each of them. One iteration at a time has a state.
    """

    def __init__(
        self,
        dataset: ShardedDataset,
        *,
        shuffle: bool = True,
        seed: int = 0,
        shuffle_files: int = 8,
        length: int = 0,
        window: int = WINDOW,
        pack_items: int = 1000,
        rank: int | None = None,
        num_ranks: int | None = None,
    ) -> None:
        if not isinstance(dataset, ShardedDataset) or (length and not isinstance(dataset, CodesDataset)):
            wanted = "a CodesDataset, whose documents are packed" if length else "a CodesDataset or a SequenceDataset"
            raise UsageError(f"a dataset of type {type(dataset).__name__}: expected {wanted}")
        self.dataset, self.shuffle = dataset, bool(shuffle)
        self.seed, self.shuffle_files = whole("seed", seed, 0), whole("shuffle_files", shuffle_files, 1, KEPT)
        self.length, self.window = whole("length", length, 0), whole("window", window, 1)
        self.pack_items = whole("pack_items", pack_items, 1)
        self.rank, self.num_ranks = _ranks(rank, num_ranks)
        names = ("shuffle", "seed", "shuffle_files", "length", "window", "pack_items")
        # Once: loaders ask for a state with every batch, and the text tokenizer's identity is a hash of all its words.
        self._settings = {**{name: getattr(self, name) for name in names}, **dataset.identity}
        # Shared with persistent workers, which otherwise never learn of the next epoch (test_persistent_workers_…)
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._place: dict[str, Any] = {}
        self._resume: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """What the next iteration passes over, or goes on with."""
        return int(self._resume["epoch"] if self._resume else self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Pass over this epoch next; a state of another one that was loaded is dropped."""
        self._epoch.fill_(whole("epoch", epoch, 0))
        if self._resume and self._resume["epoch"] != epoch:
            self._resume = None
        if self._place.get("epoch") != epoch:
            self._place = {}

    def __len__(self) -> int:
        """Rows of this rank. Raises TypeError where documents are packed."""
        if self.length:
            raise TypeError("how many sequences documents make is not known before they are packed")
        low, high = _share(len(self.dataset), self.rank, self.num_ranks)
        return high - low

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        stream = [self.rank * workers + number, self.num_ranks * workers]
        place, self._resume = self._resume, None
        if place and place["stream"] != stream:
            raise UsageError(
                f"the state is of stream {place['stream'][0]} of {place['stream'][1]} (ranks × workers), and this is "
                f"{stream[0]} of {stream[1]}: go on with the same numbers of ranks and workers, or begin an epoch"
            )
        self._place = place or {"epoch": self.epoch, "stream": stream, "row": 0, "item": 0}
        return self._iterate(**self._place)

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands, as plain data: behind the last item that it gave."""
        start = {"epoch": self.epoch, "stream": [self.rank, self.num_ranks], "row": 0, "item": 0}
        return {**(self._resume or self._place or start), "of": dict(self._settings)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where the state was taken. Raises JobError where the shards were changed since,
        UsageError where it is of other settings."""
        if not isinstance(state, Mapping) or set(state) != {*_PLACE, "of"}:
            raise UsageError(f"a state with {sorted(state)}: expected what state_dict has given")
        for name in sorted({*self._settings, *state["of"]}):
            was, now = state["of"].get(name), self._settings.get(name)
            if was != now and name == "shards":
                raise JobError(f"the shards were changed since the state was taken: they were {was}, and are {now}")
            if was != now:
                raise UsageError(f"the state is of {name} = {was}, and this dataset has {now}: rows would be missed")
        self._resume = {name: state[name] for name in _PLACE}  # of an epoch of its own, which set_epoch's outlasts

    def _iterate(self, epoch: int, stream: list[int], row: int, item: int) -> Iterator[Row]:
        """Rows from the `item`-th of those that the rows of the stream from `row` on make together."""
        make = partial(self.dataset.packed, length=self.length, window=self.window) if self.length else None  # type: ignore[attr-defined]
        rows = self._rows(epoch, stream, row)
        while numbers := list(islice(rows, self.pack_items if make else BATCH)):
            made = make(numbers) if make else self.dataset.__getitems__(numbers)
            for one in made[item:]:
                item += 1
                behind = (row + len(numbers), 0) if item == len(made) else (row, item)
                self._place = {"epoch": epoch, "stream": stream, "row": behind[0], "item": behind[1]}
                yield one
            row, item = row + len(numbers), 0

    def _rows(self, epoch: int, stream: list[int], start: int) -> Iterator[int]:
        """The numbers of a stream's rows in their order, from the `start`-th on."""
        sizes = np.array(self.dataset.sizes)
        first = np.cumsum(sizes) - sizes  # number of each file's first row
        files = np.arange(len(sizes))
        if self.shuffle:
            files = np.random.default_rng([self.seed, epoch]).permutation(len(sizes))
        begin = np.cumsum(sizes[files]) - sizes[files]  # place of each file's first row in the epoch
        low, high = (np.clip(end - begin, 0, sizes[files]) for end in _share(len(self.dataset), *stream))
        for block in range(0, len(files), self.shuffle_files):
            those = slice(block, block + self.shuffle_files)
            count = int((high[those] - low[those]).sum())
            if start < count:
                spans = zip(first[files[those]], low[those], high[those], strict=True)
                rows = np.concatenate([np.arange(number + one, number + other) for number, one, other in spans])
                if self.shuffle:
                    rows = np.random.default_rng([self.seed, epoch, block + 1]).permutation(rows)
                yield from rows[start:].tolist()
            start = max(0, start - count)


def _share(count: int, number: int, of: int) -> tuple[int, int]:
    """Where the `number`-th of `of` equal stretches of `count` rows begins and ends."""
    return count * number // of, count * (number + 1) // of


def _ranks(rank: int | None, num_ranks: int | None) -> tuple[int, int]:
    """Raises UsageError where there are several processes, and which of them share the epoch is not said."""
    if num_ranks is not None and rank is not None:
        return whole("rank", rank, 0, whole("num_ranks", num_ranks, 1) - 1), int(num_ranks)
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    world = torch.distributed.get_world_size() if there else int(os.environ.get("WORLD_SIZE") or 1)
    if rank is not None or num_ranks is not None or world > 1:
        raise UsageError(
            f"rank={rank} of num_ranks={num_ranks} where {world} processes run: give both, such as rank=0, num_ranks=2;"
            f" under transformers' Trainer rank=0, num_ranks=1, since accelerate splits what an iterable dataset gives"
        )
    return 0, 1
