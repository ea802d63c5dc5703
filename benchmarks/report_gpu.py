"""The tables of what `speed.py` measured on a GPU."""

from __future__ import annotations

from report_tables import Row, Rows, labelled, measured_on, missing, notice, results, table

PRECISIONS = {"float32": "float32", "tf32": "TF32", "bfloat16": "bfloat16", "float16": "float16"}


def speed_gpu() -> str:
    """The tables, or what stands in their place where nothing has been measured."""
    measured = results("speed-cuda")
    return missing("Speed on a GPU", "speed") if measured is None else gpu_tables(measured)


def gpu_tables(measured: Row) -> str:
    """How fast codecs and SEED's encoder are, and how SEED paints; either may be missing."""
    painted = [row for row in measured["rows"] if (row["tokenizer"], row["way"]) == ("seed-2", "decode")]
    others = [row for row in measured["rows"] if row not in painted]
    parts = [_encoded(measured, others)] if others else []
    parts += [_painting(measured, painted)] if painted else []
    return notice(measured) + "\n\n".join([*parts, measured_on(measured)])


def _encoded(measured: Row, rows: list[Row]) -> str:
    """A row a tokenizer and way, a column a precision: how much is done in a second, and the ratio to the original."""
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row["tokenizer"], row["way"]), {})[row["engine"].partition(", batch")[0]] = row
    shown: Rows = []  # a batch's row comes after that of a lone item
    for (tokenizer, way), engines in groups.items():
        found = [engines.get(f"native {dtype}") for dtype in PRECISIONS]
        label = labelled(measured, engines.values(), f"`{tokenizer}`")
        shown.append((label, way, _rate(engines["original"]), *(_cell(row) for row in found)))
        if way == "encode":
            shown.append(("", "equal codes", "", *(f"{min(row['equal']):.2%}" if row else "" for row in found)))
    said = (
        "Sound: times real time; pictures: a second; in brackets the ratio to the original, which takes one item at a "
        f"time in full float32. {_batches(groups)} Equal codes are those of the worst codebook."
    )
    lone = [row for row in rows if row["items"] == 1 and row["engine"].startswith("native")]
    full = [row["ratio"] for row in lone if not row["engine"].endswith("at a time")]
    said += (
        " A lone item is padded to a full batch with silence, so that it gets the same codes: at "
        f"{min(full):.2f} of the original's speed or more; a smaller `batch_size` wastes less."
    )
    few = [row for row in lone if row["engine"].endswith(", 1 at a time")]
    if few:
        each = (f"`{row['tokenizer']}` {row['way']} {row['ratio']:.2f}" for row in few)
        said += f" With `batch_size=1`, in float32: {', '.join(each)}."
    said += _faster_originals(groups)
    if any(row.get("alone") is False for row in rows):
        said += " †: not bit for bit what its items give alone."
    said += _compiled(rows) + _jpeg(rows)
    return f"{table(('tokenizer', '', 'original', *PRECISIONS.values()), shown)}\n\n{said}"


def _batches(groups: dict[tuple[str, str], dict[str, Row]]) -> str:
    """How many items are done at once."""
    sizes = {tokenizer: engines["native float32"]["items"] for (tokenizer, _), engines in groups.items()}
    usual = max(sizes.values())
    others = (f"; of {size} with `{tokenizer}`" for tokenizer, size in sizes.items() if size != usual)
    return f"Batches are of {usual}{''.join(others)}."


def _faster_originals(groups: dict[tuple[str, str], dict[str, Row]]) -> str:
    """Those that are slow in full float32: one convolution of cuDNN's may take as long as a thousand others."""
    said = []
    for (tokenizer, way), engines in groups.items():
        rounded = engines.get("original, TF32")
        if rounded and rounded["ratio"] > 4:
            said.append(f"`{tokenizer}` {way} {_rate(rounded)}")
    return f" Originals that cuDNN slows down in full float32, with TF32: {', '.join(said)}." if said else ""


def _rate(row: Row) -> str:
    if "times_realtime" in row:
        return f"{row['times_realtime']:,.0f} ×"
    return f"{1 / row['median_s']:,.0f}"


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{_rate(row)} ({row['ratio']:.1f}){'' if row.get('alone', True) else ' †'}"


def _compiled(rows: list[Row]) -> str:
    """What compiled engines do in a batch."""
    said = []
    for row in rows:
        precision, marked, batched = row["engine"].removeprefix("native ").partition(", compiled, batch")
        if marked and batched:
            said.append(f"`{row['tokenizer']}` {row['way']} in {precision} {_rate(row)}")
    return f" With `compile=True`: {', '.join(said)}." if said else ""


def _jpeg(rows: list[Row]) -> str:
    """What becomes of pictures that must be read first."""
    read = [row for row in rows if "only reading JPEG" in row["engine"]]
    encoded = [row for row in rows if "from JPEG" in row["engine"]]
    if not read or not encoded:
        return ""
    fast, loader = min(encoded, key=lambda row: row["median_s"]), read[0]
    return f" From JPEG files {_rate(fast)} pictures a second; reading and resizing them alone, {_rate(loader)}."


def _painting(measured: Row, rows: list[Row]) -> str:
    """How much faster than the stock pipeline pictures are painted, and how far they are from its own."""

    def apart(row: Row) -> tuple[str, ...]:
        if "levels" not in row:  # the stock pipeline itself, or pictures that are not meant to be its
            return ("", "", "")
        return f"{row['levels']['mean']:.2f}", f"{row['levels']['largest']:.0f}", f"{row['levels']['equal']:.1%}"

    def label(row: Row) -> str:
        return labelled(measured, [row], row["engine"].replace("original", "stock pipeline"))

    shown: Rows = [
        (label(row), f"{row['median_s'] * 1000:.0f} ms",
         f"{row['ratio']:.2f} ×", *apart(row), f"{row['peak_mb'] / 1024:.1f} GiB") for row in rows
    ]  # fmt: skip
    control = [row["control"]["mean"] for row in rows if "control" in row]
    head = ("`seed-2` decode", "a picture", "ratio", "levels apart, mean", "largest", "equal levels", "memory")
    said = (
        "Painting: levels go from 0 to 255, and are compared with the stock pipeline's picture of the same embedding "
        "and seed; memory is what painting takes beside the weights."
    )
    if control:
        said += f" A picture of another embedding is {min(control):.0f} levels away."
    return f"{table(head, shown)}\n\n{said}"
