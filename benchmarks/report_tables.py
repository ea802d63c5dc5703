"""What the tables of all documents share: Markdown, the files of results, and whether a result is older than today's
kernels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from machine import Row, kernel_sources, provenance, where

RESULTS = Path(__file__).parent / "results"

Rows = list[tuple[str, ...]]

today = cache(kernel_sources)


def table(head: tuple[str, ...], rows: Rows) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def results(name: str) -> Row | None:
    """A measurement, or None where it has not been made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def missing(what: str, script: str, options: str = "") -> str:
    """What stands in the place of a table that nobody has measured."""
    return f"*{what}: not measured yet (`{f'python benchmarks/{script}.py {options}'.rstrip()}`).*"


def is_older(measured: Row, row: Row) -> bool:
    """Whether a row was measured with other kernel sources than today's, or nobody noted with which."""
    return provenance(measured["machine"], row)["kernel_sources"] != today()


def older(measured: Row) -> str:
    """A sentence that says which rows are older than today's kernels; "" where none is."""
    rows = measured["rows"]
    before = [row for row in rows if is_older(measured, row)]
    if not before:
        return ""
    commits = ", ".join(dict.fromkeys(f"`{provenance(measured['machine'], row)['commit']}`" for row in before))
    which = "Measured" if len(before) == len(rows) else "Rows marked (older) were measured"
    return f"{which} at {commits}, before the kernels of today."


def notice(measured: Row) -> str:
    """The same, as what a table begins with."""
    sentence = older(measured)
    return f"> **Older:** {sentence}\n\n" if sentence else ""


def labelled(measured: Row, rows: Iterable[Row], label: str) -> str:
    """A line's label, marked where one of its rows is older than today's kernels and others of the table are not."""
    mixed = len({is_older(measured, row) for row in measured["rows"]}) > 1
    return f"{label} (older)" if mixed and any(is_older(measured, row) for row in rows) else label


def measured_on(measured: Row) -> str:
    """The machine, the versions and the commits of a measurement, with its notes."""
    machine = measured["machine"]
    found = [provenance(machine, row) for row in measured["rows"]]
    commits = dict.fromkeys(one["commit"] for one in found)
    torches = dict.fromkeys(one["torch"] for one in found if one["torch"])
    others = {name: version for name, version in machine["versions"].items() if name != "torch"}
    versions = ", ".join([*(f"torch {version}" for version in torches), *(" ".join(one) for one in others.items())])
    made = f"commit{'s' if len(commits) > 1 else ''} {', '.join(f'`{commit}`' for commit in commits)}"
    said = [f"Measured on {where(machine)}; {versions}; {made}. Weights are seeded, in the published forms."]
    return " ".join([*said, *measured.get("notes", [])])
