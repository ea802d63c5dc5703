"""Recurrent weights in three bytes each: what is lost, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from marks import compiled_only
from torch import Tensor, nn

from anytok.engines.native import kernels
from anytok.engines.native.recurrent import CompiledLayer, Sweep, _Gates

pytestmark = compiled_only

WIDTHS = [16, 48, 1024]
ALMOST = 1 - 2**-24  # the number before one


def weights_of(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(width)
    weight_gc = torch.randn(4 * width, width, generator=generator) / width**0.5
    return weight_gc * torch.logspace(-3, 3, 4 * width)[torch.randperm(4 * width, generator=generator), None]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_weight_is_rounded_once_to_what_24_bits_hold_beside_its_gates_largest(width):
    weight_gc = weights_of(width)
    weight_gc[:2] = 0
    weight_gc[2, :4] = torch.tensor([ALMOST, -ALMOST, 0.5, -(2**-24)])
    _, exponent_g1 = torch.frexp(weight_gc.abs().amax(dim=1, keepdim=True))
    numbers_gc = torch.ldexp(weight_gc.double(), 23 - exponent_g1)
    towards_gc = torch.where(numbers_gc < 0, -0.5, 0.5)  # halves go away from zero
    rounded_gc = torch.ldexp((numbers_gc + towards_gc).trunc().clamp(max=2**23 - 1), exponent_g1 - 23)
    short = kernels.shorten(kernels.pack_gates(weight_gc))
    assert short is not None and short.numbers.nbytes == weight_gc.nbytes * 3 / 4
    assert torch.equal(kernels.lengthen(short), kernels.pack_gates(rounded_gc.float()))


@pytest.mark.parametrize("width", WIDTHS)
@torch.inference_mode()
def test_steps_are_those_of_the_same_numbers_in_float32(threads, width):
    torch.set_num_threads(threads)
    short = kernels.shorten(kernels.pack_gates(weights_of(width)))
    assert short is not None
    for clips in range(1, kernels.few() + 1):
        heard_tbg = torch.randn(4, clips, 4 * width)
        hidden_bc, cell_bc = torch.randn(2, clips, width)
        said = []
        for packed in (short, kernels.lengthen(short)):
            out_tbc, last_bc = torch.zeros(5, clips, width), cell_bc.clone()
            out_tbc[0] = hidden_bc
            kernels.lstm(packed, heard_tbg, out_tbc, last_bc)
            said.append((out_tbc, last_bc))
        assert torch.equal(said[0][0], said[1][0]) and torch.equal(said[0][1], said[1][1])
        assert said[0][0].std() > 0.1
    with pytest.raises(AssertionError):
        kernels.lstm(short, torch.zeros(1, 17, 4 * width), torch.zeros(2, 17, width), torch.zeros(17, width))


@pytest.mark.parametrize("odd", [1e3, -1e3, float("nan"), float("inf")])
def test_weights_that_would_lose_more_stay_float32(odd):
    weight_gc = weights_of(1024)
    assert isinstance(_Gates(weight_gc).of(1), kernels.ShortGates)
    weight_gc[4095, 1023] = odd
    packed = kernels.pack_gates(weight_gc)
    kept = _Gates(weight_gc).of(1)
    assert kernels.shorten(packed) is None
    assert isinstance(kept, Tensor) and torch.equal(kept.view(torch.int32), packed.view(torch.int32))


@pytest.mark.parametrize("largest", [0.2, 0.7])
@torch.inference_mode()
def test_what_is_lost_is_less_than_what_torch_loses(largest):
    """Against the same in float64, also with one weight a gate so large that three bytes are hardly taken any more: a
    wide layer over 300 frames, after which a difference would have grown."""
    torch.manual_seed(0)
    lstm = nn.LSTM(1024, 1024)
    lstm.weight_hh_l0.copy_(torch.randn(4096, 1024) * 0.05)
    lstm.weight_hh_l0[torch.arange(4096), torch.randint(1024, (4096,))] = largest
    piece = torch.randn(300, 1024)
    theirs, _ = lstm(piece)
    layer = CompiledLayer(lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
    assert layer._recall._short is not None
    ((ours, _),) = layer.run([Sweep(layer, piece)])
    exact, _ = lstm.double()(piece.double())
    assert exact.std() > 0.1
    assert (ours - exact).square().mean() < (theirs - exact).square().mean()
