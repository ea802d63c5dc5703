"""Fixtures of several files."""

from __future__ import annotations

import pytest
import torch
from marks import compiled_only

from anytok.engines.native import kernels


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """So many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=[pytest.param(True, marks=compiled_only, id="kernels"), pytest.param(False, id="no kernels")])
def compiled(request, monkeypatch):
    """Whether our own kernels are used, if this machine has any."""
    if not request.param:
        monkeypatch.setattr(kernels, "missing", lambda: "for this test")
    return request.param


@pytest.fixture
def own_half(monkeypatch):
    """Our own kernels are used in bfloat16, too, as on a CPU where they are fast."""
    monkeypatch.setattr(kernels, "has_half", lambda: kernels.missing() is None)
