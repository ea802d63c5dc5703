"""The table of what `speed.py --peers` measured: the native engine beside other ways to run a codec on a CPU."""

from __future__ import annotations

from report_cpu import clips_of
from report_tables import Row, Rows, labelled, measured_on, missing, notice, results, table

ENGINES = {
    "native float32": "anytok", "ONNX Runtime": "ONNX Runtime", "OpenVINO": "OpenVINO",
    "torch.compile": "original, `torch.compile`",
}  # fmt: skip
Pair = tuple[Row | None, Row | None]  # alone, and in a batch


def speed_peers() -> str:
    """The table, or what stands in its place where nothing has been measured."""
    measured = results("speed-peers")
    return missing("Other runtimes", "speed", "--peers") if measured is None else peers_table(measured)


def peers_table(measured: Row) -> str:
    """Three lines a tokenizer and way: a clip alone, one of a batch, and whether what comes out is the original's."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in measured["rows"]:
        groups.setdefault((row["tokenizer"], row["way"]), []).append(row)
    shown: Rows = []
    for (tokenizer, way), rows in groups.items():
        engines = {name: pair_of(rows, name) for name in ("original", *ENGINES)}
        base = engines["original"][0]
        assert base is not None
        spread = f"{base['median_s'] * 1000:.0f} ms ({base['least_s'] * 1000:.0f} to {base['most_s'] * 1000:.0f})"
        label = labelled(measured, rows, f"`{tokenizer}`")
        shown.append((label, way, "alone", spread, *(ratio(engines[name][0], base) for name in ENGINES)))
        batches = [ratio(engines[name][1], base) for name in ("original", *ENGINES)]
        shown.append(("", "", _batch(rows), *batches))
        shown.append(("", "", *_agreement(way, engines)))
    head = ("tokenizer", "", "", "original", *ENGINES.values())
    said = [
        "How many times as fast as the original alone, a clip: the median of the rounds, in brackets the slowest and "
        "the fastest. Equal codes are those of the worst codebook; errors are shares of the largest sample.",
        _ahead(groups), _left_out(measured["rows"]),
        f"{measured_on(measured)} {measured['threads']} threads; {clips_of(measured)}.",
    ]  # fmt: skip
    return f"{notice(measured)}{table(head, shown)}\n\n{' '.join(one for one in said if one)}"


def pair_of(rows: list[Row], engine: str) -> Pair:
    """The rows of an engine, alone and in a batch; None for what was left out."""
    found = [row for row in rows if row["engine"].partition(", batch")[0] == engine and "left_out" not in row]
    alone, batch = (next((row for row in found if (row["items"] > 1) == many), None) for many in (False, True))
    return alone, batch


def ratio(row: Row | None, base: Row) -> str:
    """How many times as fast as `base`, by its median: at the median, the slowest and the fastest round."""
    if row is None:
        return "not measured"
    times = (base["median_s"] / row[key] for key in ("median_s", "most_s", "least_s"))
    return "{:.2f} × ({:.2f} to {:.2f})".format(*times)


def _batch(rows: list[Row]) -> str:
    sizes = sorted({row["items"] for row in rows if row.get("items", 1) > 1})
    return f"batch of {' and '.join(map(str, sizes))}"


def _agreement(way: str, engines: dict[str, Pair]) -> tuple[str, ...]:
    def cell(pair: Pair) -> str:
        if pair[0] is None:
            return ""
        return f"{min(pair[0]['equal']):.2%}" if way == "encode" else f"{pair[0]['decode_error']:.0e}"

    return ("equal codes" if way == "encode" else "error", "", *(cell(engines[name]) for name in ENGINES))


def _ahead(groups: dict[tuple[str, str], list[Row]]) -> str:
    """Where another engine is faster than ours at the same, by the medians."""
    found, compared = [], 0
    for (tokenizer, way), rows in groups.items():
        ours = pair_of(rows, "native float32")
        for name in list(ENGINES)[1:]:
            for how, theirs, mine in zip(("alone", "in a batch"), pair_of(rows, name), ours, strict=True):
                if theirs and mine:
                    compared += 1
                    faster = f"{theirs['ratio']:.2f} × against {mine['ratio']:.2f} ×"
                    found += [f"{name} in `{tokenizer}` {way} {how} ({faster})"] * (theirs["ratio"] > mine["ratio"])
    none = "None of them is ahead of anytok." if compared else ""
    return f"Ahead of anytok: {'; '.join(found)}." if found else none


def _left_out(rows: list[Row]) -> str:
    """What was not measured, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "left_out" in row:
            reasons.setdefault((row["engine"], row["left_out"]), []).append(f"`{row['tokenizer']}` {row['way']}")
    each = (f"{engine} in {', '.join(where)} ({why})" for (engine, why), where in reasons.items())
    return f"Not measured: {'; '.join(each)}." if reasons else ""
