"""A fake GPU: tensors on it have a shape, a dtype and a device, and no values.

They are torch's FakeTensors, which refuse to be mixed with tensors of the CPU, as a GPU's do, and need no GPU: so tests
see that nothing stays on the wrong device. Only a real GPU shows which values it computes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

__all__ = ["fake_gpu"]

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Within, torch has one CUDA device."""
    with pytest.MonkeyPatch.context() as patches, _no_guard(), _FakeDevice():
        patches.setattr(torch.cuda, "device_count", lambda: 1)
        patches.setattr(nn.Module, "_apply", _apply)
        patches.setattr(torch, "_use_cudnn_rnn_flatten_weight", lambda: False)  # a torch built for GPUs has it
        for name in ("CUDAGraph", "Event", "Stream", "current_stream", "device", "graph", "stream"):
            patches.setattr(torch.cuda, name, MagicMock())  # "capturing" a function calls it, which is enough
        yield


@contextmanager
def _no_guard() -> Iterator[None]:
    """torch's C++ enters a tensor's device before indexing and copying; the CPU's device guard does nothing."""
    [library] = map(ctypes.CDLL, map(str, (Path(torch.__file__).parent / "lib").glob("libc10.*")))
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")  # of CPU, CUDA, …
    before, guards[1] = guards[1], guards[0]
    try:
        yield
    finally:
        guards[1] = before


class _FakeDevice(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self._fakes = FakeTensorMode()

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is Tensor.pin_memory:  # which stays on the CPU
            return args[0]
        if function in (Tensor.to, Tensor.cpu):
            return self._moved(args[0], *_target(function, *args, **kwargs))
        if torch.device(kwargs.get("device") or CPU).type == "cuda":
            if function is torch.tensor:  # which takes no fake elements
                args = tree_map(lambda one: 0 if isinstance(one, FakeTensor) else one, args)
                return self._moved(function(*args, **{**kwargs, "device": CPU}), GPU)
            with self._fakes:
                return function(*args, **kwargs)
        if not any(isinstance(one, FakeTensor) for one in tree_flatten((args, kwargs))[0]):
            return function(*args, **kwargs)
        if function in _REPLACED:
            return _REPLACED[function](*args, **kwargs)
        args, kwargs = tree_map(self._with_scalars, (args, kwargs))
        if getattr(function, "__name__", None) == "lstm":  # a torch built for GPUs gives states one dimension too many
            out, *states = function(*args, **kwargs)
            return out, *(state.flatten(0, -3) for state in states)
        return function(*args, **kwargs)

    def _moved(self, tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        dtype, fake = dtype or tensor.dtype, isinstance(tensor, FakeTensor)
        if fake and device.type == "cpu":
            return torch.zeros(tensor.shape, dtype=dtype)
        if not fake and device.type == "cuda":
            tensor = self._fakes.from_tensor(tensor.detach())
        if (device.type, dtype) == (tensor.device.type, tensor.dtype):
            return tensor
        return torch.ops.aten._to_copy(tensor, device=device, dtype=dtype)

    def _with_scalars(self, one: Any) -> Any:
        """A GPU accepts scalars on the CPU."""
        from_cpu = isinstance(one, Tensor) and not isinstance(one, FakeTensor) and one.ndim == 0
        return self._fakes.from_tensor(one) if from_cpu else one


def _target(function: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> tuple[torch.device, torch.dtype]:
    """The device and dtype that `tensor.to(…)` or `tensor.cpu()` converts to."""
    if function is Tensor.cpu:
        return CPU, tensor.dtype
    if args and isinstance(args[0], Tensor):
        return args[0].device, args[0].dtype
    device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    return device or tensor.device, dtype or tensor.dtype


def _at(tensor: Tensor, place: Any) -> Any:
    """Indexing a real tensor by a scalar on the GPU, whose value nobody knows: its first element."""
    if isinstance(place, FakeTensor) and place.ndim == 0 and not isinstance(tensor, FakeTensor):
        return tensor[0]
    with torch._C.DisableTorchFunction():
        return tensor[place]


def _split(tensor: Tensor, size: Any, dim: int = 0) -> Any:
    """As torch does; in torch 2.12 FakeTensors without elements cannot be split."""
    return tensor.split(size, dim) if tensor.shape[dim] else (tensor,)


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return (query @ key.mT).softmax(-1) @ value


# What needs values of the GPU or what FakeTensors cannot do, and what is done instead.
_REPLACED: dict[Any, Callable[..., Any]] = {
    Tensor.__bool__: lambda _: True,
    Tensor.__float__: lambda _: 0.0,
    Tensor.tolist: lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype).tolist(),
    Tensor.item: lambda tensor: torch.zeros((), dtype=tensor.dtype).item(),
    Tensor.nonzero: lambda tensor: tensor.new_zeros(1, tensor.ndim, dtype=torch.int64),
    Tensor.__getitem__: _at,
    Tensor.split: _split,
    F.scaled_dot_product_attention: _attention,
}


def _apply(self: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """`Module._apply` without swapping FakeTensor parameters, which fails if anything else refers to them."""
    for child in self.children():
        child._apply(change)
    for name, parameter in self._parameters.items():
        if parameter is not None:
            self._parameters[name] = nn.Parameter(change(parameter), parameter.requires_grad)
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = change(buffer)
    return self
