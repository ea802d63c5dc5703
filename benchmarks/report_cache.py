"""What is said of the cache of codes: what it costs and spares, what it survives, and how its store was chosen."""

from __future__ import annotations

from collections.abc import Callable

from report_tables import Row, missing, results, table, where


def cache() -> str:
    """The tables of `benchmarks/cache.py`; a part that nobody has measured is said to be missing."""
    return _told("hit", "epoch", "kills")


def cache_stores() -> str:
    """SQLite beside LMDB."""
    return _told("stores")


def _told(*names: str) -> str:
    found = results("cache") or {}
    parts = [_PARTS[name](found[name]) if name in found else missing(name, "cache") for name in names]
    machines = [found[name]["machine"] for name in names if name in found]
    made = dict.fromkeys(f"{where(machine)}, at `{machine['commit']}`{_load(machine)}" for machine in machines)
    return "\n\n".join([*parts, *([f"{'; '.join(made)}."] if made else [])])


def _load(machine: Row) -> str:
    """A remark on times that were taken while others computed on the machine."""
    busy = machine["load"] > 2 * machine["cores"]
    return f" (busy with other work, load {machine['load']:.0f}: times are too long)" if busy else ""


def _hit(part: Row) -> str:
    head = ("a hit", "processes", "beside hashing, ms", "in 99 of 100, ms", "hashing, ms", "encoding instead, ms")
    rows = [
        (row["what"], str(row["processes"]), *(f"{row[name]:.2f}" for name in ("hit", "99 of 100", "hashing")),
         f"{row['encoding']:.0f}")
        for row in part["rows"]
    ]  # fmt: skip
    return table(head, rows)


def _epoch(part: Row) -> str:
    first, second = part["rows"]
    return (
        f"A `DataLoader` of {part['workers']} workers over {first['items']} clips of {part['seconds of speech']} s "
        f"took {first['seconds']:.1f} s for the first epoch and {second['seconds']:.1f} s for the second, in which "
        f"{second['found']} of {second['items']} were found, {'all' if second['equal'] else 'NOT all'} equal."
    )


def _kills(part: Row) -> str:
    return "\n\n".join(map(_killed, part["rows"]))


def _killed(row: Row) -> str:
    """A lost item and one that the limit drove out look alike, so with a limit nothing is said of lost ones."""
    limited = bool(row["driven out"])
    begin = f"With a limit of {row['limit']:,} bytes, {row['held']:,} items' worth: of" if limited else "Of"
    lost = "" if limited else f", {row['lost']} lost"
    wrong = row["wrong"] + row["unlike"]
    return (
        f"{begin} eight processes on one folder that encoded {row['items']:,} items each, {row['kills']} were killed "
        f"with SIGKILL and replaced. Of what was returned, {wrong} items were wrong, {row['torn']} torn{lost}; the "
        f"model was asked for {row['encoded']:,}."
    )


def _stores(part: Row) -> str:
    head = (
        "store", "read, µs", "written, µs", "use noted, µs", "read, eight at once", "99 of 100", "written", "99 of 100",
    )  # fmt: skip
    together = ("read, 50 %", "read, 99 %", "write, 50 %", "write, 99 %")
    rows = [
        (row["store"], *(f"{row['alone'][name]:,.0f}" for name in ("read", "written", "noted")),
         *(f"{row['together'][name]:,.0f}" for name in together))
        for row in part["rows"]
    ]  # fmt: skip
    return table(head, rows)


_PARTS: dict[str, Callable[[Row], str]] = {"hit": _hit, "epoch": _epoch, "kills": _kills, "stores": _stores}
