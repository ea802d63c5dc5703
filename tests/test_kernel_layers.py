"""What exactness rests on: a row's bits depend neither on the rows beside it nor on the number of threads.

In every implementation of the kernels that this machine can execute.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytok.engines.native.weights import up_weights
from anytok.kernels.layers import Conv, Linear, NormedConv
from anytok.kernels.weights import Weights
from anytok.models.seanet import UpConv, folded

TYPES = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", TYPES)
@torch.inference_mode()
def test_a_row_of_a_product_is_the_same_in_any_company(build, thread_counts, dtype):
    torch.manual_seed(0)
    sizes = ((1024, 512), (4096, 20), (33, 5), (64, 1))
    products = [Linear((torch.randn(o, i) / i**0.5).to(dtype), torch.randn(o).to(dtype)) for i, o in sizes]
    rows = [torch.randn(200, inputs).to(dtype) for inputs, _ in sizes]
    whole = [product(some) for product, some in zip(products, rows, strict=True)]
    for _ in thread_counts:
        for product, some, made in zip(products, rows, whole, strict=True):
            for count in (1, 2, 16, 33, 61, 129):
                assert torch.equal(product(some[:count]), made[:count])
                assert torch.equal(product(some[-count:]), made[-count:])


CONVOLUTIONS = [  # inputs, outputs, kernel, stride, dilation
    (1, 64, 7, 1, 1), (64, 32, 3, 1, 1), (16, 128, 8, 4, 1), (32, 16, 3, 1, 2), (32, 2, 7, 1, 1), (256, 99, 10, 5, 1),
]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
@torch.inference_mode()
def test_a_convolution_in_parts_is_the_whole_one_in_every_bit(build, thread_counts, dtype):
    torch.manual_seed(0)
    made = [held_to_torchs(*sizes, dtype) for sizes in CONVOLUTIONS]
    for _ in thread_counts:
        for conv, signal, whole in made:
            for begin, end in [(0, 1), (3, 11), (50, 137), (17, 19), (392, 400), (0, 400)]:
                part = signal[begin * conv.stride : (end - 1) * conv.stride + conv.span]
                assert torch.equal(conv(part), whole[begin:end])


def held_to_torchs(
    c_in: int, c_out: int, kernel: int, stride: int, dilation: int, dtype: torch.dtype
) -> tuple[Conv, Tensor, Tensor]:
    """A convolution, a signal, and what it makes of it, which is what torch does."""
    weight, bias = torch.randn(c_out, c_in, kernel) / (c_in * kernel) ** 0.5, torch.randn(c_out).to(dtype)
    conv = Conv(Weights(weight), bias, stride, dilation)
    signal = torch.randn(399 * stride + conv.span, c_in).to(dtype)
    whole = conv(signal)
    plain = F.conv1d(signal.float().T[None], weight.to(dtype).float(), bias.float(), stride, 0, dilation)[0].T
    within = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(whole.float(), plain, atol=within, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5)
    return conv, signal, whole


@pytest.mark.parametrize("channels", [24, 1])
@torch.inference_mode()
def test_a_normed_convolution_is_torchs_and_the_same_for_any_number_of_threads(build, thread_counts, channels):
    torch.manual_seed(0)
    weight, bias = torch.randn(2 * channels, 2, 7), torch.randn(2 * channels) + 5
    norm = nn.GroupNorm(1, channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    conv = NormedConv(Weights(weight), bias, norm)
    signals = [torch.randn(4007, 2) for _ in range(5)]
    made = [conv(signal) for signal in signals]
    for signal, made_tc in zip(signals, made, strict=True):
        plain_ct = F.conv1d(signal.T[None], weight, bias)[0].unflatten(0, (2, channels)).movedim(0, -1).flatten(1)
        torch.testing.assert_close(made_tc, norm(plain_ct[None])[0].T.reshape(made_tc.shape), atol=3e-6, rtol=0)
    for _ in thread_counts:
        assert all(torch.equal(conv(signal), made_tc) for signal, made_tc in zip(signals, made, strict=True))


@torch.inference_mode()
def test_a_normed_constant_is_its_shift(build):
    """Its variance is nothing, and what rounding makes of it must not be below nothing."""
    norm = nn.GroupNorm(1, 24)
    nn.init.constant_(norm.bias, 3)
    for level in (0.0, 1.1, 1e6, 1e12):
        made = NormedConv(Weights(torch.zeros(24, 2, 7)), torch.full((24,), level), norm)(torch.ones(4007, 2))
        assert made.isfinite().all() and (level > 2 or torch.allclose(made, torch.tensor(3.0), atol=1e-3)), level


@torch.inference_mode()
def test_a_transposed_convolution_is_an_ordinary_one_of_more_channels(build):
    torch.manual_seed(0)
    for c_out, weight_norm in ((32, True), (3, False), (3, True)):
        up, signal = UpConv(70, c_out, 4, weight_norm=weight_norm), torch.randn(9, 70)
        if weight_norm:
            nn.init.normal_(up.weight_g)
        conv = Conv(up_weights(up), up.bias.repeat(4))
        wanted = F.conv_transpose1d(signal.T, folded(up), up.bias, stride=4)[:, 4:-4].T
        torch.testing.assert_close(conv(signal).view(-1, c_out), wanted, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_all_builds_give_the_same_bits(compiled):
    """In float32, on any kind of CPU: sums are made in the same order, in registers of any width."""
    torch.manual_seed(0)
    weight, rows = torch.randn(99, 300), torch.randn(61, 300)
    made = compiled.products(compiled.pack_plain(weight), torch.zeros(99), rows)
    total = torch.zeros(61, 99)
    for begin in range(0, 300, 128):
        part = torch.zeros(61, 99)
        for k in range(begin, min(300, begin + 128)):
            part = torch.addcmul(part.double(), rows[:, k, None].double(), weight[:, k].double()).float()
        total = total + part
    assert torch.equal(made, total)
