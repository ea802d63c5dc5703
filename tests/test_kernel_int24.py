"""Recurrent weights in 24 bits: what rounding loses, what is refused, and that nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from anytok.kernels.layers import Lstm

UNITS = 1024  # from so many on a layer uses them


def weights(width: int) -> Tensor:
    """Recurrent weights [4 c, c], of gates in sizes that differ up to a millionfold."""
    numbers = torch.Generator().manual_seed(width)
    weight_gc = torch.randn(4 * width, width, generator=numbers) / width**0.5
    return weight_gc * torch.logspace(-3, 3, 4 * width)[torch.randperm(4 * width, generator=numbers), None]


@pytest.mark.parametrize("width", [16, 48])
def test_a_weight_is_rounded_to_24_bits_of_its_gates_largest(compiled, width):
    weight_gc, almost = weights(width), 1 - 2**-24
    weight_gc[0], weight_gc[1, :4] = 0, torch.tensor([almost, -almost, 2**-24, -(2**-24)])
    _, exponent_g1 = torch.frexp(weight_gc.abs().amax(dim=1, keepdim=True))
    integer_gc = torch.ldexp(weight_gc.double(), 23 - exponent_g1)
    integer_gc = (integer_gc + integer_gc.sign() / 2).trunc().clamp(max=2**23 - 1)  # ties away from zero
    rounded_gc = torch.ldexp(integer_gc, exponent_g1 - 23).float()
    assert torch.all((rounded_gc - weight_gc).abs() <= 2**-23 * weight_gc.abs().amax(dim=1, keepdim=True))
    made = compiled.quantize_gates(compiled.pack_gates(weight_gc))
    assert made.words.nbytes == weight_gc.nbytes * 3 / 4
    assert torch.equal(compiled.dequantize_gates(made), compiled.pack_gates(rounded_gc))


@pytest.mark.parametrize("odd", [1e3, -1e3, math.nan, math.inf])
def test_weights_that_would_lose_more_than_sums_do_stay_float32(compiled, odd):
    weight_gc = weights(UNITS)
    assert compiled.quantize_gates(compiled.pack_gates(weight_gc)) is not None
    weight_gc[4095, 1023] = odd
    assert compiled.quantize_gates(compiled.pack_gates(weight_gc)) is None


@torch.inference_mode()
def test_steps_are_those_of_the_dequantized_weights_in_every_bit(compiled, thread_counts):
    torch.manual_seed(0)
    gates = compiled.quantize_gates(compiled.pack_gates(weights(48)))
    kinds, rows = (gates, compiled.dequantize_gates(gates)), compiled.int24_rows
    for _ in thread_counts:
        for clips in range(1, rows + 1):
            inputs, states, cells = torch.randn(4, clips, 192), torch.randn(2, 5, clips, 48), torch.randn(2, clips, 48)
            states[1], cells[1] = states[0], cells[0]
            for packed, hidden, cell in zip(kinds, states, cells, strict=True):
                compiled.lstm(packed, inputs, hidden, cell)
            assert torch.equal(*states) and torch.equal(*cells) and states[0, 1:].std() > 0.1
    with pytest.raises(AssertionError):
        compiled.lstm(gates, torch.zeros(1, rows + 1, 192), torch.zeros(2, rows + 1, 48), torch.zeros(rows + 1, 48))


@torch.inference_mode()
def test_a_wide_layer_uses_them_and_a_batch_gives_what_its_clips_give_alone(compiled):
    torch.manual_seed(0)
    for units, dtype in ((UNITS, torch.float32), (UNITS, torch.bfloat16), (UNITS - 16, torch.float32)):
        sizes = ((4 * units, 8), (4 * units, units), (4 * units,), (4 * units,))
        layer = Lstm(*((torch.randn(*size) / units**0.5).to(dtype) for size in sizes))
        assert (layer._int24 is not None) == (layer._recurrent is None) == (units == UNITS and dtype == torch.float32)
        inputs, zeros = torch.randn(3, 7, 8).to(dtype), torch.zeros(7, units)
        alone = [layer(inputs[:, [i]], zeros[:1].to(dtype), zeros[:1])[0] for i in range(7)]
        assert torch.equal(layer(inputs, zeros.to(dtype), zeros)[0], torch.cat(alone, dim=1))
