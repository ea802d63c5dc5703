"""What is said of equality: with the originals (`parity.py`), of every way of encoding (`exact.py`), of float64
(`canonical.py`), and of exported files (`export.py`)."""

from __future__ import annotations

import math

from report_tables import Row, Rows, labelled, measured_on, missing, notice, older, results, table, where

MOST_COST = 2.5  # times float32's time, which float64 is to take at most
EXACT = ("exact", "exact-zen3", "exact-amx")
BESIDE_FLOAT64 = {  # which codes are held against those of float64; the first three in float32
    "native": "anytok", "original": "original", "onnx": "ONNX Runtime", "mixed": "anytok, mixed",
    "bfloat16": "anytok, bfloat16", "onnx float16": "ONNX Runtime, float16",
}  # fmt: skip


def headline() -> str:
    """The number that matters: how many codes were compared with the originals', and how many were equal."""
    measured = results("parity")
    if measured is None:
        return missing("Equality with the original packages at published sizes", "parity")
    rows = _compared(measured)
    by_float64 = all("float64" in row for row in rows)
    each: dict[tuple[str, str], Row] = {}  # once; where there are two originals, by the one that says less for us
    for row in sorted(rows, key=lambda row: -(row["float64"]["original"]["wrong"] if by_float64 else row["equal"])):
        each[row["tokenizer"], row["file"]] = row
    codes, equal = _codes(list(each.values()))
    claim = f"**{equal:,} of {codes:,} codes equal the original packages'**, in float32,"
    if by_float64:
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
    """Agreement with each original, a row a tokenizer and package; then who gives the codes of float64."""
    measured = results("parity")
    if measured is None:
        return missing("Equality with the original packages", "parity")
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in _compared(measured):
        groups.setdefault((row["tokenizer"], row["original"]), []).append(row)
    rows: Rows = []
    exact: Rows = []
    for (name, original), members in groups.items():
        codes, equal = _codes(members)
        use = min(row["least_use"] for row in members)
        error = max(row["decode_error"] for row in members)
        share = "all" if equal == codes else f"all but {codes - equal:,}"
        label = labelled(measured, members, f"`{name}`")
        rows.append((label, original, str(len(members)), f"{codes:,}", share, f"{use:.0%}", f"{error:.0e}"))
        exact.append((label, original, f"{codes:,}", *(_beside_float64(members, which) for which in BESIDE_FLOAT64)))
    parts = [table(("tokenizer", "original", "clips", "codes", "equal", "least codebook use", "decode error"), rows)]
    if any("float64" in row for row in _compared(measured)):
        parts += ["Codes that are not those of float64:"]
        parts += [table(("tokenizer", "original", "codes", *BESIDE_FLOAT64.values()), exact)]
    return notice(measured) + "\n\n".join([*parts, measured_on(measured)])


def _beside_float64(rows: list[Row], which: str) -> str:
    """How many codes are not those of float64; in how many frames, and the margins of float64 where such a frame first
    differs: the later layers follow from it."""
    found = [row["float64"][which] for row in rows if which in row.get("float64", {})]
    if len(found) < len(rows):
        return "-"
    wrong, codes = sum(one["wrong"] for one in found), sum(row["codes"] for row in rows)
    if not wrong:
        return "0"
    share = f"{wrong:,}" if wrong < codes / 100 else f"{wrong / codes:.1%}"
    frames = sum(one["first"] for one in found)
    largest = max(one.get("largest", max(one.get("margins", []), default=0.0)) for one in found)
    return f"{share}, from {frames:,} frame{'s' * (frames > 1)} with margins up to {largest:.0e}"


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


