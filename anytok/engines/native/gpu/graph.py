"""What a GPU computes of tensors of one shape, recorded and then started at once (a CUDA graph).

Kernel by kernel, Python starts hundreds of them, which the threads that prepare the next pictures hold up.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

__all__ = ["Recorded"]

_recording = Lock()  # torch records one graph at a time in a process


class Recorded:
    """`function` of tensors that have the same shapes every time; elsewhere than on a GPU it is only called.

    The first call is not recorded: what comes but once needs no recording, and what kernels set up at first must not be
    part of it. What is recorded keeps the memory that it works in.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function, self._lock = function, Lock()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._called = False

    def __call__(self, *given: Tensor) -> Tensor:
        device = given[0].device
        if device.type != "cuda":
            return self._function(*given)
        with self._lock, torch.cuda.device(device):
            if not self._called:
                made = self._function(*given)
                self._called = True
                return made
            graph = self._graph = self._graph or self._recorded(*given)
            stream = torch.cuda.current_stream()
            stream.wait_event(self._free)
            for kept, one in zip(self._given, given, strict=True):
                kept.copy_(one)
            graph.replay()
            made = self._made.clone()
            self._free.record(stream)
            return made

    def _recorded(self, *given: Tensor) -> torch.cuda.CUDAGraph:
        """On a stream of its own: torch's lies on the GPU that was first, where there may be nothing to record, and is
        not left where recording fails."""
        graph, self._given, self._free = torch.cuda.CUDAGraph(), [one.clone() for one in given], torch.cuda.Event()
        own = torch.cuda.Stream(given[0].device)
        mode = "thread_local"  # what other threads do is not part of it
        with _recording, torch.cuda.stream(own), torch.cuda.graph(graph, stream=own, capture_error_mode=mode):
            self._made = self._function(*self._given)
        return graph
