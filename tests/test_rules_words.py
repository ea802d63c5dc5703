"""Names and comments use the words of papers and of torch: those that only this house had do not come back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from house_rules import HERE, tree

# As a name in any file, and what the field calls it. A name is matched whole, with a leading underscore or without.
RETIRED = {
    "abreast": "lockstep",
    "Sweep": "LSTM request",
    "Carried": "stateful LSTM",
    "hear": "input projection",
    "heard": "inputs",
    "recall": "recurrent weights",
    "say": "cell update",
    "ShortGates": "int24 weights",
    "shorten": "quantize",
    "lengthen": "dequantize",
    "quicken": "fuse layers",
    "Pieces": "spill buffer",
    "heap": "malloc_trim",
}
# These are plain English elsewhere, but not where models are computed.
RETIRED_IN_MODELS = {
    "said": "outputs",
    "few": "largest batch for int24",
    "near": "candidates",
    "dots": "gemv",
    "recorded": "cuda graph",
    "calls": "library",
    "look": "encode_image",
    "ask": "query",
    "turns": "gather indices",
}
MODELS = ("anytok/engines", "anytok/kernels", "anytok/models")
TALKS = ("anytok/cli",)  # where `say` is what a command does
# As words of any text: code, comments, C and documents.
PHRASES = ("abreast", "last words", "last breath", "comes but once", "filled up", "ShortGates", "quicken")

CODE = [path for folder in ("anytok", "benchmarks", "tests") for path in sorted((HERE / folder).rglob("*.py"))]
TEXTS = [
    *CODE,
    *(path for suffix in ("c", "h", "cpp", "cu") for path in sorted((HERE / "anytok").rglob(f"*.{suffix}"))),
    *(path for path in sorted(HERE.rglob("*.md")) if not {".venv", ".git", "results"} & set(path.parts)),
]


def retired_names(path: Path) -> list[str]:
    """The retired names that a file gives to something, or uses."""
    place = str(path.relative_to(HERE)) if path.is_relative_to(HERE) else MODELS[0]
    words = RETIRED | (RETIRED_IN_MODELS if place.startswith(MODELS) else {})
    words = {word: field for word, field in words.items() if not (word == "say" and place.startswith(TALKS))}
    found = []
    for node in ast.walk(tree(path)):
        for attribute in ("id", "attr", "arg", "name", "asname"):
            name = getattr(node, attribute, None)
            if isinstance(name, str) and name.rpartition(".")[2].lstrip("_") in words:
                word = name.rpartition(".")[2].lstrip("_")
                found.append(f"{place}:{getattr(node, 'lineno', 0)} {name}: the field says {words[word]!r}")
    return found


def retired_phrases(path: Path) -> list[str]:
    """The lines with retired words in them."""
    pattern = re.compile("|".join(rf"\b{re.escape(phrase)}\b" for phrase in PHRASES))
    found = [(number, pattern.search(line)) for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)]
    return [f"{path.name}:{number} {match[0]}" for number, match in found if match]


def folder_of(path: Path) -> str:
    """`anytok/engines`, `benchmarks`, `.`: what one room holds."""
    parts = path.relative_to(HERE).parts[:-1]
    return "/".join(parts[:2]) or "."


FOLDERS = sorted({folder_of(path) for path in TEXTS})


@pytest.mark.parametrize("folder", FOLDERS)
def test_retired_words_do_not_come_back(folder: str) -> None:
    here = [path for path in TEXTS if folder_of(path) == folder and path != Path(__file__)]
    assert not [name for path in here if path.suffix == ".py" for name in retired_names(path)]
    assert not [line for path in here for line in retired_phrases(path)]


def test_retired_words_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "# what comes but once\nfrom x.heap import trim\ndef _hear(few, *, said=1):\n    a.heard = Sweep(look=said)\n"
        "    'we heard it said'\n    near_by = shortened\n"
    )
    assert sorted(line.split()[1] for line in retired_names(path)) == [
        "Sweep:", "_hear:", "few:", "heard:", "look:", "said:", "said:",
    ]  # fmt: skip
    assert retired_phrases(path) == ["a.py:1 comes but once"]
