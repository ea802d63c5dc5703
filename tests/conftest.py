"""Fixtures of several files."""

from __future__ import annotations

import os

import forked
import pytest
import torch
from marks import COMPILED, builds

from anytok import kernels
from anytok.jobs import child


def pytest_addoption(parser):
    parser.addoption("--one-of-each", action="store_true", help="only the first item of each parametrised test")


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen
def pytest_collection_modifyitems(config, items):
    """With --one-of-each, one item stands for all of its function: `make check`."""
    if config.getoption("--one-of-each"):
        first = {}
        for item in sorted(items, key=_is_skipped):  # one that this machine can run, where there is one
            first.setdefault(item.nodeid.partition("[")[0], item)
        config.hook.pytest_deselected(items=[item for item in items if item not in first.values()])
        items[:] = [item for item in items if item in first.values()]


def _is_skipped(item):
    return any(mark.name == "skip" or mark.args[:1] == (True,) for mark in item.iter_markers() if "skip" in mark.name)


OF_THE_MACHINE = ("this CPU", "mounting needs root", "no gcc")  # what CI cannot install


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a test that is skipped for want of a program or a package has failed: nobody else may ever run it."""
    report = yield
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        if not any(part in reason for part in OF_THE_MACHINE):
            report.outcome, report.longrepr = "failed", f"in CI nothing is skipped for want of an install: {reason}"
    return report


@pytest.fixture(autouse=True)
def forked_processes():
    """Those of jobs; a file that wants fresh interpreters has a fixture of this name that does nothing."""
    with pytest.MonkeyPatch.context() as patch:  # not `monkeypatch`, which would then outlast a test's other fixtures
        patch.setattr(child, "_start", forked.start)
        yield


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """So many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def thread_counts():
    """1, 2 and 3, each set as it is taken; afterwards as many as before."""
    before = torch.get_num_threads()
    yield (count for count in (1, 2, 3) if torch.set_num_threads(count) is None)
    torch.set_num_threads(before)


@pytest.fixture(params=builds())
def build(request):
    """Each implementation of the kernels that serves on this machine, in turn."""
    with kernels.using(request.param) as chosen:
        yield chosen


@pytest.fixture(params=builds(*COMPILED))
def compiled(request):
    """Each compiled build that serves on this machine, in turn."""
    with kernels.using(request.param) as chosen:
        yield chosen
