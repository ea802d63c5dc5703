"""benchmarks/speed_paint.py at a small size, and what benchmarks/report.py makes of its rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

SMALL: dict[str, Any] = {
    "unet": {
        "sample_size": 8, "block_out_channels": (32, 32), "attention_head_dim": (2, 2), "cross_attention_dim": 32,
        "layers_per_block": 1, "norm_num_groups": 8,  # of one channel, groups take out what the embedding adds
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    "vae": {"sample_size": 64, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    "text": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
}  # fmt: skip


@pytest.mark.reference
def test_painting_against_the_stock_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import report_tables
    from report_gpu import speed_gpu
    from speed import choice, line
    from speed_paint import paint_rows

    rows = {row["engine"]: row for row in paint_rows(1, "cpu", "float32", **SMALL)}
    original, alone, batch, fast = rows.values()
    assert list(rows) == [
        "original", "native float32", "native float32, batch of 8", "native float32, fast, batch of 8"
    ]  # fmt: skip
    assert [row["items"] for row in rows.values()] == [1, 1, 8, 8]
    assert {choice(row) for row in rows.values()} == {"seed-2-paint"}
    assert alone["levels"] == {"largest": 0, "mean": 0, "equal": 1}
    assert batch["levels"]["mean"] < 0.1 and batch["equal"][0] > 0.9
    assert batch["control"]["mean"] > 20 and batch["control"]["equal"] < 0.1
    assert not {"levels", "equal", "control"} & (original.keys() | fast.keys())
    assert all(row["median_s"] > 0 and row["peak_mb"] >= 0 for row in rows.values())
    assert "levels apart 0.00 (at most 0), control" in line(alone)

    measured = {"threads": 1, "machine": {"gpu": "a GPU", "versions": {}, "commit": "c"}, "rows": [*rows.values()]}
    (tmp_path / "speed-cuda.json").write_text(json.dumps(measured))
    monkeypatch.setattr(report_tables, "RESULTS", tmp_path)
    shown = speed_gpu().splitlines()
    assert not any("codes are equal" in one for one in shown)  # where no codes were compared
    [said] = [one for one in shown if one.startswith("| native float32, batch of 8 ")]
    assert f"{batch['ratio']:.2f} × | {batch['levels']['mean']:.2f} | " in said
    assert any(one.startswith("| stock pipeline ") and "1.00 ×" in one for one in shown)


@pytest.mark.reference
def test_the_painter_paints(tmp_path: Path) -> None:
    """Its pictures are neither flat nor black and white."""
    import numpy as np
    import torch
    from seeded_unclip import embeddings, write_unclip
    from speed_paint import _native

    folder = write_unclip(tmp_path / "unclip", "cpu", torch.float32, **SMALL)
    [picture] = _native(folder, "cpu", "float32", {"num_inference_steps": 5})(embeddings(1).numpy(), [0])
    levels = np.asarray(picture)
    assert 20 < levels.std() < 80 and 90 < levels.mean() < 165
    assert ((levels == 0) | (levels == 255)).mean() < 0.2
