"""That the self-check sees layers which break what batches and threads rest on, and passes those which do not."""

from __future__ import annotations

import pytest
import torch
from marks import half_kernels, packed_only
from torch import Tensor

from anytok.engines.native import selfcheck
from anytok.engines.native.packed_conv import PackedConv
from anytok.engines.native.recurrent import PackedLayer
from anytok.engines.native.selfcheck import unsteady


def test_this_machine_is_steady(compiled):
    assert unsteady(torch.float32) == []


@half_kernels
def test_this_machine_is_steady_in_half_precision(compiled):
    assert unsteady(torch.bfloat16) == []


def by_company(out: Tensor) -> Tensor:
    """As one bit in the last place, where there are 60 rows or more."""
    return torch.nextafter(out, out.new_tensor(torch.inf)) if len(out) >= 60 else out


def by_threads(out: Tensor) -> Tensor:
    return out + 1e-6 * torch.get_num_threads()


def by_three_threads(out: Tensor) -> Tensor:
    return out + 1e-6 * (torch.get_num_threads() == 3)


@pytest.mark.parametrize("spoil", [by_company, by_threads, by_three_threads])
def test_a_fickle_product_or_convolution_is_named(monkeypatch, spoil):
    make, convolve, threads = selfcheck.linear, PackedConv.__call__, torch.get_num_threads()
    monkeypatch.setattr(selfcheck, "linear", lambda *weights: lambda rows: spoil(make(*weights)(rows)))
    monkeypatch.setattr(PackedConv, "__call__", lambda self, signal: spoil(convolve(self, signal)))
    named = unsteady(torch.float32)
    assert len(named) == len(selfcheck._PRODUCTS) + len(selfcheck._CONVOLUTIONS)
    assert "product 1024 → 4096" in named and "convolution 64 → 1 of 7, stride 1" in named
    assert torch.get_num_threads() == threads


@packed_only
def test_a_fickle_lstm_is_named(monkeypatch):
    run = PackedLayer.run

    def spoilt(self, sweeps):
        return [(out + 1e-6 * (len(sweeps) == 16), state) for out, state in run(self, sweeps)]

    monkeypatch.setattr(PackedLayer, "run", spoilt)
    assert unsteady(torch.float32) == [f"LSTM of {width}" for width in selfcheck._LSTMS]
