"""Write what is generated: checkpoints.md, the cards of the small models, and in every document the blocks between
`<!-- begin: … -->` marks.

    python benchmarks/report.py           # writes
    python benchmarks/report.py --check   # says what is out of date, and exits 1

The tables come from the catalogue, the cards of weights, the command line, the rule of imports and
`benchmarks/results/*.json`, so no number in them is typed by hand. Results that were measured with other kernel sources
than today's are marked as older. A test compares (tests/test_docs.py), so a stale document fails.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from model_cards import cards
from report_cache import cache, cache_stores
from report_cpu import busy, footprint, profile, speed_amx, speed_cpu, speed_in_short, speed_others
from report_exact import exact, export, float64_codes, float64_cost, headline, parity
from report_gpu import speed_gpu
from report_jobs import job_keys
from report_memory import memory
from report_others import compose, faults, job_costs, language_models, long, measurements, small_models
from report_peers import speed_peers
from report_tables import Rows, table
from report_voice import soundstorm

from anytok.catalogue import BUILT_IN
from anytok.checkpoints.cards import CARDS, Card, RemoteFile
from anytok.cli import build_parser
from anytok.spec import Spec

ROOT = Path(__file__).parent.parent
EXTRAS = {  # of pyproject.toml, each with what it is for
    "media": "m4a, mp4 and webm sound; HEIC pictures; the soxr resampler",
    "hf": "Hugging Face text tokenizers and language models",
    "ray": "dataset jobs on a Ray cluster",
    "memory": "a memory that keeps media as codes, on mem0",
    "export": "tokenizers as ONNX files",
    "eval": "STOI, a measure of how intelligible speech is",
    "lhotse": "lhotse, which reads what jobs write for it",
    "energon": "Megatron-Energon, which reads what jobs write as WebDataset",
    "reference": "the original packages, as a second engine to compare with",
    "test": "all of these, and the tools of the tests",
}
FOLDERS = ("anytok", "benchmarks", "configs", "tests")  # where documents are, besides the root


def tokenizers() -> str:
    """The table of tokenizers, from the catalogue."""
    specs = sorted((spec for spec, _ in BUILT_IN.values()), key=lambda s: (s.name not in CARDS, s.modality, s.name))
    origin = {True: "published, fetched once", False: "small, in the package"}
    rows: Rows = [
        (f"`{spec.name}`", spec.modality, _takes(spec), _gives(spec), origin[spec.name in CARDS]) for spec in specs
    ]
    return table(("name", "for", "takes", "gives", "weights"), rows)


def commands() -> str:
    """The table of commands, from the parser."""
    return table(("command", "what it does"), _commands(build_parser(), "anytok"))


def exit_codes() -> str:
    """The exit codes, from the help of the command line."""
    lines = [line.split(maxsplit=1) for line in (build_parser().epilog or "").splitlines()]
    return table(("code", "meaning"), [(code, meaning) for code, meaning in lines if code.isdecimal()])


def _commands(parser: argparse.ArgumentParser, name: str) -> Rows:
    """A row a command, those below it included."""
    rows: Rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                called = f"{name} {choice.dest}"
                rows += [(f"`{called}`", str(choice.help)), *_commands(action.choices[choice.dest], called)]
    return rows


def extras() -> str:
    """The optional dependencies; raises KeyError on one that nobody has described."""
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    return table(("extra", "for"), [(f"`{name}`", EXTRAS[name]) for name in optional])


def checkpoints() -> str:
    """checkpoints.md, from the cards."""
    return "\n".join([_CHECKPOINTS_HEAD, *(_card(card) for card in CARDS.values())])


def _takes(spec: Spec) -> str:
    if spec.modality == "image":
        return f"{spec.image_size} × {spec.image_size} pixels"
    return f"{spec.sample_rate:,} Hz, {'stereo' if spec.channels == 2 else 'mono'}"


def _gives(spec: Spec) -> str:
    if spec.num_frames:
        return f"{spec.num_frames} codes of {spec.codebook_size:,}"
    return f"{spec.frame_rate} frames a second, of {spec.num_codebooks} codes of {spec.codebook_size:,}"


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


def imports() -> str:
    """The order of imports, from the rule that tests it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from house_rules import chain

    return "```text\n{}\n```".format(chain().replace(" → ", "\n→ "))


BLOCKS: dict[str, Callable[[], str]] = {
    "cache": cache,
    "cache-stores": cache_stores,
    "commands": commands,
    "exact": exact,
    "exit-codes": exit_codes,
    "export": export,
    "extras": extras,
    "faults": faults,
    "float64-codes": float64_codes,
    "float64-cost": float64_cost,
    "footprint": footprint,
    "headline": headline,
    "imports": imports,
    "job-costs": job_costs,
    "job-keys": job_keys,
    "compose": compose,
    "language-models": language_models,
    "long": long,
    "measurements": measurements,
    "memory": memory,
    "busy": busy,
    "parity": parity,
    "profile": profile,
    "small-models": small_models,
    "soundstorm": soundstorm,
    "speed-amx": speed_amx,
    "speed-cpu": speed_cpu,
    "speed-gpu": speed_gpu,
    "speed-in-short": speed_in_short,
    "speed-others": speed_others,
    "speed-peers": speed_peers,
    "tokenizers": tokenizers,
}


def filled(text: str) -> str:
    """A document with every generated block made anew; raises KeyError on a block of an unknown name."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- begin: {match[1]} -->\n{BLOCKS[match[1]]()}\n<!-- end: {match[1]} -->"

    return re.sub(r"<!-- begin: ([\w-]+) -->\n.*?<!-- end: \1 -->", fill, text, flags=re.DOTALL)


def pages() -> list[Path]:
    """Every document of the tree, the README first."""
    return [ROOT / "README.md", ROOT / "checkpoints.md", *(path for name in FOLDERS for path in _below(ROOT / name))]


def _below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.md"))


def documents() -> dict[Path, str]:
    """Every document that is generated, whole or in part, as it should be."""
    made = {ROOT / "checkpoints.md": checkpoints(), **cards()}
    return {path: made.get(path) or filled(path.read_text("utf-8")) for path in pages()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write what is generated in the documents.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something is out of date")
    check = parser.parse_args().check
    stale = {path: text for path, text in documents().items() if path.read_text("utf-8") != text}
    for path, text in stale.items():
        name = path.relative_to(ROOT)
        print(f"{name} is out of date: make docs" if check else f"wrote {name}")
        if not check:
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
