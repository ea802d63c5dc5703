"""What is recorded on a GPU, which is only pretended here: when, and on what."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from pretended_gpu import pretended_gpu
from torch import Tensor

from anytok.engines.native.gpu.graph import Recorded


@pytest.fixture
def given() -> Iterator[Tensor]:
    with pretended_gpu():
        yield torch.zeros(2, device="cuda")


def test_the_first_call_is_not_recorded_and_the_others_are_once(given: Tensor) -> None:
    calls: list[Tensor] = []
    recorded = Recorded(lambda one: calls.append(one) or one + 1)  # type: ignore[func-returns-value]
    recorded(given)
    assert len(calls) == 1 and not torch.cuda.graph.called  # type: ignore[attr-defined]
    for _ in range(3):
        recorded(given)
    assert len(calls) == 2 and torch.cuda.graph.call_count == 1  # type: ignore[attr-defined]
    assert recorded._graph.replay.call_count == 3  # type: ignore[union-attr, attr-defined]


def test_a_first_call_that_failed_was_none(given: Tensor) -> None:
    """What kernels and the compiler set up at first must not be recorded."""
    failures = [RuntimeError("out of memory"), KeyboardInterrupt()]

    def function(one: Tensor) -> Tensor:
        if failures:
            raise failures.pop()
        return one + 1

    recorded = Recorded(function)
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error):
            recorded(given)
    recorded(given)
    assert not torch.cuda.graph.called  # type: ignore[attr-defined]


class Entered:
    """A context that says who is within."""

    def __init__(self, inside: list[Any], name: Any) -> None:
        self.inside, self.name = inside, name

    def __enter__(self) -> None:
        self.inside.append(self.name)

    def __exit__(self, *_: object) -> None:
        self.inside.remove(self.name)


def test_it_is_recorded_on_a_stream_of_its_own_device(given: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own lies on the GPU that was recorded on first, and torch leaves it only where recording went well."""
    inside: list[Any] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device=None: f"a stream of {device}")
    monkeypatch.setattr(torch.cuda, "stream", lambda one: Entered(inside, one))
    monkeypatch.setattr(torch.cuda, "graph", lambda _, stream=None, **__: Entered(inside, ("recorded", stream)))
    within: list[list[Any]] = []

    def function(one: Tensor) -> Tensor:
        within.append(list(inside))
        if inside:
            raise RuntimeError("cannot be recorded")
        return one + 1

    recorded = Recorded(function)
    recorded(given)
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        recorded(given)
    assert within == [[], ["a stream of cuda:0", ("recorded", "a stream of cuda:0")]] and not inside


def test_one_is_recorded_at_a_time(given: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = [0], [0]

    @contextmanager
    def graph(_: Any, **__: Any) -> Iterator[None]:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        yield
        at_once[0] -= 1

    monkeypatch.setattr(torch.cuda, "graph", graph)
    several = [Recorded(lambda one: one) for _ in range(3)]
    for one in several:
        one._called = True
    threads = [threading.Thread(target=one._recorded, args=(given,)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
