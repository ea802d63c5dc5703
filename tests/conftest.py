"""Fixtures of several files."""

from __future__ import annotations

import pytest
import torch
from marks import compiled_only

from anytok.engines.native import kernels


def pytest_addoption(parser):
    parser.addoption("--one-of-each", action="store_true", help="only the first item of each parametrised test")


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen
def pytest_collection_modifyitems(config, items):
    """With --one-of-each, one item stands for all of its function: `make check`."""
    if config.getoption("--one-of-each"):
        first = {}
        for item in items:
            first.setdefault(item.nodeid.partition("[")[0], item)
        config.hook.pytest_deselected(items=[item for item in items if item not in first.values()])
        items[:] = first.values()


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
