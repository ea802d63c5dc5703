"""The comparison of benchmarks/parity_seed.py, at a small size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

SMALL = {
    "vision_width": 176, "vision_layers": 4, "vision_heads": 2, "qformer_width": 96, "qformer_layers": 4,
    "qformer_heads": 4, "decoder_layers": 1, "decoder_heads": 4, "codebook_size": 1024, "embedding_dim": 64,
}  # fmt: skip


@pytest.mark.reference
def test_native_codes_are_transformers_codes() -> None:
    from parity_seed import seed_rows

    *rows, control = seed_rows(**SMALL)
    assert len(rows) == 4
    for row in rows:
        assert (row["codes"], row["equal"], row["divergences"]) == (32, 1.0, [])
        assert max(row["latents_error"], row["decode_error"]) < 1e-5
        assert row["least_use"] > 0.2 and row["smallest_margin"] > 0 and row["equal_bfloat16"] > 0.8
        assert [row["float64"][which]["wrong"] for which in ("native", "original")] == [0, 0]
        # Near ties may fall otherwise in another runtime, and more codes in float16.
        assert all(margin < 1e-5 for margin in row["float64"]["onnx"]["margins"]), row
        assert row["float64"]["onnx float16"]["wrong"] <= 16, row
        lower = row["float64"]["bfloat16"]
        assert lower["wrong"] == len(lower["margins"]) == 32 - round(32 * row["equal_bfloat16"])
    assert control["control"] and control["equal"] < 0.9
