"""Write what is generated: checkpoints.md, and the blocks of README.md between `<!-- begin: … -->` marks.

    python benchmarks/report.py           # writes
    python benchmarks/report.py --check   # says what is out of date, and exits 1

The tables come from the registry, the cards of weights, the command line and `benchmarks/results/*.json`, so no
number in them is typed by hand. A test compares, so a stale document fails.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from anytok.checkpoints.cards import CARDS, Card, RemoteFile
from anytok.cli import build_parser
from anytok.registry import find, list_tokenizers
from anytok.spec import Spec

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

Rows = list[tuple[str, ...]]


def table(head: tuple[str, ...], rows: Rows) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tokenizers() -> str:
    """The README's table of tokenizers, from the registry."""
    specs = [find(name).spec for name in list_tokenizers() if find(name).engines["native"].startswith("anytok.")]
    specs.sort(key=lambda spec: (spec.name not in CARDS, spec.modality, spec.name))
    origin = {True: "published", False: "ours, small"}
    rows: Rows = [
        (f"`{spec.name}`", spec.modality, _takes(spec), _gives(spec), origin[spec.name in CARDS]) for spec in specs
    ]
    return table(("name", "for", "takes", "gives", "weights"), rows)


def commands() -> str:
    """The README's table of commands, from the parser."""
    return table(("command", "what it does"), _commands(build_parser(), "anytok"))


def _commands(parser: argparse.ArgumentParser, name: str) -> Rows:
    """A row a command, those below it included."""
    rows: Rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                called = f"{name} {choice.dest}"
                rows += [(f"`{called}`", str(choice.help)), *_commands(action.choices[choice.dest], called)]
    return rows


def checkpoints() -> str:
    """checkpoints.md, from the cards."""
    return "\n".join([_CHECKPOINTS_HEAD, *(_card(card) for card in CARDS.values())])


def _takes(spec: Spec) -> str:
    if spec.modality == "image":
        return f"{spec.image_size} × {spec.image_size} pixels"
    return f"{spec.sample_rate} Hz {'stereo' if spec.channels == 2 else 'mono'}"


def _gives(spec: Spec) -> str:
    length = f"{spec.num_frames}" if spec.num_frames else f"{spec.frame_rate} a second"
    return f"{spec.num_codebooks} × {length}, {spec.codebook_size} codes"


_CHECKPOINTS_HEAD = """<!-- Generated from anytok/checkpoints/cards.py: change the cards, then `make docs`. -->
# Published weights

`anytok fetch NAME` downloads what a tokenizer needs, checks it where its SHA-256 is known, and prints the folder;
`load_tokenizer(NAME)` does the same on first use. With `checkpoint=FOLDER` (`--checkpoint FOLDER`) nothing is
downloaded: put the files there under the names below. `anytok fetch NAME --to FOLDER` fills such a folder.

Weights are data here: safetensors, or torch files read by the weights-only loader, never a pickle that could run code.
"""


def _card(card: Card) -> str:
    rows = [(f"`{file.name}`", _origin(file), file.holds, file.size, _note(file)) for file in card.files]
    parts = [f"## {card.tokenizer}", table(("file", "from", "holds", "size", ""), rows), f"Licence: {card.licence}."]
    if card.note:
        parts.append(card.note)
    for repo, others in card.mirrors.items():
        tried = ", then ".join(f"`{other}`" for other in others)
        parts.append(f"If `{repo}` has moved: {tried} is tried next. After that, put the files into a folder yourself.")
    return "\n\n".join(parts) + "\n"


def _origin(file: RemoteFile) -> str:
    if not file.repo:
        return file.url
    return f"`{file.repo}`" + (f", as `{file.path}`" if file.path else "")


def _note(file: RemoteFile) -> str:
    notes = ["optional"] if file.optional else []
    if file.sha256:
        notes.append(f"SHA-256 `{file.sha256[:12]}…`")
    return ", ".join(notes)


def results(name: str) -> dict | None:
    """A measurement, or None where it has not been made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def headline() -> str:
    """The number that matters: how many codes were compared with the originals', and how many were equal."""
    measured = results("parity")
    if measured is None:
        return "*Equality with the original packages at published sizes: not measured yet (`benchmarks/parity.py`).*"
    each: dict[tuple[str, str], dict] = {}  # once, and by the original that agrees least, where there are two
    for row in sorted(_compared(measured), key=lambda row: -row["equal"]):
        each[row["tokenizer"], row["file"]] = row
    codes, equal = _codes(list(each.values()))
    names, files = {name for name, _ in each}, {file for _, file in each}
    drawn = sum(file.startswith(("synthetic-", "drawn-")) for file in files)
    what = "real files" if not drawn else f"files, {drawn} of them synthetic"
    return (
        f"**{equal:,} of {codes:,} codes equal the original packages'**: float32, published sizes, {len(files)} "
        f"{what}, tokenizers: {', '.join(sorted(names))} (`benchmarks/parity.py`)."
    )


