"""`pip install .` alone does the main job: no package that only an extra brings is needed for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from job_corpus import speech_folder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

# Python looks for modules as ever, but finds none of these.
_WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Base(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Base
"""


def base_packages() -> set[str]:
    """The distributions that the package's own dependencies bring, and theirs, without any extra."""
    found: set[str] = set()
    waiting = list(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"])
    while waiting:
        one = Requirement(waiting.pop())
        name = canonicalize_name(one.name)
        if name not in found and (one.marker is None or one.marker.evaluate({"extra": ""})):
            found.add(name)
            try:
                waiting += requires(name) or []
            except PackageNotFoundError:  # such as CUDA's, beside a torch for CPUs
                continue
    return found


@pytest.fixture
def base(tmp_path: Path) -> dict[str, str]:
    """The environment of a process, and of its children, in which all other packages are not there."""
    allowed = {*base_packages(), "anytok"}
    blocked = sorted(
        module for module, names in packages_distributions().items() if not allowed & set(map(canonicalize_name, names))
    )
    assert {"transformers", "av", "pytest"} <= set(blocked)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_WITHOUT.format(blocked=blocked))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def test_a_folder_is_tokenized_and_counted_with_the_base_alone(base: dict[str, str], tmp_path: Path) -> None:
    source, output = speech_folder(tmp_path / "in", 3), tmp_path / "out"
    gone = subprocess.run([sys.executable, "-c", "import transformers"], env=base, capture_output=True, text=True)
    assert "ModuleNotFoundError" in gone.stderr, "what is blocked can be imported"
    run = ["run", str(source), str(output), "--tokenizer", "speech-mini"]
    for command in (run, ["verify", str(output)], ["stats", str(output)]):
        done = subprocess.run([sys.executable, "-m", "anytok", *command], env=base, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert list((output / "parquet").glob("*.parquet")) and (output / "stats.png").stat().st_size > 10_000
