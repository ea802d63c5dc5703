"""Fixtures of several files."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """So many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
