"""benchmarks/report*.py: what the tables say of rows that `speed.py` measured, and of those older than the kernels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

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


def cpu(**more: Any) -> dict[str, Any]:
    """A result file of a CPU: the original, and float32 and bfloat16 alone and in a batch."""
    rows = [row("a", "encode", "original", 1, 1, times_realtime=4)]
    rows.append(row("a", "encode", "native float32, layer 1", 1, 9, times_realtime=36))
    for kind, alone, batched, equal in (("float32", 2, 3, [1, 1]), ("bfloat16", 4, 7, [1, 0.8])):
        for engine, items, ratio in ((f"native {kind}", 1, alone), (f"native {kind}, batch of 8", 8, batched)):
            rows.append(row("a", "encode", engine, items, ratio, times_realtime=4 * ratio, equal=equal))
    machine = {"processor": "P", "cores": 2, "versions": {}, "commit": "c", **more}
    return {"machine": machine, "threads": 2, "rows": rows, "notes": ["A note."]}


def test_the_table_of_a_cpu() -> None:
    from report_cpu import cpu_table

    said = cpu_table(cpu())
    assert " A note. 2 threads; clips of 2 s, batches of 8." in said
    assert "| `a` | encode | 500 ms | 2.00 × | 3.00 × | 4.00 × | 7.00 × | 80.0% |" in said.splitlines()


def test_the_table_of_a_cpu_without_bfloat16() -> None:
    from report_cpu import cpu_table

    measured = cpu()
    measured["rows"] = [one for one in measured["rows"] if "bfloat16" not in one["engine"]]
    assert "| `a` | encode | 500 ms | 2.00 × | 3.00 × |  |  |  |" in cpu_table(measured).splitlines()


def test_rows_older_than_the_kernels_are_marked() -> None:
    from report_cpu import cpu_table
    from report_tables import today

    fresh = cpu(kernel_sources=today())
    assert "lder" not in cpu_table(fresh) and "before" not in cpu_table(fresh)
    for stale in (cpu(), cpu(kernel_sources="0123456789abcdef")):
        assert cpu_table(stale).startswith("> **Older:** Measured at `c`, before the kernels of today.\n\n| tok")
    mixed = cpu(kernel_sources=today())
    before = [{**one, "tokenizer": "b", "commit": "b"} for one in mixed["rows"]]  # kept from before there was a hash
    mixed["rows"] = before + mixed["rows"]
    said = cpu_table(mixed)
    assert said.startswith("> **Older:** Rows marked (older) were measured at `b`, before the kernels of today.")
    assert "| `b` (older) | encode |" in said and "| `a` | encode |" in said


def test_rows_that_stay_keep_what_they_were_measured_with(tmp_path: Path) -> None:
    """A later run that measures some rows anew writes its own machine over theirs."""
    from machine import machine, provenance, rows_before
    from report_tables import measured_on

    path = tmp_path / "speed.json"
    assert rows_before(path, lambda row: True) == []
    now = {**machine(), "commit": "third", "kernel_sources": "y", "versions": {"torch": "2.12"}}
    rows = [{"a": 1}, {"a": 2, "commit": "first"}, {"a": 3, "commit": "second", "kernel_sources": "x", "torch": "2.11"}]
    path.write_text(json.dumps({"machine": now, "rows": [*rows, {"a": 4}]}))
    kept = rows_before(path, lambda row: row["a"] < 4)
    assert [one["a"] for one in kept] == [1, 2, 3]
    later = {"machine": {**now, "commit": "fourth", "kernel_sources": "z", "versions": {"torch": "2.13"}}}
    later["rows"] = [*kept, {"a": 4}]
    assert [tuple(provenance(later["machine"], one).values()) for one in later["rows"]] == [
        ("third", "y", "2.12"), ("first", None, "2.12"), ("second", "x", "2.11"), ("fourth", "z", "2.13")
    ]  # fmt: skip
    assert "torch 2.12, torch 2.11, torch 2.13; commits `third`, `first`, `second`, `fourth`." in measured_on(later)


def test_rows_of_another_machine_do_not_stay(tmp_path: Path) -> None:
    from machine import machine, rows_before

    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"machine": {**machine(), "gpu": "another GPU"}, "rows": [{"a": 1}]}))
    with pytest.raises(SystemExit, match=r"1 rows of another GPU, and this is .*: measure all, or give --out"):
        rows_before(path, lambda row: True)
    assert rows_before(path, lambda row: False) == []


def test_the_hash_of_the_kernels_follows_their_contents(tmp_path: Path) -> None:
    from machine import kernel_sources

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("hatch_build.py", "flags")
    write("anytok/kernels/csrc/lstm.c", "int a;")
    write("anytok/engines/native/seed.py", "b = 1")
    first = kernel_sources(tmp_path)
    write("anytok/kernels/README.md", "a document")
    write("anytok/kernels/kernels-avx2.so", "built")
    write("anytok/jobs/run.py", "c = 1")
    assert kernel_sources(tmp_path) == first
    (tmp_path / "anytok/kernels/csrc/lstm.c").rename(tmp_path / "anytok/engines/native/other.c")
    assert kernel_sources(tmp_path) == first  # only moved
    hashes = {first}
    for name in ("anytok/models/new.py", "anytok/engines/native/other.c", "hatch_build.py"):
        write(name, "changed")
        hashes.add(kernel_sources(tmp_path))
    assert len(hashes) == 4


def test_equality_is_told_by_float64_where_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import report_exact

    def clip(file: str, equal: float, package: str = "b", **float64: Any) -> dict[str, Any]:
        shared = {"tokenizer": "a", "codes": 1000, "least_use": 0.5, "decode_error": 1e-6, "original": package}
        return {**shared, "file": file, "equal": equal, **({"float64": float64} if float64 else {})}

    right, wrong = {"wrong": 0, "first": 0, "margins": []}, {"wrong": 3, "first": 2, "margins": [1e-7, 2e-7]}
    many = {"wrong": 400, "first": 90, "median": 1e-3, "largest": 2e-3}
    one = {"wrong": 1, "first": 1, "median": 1e-8, "largest": 1e-8, "margins": [1e-8]}
    rows = [clip("1", 0.997, native=right, original=wrong, onnx=one, bfloat16=many),
            clip("2", 1.0, native=right, original=right, onnx=right, bfloat16=many)]  # fmt: skip
    measured = {"machine": {"processor": "P", "cores": 2, "versions": {}, "commit": "c"}, "rows": rows}
    monkeypatch.setattr(report_exact, "results", lambda name: measured)
    headline = report_exact.headline()
    assert headline.startswith("**2,000 of 2,000 codes are those of float64; the original packages': 1,997**")
    *_, head, _, line = [one for one in report_exact.parity().splitlines() if one.startswith("|")]
    assert head == (
        "| tokenizer | original | codes | anytok | original | ONNX Runtime | anytok, mixed | anytok, bfloat16 "
        "| ONNX Runtime, float16 |"
    )
    assert line == (
        "| `a` | b | 2,000 | 0 | 3, from 2 frames with margins up to 2e-07 | 1, from 1 frame with margins up to 1e-08 "
        "| - | 40.0%, from 180 frames with margins up to 2e-03 | - |"
    )
    better = clip("1", 0.999, "c", native=right, original=one)  # another original of the same file: that counts
    for measured["rows"] in ([*rows, better], [better, *rows]):
        assert "those of float64; the original packages': 1,999**" in report_exact.headline()
    measured["rows"] = [clip("1", 0.997), clip("2", 1.0)]
    assert report_exact.headline().startswith("**1,997 of 2,000 codes equal the original packages'**, in float32")
    assert "float64" not in report_exact.parity()
    for measured["rows"] in ([clip("1", 0.997), rows[1]], [rows[0], clip("2", 1.0)]):  # a run that is under way
        assert report_exact.headline().startswith("**1,997 of 2,000 codes equal the original packages'**, in float32")
    measured["rows"] = [clip("1", 0.998), clip("1", 0.997, "c"), clip("2", 1.0)]
    assert report_exact.headline().startswith("**1,997 of 2,000 codes equal the original packages'**, in float32")
