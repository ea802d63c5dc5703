"""A skip for want of a program is told where people work, and fails where CI does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(("ci", "code", "said"), [(False, 0, "skipped"), (True, 1, "nothing is skipped for want of")])
def test_a_browser_that_is_not_there(tmp_path: Path, ci: bool, code: int, said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"PATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", HERE / "test_demo_browser.py"]
    done = subprocess.run(
        command, cwd=HERE.parent, env=environment | ({"CI": "1"} if ci else {}), capture_output=True, text=True
    )
    assert done.returncode == code and said in done.stdout, done.stdout + done.stderr
    assert "passed" not in done.stdout
