"""The documents hold: code runs and gives what it says, commands parse, links lead somewhere, tables are current."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from qwen import qwen_tokenizer

from anytok import Audio
from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.cli import build_parser
from anytok.cli.vocab import spelled_out
from anytok.errors import UsageError
from anytok.testing import picture

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from report import documents, pages  # noqa: E402 - a script, not a module of the package

PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in pages()}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROMISE = re.compile(r"# → (.+)$")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
GENERATED = re.compile(r"<!-- begin: ([\w-]+) -->.*?<!-- end: \1 -->", re.DOTALL)
MARKS = {"anytok/engines/README.md": pytest.mark.reference}


def blocks(language: str) -> dict[str, list[str]]:
    """The blocks of code in a language, by page."""
    found = {name: [code for kind, code in FENCE.findall(text) if kind == language] for name, text in PAGES.items()}
    return {name: codes for name, codes in found.items() if codes}


def with_marks(names: Any) -> list[Any]:
    return [pytest.param(name, marks=MARKS.get(name, ())) for name in names]


def run(code: str, page: str, names: dict[str, Any]) -> int:
    """Execute code; where a line promises `# → text`, its value must print as that. Returns the promises kept."""
    lines, kept = code.splitlines(), 0
    for node in ast.parse(code).body:
        promise = PROMISE.search(lines[(node.end_lineno or 1) - 1])
        if promise is None:
            exec(compile(ast.Module([node], []), page, "exec"), names)
            continue
        assert isinstance(node, ast.Expr), f"only expressions promise: {lines[node.lineno - 1]}"
        value = eval(compile(ast.Expression(node.value), page, "eval"), names)
        assert repr(value) == promise[1], f"{ast.unparse(node)} gives {value!r}, {page} says {promise[1]}"
        kept += 1
    return kept


@pytest.mark.parametrize("page", with_marks(blocks("python")))
def test_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(64, 64, 0).save("cat.png")
    Audio([0.1, -0.1] * 800, 16000).save("hello.wav")
    qwen_tokenizer().save_pretrained("tiny-qwen")
    names: dict[str, Any] = {"__name__": page}
    codes = blocks("python")[page]
    # Documents speak to people whose transformers can be imported.
    with around_torchaudio() if any("transformers" in code for code in codes) else nullcontext():
        assert sum(run(code, page, names) for code in codes) >= 1


def test_the_tokenizer_that_a_page_adds_keeps_the_contract(tmp_path: Path) -> None:
    """As a package of its own, which an entry point makes known."""
    page = "anytok/engines/README.md"
    [module] = [code for code in blocks("python")[page] if "(anytok.Tokenizer)" in code]
    [tests] = [code for code in blocks("python")[page] if "anytok.testing" in code]
    module = module.partition("\n\ntelephone = ")[0]  # the class, without what is done with it
    (tmp_path / "their_package.py").write_text(f"import anytok\n{module}")
    (tmp_path / "test_theirs.py").write_text(tests)
    [entry_points] = [tomllib.loads(code)["project"]["entry-points"] for code in blocks("toml")[page]]
    folder = tmp_path / "their_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    lines = [f"[{group}]\n{name} = {value}\n" for group, one in entry_points.items() for name, value in one.items()]
    (folder / "entry_points.txt").write_text("".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-2000:]


def test_code_that_does_not_keep_its_promise_is_found() -> None:
    assert run("x = [\n    1,\n]\nx  # → [1]\n[\n    2,\n]  # → [2]", "a page", {}) == 2
    with pytest.raises(AssertionError, match="x gives 1, a page says 2"):
        run("x = 1\nx  # → 2", "a page", {})
    with pytest.raises(AssertionError, match="only expressions"):
        run("x = 1  # → 1", "a page", {})


def test_every_block_is_in_a_language_that_is_tested() -> None:
    """Indented blocks have no language; "text" is for what is generated."""
    for name, text in PAGES.items():
        assert {kind for kind, _ in FENCE.findall(GENERATED.sub("", text))} <= {"python", "sh", "toml"}, name
        assert text.count("```") == 2 * len(FENCE.findall(text)), f"{name}: a block that is not closed"
        assert not re.search(r"^ {4}(?![ -])", FENCE.sub("", text), re.MULTILINE), f"{name}: an indented block"


def test_a_language_model_in_ten_lines() -> None:
    [snippet, _] = [code for code in blocks("python")["anytok/generation/README.md"] if "Trainer(" in code]
    assert all(name in snippet for name in ("Processor(", "model.generate(", "batch_decode("))
    assert len(snippet.splitlines()) <= 10


@pytest.mark.parametrize(
    ("sign", "lines", "parts"),
    [
        ("MediaStreamer(", 15, ("'image'", "'audio'", "apply_chat_template(", "Trainer(", "generate(", "streamer=")),
        ("voice_prompt", 10, ("voice='voice-mini'", "spoken.encode(", "spoken.decode(ids")),
    ],
)
def test_a_chat_in_fifteen_lines_and_a_voice_in_ten(sign: str, lines: int, parts: tuple[str, ...]) -> None:
    [snippet] = [code for code in blocks("python")["anytok/generation/README.md"] if sign in code]
    assert not [part for part in parts if part not in snippet.replace('"', "'")]
    assert len([line for line in snippet.splitlines() if line]) <= lines


def check_command(line: str) -> None:
    """Fail on a shell command that would not be understood: no such option, target, module, file, extra or marker."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    program, *words = words
    program = program.removeprefix(".venv/bin/")
    if program == "anytok":
        try:
            build_parser().parse_args(spelled_out(words))
        except SystemExit as error:
            raise AssertionError(f"anytok does not take: {line}") from error
        names = [word for word in words if word.startswith("configs/")]
    elif program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no such target: {line}"
        names = []
    elif program == "pip":
        extras = {name for part in re.findall(r"\[(.+?)\]", line) for name in part.split(",")}
        assert words[0] == "install" and extras <= set(PYPROJECT["project"]["optional-dependencies"]), line
        names = []
    elif program == "python" and words[:2] == ["-m", "pytest"]:
        names = check_pytest(words[2:], line)
    elif program == "pytest":
        names = check_pytest(words, line)
    else:
        assert program == "python", f"what is that? {line}"
        script = find_script(words)
        options = [word for word in words if word.startswith("--")]
        assert not [option for option in options if f'"{option}"' not in script.read_text("utf-8")], line
        names = []
    assert not [name for name in names if not (ROOT / name).exists()], line


