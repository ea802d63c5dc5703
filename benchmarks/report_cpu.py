"""Tables of what `speed.py`, `profile_codecs.py` and `footprint.py` measured on CPUs."""

from __future__ import annotations

import statistics

from report_tables import Row, Rows, labelled, measured_on, missing, notice, older, results, table, where

PROFILES = ("profile", "profile-bfloat16", "profile-amx", "profile-amx-bfloat16")
SPEEDS = ("speed", "speed-amx", "speed-zen3", "speed-zen5")
IN_SHORT = ("float32, alone", "float32, in a batch", "bfloat16, alone", "bfloat16, in a batch")
SETTINGS = (("float32", False), ("float32", True), ("bfloat16", False), ("bfloat16", True))  # whether in a batch

Groups = dict[tuple[str, str], dict[str, Row]]


def speed_in_short() -> str:
    """One line of the table below, for the README: the ratios' median over all tokenizers and ways, least and most."""
    measured = results("speed")
    if measured is None:
        return missing("Speed", "speed")
    shown = _ratios(measured)
    head = ("", *IN_SHORT)
    said = f"{where(measured['machine'])}; median, least and most of all published tokenizers and both ways."
    return f"{table(head, [('times as fast as the original', *shown)])}\n\n{' '.join([said, older(measured)]).strip()}"


def speed_others() -> str:
    """The same of each kind of CPU that has been measured."""
    found = {name: measured for name in SPEEDS if (measured := results(name))}
    rows: Rows = [
        (
            f"[{name}](results/{name}.json), {where(measured['machine'])}",
            f"{len(_groups(measured))}",
            *_ratios(measured),
            older(measured) or "today's kernels",
        )
        for name, measured in found.items()
    ]
    return table(("results", "rows", *IN_SHORT, ""), rows)


def _ratios(measured: Row) -> list[str]:
    """The median of the ratios of all rows, the least and the most, in each of SETTINGS."""
    shown = []
    for setting in SETTINGS:
        found = [row["ratio"] for engines in _groups(measured).values() if (row := _native(engines, *setting))]
        shown.append(f"{statistics.median(found):.1f} × ({min(found):.1f} to {max(found):.1f})" if found else "")
    return shown


def speed_cpu() -> str:
    """How much faster than the originals, a row a tokenizer and way."""
    measured = results("speed")
    return missing("Speed on a CPU", "speed") if measured is None else cpu_table(measured)


def speed_amx() -> str:
    """The same on a CPU with matrix units."""
    measured = results("speed-amx")
    return missing("Speed on a CPU with AMX", "speed") if measured is None else cpu_table(measured)


def cpu_table(measured: Row) -> str:
    groups = _groups(measured)
    rows: Rows = [
        (
            labelled(measured, engines.values(), f"`{tokenizer}`"),
            way,
            f"{engines['original']['median_s'] * 1000:.0f} ms",
            *(f"{row['ratio']:.2f} ×" if (row := _native(engines, *setting)) else "" for setting in SETTINGS),
            _least_equal(engines),
        )
        for (tokenizer, way), engines in groups.items()
    ]
    head = ("tokenizer", "", "original", *IN_SHORT, "equal codes in bfloat16")
    said = f"{measured_on(measured)} {measured['threads']} threads; {clips_of(measured)}. {_equal(groups)}"
    return f"{notice(measured)}{table(head, rows)}\n\n{said}"


def clips_of(measured: Row) -> str:
    """How long a clip is, and how many are in a batch."""
    clips = [row for row in measured["rows"] if "times_realtime" in row]
    lengths = sorted({round(row["median_s"] * row["times_realtime"]) for row in clips})
    sizes = sorted({row["items"] for row in clips if row["items"] > 1})
    return f"clips of {' and '.join(map(str, lengths))} s, batches of {' and '.join(map(str, sizes))}"


def _groups(measured: Row) -> Groups:
    groups: Groups = {}
    for row in measured["rows"]:
        groups.setdefault((row["tokenizer"], row["way"]), {})[row["engine"]] = row
    return groups


def _native(engines: dict[str, Row], kind: str, batch: bool) -> Row | None:
    """The row of this precision; None on a CPU that does not have it."""
    found = [row for name, row in engines.items() if name.startswith(f"native {kind}")]
    return next((row for row in found if (row["items"] > 1) == batch and "layer 1" not in row["engine"]), None)


