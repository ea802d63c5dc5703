"""When a function is captured as a CUDA graph, and on which stream: on a fake GPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from fake_gpu import fake_gpu
from torch import Tensor

from anytok.engines.native.gpu.graph import GraphedFunction


@pytest.fixture
def tensor() -> Iterator[Tensor]:
    with fake_gpu():
        yield torch.zeros(2, device="cuda")


def test_the_first_call_is_eager_the_second_captures_and_the_others_replay(tensor: Tensor) -> None:
    calls: list[Tensor] = []
    graphed = GraphedFunction(lambda one: calls.append(one) or one + 1)  # type: ignore[func-returns-value]
    graphed(tensor)
    assert len(calls) == 1 and not torch.cuda.graph.called  # type: ignore[attr-defined]
    for _ in range(3):
        graphed(tensor)
    assert len(calls) == 2 and torch.cuda.graph.call_count == 1  # type: ignore[attr-defined]
    assert graphed._graph.replay.call_count == 3  # type: ignore[union-attr, attr-defined]


def test_a_first_call_that_failed_does_not_count(tensor: Tensor) -> None:
    """What kernels and the compiler set up at first must not be captured."""
    failures = [RuntimeError("out of memory"), KeyboardInterrupt()]

    def function(one: Tensor) -> Tensor:
        if failures:
            raise failures.pop()
        return one + 1

    graphed = GraphedFunction(function)
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error):
            graphed(tensor)
    graphed(tensor)
    assert not torch.cuda.graph.called  # type: ignore[attr-defined]


class Entered:
    """A context whose name is listed in `inside` while it is entered."""

    def __init__(self, inside: list[Any], name: Any) -> None:
        self.inside, self.name = inside, name

    def __enter__(self) -> None:
        self.inside.append(self.name)

    def __exit__(self, *_: object) -> None:
        self.inside.remove(self.name)


def test_a_graph_is_captured_on_a_new_stream_of_the_inputs_device(
    tensor: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's default stream belongs to the GPU that captured first, and torch leaves it only if capturing succeeds."""
    inside: list[Any] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device=None: f"a stream of {device}")
    monkeypatch.setattr(torch.cuda, "stream", lambda one: Entered(inside, one))
    monkeypatch.setattr(torch.cuda, "graph", lambda _, stream=None, **__: Entered(inside, ("captured", stream)))
    seen: list[list[Any]] = []

    def function(one: Tensor) -> Tensor:
        seen.append(list(inside))
        if inside:
            raise RuntimeError("cannot be captured")
        return one + 1

    graphed = GraphedFunction(function)
    graphed(tensor)
    with pytest.raises(RuntimeError, match="cannot be captured"):
        graphed(tensor)
    assert seen == [[], ["a stream of cuda:0", ("captured", "a stream of cuda:0")]] and not inside


def test_one_graph_is_captured_at_a_time(tensor: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = [0], [0]

    @contextmanager
    def graph(_: Any, **__: Any) -> Iterator[None]:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        yield
        at_once[0] -= 1

    monkeypatch.setattr(torch.cuda, "graph", graph)
    several = [GraphedFunction(lambda one: one) for _ in range(3)]
    threads = [threading.Thread(target=one._capture, args=(tensor,)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
