"""benchmarks/export.py at a small size: what it finds equal, what it finds wrong, and its table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

MUSIC = {"num_filters": 8, "hidden_size": 32, "codebook_dim": 32, "codebook_size": 128, "target_bandwidths": [1.4]}


@pytest.mark.reference
def test_exports_of_every_length_and_both_dtypes() -> None:
    from export import holds, rows_of

    exact, half = rows_of("encodec-32khz", None, ("float32", "float16"), **MUSIC)
    assert holds(exact) and holds(half) and [exact["dtype"], half["dtype"]] == ["float32", "float16"]
    items = [item["item"] for item in exact["items"]]
    assert items[0] == "640640 samples" and items[-3:] == ["639 samples", "2 samples", "1 samples"]
    for row in (exact, half):
        assert row["codes"] == sum(item["codes"] for item in row["items"]) > row["codes"] - row["equal"] >= row["first"]
    assert half["file_mb"] <= exact["file_mb"] and half["decode_error"] > exact["decode_error"]


@pytest.mark.reference
def test_a_wrong_graph_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    import export

    from anytok.models.seanet import padding

    monkeypatch.setattr("anytok.export.codec.padding", lambda *arguments: padding(*arguments)[::-1])
    monkeypatch.setattr(export, "SECONDS", (1.0,))
    (found,) = export.rows_of("encodec-32khz", None, ("float32",), **MUSIC)
    assert not export.holds(found) and found["largest_margin"] > 1e-4 and found["equal"] < 0.9 * found["codes"]
    near = found | {"largest_margin": 1e-7}
    assert export.holds(near) and not export.holds(near | {"decode_error": 2e-4})
    assert export.holds(found | {"dtype": "float16"})


def test_rows_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import export

    path, killed_at = tmp_path / "export.json", ["encodec-32khz"]

    def rows_of(name: str, folder: Path | None, dtypes: list[str], kept: Path | None) -> list[dict[str, Any]]:
        if name in killed_at:
            raise KeyboardInterrupt
        margin = 0.5 if name == "encodec-24khz" else 0.0
        return [{"tokenizer": name, "dtype": dtypes[0], "largest_margin": margin, "decode_error": 0.0}]

    monkeypatch.setattr(export, "rows_of", rows_of)

    def run(error: type[BaseException], *only: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["export.py", "--out", str(path), "--only", *only])
        with pytest.raises(error) as caught:
            export.main()
        return caught.value

    run(KeyboardInterrupt, "encodec-48khz", "encodec-32khz")
    kept = [("encodec-48khz", "float32"), ("encodec-48khz", "float16")]
    assert [(row["tokenizer"], row["dtype"]) for row in json.loads(path.read_text())["rows"]] == kept
    killed_at.clear()
    assert run(SystemExit, "encodec-32khz").code == 0
    assert str(run(SystemExit, "encodec-24khz")) == "other codes or sound: encodec-24khz float32"
    assert len(json.loads(path.read_text())["rows"]) == 6


def test_the_table_of_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    import report_exact

    def row(dtype: str, equal: int, *margins: float) -> dict[str, Any]:
        item = {"item": "x", "codes": 100_000, "equal": equal, "first": len(margins), "margins": list(margins)}
        more = {"largest_margin": max(margins, default=0.0), "decode_error": 1e-6, "file_mb": 1500}
        return {"tokenizer": "a", "dtype": dtype, "items": [item], **item, **more}

    measured = {"machine": {"processor": "P", "cores": 2, "versions": {}, "commit": "c"}}
    rows = [row("float32", 100_000), row("float32", 99_999, 1e-7), row("float16", 90_000, *[1e-3] * 11)]
    monkeypatch.setattr(report_exact, "results", lambda name: measured | {"rows": rows})
    assert report_exact.export().splitlines()[4:7] == [
        "| `a` | float32 | 1,500 MB | 1 | 100,000 | all | 0 | 1e-06 |",
        "| `a` | float32 | 1,500 MB | 1 | 100,000 | all but 1 (99.99% equal) | 1 (margins 1e-07) | 1e-06 |",
        "| `a` | float16 | 1,500 MB | 1 | 100,000 | all but 10,000 (90.00% equal) | 11 (margins up to 1e-03) | 1e-06 |",
    ]
