"""benchmarks/canonical.py: its parts are kept apart, costs are measured in small, and what the tables say of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

MUSIC = {"num_filters": 8, "hidden_size": 32, "codebook_dim": 32, "codebook_size": 128, "target_bandwidths": [1.4]}


@pytest.mark.reference
def test_costs_of_both_precisions(tmp_path: Path) -> None:
    from canonical_cost import cost_row
    from seeded import write_checkpoint
    from sounds import synthetic_waves

    from anytok.registry import find

    name = "encodec-32khz"
    write_checkpoint(name, tmp_path / name, synthetic_waves(find(name).spec, 1, 2.0).values(), **MUSIC)
    row = cost_row(name, None, 2, 1, tmp_path)
    assert (row["part"], row["tokenizer"], row["threads"], row["item"]) == ("cost", name, 1, "10 s")
    for way in ("encode", "decode"):
        for dtype in ("float32", "float64"):
            assert 0 < row[way][dtype]["least_s"] <= row[way][dtype]["median_s"] <= row[way][dtype]["most_s"]
    assert 0 < row["peak_mb"]["float32"] < row["peak_mb"]["float64"]


@pytest.mark.reference
def test_a_process_that_ends_early_ends_the_measurement(tmp_path: Path, capfd: Any) -> None:
    from canonical_cost import turns

    with pytest.raises(SystemExit, match="ended with 1"):
        turns("encodec-32khz", tmp_path / "nothing", tmp_path / "no.wav", 1, 1)
    assert "CheckpointError" in capfd.readouterr().err


def test_each_part_of_each_tokenizer_is_kept_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import canonical

    measured: list[tuple[str, str]] = []

    def cost_row(name: str, *arguments: Any) -> dict[str, Any]:
        measured.append(("cost", name))
        return {"part": "cost", "tokenizer": name, "run": len(measured)}

    def codes_row(name: str, *arguments: Any) -> dict[str, Any]:
        measured.append(("codes", name))
        return {"part": "codes", "tokenizer": name, "original_differs": 0, "run": len(measured)}

    monkeypatch.setattr(canonical, "cost_row", cost_row)
    monkeypatch.setattr(canonical, "codes_row", codes_row)
    path = tmp_path / "canonical.json"

    def run(*arguments: str) -> dict[tuple[str, str], int]:
        monkeypatch.setattr(sys, "argv", ["canonical.py", "--out", str(path), *arguments])
        canonical.main()
        rows = json.loads(path.read_text())["rows"]
        found = {(row["part"], row["tokenizer"]): row["run"] for row in rows}
        assert len(found) == len(rows)
        return found

    assert run("--parts", "codes", "--only", "encodec-24khz", "seed-2") == {("codes", "encodec-24khz"): 1}
    both = {("codes", "encodec-24khz"): 1, ("cost", "encodec-24khz"): 2, ("cost", "seed-2"): 3}
    assert run("--parts", "cost", "--only", "encodec-24khz", "seed-2") == both
    assert run("--parts", "cost", "--only", "seed-2") == both | {("cost", "seed-2"): 4}
    monkeypatch.setattr(canonical, "codes_row", lambda *a: codes_row(*a) | {"original_differs": 1})
    with pytest.raises(SystemExit, match="other codes in float64: encodec-24khz"):
        run("--parts", "codes", "--only", "encodec-24khz")


def test_the_tables_of_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    import report_exact

    def times(median: float) -> dict[str, float]:
        return {"median_s": median, "least_s": median / 2, "most_s": median * 2}

    cost = {
        "part": "cost", "tokenizer": "a", "item": "10 s", "threads": 2, "peak_mb": {"float32": 1000, "float64": 1500},
        "encode": {"float32": times(1), "float64": times(2.5)}, "decode": {"float32": times(1), "float64": times(2)},
    }  # fmt: skip
    codes = {
        "part": "codes", "tokenizer": "a", "codes": 2000, "original_differs": 0, "float32_differs": 1,
        "latent_error": {"median": 1e-7, "largest": 2e-6}, "least_margin": 3e-8,
        "below": {"1e-05": {"codes": 0.001, "stretches": 0.75}},
    }  # fmt: skip
    measured: dict[str, Any] = {"machine": {"processor": "P", "cores": 2, "versions": {}, "commit": "c"}}
    monkeypatch.setattr(report_exact, "results", lambda name: measured if "rows" in measured else None)
    assert "`python benchmarks/canonical.py --parts cost`" in report_exact.float64_cost()
    measured["rows"] = [codes]
    assert "`python benchmarks/canonical.py --parts cost`" in report_exact.float64_cost()
    assert report_exact.float64_codes().splitlines()[4] == "| `a` | 2,000 | 0 | 1 | 2e-06 | 3e-08 | 0.10% | 75.00% |"
    measured["rows"] = [codes, cost]
    shown = report_exact.float64_cost()
    encode, decode = shown.splitlines()[4:6]
    assert encode == (
        "| `a` | encode, 10 s | 1.00 s (0.50 to 2.00) | 2.50 s (1.25 to 5.00) | 2.50 × | 1,000 MB | 1,500 MB |"
    )
    assert "| decode, 10 s |" in decode and "The aim, 2.5 times float32's time at most, is kept. Measured on" in shown
    measured["rows"] = [cost | {"encode": {"float32": times(1.0), "float64": times(2.51)}}]
    assert "is missed in `a` encode." in report_exact.float64_cost()
    measured["rows"][0]["decode"] = measured["rows"][0]["encode"]
    assert "is missed by all." in report_exact.float64_cost()
    assert "--parts codes" in report_exact.float64_codes()
