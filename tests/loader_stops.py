"""A loader stopped and resumed at random places, beside one that nothing disturbs.

`python tests/loader_stops.py 50` stops each kind of dataset 50 times with each number of workers and ranks.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from torchdata.stateful_dataloader import StatefulDataLoader

from anytok.data import Collator, EpochDataset

Make = Callable[[int, int], EpochDataset]  # of a rank, and how many there are
WORKERS, RANKS, EPOCHS = (0, 2, 4), (1, 2, 3), 3


def loader_of(dataset: EpochDataset, workers: int) -> StatefulDataLoader:
    return StatefulDataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=Collator())


def batches(loader: StatefulDataLoader, dataset: EpochDataset, epoch: int) -> Iterator[Any]:
    dataset.set_epoch(epoch)
    return ({name: lines.tolist() for name, lines in batch.items()} for batch in loader)


def undisturbed(make: Make, rank: int, ranks: int, workers: int) -> list[list[Any]]:
    """The batches of each epoch."""
    dataset = make(rank, ranks)
    loader = loader_of(dataset, workers)
    return [list(batches(loader, dataset, epoch)) for epoch in range(EPOCHS)]


def check_stop(make: Make, whole: list[list[Any]], rank: int, ranks: int, workers: int, draw: random.Random) -> None:
    """Stop at a random batch of a random epoch, and go on from the state in another loader; that one is stopped, too.
    What goes on to the end of the epoch goes on with the next one, and so does one more from the state at the end."""
    epoch = draw.randrange(EPOCHS - 1)
    stops = sorted(draw.choices(range(len(whole[epoch]) + 1), k=2))
    state: dict[str, Any] = {}
    for start, stop in ((0, stops[0]), (stops[0], stops[1]), (stops[1], None)):
        dataset = make(rank, ranks)
        loader = loader_of(dataset, workers)
        loader.load_state_dict(state)
        found = list(islice(batches(loader, dataset, epoch), None if stop is None else stop - start))
        assert found == whole[epoch][start:stop], f"{rank} of {ranks}, {workers} workers, {start} to {stop}"
        state = loader.state_dict()
    assert list(batches(loader, dataset, epoch + 1)) == whole[epoch + 1]
    dataset = make(rank, ranks)
    loader = loader_of(dataset, workers)
    loader.load_state_dict(state)
    assert list(batches(loader, dataset, epoch + 1)) == whole[epoch + 1]


def check_stops(make: Make, count: int, workers: int, ranks: int, seed: int = 0) -> int:
    """At least `count` stops, two at a time, at least two for each rank; returns how many batches an undisturbed loader
    gives. Raises AssertionError."""
    draw, compared = random.Random(seed), 0
    for rank in range(ranks):
        whole = undisturbed(make, rank, ranks, workers)
        compared += sum(map(len, whole))
        for _ in range(-(-count // (2 * ranks))):
            check_stop(make, whole, rank, ranks, workers, draw)
    return compared


def main(count: int) -> None:
    from test_data import make_codes, makers

    with tempfile.TemporaryDirectory() as folder:
        makes = makers(make_codes(Path(folder)))
        for name, make in makes.items():
            for workers in WORKERS:
                for ranks in RANKS:
                    found = check_stops(make, count, workers, ranks)
                    record = {"dataset": name, "workers": workers, "ranks": ranks, "stops": count}
                    print(json.dumps({**record, "batches": found, "different": 0}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