def find_script(words: list[str]) -> Path:
    """The file that `python FILE …` or `python -m MODULE …` runs; it must be there."""
    path = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
    assert (ROOT / path).is_file(), path
    return ROOT / path


def check_pytest(words: list[str], line: str) -> list[str]:
    """The files that pytest is given."""
    if "-m" in words:
        markers = {marker.partition(":")[0] for marker in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
        assert words[words.index("-m") + 1] in markers, line
    return [word for word in words if word.startswith("tests")]


def test_commands_are_understood() -> None:
    lines = [line for codes in blocks("sh").values() for code in codes for line in code.splitlines()]
    for line in lines:
        if shlex.split(line, comments=True):
            check_command(line)


def test_commands_that_are_not_understood_are_found() -> None:
    for line in (
        "anytok run a b --tokenzier seed-2", "anytok plan configs/no_such.toml", "make coffee", "make",
        "pip install '.[no_such]'", "python benchmarks/no_such.py", "python benchmarks/parity.py --no-such",
        "python -m anytok.training.no_such", "python -m pytest -m no_such", "pytest tests/no_such.py", "rm -rf data",
    ):  # fmt: skip
        with pytest.raises((AssertionError, IndexError)):
            check_command(line)


def test_toml_is_what_it_is_read_as(tmp_path: Path) -> None:
    from anytok.jobs.config import from_record
    from anytok.registry import ENTRY_POINT_GROUP
    from anytok.training.config import CodecConfig, read_config

    for page, code in ((page, code) for page, codes in blocks("toml").items() for code in codes):
        record = tomllib.loads(code)
        if "sources" in record:
            from_record(record, page)
        elif "model" in record:
            (tmp_path / "recipe.toml").write_text(code, "utf-8")
            read_config(tmp_path / "recipe.toml", {"speech": CodecConfig, "music": CodecConfig})
        else:
            assert set(record["project"]["entry-points"]) == {ENTRY_POINT_GROUP}


def test_all_kinds_of_sources_and_outputs_are_told() -> None:
    from anytok.jobs.config import SinkConfig, SourceConfig

    text = PAGES["configs/README.md"]
    sources, outputs = text[text.index("### Sources") :].split("### Outputs")
    for part, make in ((sources, lambda: SourceConfig("a", "none")), (outputs, lambda: SinkConfig("none"))):
        told = re.findall(r"^\| `(\w+)` \|", part.partition("\n## ")[0], re.MULTILINE)
        with pytest.raises(UsageError) as caught:
            make()
        known = re.findall(r"\w+", re.split("known: |expected ", str(caught.value))[1])
        assert set(told) - {"kind"} == set(known)


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(links: list[str], page: Path) -> list[str]:
    """The links of a page that lead nowhere: no such file in the tree, or no such heading in it."""
    bad = []
    for link in links:
        name, _, anchor = link.partition("#")
        if re.match(r"https?://", link):
            continue
        target = (page.parent / name).resolve() if name else page
        found = target.exists() and target.is_relative_to(ROOT)
        if not found or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            bad.append(link)
    return bad


def test_links_lead_somewhere() -> None:
    bad = {page: broken(LINK.findall(FENCE.sub("", text)), ROOT / page) for page, text in PAGES.items()}
    assert not {page: links for page, links in bad.items() if links}


def test_links_that_lead_nowhere_are_found() -> None:
    links = LINK.findall("[a](README.md) [b](anytok/engines/README.md#add-a-tokenizer) [c](no.md) [d](README.md#no)")
    assert broken([*links, "#install", "#no", "../elsewhere.md"], ROOT / "README.md") == [
        "no.md", "README.md#no", "#no", "../elsewhere.md"
    ]  # fmt: skip


def test_files_that_are_named_exist() -> None:
    for page in PAGES.keys() - {"checkpoints.md"}:  # which names those of other repositories
        named = {name for name in re.findall(r"`([\w./-]+\.(?:py|md|toml|json|c|h))`", PAGES[page]) if "/" in name}
        assert not [name for name in named if not any((at / name).exists() for at in (ROOT, (ROOT / page).parent))]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = [((ROOT / page).parent / link.partition("#")[0]).resolve() for link in LINK.findall(PAGES[page])]
        names = {str(path.relative_to(ROOT)) for path in linked if path.is_relative_to(ROOT)}
        waiting += sorted(names & set(PAGES) - reached)
    assert reached == set(PAGES)


def test_generated_documents_are_up_to_date() -> None:
    """Among them the tables of measurements, which say where they are older than the kernels of today."""
    for path, text in documents().items():
        assert path.read_text("utf-8") == text, f"{path.relative_to(ROOT)} is out of date: make docs"


def test_no_number_is_measured_by_hand() -> None:
    """Speeds, shares and sizes come from benchmarks/results, so they stand only in what is generated."""
    for name, text in PAGES.items():
        if name == "checkpoints.md" or name.endswith("-mini/README.md"):  # generated, all of it
            continue
        typed = GENERATED.sub("", text)
        assert not re.findall(r"\d+(?:\.\d+)? ?(?:%|×(?! \d)|x faster|ms\b|it/s|[kMG]B\b|GFLOP)", typed), name


def test_the_readme_is_one_page() -> None:
    """Short, install early, and plain about the weights."""
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 130
    assert lines.index("## Install") < 20
    assert any("weights are seeded" in line for line in lines[:20])
