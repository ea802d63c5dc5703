"""The option that `make check` is quick by leaves out no test function."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def collected(*options: str) -> list[str]:
    """The items of a file of a few laws."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *options, str(HERE / "test_atomic.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent)
    return [line.rpartition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_every_function_keeps_its_first_item() -> None:
    everything = collected()
    functions = list(dict.fromkeys(name.partition("[")[0] for name in everything))
    first = [next(name for name in everything if name.partition("[")[0] == function) for function in functions]
    assert collected("--one-of-each") == first and len(first) < len(everything)
