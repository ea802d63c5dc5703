"""A function of tensors of fixed shapes as a CUDA graph: captured once, then replayed in one launch.

Launched one by one, hundreds of small kernels wait for Python's lock, which the threads that prepare the next pictures
hold; a replay waits for it once.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

__all__ = ["GraphedFunction"]

_capturing = Lock()  # torch captures one graph at a time in a process: test_one_graph_is_captured_at_a_time


class GraphedFunction:
    """`function` of tensors on one GPU whose shapes and dtypes never change; with CPU tensors it is just called.

    The first call runs eagerly: what libraries set up on first use must not be captured, and a function that is called
    once needs no graph. The graph holds its inputs, outputs and intermediate memory for good. Threads may share it.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function, self._lock = function, Lock()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._called = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        device = inputs[0].device
        if device.type != "cuda":
            return self._function(*inputs)
        with self._lock, torch.cuda.device(device):
            if not self._called:
                output = self._function(*inputs)
                self._called = True  # only now: test_a_first_call_that_failed_does_not_count
                return output
            graph = self._graph = self._graph or self._capture(*inputs)
            stream = torch.cuda.current_stream()
            stream.wait_event(self._replayed)  # the last replay, perhaps on another stream, uses the same memory
            for static, given in zip(self._inputs, inputs, strict=True):
                static.copy_(given)
            graph.replay()
            output = self._output.clone()
            self._replayed.record(stream)
            return output

    def _capture(self, *inputs: Tensor) -> torch.cuda.CUDAGraph:
        """Captured on a new stream of the inputs' device: the one that `torch.cuda.graph` makes by default belongs to
        the first device that ever captured, and stays the current one if capturing fails."""
        graph, self._replayed = torch.cuda.CUDAGraph(), torch.cuda.Event()
        self._inputs = [one.clone() for one in inputs]
        stream = torch.cuda.Stream(inputs[0].device)
        mode = "thread_local"  # other threads may go on using the GPU meanwhile
        with _capturing, torch.cuda.stream(stream), torch.cuda.graph(graph, stream=stream, capture_error_mode=mode):
            self._output = self._function(*self._inputs)
        return graph
