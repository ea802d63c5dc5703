"""Which items go through the model together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from job_corpus import FAKES  # noqa: F401 - puts the fake tokenizers on the path

from anytok.jobs.batches import Window, cut
from anytok.registry import find

MAX_FRAMES, MAX_ITEMS = 60, 8


def recording(frames: int) -> SimpleNamespace:
    return SimpleNamespace(num_samples=frames * 320)


@pytest.mark.parametrize("seed", range(20))
def test_every_item_comes_once_within_the_limits_and_only_the_last_batch_may_be_small(seed):
    lengths = np.random.default_rng(seed).integers(1, 80, 200).tolist()
    window, batches = Window(find("fake-speech").spec, MAX_ITEMS), []
    for index, frames in enumerate(lengths):
        window.add(index, recording(frames))
        if window.is_full(MAX_FRAMES):
            batches += window.take(MAX_FRAMES)
    early = len(batches)
    batches += window.take(MAX_FRAMES, last=True)
    assert sorted(index for batch in batches for index, _ in batch) == list(range(200))
    assert all(medium.num_samples == lengths[index] * 320 for batch in batches for index, medium in batch)
    for number, batch in enumerate(batches):
        longest, count = max(lengths[index] for index, _ in batch), len(batch)
        assert count == 1 or (longest * count <= MAX_FRAMES and count <= MAX_ITEMS)
        if number < early:  # one more would be too many
            assert count == MAX_ITEMS or longest * (count + 1) > MAX_FRAMES
    assert not window.take(MAX_FRAMES, last=True)


def test_a_small_rest_is_made_of_the_shortest():
    assert [end - start for start, end in cut([9, 9, 9, 9, 9, 9, 1], 60, 3)] == [3, 3, 1]
    assert list(cut([], 60, 8)) == []
