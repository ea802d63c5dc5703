"""benchmarks/parity.py in small: seeded codecs in the published formats, native codes against the originals'."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anytok.engines.native.precision import has_half_kernels

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from parity import MIN_USE, codec_rows

SPEECH = {"n_filters": 8, "dimension": 64, "semantic_dimension": 48, "codebook_size": 128}
MUSIC = {"num_filters": 8, "hidden_size": 32, "codebook_dim": 32, "codebook_size": 128}
SIZES = {
    "speechtokenizer": SPEECH,
    "speechtokenizer-snake": SPEECH,
    "encodec-32khz": MUSIC | {"target_bandwidths": [1.4]},
    "encodec-24khz": MUSIC | {"target_bandwidths": [1.05, 4.2]},
    "encodec-48khz": MUSIC | {"target_bandwidths": [2.1, 4.2]},
}


@pytest.mark.reference
@pytest.mark.parametrize("name", SIZES)
def test_seeded_codecs_give_the_originals_codes(name):
    rows = [row for found in codec_rows(name, None, seconds=2.5, **SIZES[name]) for row in found]
    clips = [row for row in rows if not row.get("control")]
    assert len(clips) == (4 if name.startswith("speech") else 8)
    for row in clips:
        assert row["equal"] == 1, row
        assert row["least_use"] > MIN_USE, row
        assert row["decode_error"] <= 1e-4, row
        assert row["float64"]["native"]["wrong"] == row["float64"]["original"]["wrong"] == 0, row
        assert all(margin < 1e-5 for margin in row["float64"]["onnx"].get("margins", [1])), row
        for lower in ("onnx float16", "mixed", "bfloat16") if has_half_kernels() else ("onnx float16",):
            found = row["float64"][lower]
            assert 0 <= found["first"] <= found["wrong"] <= row["codes"] / 2, row
            assert not found["wrong"] or 0 < found["median"] <= found["largest"] < 0.1, row
    controls = [row["equal"] for row in rows if row.get("control")]
    assert len(controls) == 4 and max(controls) < 0.9, "a clip heard one sample late must not pass"
