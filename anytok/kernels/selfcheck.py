"""Whether layers have the same bits in any batch and on any number of threads on this CPU, tried out; `anytok doctor`
asks.

Compiled kernels keep that by construction. Portable ones rest on torch's product of one shape, whose order of summation
differs between CPUs and releases. So layers are computed in sizes of the published models, whole and in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..torch_settings import full_float32
from .layers import Conv, Linear, Lstm
from .weights import Weights

__all__ = ["unsteady"]

_PRODUCTS = ((1024, 4096), (512, 2048), (128, 1024), (1408, 6144), (6144, 1408), (768, 32))  # inputs, outputs
_CONVOLUTIONS = (  # channels in and out, kernel, stride
    (1, 64, 7, 1), (64, 32, 3, 1), (64, 64, 1, 1), (64, 128, 4, 2), (128, 256, 8, 4), (128, 256, 10, 5),
    (512, 1024, 16, 8), (1024, 1024, 2, 1), (32, 16, 3, 1), (16, 32, 1, 1), (64, 1, 7, 1), (32, 2, 7, 1),
)  # fmt: skip
_LSTMS = (128, 512, 1024)
_ROWS, _CLIPS = 130, 16
_THREADS = (1, 2, 3)  # sums were seen to be split among three, and not among two
_PARTS = ((0, 1), (0, 2), (7, 14), (1, 16), (3, 36), (70, 130), (69, 130), (1, 130))

# The outputs from number `begin` to number `end`, computed by themselves.
Compute = Callable[[int, int], Tensor]


@torch.inference_mode()
@full_float32()
def unsteady(dtype: torch.dtype) -> list[str]:
    """The layers, in words, whose outputs on this CPU change with the rows beside them or with the number of threads.

    There should be none. `dtype` is float32 or bfloat16. Takes a second or two, and longer without compiled kernels.
    """
    return [name for name, count, compute in _layers(dtype) if not _is_steady(compute, count)]


def _is_steady(compute: Compute, count: int) -> bool:
    whole = compute(0, count)
    parts = [(begin, end) for begin, end in _PARTS if end <= count]
    if not all(torch.equal(compute(begin, end), whole[begin:end]) for begin, end in parts):
        return False
    threads = torch.get_num_threads()
    try:
        return all(torch.equal(_with_threads(some, compute, count), whole) for some in _THREADS)
    finally:
        torch.set_num_threads(threads)


def _with_threads(threads: int, compute: Compute, count: int) -> Tensor:
    torch.set_num_threads(threads)
    return compute(0, count)


def _layers(dtype: torch.dtype) -> Iterator[tuple[str, int, Compute]]:
    """Each layer's name, the number of its outputs, and the layer."""
    numbers = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=numbers, dtype=torch.float32)

    for c_in, c_out in _PRODUCTS:
        product = Linear(random(c_out, c_in).to(dtype), random(c_out).to(dtype))
        yield f"product {c_in} → {c_out}", _ROWS, _by_rows(product, random(_ROWS, c_in).to(dtype))
    for c_in, c_out, kernel, stride in _CONVOLUTIONS:
        conv = Conv(Weights(random(c_out, c_in, kernel)), random(c_out).to(dtype), stride)
        signal = random((_ROWS - 1) * stride + conv.span, c_in).to(dtype)
        yield f"convolution {c_in} → {c_out} of {kernel}, stride {stride}", _ROWS, _by_windows(conv, signal)
    for width in _LSTMS:
        sizes = ((4 * width, width), (4 * width, width), (4 * width,), (4 * width,))
        lstm = Lstm(*((random(*size) / width**0.5).to(dtype) for size in sizes))
        yield f"LSTM of {width}", _CLIPS, _by_clips(lstm, random(5, _CLIPS, width).to(dtype))


def _by_rows(product: Callable[[Tensor], Tensor], rows_tc: Tensor) -> Compute:
    return lambda begin, end: product(rows_tc[begin:end])


def _by_windows(conv: Conv, signal_tc: Tensor) -> Compute:
    return lambda begin, end: conv(signal_tc[begin * conv.stride : (end - 1) * conv.stride + conv.span])


def _by_clips(lstm: Lstm, inputs_tbc: Tensor) -> Compute:
    zeros_bc = torch.zeros(_CLIPS, lstm.units)
    states = (zeros_bc.to(lstm.dtype), zeros_bc)
    return lambda begin, end: lstm(inputs_tbc[:, begin:end], *(one[begin:end] for one in states))[0].transpose(0, 1)
