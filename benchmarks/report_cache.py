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
    made = dict.fromkeys(f"{where(machine)}, at `{machine['commit']}`" for machine in machines)
    return "\n\n".join([*parts, *([f"{'; '.join(made)}."] if made else [])])


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
    within = f"Within a limit of {row['limit']:,} bytes, which {row['held']:,} of them fill: " * bool(row["driven out"])
    return (
        f"{within}Eight processes on one folder encoded {row['items']:,} items each, and {row['kills']} times one was "
        f"killed with SIGKILL and replaced. Of what was returned, {row['wrong'] + row['unlike']} items were wrong, "
        f"{row['torn']} torn, {row['lost']} lost; the model was asked for {row['encoded']:,}."
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
