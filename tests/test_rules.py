"""The rules of the house that a machine can check: who imports whom, who prints, who unpickles, how long is long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from house_rules import FILES, HERE, RANK, ROOT, chain, circles, imports, module_of, part_of, tree

# Packages that only some places may import (a place is a prefix of the module's name without "anytok.").
ONLY_IN = {
    "encodec": ("engines.reference",),
    "speechtokenizer": ("engines.reference",),
    "torchaudio": (),
    "torchvision": (),
    "torchcodec": (),
    "audiocraft": (),
    "ray": ("jobs.",),
    "pyarrow": ("jobs.",),
    "datasets": ("jobs.",),
    "matplotlib": ("jobs.", "training.", "metrics.", "demo."),
    "webdataset": (),
    "mem0": ("memory.backend",),
    "qdrant_client": (),
    "pickle": (),
    "pydantic": ("records",),
}
# … and some places that may not import some packages.
NEVER = {
    "arguments": ("numpy", "torch"),
    "vocab": ("torch", "PIL", "soundfile"),
    "errors": ("numpy", "torch"),
    "spec": ("torch",),
    "registry": (),
}

MAX_LINES = 310  # a longer file is two ideas
MAX_FUNCTION = 50


def walk(*kinds: type[ast.AST]) -> Iterator[tuple[str, str, Any]]:
    """(module, "file:line", node) for every node of these kinds in the package."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, kinds):
                yield module_of(path), f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


def test_imports_point_left() -> None:
    offences = []
    for path in FILES:
        module, me = module_of(path), part_of(module_of(path))
        if module in ("", "engines"):  # the package's front door names everything, lazily; `engines` holds nothing
            continue
        assert me, f"{path.name}: a new part; give it its place in RANK"
        for name, line in imports(path):
            other = part_of(name.removeprefix("anytok."))
            known = other == me or (other in RANK and RANK[other] < RANK[me])
            if name.startswith("anytok.") and name != "anytok.__version__" and not known:
                offences.append(f"{module}:{line} imports {name}")
    assert not offences


def test_nothing_imports_in_a_circle() -> None:
    """One that is hidden inside functions is one, too: neither file can be read, or tested, without the other."""
    package = {f"anytok.{module_of(path)}".removesuffix("."): path for path in FILES}
    scripts = {path.stem: path for path in (HERE / "benchmarks").glob("*.py")}
    assert not circles(package) + circles(scripts)


def test_a_circle_inside_functions_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    if f:\n        import b\n")
    (tmp_path / "b.py").write_text("from c import x\n")
    (tmp_path / "c.py").write_text("class C:\n    def f(self):\n        from a import f\n")
    (tmp_path / "d.py").write_text("import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import e\n")
    (tmp_path / "e.py").write_text("import d\n")
    assert circles({path.stem: path for path in tmp_path.iterdir()}) == [frozenset("abc")]


def test_the_chain_of_imports_names_every_part() -> None:
    parts = {part_of(module_of(path)) for path in FILES} - {"", "__main__"}
    assert parts == set(chain().replace("{", " ").replace("}", " ").replace("→", " ").replace("·", " ").split())
    assert chain().startswith("{ atomic · drawing · errors · openmp · torch_settings } → arguments → { progress · ")


def test_packages_stay_in_their_places() -> None:
    offences = []
    for path in FILES:
        module = module_of(path)
        for name, line in imports(path):
            package = name.partition(".")[0]
            if package in ONLY_IN and not module.startswith(ONLY_IN[package] or "nowhere"):
                offences.append(f"{module}:{line} imports {package}, which belongs to {ONLY_IN[package]}")
            if package in NEVER.get(part_of(module), ()):
                offences.append(f"{module}:{line} imports {package}, which {part_of(module)} does without")
    assert not offences


def test_only_the_command_line_prints() -> None:
    calls = [(module, place) for module, place, node in walk(ast.Call) if called(node) == "print"]
    assert not [place for module, place in calls if part_of(module) != "cli"]


def test_nothing_from_outside_is_run() -> None:
    offences = []
    for module, place, node in walk(ast.Call, ast.keyword):
        if called(node) in ("torch.load", "torch.hub.load"):
            # Training reads back its own half-way states; everything that comes from outside goes one way.
            safe = any(key.arg == "weights_only" and ast.unparse(key.value) == "True" for key in node.keywords)
            if module not in ("checkpoints.read", "training.loop") or not safe:
                offences.append(f"{place}: read torch files through checkpoints.read")
        if called(node) in ("eval", "exec", "os.system"):
            offences.append(f"{place}: {called(node)}")
        risky = isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle", "shell")
        if risky and ast.unparse(node.value) != "False":
            offences.append(f"{place}: {node.arg}")
    assert not offences


def test_files_and_functions_are_short() -> None:
    files = {path.name: path.read_text("utf-8").count("\n") for path in FILES}
    functions = {
        f"{place} {node.name}": (node.end_lineno or 0) - node.lineno + 1 for _, place, node in walk(ast.FunctionDef)
    }
    assert not {name: lines for name, lines in files.items() if lines > MAX_LINES}, "two ideas in one file?"
    assert not {name: lines for name, lines in functions.items() if lines > MAX_FUNCTION}


def test_names_say_what_a_thing_is() -> None:
    names = [*(path.stem for path in FILES), *(node.name for _, _, node in walk(ast.ClassDef))]
    words = ("util", "manager", "helper", "misc", "process", "common")
    theirs = ("processor", "Processor")  # transformers' word for what goes between media and a model
    assert not [name for name in names if name not in theirs and any(word in name.lower() for word in words)]


def test_every_file_says_what_it_is_for() -> None:
    for path in FILES:
        body = tree(path)
        if not body.body:
            continue
        assert ast.get_docstring(body), f"{path} has no docstring"
        rest = [node for node in body.body[1:] if not (isinstance(node, ast.ImportFrom) and node.level == 1)]
        assert not rest or ast.unparse(rest[0]) == "from __future__ import annotations", f"{path}"


def test_public_functions_are_typed() -> None:
    offences = []
    nested = {id(inner) for _, _, outer in walk(ast.FunctionDef) for inner in ast.walk(outer) if inner is not outer}
    for _, place, node in walk(ast.FunctionDef):
        if id(node) in nested:
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        untyped = [item.arg for item in arguments if item.annotation is None and item.arg not in ("self", "cls")]
        if not node.name.startswith("_") and (node.returns is None or untyped):
            offences.append(f"{place} {node.name} {untyped}")
    assert not offences


def called(node: ast.AST) -> str:
    """What a call calls, as written; "" for other nodes."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""
