"""What is said of equality: with the originals (`parity.py`), and of every way of encoding (`exact.py`)."""

from __future__ import annotations

from report_tables import Row, Rows, labelled, measured_on, missing, notice, older, results, table, where

EXACT = ("exact", "exact-zen3", "exact-amx")
PRECISIONS = ("native", "original", "mixed", "bfloat16")  # native and original in float32


def headline() -> str:
    """The number that matters: how many codes were compared with the originals', and how many were equal."""
    measured = results("parity")
    if measured is None:
        return missing("Equality with the original packages at published sizes", "parity")
    each: dict[tuple[str, str], Row] = {}  # once, and by the original that agrees least, where there are two
    for row in sorted(_compared(measured), key=lambda row: -row["equal"]):
        each[row["tokenizer"], row["file"]] = row
    codes, equal = _codes(list(each.values()))
    claim = f"**{equal:,} of {codes:,} codes equal the original packages'**, in float32,"
    if all("float64" in row for row in each.values()):
        ours, theirs = (codes - _wrong(list(each.values()), which) for which in ("native", "original"))
        claim = f"**{ours:,} of {codes:,} codes are those of float64; the original packages': {theirs:,}**, in float32,"
    names, files = {name for name, _ in each}, {file for _, file in each}
    drawn = sum(file.startswith(("synthetic-", "drawn-")) for file in files)
    what = "real files" if not drawn else f"files, {drawn} of them synthetic"
    return " ".join([
        f"{claim} over {len(files)} {what} and {len(names)} tokenizers of the published sizes.",
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
    columns = PRECISIONS if any("float64" in row for row in _compared(measured)) else ()
    for (name, original), members in groups.items():
        codes, equal = _codes(members)
        use = min(row["least_use"] for row in members)
        error = max(row["decode_error"] for row in members)
        share = "all" if equal == codes else f"all but {codes - equal:,}"
        label = labelled(measured, members, f"`{name}`")
        row = (label, original, str(len(members)), f"{codes:,}", share, f"{use:.0%}", f"{error:.0e}")
        rows.append((*row, *(_beside_float64(members, which) for which in columns)))
    head = ("tokenizer", "original", "clips", "codes", "equal", "least codebook use", "decode error")
    wrong = tuple(f"not float64's: {which}" for which in columns)
    return f"{notice(measured)}{table((*head, *wrong), rows)}\n\n{measured_on(measured)}"


def _beside_float64(rows: list[Row], which: str) -> str:
    """How many codes are not those of float64, and the largest margin at the first difference of a frame."""
    found = [row["float64"][which] for row in rows if which in row.get("float64", {})]
    if len(found) < len(rows):
        return "-"
    margins = [margin for one in found for margin in (one.get("margins") or [one.get("largest", 0.0)])]
    wrong, codes = sum(one["wrong"] for one in found), sum(row["codes"] for row in rows)
    share = f"{wrong:,}" if wrong < codes / 100 else f"{wrong / codes:.1%}"
    return share if not margins or not wrong else f"{share} (margins up to {max(margins):.0e})"


def _wrong(rows: list[Row], which: str) -> int:
    """Codes that are not those of float64."""
    return sum(row["float64"][which]["wrong"] for row in rows)


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
