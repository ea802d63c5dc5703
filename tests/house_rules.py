"""What the rules of the house are about: its files, who imports whom, and in which order they may."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent.parent
ROOT = HERE / "anytok"
FILES = sorted(ROOT.rglob("*.py"))

# Imports point to a smaller number; parts with the same number are siblings and do not know each other.
RANK = {
    "atomic": 0,
    "drawing": 0,
    "errors": 0,
    "openmp": 0,
    "torch_settings": 0,
    "arguments": 1,
    "progress": 2,
    "records": 2,
    "spec": 3,
    "recipes": 3,
    "catalogue": 4,
    "media": 4,
    "models": 4,
    "kernels": 4,
    "checkpoints": 4,
    "vocab": 4,
    "metrics.codes": 4,
    "tokenizer": 5,
    "compose": 5,
    "voice": 6,
    "cache": 6,
    "engines.native": 7,
    "engines.reference": 7,
    "registry": 8,
    "testing": 9,
    "fingerprint": 9,
    "multimodal": 9,
    "metrics": 9,
    "jobs": 9,
    "training": 9,
    "generation": 10,
    "data": 10,
    "demo": 11,
    "memory": 10,
    "export": 10,
    "cli": 12,
    "__main__": 13,
}


def chain() -> str:
    """RANK in one line, for documents: "errors → arguments → { jobs · metrics } → cli"; parts in braces are siblings.
    Parts that are not in the tree are left out."""
    there = {part_of(module_of(path)) for path in FILES}
    ranks: dict[int, list[str]] = {}
    for part, rank in RANK.items():
        if part in there and part != "__main__":
            ranks.setdefault(rank, []).append(part)
    groups = (parts[0] if len(parts) == 1 else f"{{ {' · '.join(parts)} }}" for _, parts in sorted(ranks.items()))
    return " → ".join(groups)


def module_of(path: Path) -> str:
    """`anytok/vocab/hf.py` → "vocab.hf"; a package's `__init__.py` is the package."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The part of RANK that a module belongs to."""
    return max((part for part in RANK if module == part or module.startswith(part + ".")), key=len, default="")


def imports(path: Path, *, typing_only: bool = True) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, absolute, at any depth: also inside functions; and under TYPE_CHECKING, unless
    `typing_only` is False."""
    package = ["anytok", *path.relative_to(ROOT).parts[:-1]] if path.is_relative_to(ROOT) else []
    for node in nodes(tree(path), typing_only):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import encode` names modules, `from .encode import register` does not.
            yield from ((f"{origin}.{alias.name}" if not node.module else origin, node.lineno) for alias in node.names)


def nodes(top: ast.AST, typing_only: bool = True) -> Iterator[ast.AST]:
    """The nodes of a tree; without what stands under `if TYPE_CHECKING`, where `typing_only` is False."""
    yield top
    for child in ast.iter_child_nodes(top):
        if typing_only or not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from nodes(child, typing_only)


def circles(paths: dict[str, Path]) -> list[frozenset[str]]:
    """Groups of modules, by name, that import each other, directly or through others, also inside functions."""
    direct = {
        name: {other for other, _ in imports(path, typing_only=False) if other in paths} for name, path in paths.items()
    }
    reached = {name: _reached(name, direct) for name in paths}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in paths}
    return sorted(groups - {frozenset()}, key=sorted)


def _reached(start: str, direct: dict[str, set[str]]) -> set[str]:
    """The modules that one imports, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = direct[waiting.pop()] - found
        found |= new
        waiting += new
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))
