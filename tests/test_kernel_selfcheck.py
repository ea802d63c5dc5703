"""That the self-check sees layers which break what batches and threads rest on, and passes those which do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anytok.kernels import selfcheck
from anytok.kernels.layers import Conv, Linear, Lstm
from anytok.kernels.selfcheck import unsteady


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_this_machine_is_steady(build, dtype):
    assert unsteady(dtype) == []


def by_company(out: Tensor) -> Tensor:
    """As one bit in the last place, where there are 60 rows or more."""
    return torch.nextafter(out, out.new_tensor(torch.inf)) if len(out) >= 60 else out


def by_three_threads(out: Tensor) -> Tensor:
    return out + 1e-6 * (torch.get_num_threads() == 3)


@pytest.mark.parametrize("spoil", [by_company, by_three_threads])
def test_a_product_or_convolution_that_changes_is_named(monkeypatch, spoil):
    threads = torch.get_num_threads()
    for kind in (Linear, Conv):
        whole = kind.__call__
        monkeypatch.setattr(kind, "__call__", lambda self, rows, whole=whole: spoil(whole(self, rows)))
    named = [one for one in unsteady(torch.float32) if "LSTM" not in one]
    assert len(named) == len(selfcheck._PRODUCTS) + len(selfcheck._CONVOLUTIONS)
    assert "product 1024 → 4096" in named and "convolution 64 → 1 of 7, stride 1" in named
    assert torch.get_num_threads() == threads


def test_an_lstm_that_changes_is_named(monkeypatch):
    whole = Lstm.__call__

    def spoilt(self, inputs_tbi, hidden_bc, cell_bc):
        made, cell_bc = whole(self, inputs_tbi, hidden_bc, cell_bc)
        return made + 1e-6 * (inputs_tbi.shape[1] == 16), cell_bc

    monkeypatch.setattr(Lstm, "__call__", spoilt)
    assert unsteady(torch.float32) == [f"LSTM of {width}" for width in selfcheck._LSTMS]
