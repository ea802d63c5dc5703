"""What is said of equality: with the originals (`parity.py`), and of every way of encoding (`exact.py`)."""

from __future__ import annotations

from report_tables import Row, Rows, labelled, measured_on, missing, notice, older, results, table, where

EXACT = ("exact", "exact-zen3", "exact-amx")


def headline() -> str:
    """The number that matters: how many codes were compared with the originals', and how many were equal."""
    measured = results("parity")
    if measured is None:
        return missing("Equality with the original packages at published sizes", "parity")
    each: dict[tuple[str, str], Row] = {}  # once, and by the original that agrees least, where there are two
    for row in sorted(_compared(measured), key=lambda row: -row["equal"]):
        each[row["tokenizer"], row["file"]] = row
    codes, equal = _codes(list(each.values()))
    names, files = {name for name, _ in each}, {file for _, file in each}
    drawn = sum(file.startswith(("synthetic-", "drawn-")) for file in files)
    what = "real files" if not drawn else f"files, {drawn} of them synthetic"
    return " ".join([
        f"**{equal:,} of {codes:,} codes equal the original packages'**, in float32, over {len(files)} {what} and "
        f"{len(names)} tokenizers of the published sizes.",
        "**The weights are seeded:** the published ones could not be fetched where this was measured.",
        older(measured),
    ]).strip()  # fmt: skip


def parity() -> str:
    """Agreement with each original, a row a tokenizer and package."""
    measured = results("parity")
    if measured is None:
        return missing("Equality with the original packages", "parity")
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in _compared(measured):
        groups.setdefault((row["tokenizer"], row["original"]), []).append(row)
    rows: Rows = []
    for (name, original), members in groups.items():
        codes, equal = _codes(members)
        use = min(row["least_use"] for row in members)
        error = max(row["decode_error"] for row in members)
        share = "all" if equal == codes else f"all but {codes - equal:,}"
        label = labelled(measured, members, f"`{name}`")
        rows.append((label, original, str(len(members)), f"{codes:,}", share, f"{use:.0%}", f"{error:.0e}"))
    head = ("tokenizer", "original", "clips", "codes", "equal", "least codebook use", "decode error")
    return f"{notice(measured)}{table(head, rows)}\n\n{measured_on(measured)}"


def exact() -> str:
    """Equality of every way of encoding the same clips, a row a CPU."""
    rows: Rows = []
    for name in EXACT:
        if measured := results(name):
            found = measured["rows"]
            ways = [count for row in found for count in row["differences"].values()]
            ways += [count for row in found for count in row.get("wave_differences", {}).values()]
            unlike = sum(row["codes_unlike_the_originals"] for row in found)
            unexplained = sum(row["unexplained"] for row in found)
            rows.append((
                f"[{name}](results/{name}.json), {where(measured['machine'])}",
                ", ".join(f"`{row['tokenizer']}`" for row in found), f"{sum(row['codes'] for row in found):,}",
                str(sum(ways)), f"{unlike:,} ({unexplained} unexplained)", older(measured) or "today's kernels",
            ))  # fmt: skip
    if not rows:
        return missing("Equality of all ways of encoding", "exact")
    head = ("results", "tokenizers", "codes", "differences between ways", "unlike the original's", "")
    return table(head, rows)


def _compared(measured: Row) -> list[Row]:
    """The rows of the real comparison, without the models that are wrong on purpose."""
    return [row for row in measured["rows"] if not row.get("control")]


def _codes(rows: list[Row]) -> tuple[int, int]:
    """Codes compared, and equal ones among them."""
    return sum(row["codes"] for row in rows), sum(round(row["codes"] * row["equal"]) for row in rows)
