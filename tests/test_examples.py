"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest
from house_rules import FILES, module_of

MODULES = [f"anytok.{module_of(path)}".removesuffix(".") for path in FILES if ">>> " in path.read_text("utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted and not done.failed
