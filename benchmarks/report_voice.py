"""What is said of SoundStorm at its published size: exactness, batches, speed and memory."""

from __future__ import annotations

from collections.abc import Callable

from report_tables import Row, Rows, labelled, measured_on, missing, notice, results, table
from soundstorm import ORIGINAL

RATE = 50  # frames a second
AIM = 1.25  # times as fast as the original's way, in float32


def soundstorm() -> str:
    """A sentence or a table for each part of `benchmarks/soundstorm.py`; one that nobody has measured is missing."""
    measured = results("soundstorm")
    if measured is None:
        return missing("SoundStorm", "soundstorm")
    said = []
    for part, told in _PARTS.items():
        rows = [row for row in measured["rows"] if row["part"] == part]
        said.append(told(measured, rows) if rows else missing(part, "soundstorm", f"--parts {part}"))
    return notice(measured) + "\n\n".join([*said, measured_on(measured)])


def _exact(measured: Row, rows: list[Row]) -> str:
    row = rows[0]
    named = (f"{frames} frames" + f" with a prompt of {prompt}" * bool(prompt) for frames, prompt in row["clips"])
    margins = ", ".join(f"{margin:.0e}" for margin in row["margins"])
    apart = f" where the twin prefers its own choice by {margins} of a logit" if row["margins"] else ""
    return (
        f"**Exactness:** beside a plain twin in float64, asked the same at each pass, {row['differing']} of "
        f"{row['choices']:,} choices differ{apart}; logits are at most {row['logits_apart']:.0e} apart. Clips of "
        f"{' and '.join(named)}."
    )


def _batch(measured: Row, rows: list[Row]) -> str:
    each = "; ".join(f"{row['different']} of {row['codes']:,} codes in {row['dtype']}" for row in rows)
    longest = max(row["longest"] for row in rows) // RATE
    clips = ", ".join(str(row["clips"]) for row in rows)
    return (
        f"**Batches:** {clips} clips of one frame to {longest} seconds, half of them with prompts of up to three "
        f"seconds, together and one by one: {each} differ."
    )


def _speed(measured: Row, rows: list[Row]) -> str:
    shown: Rows = []
    missed = []
    for row in sorted(rows, key=lambda row: (row["what"] != "pass", row["way"] != ORIGINAL)):
        label = labelled(measured, [row], "one pass" if row["what"] == "pass" else "all passes")
        way = row["way"] if row["clips"] == 1 else f"{row['way']}, {row['clips']} clips together"
        times = (row[key] / row["clips"] for key in ("median_s", "least_s", "most_s"))
        shown.append(
            (label, way, str(row["rounds"]), "{:.1f} s ({:.1f} to {:.1f})".format(*times), f"{row['ratio']:.2f} ×")
        )
        if row["way"] == "float32" and row["ratio"] < AIM:
            missed.append(f"{label}, {way}")
    seconds = {row["frames"] / RATE for row in rows}
    threads = {row["threads"] for row in rows}
    note = (
        f"Seconds a clip with its prompt, {', '.join(f'{one:g} s' for one in seconds)} of sound together; "
        f"{', '.join(map(str, threads))} threads. The aim in float32, {AIM:.2f} ×, is "
        + (f"missed ({'; '.join(missed)})." if missed else "kept.")
    )
    return f"{table(('', '', 'rounds', 'median (least to most)', 'speed'), shown)}\n\n{note}"


def _memory(measured: Row, rows: list[Row]) -> str:
    return (
        f"**Memory:** loaded it takes {rows[0]['loaded_mb']:,.0f} MB, of which {rows[0]['weights_mb']:,.0f} MB are "
        "weights."
    )


_PARTS: dict[str, Callable[[Row, list[Row]], str]] = {
    "exact": _exact, "batch": _batch, "speed": _speed, "memory": _memory,
}  # fmt: skip
