"""Numbers of the house: how much code there is, and how many files one call goes through.

    python benchmarks/house.py            # of this checkout, as JSON
    python benchmarks/house.py OTHER      # of another checkout

Lines are those of git-tracked files. Files entered are those of the package in which a function is called while
`encode("a.wav")` runs on a CPU, on a tokenizer that has encoded before.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TRACED = """
import sys, tempfile, threading
from pathlib import Path
import numpy as np
import anytok

home = str(Path(anytok.__file__).parent)
tokenizer = anytok.load_tokenizer("speech-mini")
path = Path(tempfile.mkdtemp()) / "a.wav"
anytok.Audio(np.sin(np.arange(32000) / 20).astype(np.float32), 16000).save(path)
tokenizer.encode(path)
entered = set()

def watch(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(home):
        entered.add(frame.f_code.co_filename)

threading.setprofile(watch)
sys.setprofile(watch)
tokenizer.encode(path)
sys.setprofile(None)
print(len(entered))
"""


def main(root: Path) -> dict[str, Any]:
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout
    files = [root / name for name in listed.splitlines()]
    code = [path for path in files if path.suffix in (".py", ".c", ".h") and path.exists()]
    inside = [path for path in code if (root / "anytok") in path.parents]
    kernels = [path for path in inside if {"engines", "kernels"} & set(path.relative_to(root).parts)]
    python = [sys.executable, "-c", TRACED]
    entered = subprocess.run(python, cwd=root, capture_output=True, text=True, check=True).stdout
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q"]
    collected = subprocess.run(collect, cwd=root, capture_output=True, text=True).stdout
    return {
        "lines_of_the_package": sum(map(lines, inside)),
        "lines_of_engines_and_kernels": sum(map(lines, kernels)),
        "files_of_engines_and_kernels": len(kernels),
        "lines_of_tests": sum(lines(path) for path in code if (root / "tests") in path.parents),
        "test_items": sum("::" in line for line in collected.splitlines()),
        "files_entered_by_encode": int(entered),
        "import_circles": circles([path for path in code if path.suffix == ".py"], root),
        "readme_lines": lines(root / "README.md"),
    }


def lines(path: Path) -> int:
    return path.read_text("utf-8").count("\n")


def circles(files: list[Path], root: Path) -> list[list[str]]:
    """Groups of modules of the package, or of the benchmarks, that import one another, also inside functions."""
    modules = {name: path for path in files if (name := module_of(path, root))}
    edges = {name: {other for other in imports(name, path) if other in modules} for name, path in modules.items()}
    reached = {name: reach(name, edges) for name in modules}
    groups = {tuple(sorted(one for one in reached[name] if name in reached[one])) for name in modules}
    return [list(group) for group in sorted(groups) if group]


def module_of(path: Path, root: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] == "benchmarks" and len(parts) == 2:
        return parts[1]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) if parts[0] == "anytok" else ""


def imports(name: str, path: Path) -> Iterator[str]:
    """Modules that a file imports, at any depth, but for those that only type checkers see."""
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    tree = ast.parse(path.read_text("utf-8"))
    unseen = {id(node) for block in ast.walk(tree) if is_for_types(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # a module of the package, else a name in it
                yield f"{origin}.{alias.name}"
            if origin not in (name, name.rpartition(".")[0]):  # a package is imported before its modules anyway
                yield origin


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def reach(name: str, edges: dict[str, set[str]]) -> set[str]:
    """All that is imported from `name` on; `name` itself, if there is a way back."""
    found: set[str] = set()
    waiting = list(edges[name])
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting += edges[one]
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()), indent=2))