def _least_equal(engines: dict[str, Row]) -> str:
    """The share of equal codes in bfloat16, of the worst codebook."""
    row = _native(engines, "bfloat16", True)
    return f"{min(row['equal']):.1%}" if row and "equal" in row else ""


def _equal(groups: Groups) -> str:
    """How many codes are equal to the original's in float32."""
    shares = {name: min(engines["native float32"].get("equal", [1])) for (name, way), engines in groups.items()
              if way == "encode"}  # fmt: skip
    less = [f"`{name}` ({share:.2%})" for name, share in shares.items() if share < 1]
    return "In float32 all codes are equal" + (f" but in the worst codebook of {', '.join(less)}." if less else ".")


def profile() -> str:
    """Where a codec's time goes, two lines a result file: a clip alone, and a batch."""
    found = {name: measured for name in PROFILES if (measured := results(name))}
    if not found:
        return missing("Where the time goes", "profile_codecs")
    rows: Rows = []
    for name, measured in found.items():
        product = measured["limits"]["product_gflops"]
        machine = measured["machine"]
        label = f"[{name}](results/{name}.json), {machine['processor']}, {measured['dtype']}"
        for alone in (True, False):
            some = [row for row in measured["rows"] if (row["items"] == 1) == alone]
            share = [row["parts_ms"]["LSTM"] / row["total_ms"] for row in some]
            speeds = [[row["gflops"][part] / product for row in some] for part in ("convolutions", "LSTM")]
            items = "alone" if alone else f"batch of {some[0]['items']}"
            rows.append((label + (" (older)" if older(measured) else ""), items, *map(_range, [*speeds, share])))
    head = ("results", "", "convolutions' speed", "LSTM's speed", "LSTM's share of the time")
    names = sorted({f"`{row['tokenizer']}`" for measured in found.values() for row in measured["rows"]})
    said = "Speeds are shares of that of one large product. "
    said += f"Least and most of {' and '.join(names)}, encode and decode."
    if any(map(older, found.values())):
        said += " (older): measured before the kernels of today."
    return f"{table(head, rows)}\n\n{said}"


def _range(shares: list[float]) -> str:
    return f"{min(shares):.0%} to {max(shares):.0%}"


def footprint() -> str:
    """Seconds to load, and memory, of both engines."""
    measured = results("footprint")
    if measured is None:
        return missing("Loading and memory", "footprint")
    groups: dict[str, dict[str, Row]] = {}
    for row in measured["rows"]:
        groups.setdefault(row["tokenizer"], {})[row["engine"]] = row
    rows: Rows = []
    for name, engines in groups.items():
        pair = engines["reference"], engines["native"]
        sizes = [f"{one[key]:,.0f} MB" for key in ("loaded_mb", "peak_mb") for one in pair]
        label = labelled(measured, engines.values(), f"`{name}`")
        rows.append((label, f"{pair[0]['file_mb']:,.0f} MB", *(f"{one['load_s']:.2f} s" for one in pair), *sizes))
    kinds = ("loading", "memory when loaded", "at the peak")
    head = ("tokenizer", "files", *(f"{kind}, {whose}" for kind in kinds for whose in ("original", "anytok")))
    return f"{notice(measured)}{table(head, rows)}\n\n{measured_on(measured)}"


def busy() -> str:
    """What processes beside it cost a command, with OpenMP's own way of waiting and with anytok's."""
    measured = results("busy")
    if measured is None:
        return missing("A shared machine", "busy")
    rows: Rows = []
    for count in dict.fromkeys(row["spin_count"] for row in measured["rows"]):
        quiet, beside = (
            next(row for row in measured["rows"] if row["spin_count"] == count and bool(row["spinning"]) == is_busy)
            for is_busy in (False, True)
        )
        cells = (f"{row['median_s']:.1f} s ({row['least_s']:.1f} to {row['most_s']:.1f})" for row in (quiet, beside))
        rows.append((f"{count:,}", *cells, f"{beside['median_s'] / quiet['median_s']:.1f} ×"))
    head = ("turns that a waiting thread spins", "on quiet cores", "beside two busy processes", "ratio")
    return f"{notice(measured)}{table(head, rows)}\n\n{measured_on(measured)}"