def parity() -> str:
    """Agreement with each original, a row a tokenizer and package."""
    measured = results("parity")
    if measured is None:
        return "*Not measured yet: `python benchmarks/parity.py` writes the table that belongs here.*"
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in _compared(measured):
        groups.setdefault((row["tokenizer"], row["original"]), []).append(row)
    rows = []
    for (name, original), members in groups.items():
        codes, equal = _codes(members)
        use = min(row["least_use"] for row in members)
        error = max(row["decode_error"] for row in members)
        share = "all" if equal == codes else f"all but {codes - equal:,}"
        rows.append((f"`{name}`", original, str(len(members)), f"{codes:,}", share, f"{use:.0%}", f"{error:.0e}"))
    head = ("tokenizer", "original", "clips", "codes", "equal", "least codebook use", "decode error")
    return f"{table(head, rows)}\n\n{measured_on(measured)}"


def speed() -> str:
    """How much faster than the originals, a row a tokenizer and way; the GPU's tables where there is one."""
    from report_gpu import gpu_tables

    missing = "*{}: not measured yet (`benchmarks/speed.py` on such a machine).*"
    made = {
        "CPU": ("speed", _cpu_table),
        "CPU with AMX": ("speed-amx", _with_matrix_units),
        "GPU": ("speed-cuda", gpu_tables),
    }
    found = {name: (results(file), tables) for name, (file, tables) in made.items()}
    return "\n\n".join(tables(one) if one else missing.format(name) for name, (one, tables) in found.items())


def _with_matrix_units(measured: dict) -> str:
    return f"On a CPU with matrix units (AMX), which multiply bfloat16:\n\n{_cpu_table(measured)}"


def _cpu_table(measured: dict) -> str:
    groups: dict[tuple[str, str], dict[str, dict]] = {}
    for row in measured["rows"]:
        groups.setdefault((row["tokenizer"], row["way"]), {})[row["engine"]] = row
    rows: Rows = [
        (f"`{tokenizer}`", way, f"{engines['original']['median_s'] * 1000:.0f} ms", *_speeds(engines))
        for (tokenizer, way), engines in groups.items()
    ]
    head = ("tokenizer", "", "original", "alone", "in a batch", "bfloat16, alone", "in a batch", "its equal codes")
    return f"{table(head, rows)}\n\n{measured_on(measured)} {measured['threads']} threads. {_equal(groups)}"


def _equal(groups: dict[tuple[str, str], dict[str, dict]]) -> str:
    """How many codes are equal to the original's in float32."""
    shares = {name: min(engines["native float32"].get("equal", [1])) for (name, way), engines in groups.items()
              if way == "encode"}  # fmt: skip
    less = [f"`{name}` ({share:.2%})" for name, share in shares.items() if share < 1]
    return "In float32 all codes are equal" + (f" but in the worst codebook of {', '.join(less)}." if less else ".")


def _speeds(engines: dict[str, dict]) -> tuple[str, ...]:
    """Ratios to the original, alone and in a batch: of float32 and of bfloat16; and its worst layer's agreement."""

    def one(kind: str, batch: bool) -> dict:
        found = [row for name, row in engines.items() if name.startswith(f"native {kind}")]
        return next(row for row in found if (row["items"] > 1) == batch and "layer 1" not in row["engine"])

    shown = [one(kind, batch) for kind in ("float32", "bfloat16") for batch in (False, True)]
    equal = f"{min(shown[-1]['equal']):.1%}" if "equal" in shown[-1] else ""
    return (*(f"{row['ratio']:.2f} ×" for row in shown), equal)


def _compared(measured: dict) -> list[dict]:
    """The rows of the real comparison, without the models that are wrong on purpose."""
    return [row for row in measured["rows"] if not row.get("control")]


def _codes(rows: list[dict]) -> tuple[int, int]:
    """Codes compared, and equal ones among them."""
    return sum(row["codes"] for row in rows), sum(round(row["codes"] * row["equal"]) for row in rows)


def measured_on(measured: dict) -> str:
    machine = measured["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = machine.get("gpu") or f"{machine['processor']}, {machine['cores']} cores"
    commits = dict.fromkeys(row.get("commit", machine["commit"]) for row in measured["rows"])
    made = f"commit{'s' if len(commits) > 1 else ''} {', '.join(f'`{commit}`' for commit in commits)}"
    said = [f"Measured on {where}; {versions}; {made}. Weights are seeded, in the published forms."]
    return " ".join([*said, *measured.get("notes", [])])


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "headline": headline,
    "parity": parity,
    "speed": speed,
    "tokenizers": tokenizers,
}


def filled(readme: str) -> str:
    """The README with every generated block made anew; raises KeyError on a block of an unknown name."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- begin: {match[1]} -->\n{BLOCKS[match[1]]()}\n<!-- end: {match[1]} -->"

    return re.sub(r"<!-- begin: ([\w-]+) -->\n.*?<!-- end: \1 -->", fill, readme, flags=re.DOTALL)


def documents() -> dict[Path, str]:
    """Every generated document, as it should be."""
    readme = ROOT / "README.md"
    return {ROOT / "checkpoints.md": checkpoints(), readme: filled(readme.read_text("utf-8"))}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write checkpoints.md and the README's tables.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.name} is out of date: make docs" if check else f"wrote {path.name}")
        if not check:
            path.write_text(documents()[path], "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
