"""Lockstep batching: clips that share LSTM steps keep their order and their bits, and wait for their turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from marks import half_kernels
from torch import nn

from anytok.engines.native.cpu.build import lstm_layers
from anytok.engines.native.cpu.lockstep import LstmRequest, LstmState, bidirectional, lockstep, run_layer
from anytok.engines.native.cpu.spill import SpillBuffer

TYPES = [(torch.float32, 3e-6), pytest.param(torch.bfloat16, 1e-2, marks=half_kernels)]


def lstm_of(width: int, dtype: torch.dtype, **sizes) -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(width, width, **sizes).requires_grad_(False).to(dtype)


@pytest.mark.parametrize(("dtype", "within"), TYPES)
@pytest.mark.parametrize("width", [256, 20])
@torch.inference_mode()
def test_clips_in_lockstep_get_what_each_gets_alone(build, thread_counts, width, dtype, within):
    """Also where the width fills no whole registers."""
    lstm = lstm_of(width, dtype)
    layer = lstm_layers(lstm)[0][0]
    pieces = [torch.randn(frames, width) for frames in (70, 1, 33, 70, 5, 50, *[6] * 11)]
    together = run_layer(layer, [LstmRequest(layer, piece) for piece in pieces])
    for piece, (made, state) in zip(pieces, together, strict=True):
        ((alone, after),) = run_layer(layer, [LstmRequest(layer, piece)])
        assert torch.equal(made, alone) and torch.equal(state.cell_c, after.cell_c)
        torch.testing.assert_close(made, lstm.float()(piece)[0], atol=within, rtol=0)
    for _ in thread_counts:
        assert torch.equal(run_layer(layer, [LstmRequest(layer, pieces[0])])[0][0], together[0][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_state_is_carried_from_piece_to_piece(build, dtype):
    layer = lstm_layers(lstm_of(20, dtype))[0][0]
    signal = torch.randn(120, 20)
    ((whole, end),) = run_layer(layer, [LstmRequest(layer, signal)])
    ((head, state),) = run_layer(layer, [LstmRequest(layer, signal[:37])])
    ((tail, after),) = run_layer(layer, [LstmRequest(layer, signal[37:], state)])
    assert torch.equal(torch.cat([head, tail]), whole)
    assert torch.equal(after.hidden_c, end.hidden_c) and torch.equal(after.cell_c, end.cell_c)


@torch.inference_mode()
def test_both_directions_over_pieces_are_torchs_over_the_whole(build):
    lstm = lstm_of(24, torch.float32, num_layers=2, bidirectional=True)
    signal, pieces = torch.randn(37, 24), SpillBuffer()
    for number, piece in enumerate(signal.split(10)):
        pieces[number] = piece
    (made,) = lockstep([bidirectional(lstm_layers(lstm), pieces)])
    torch.testing.assert_close(torch.cat(list(made)), lstm(signal)[0] + signal.repeat(1, 2), atol=2e-6, rtol=0)


class Doubling:
    """Stands for an LSTM layer: twice its inputs; keeps how many clips came at a time."""

    units = width = 1
    dtype, cell_dtype, device = torch.float32, torch.float32, torch.device("cpu")

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def __call__(self, inputs_tbc, hidden_bc, cell_bc):
        self.sizes.append(inputs_tbc.shape[1])
        return 2 * inputs_tbc, cell_bc


def test_works_of_any_shape_run_side_by_side():
    """Results keep their order, though works ask for different layers and end at different times."""

    def work(number: int, rounds: int):
        total = torch.tensor([[float(number)]])
        for turn in range(rounds):
            total, state = yield LstmRequest(layers[turn % 2], total)
            assert isinstance(state, LstmState)
        return float(total)

    sizes: list[int] = []
    layers = [Doubling(sizes), Doubling(sizes)]
    rounds = np.random.default_rng(0).integers(0, 6, 50)
    assert list(lockstep(work(i, n) for i, n in enumerate(rounds))) == [i * 2.0**n for i, n in enumerate(rounds)]
    assert max(sizes) == 16 and sum(sizes) == rounds.sum()


def test_works_begin_when_their_turn_comes_and_are_not_kept():
    """An hour in segments must not lie in memory as a whole."""

    def work(number: int):
        yield LstmRequest(layer, torch.zeros(1, 1))
        return number

    def works():
        for number in range(100):
            begun.append(number)
            yield work(number)

    begun: list[int] = []
    layer = Doubling([])
    for number in (results := lockstep(works())):
        assert len(begun) <= number + 33, "sixteen that advance, sixteen whose results wait"
    assert next(results, None) is None and len(begun) == 100
