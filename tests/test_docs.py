"""The documents hold: README code runs and prints what it says, commands parse, generated parts are up to date."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.cli import build_parser
from anytok.testing import picture

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
README = (ROOT / "README.md").read_text("utf-8")
PROMISE = re.compile(r"# → (.+)$")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(code: str, names: dict[str, Any]) -> int:
    """Execute code; where a line promises `# → text`, its value must print as that. Returns the promises kept."""
    lines, kept = code.splitlines(), 0
    for node in ast.parse(code).body:
        promise = PROMISE.search(lines[(node.end_lineno or 1) - 1])
        if promise is None:
            exec(compile(ast.Module([node], []), "README.md", "exec"), names)
            continue
        assert isinstance(node, ast.Expr), f"only expressions promise: {lines[node.lineno - 1]}"
        value = eval(compile(ast.Expression(node.value), "README.md", "eval"), names)
        assert repr(value) == promise[1], f"{ast.unparse(node)} gives {value!r}, the README says {promise[1]}"
        kept += 1
    return kept


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(64, 64, 0).save("cat.png")
    names: dict[str, Any] = {}
    with around_torchaudio():  # the README speaks to people whose transformers can be imported
        assert sum(run(code, names) for code in blocks("python")) >= 10


def test_a_language_model_in_ten_lines() -> None:
    [snippet] = [code for code in blocks("python") if "Processor" in code]
    assert all(name in snippet for name in ("Trainer(", "model.generate(", "batch_decode("))
    assert len(snippet.splitlines()) <= 10


def test_commands_in_the_readme_parse() -> None:
    commands = [line for code in blocks("sh") for line in code.splitlines() if line.startswith("anytok ")]
    assert commands
    for line in commands:
        build_parser().parse_args(shlex.split(line, comments=True)[1:])


def test_make_targets_in_the_readme_exist() -> None:
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert targets and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_files_in_the_readme_exist() -> None:
    files = {name for name in re.findall(r"[`(]([\w./-]+/?[\w-]*\.(?:py|md|toml|json))[`)]", README) if "/" in name}
    assert files and not [name for name in files if not (ROOT / name).exists()]


def test_extras_in_the_readme_exist() -> None:
    import tomllib

    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    first_cells = re.findall(r"^\| (`[^|]+`) \| ", README, re.MULTILINE)
    listed = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert set(known) <= listed


def test_generated_documents_are_up_to_date() -> None:
    from report import documents

    for path, text in documents().items():
        assert path.read_text("utf-8") == text, f"{path.name} is out of date: make docs"


def test_no_number_in_the_readme_is_measured_by_hand() -> None:
    """Speeds and shares come from benchmarks/results, so they stand only inside generated blocks."""
    typed = re.sub(r"<!-- begin: ([\w-]+) -->.*?<!-- end: \1 -->", "", README, flags=re.DOTALL)
    assert not re.findall(r"\d+(?:\.\d+)? ?(?:%|×|x faster|ms|it/s)", typed)
