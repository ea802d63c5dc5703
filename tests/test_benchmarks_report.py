"""benchmarks/report_gpu.py: what the README says of rows that `speed.py` measured on a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))


def row(tokenizer: str, way: str, engine: str, items: int, ratio: float, **more: Any) -> dict[str, Any]:
    return {
        "tokenizer": tokenizer, "way": way, "engine": engine, "items": items, "ratio": ratio, "median_s": 0.5 / ratio,
    } | more  # fmt: skip


def test_the_table_of_a_gpu_shows_batches_and_owns_up() -> None:
    from report_gpu import gpu_tables

    rows = [
        row("a", "encode", "original", 1, 1, times_realtime=20),
        row("a", "encode", "original, TF32", 1, 5, times_realtime=100),
        row("a", "encode", "native float32", 1, 0.25, times_realtime=5, equal=[1, 0.9]),
        row("a", "encode", "native float32, 1 at a time", 1, 3.5, times_realtime=70, equal=[1, 0.9]),
        row("a", "encode", "native float32, batch of 8", 8, 4, times_realtime=1080, equal=[1, 0.9], alone=True),
        row("a", "encode", "native tf32, batch of 8", 8, 8, times_realtime=2160, equal=[0.8, 0.7], alone=False),
        row("seed-2", "encode", "original", 1, 1),
        row("seed-2", "encode", "native float32, batch of 4", 4, 40, equal=[1]),
        row("seed-2", "encode", "native float16, compiled", 1, 2),
        row("seed-2", "encode", "native float16, compiled, batch of 8", 8, 45),
        row("seed-2", "encode", "native float16, from JPEG, batch of 8", 8, 30),
        row("seed-2", "encode", "only reading JPEG and resizing", 8, 35),
    ]
    machine = {"gpu": "a GPU", "versions": {}, "commit": "c"}
    shown = gpu_tables({"machine": machine, "rows": rows, "notes": ["A note."]}).splitlines()
    assert "| `a` | encode | 20 × | 1,080 × (4.0) | 2,160 × (8.0) † |  |  |" in shown
    assert "|  | equal codes |  | 90.00% | 70.00% |  |  |" in shown
    assert "| `seed-2` | encode | 2 | 80 (40.0) |  |  |  |" in shown
    [said] = [line for line in shown if line.startswith("Sound: ")]
    assert "†: not bit for bit" in said and "at 0.25 of" in said
    assert "Batches are of 8; of 4 with `seed-2`." in said
    assert "in full float32, with TF32: `a` encode 100 ×." in said
    assert "With `batch_size=1`, in float32: `a` encode 3.50." in said
    assert "With `compile=True`: `seed-2` encode in float16 90." in said
    assert "From JPEG files 60 pictures a second; reading and resizing them alone, 70." in said
    assert shown[-1].endswith(" A note.")
    honest = gpu_tables({"machine": machine, "rows": [rows[0], *rows[2:5]]})
    assert not any(word in honest for word in ("†", "JPEG", "compile", "with TF32"))


def test_a_cpu_with_matrix_units_has_a_table_of_its_own() -> None:
    from report import _with_matrix_units

    kinds = (("float32", 2, 3, [1, 1]), ("bfloat16", 4, 7, [1, 0.8]))
    rows = [row("a", "encode", "original", 1, 1), row("a", "encode", "native float32, layer 1", 1, 9)]
    for kind, alone, batched, equal in kinds:
        rows.append(row("a", "encode", f"native {kind}", 1, alone, equal=equal))
        rows.append(row("a", "encode", f"native {kind}, batch of 8", 8, batched, equal=equal))
    machine = {"processor": "P", "cores": 2, "versions": {}, "commit": "c"}
    said = _with_matrix_units({"machine": machine, "threads": 2, "rows": rows, "notes": ["A note."]})
    assert said.startswith("On a CPU with matrix units (AMX)") and " A note. 2 threads." in said
    assert "| `a` | encode | 500 ms | 2.00 × | 3.00 × | 4.00 × | 7.00 × | 80.0% |" in said.splitlines()