def float64_cost() -> str:
    """Time and memory of float64 beside those of float32, a row a tokenizer and way."""
    measured = _part("cost")
    if measured is None:
        return missing("The cost of float64", "canonical", "--parts cost")
    rows: Rows = []
    over = []
    for row in measured["rows"]:
        for way in ("encode", "decode"):
            if way not in row:
                continue
            plain, exact = row[way]["float32"], row[way]["float64"]
            ratio = exact["median_s"] / plain["median_s"]
            if ratio > MOST_COST:
                over.append(f"`{row['tokenizer']}` {way}")
            times = (f"{one['median_s']:.2f} s ({one['least_s']:.2f} to {one['most_s']:.2f})" for one in (plain, exact))
            memory = (f"{row['peak_mb'][dtype]:,} MB" for dtype in ("float32", "float64"))
            label = labelled(measured, [row], f"`{row['tokenizer']}`")
            rows.append((label, f"{way}, {row['item']}", *times, f"{ratio:.2f} ×", *memory))
    head = ("tokenizer", "", "float32", "float64", "ratio", "memory, float32", "memory, float64")
    missed = "missed by all" if len(over) == len(rows) else f"missed in {', '.join(over)}"
    aim = f"The aim, {MOST_COST} times float32's time at most, is {missed if over else 'kept'}."
    threads = " and ".join(map(str, sorted({row["threads"] for row in measured["rows"]})))
    return f"{notice(measured)}{table(head, rows)}\n\n{aim} {measured_on(measured)} {threads} threads."


def float64_codes() -> str:
    """Codes in float64 beside those of the original modules in float64, and how small margins are."""
    measured = _part("codes")
    if measured is None:
        return missing("A million codes in float64", "canonical", "--parts codes")
    rows: Rows = []
    for row in measured["rows"]:
        below = row["below"].get("1e-05")
        rows.append((
            labelled(measured, [row], f"`{row['tokenizer']}`"), f"{row['codes']:,}", f"{row['original_differs']:,}",
            f"{row['float32_differs']:,}", f"{row['latent_error']['largest']:.0e}", f"{row['least_margin']:.0e}",
            *(f"{below[which]:.2%}" if below else "" for which in ("codes", "stretches")),
        ))  # fmt: skip
    head = (
        "tokenizer", "codes", "the original's differ", "float32's differ", "largest error of float32 latents",
        "least margin", "codes with margins below 1e-5", "ten-second stretches with such a code",
    )  # fmt: skip
    return f"{notice(measured)}{table(head, rows)}\n\n{measured_on(measured)}"


def export() -> str:
    """Exported files in ONNX Runtime beside the tokenizers in float32, a row a tokenizer and dtype."""
    measured = results("export")
    if measured is None:
        return missing("Exported files", "export")
    rows: Rows = [
        (
            labelled(measured, [row], f"`{row['tokenizer']}`"),
            row["dtype"],
            f"{row['file_mb']:,} MB",
            f"{len(row['items'])}",
            f"{row['codes']:,}",
            "all" if row["equal"] == row["codes"] else f"all but {row['codes'] - row['equal']:,} ({_share(row)})",
            _first_differences(row),
            f"{row['decode_error']:.0e}",
        )
        for row in measured["rows"]
    ]
    head = ("tokenizer", "dtype", "files", "items", "codes", "equal", "frames that differ", "decode error")
    return f"{notice(measured)}{table(head, rows)}\n\n{measured_on(measured)}"


def _share(row: Row) -> str:
    """The share of equal codes, never rounded up to all of them."""
    share = math.floor(10000 * row["equal"] / row["codes"]) / 100
    return f"{share:.2f}% equal"


def _first_differences(row: Row) -> str:
    """How many frames differ, and the margins where they first do: one by one where they are few."""
    if not row["first"]:
        return "0"
    margins = sorted(margin for item in row["items"] for margin in item.get("margins", []))
    if row["first"] <= 10:
        return f"{row['first']} (margins {', '.join(f'{margin:.0e}' for margin in margins)})"
    return f"{row['first']:,} (margins up to {row['largest_margin']:.0e})"


def _part(part: str) -> Row | None:
    """The rows of one part of `canonical.py`; None where there are none."""
    measured = results("canonical")
    rows = [row for row in measured["rows"] if row["part"] == part] if measured else []
    return measured | {"rows": rows} if measured and rows else None


def _compared(measured: Row) -> list[Row]:
    """The rows of the real comparison, without the models that are wrong on purpose."""
    return [row for row in measured["rows"] if not row.get("control")]


def _codes(rows: list[Row]) -> tuple[int, int]:
    """Codes compared, and equal ones among them."""
    return sum(row["codes"] for row in rows), sum(round(row["codes"] * row["equal"]) for row in rows)
