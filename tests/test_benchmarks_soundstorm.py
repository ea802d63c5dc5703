"""benchmarks/soundstorm.py, on a small network: what it measures, what makes it fail, and what its page says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))


def run(out: Path, monkeypatch: pytest.MonkeyPatch, *given: str) -> list[dict[str, Any]]:
    import soundstorm

    arguments = ["--small", "--threads", "1", "--out", str(out), "--codes", "500", "--longest", "60", *given]
    monkeypatch.setattr(sys, "argv", ["soundstorm.py", *arguments])
    soundstorm.main()
    return json.loads(out.read_text())["rows"]


def test_parts_are_measured_and_stay_beside_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "soundstorm.json"
    run(out, monkeypatch, "--parts", "memory", "exact", "--clips", "12", "0", "--clips", "9", "7")
    run(out, monkeypatch, "--parts", "speed", "--frames", "20", "10", "--rounds", "1")
    run(out, monkeypatch, "--parts", "speed", "--frames", "20", "10", "--rounds", "2", "--passes-only")
    rows = run(out, monkeypatch, "--parts", "batch")
    memory, exact, *speed, batch = sorted(
        rows, key=lambda row: ("memory", "exact", "speed", "batch").index(row["part"])
    )
    assert 10 < memory["weights_mb"] < 20 and "loaded_mb" in memory  # in a process that had freed as much, nearly 0
    assert exact["differing"] == len(exact["margins"]) and exact["choices"] == 7 * (10 * 12 + 10 * 16)
    assert max(exact["margins"], default=0) < 1e-4 and exact["logits_apart"] < 1e-3
    passes, clips = ([row for row in speed if row["what"] == what] for what in ("pass", "clip"))
    assert [(row["clips"], row["rounds"]) for row in passes] == [(1, 2), (1, 2), (3, 2)]
    assert [(row["clips"], row["rounds"]) for row in clips] == [(1, 1)] * 2
    assert all(row["least_s"] > 0 for row in speed)
    assert batch["codes"] >= 500 and batch["different"] == 0 and batch["clips"] > 2


def test_another_network_than_the_twin_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from plain_soundstorm import PlainSoundStorm

    plain = PlainSoundStorm.logits
    monkeypatch.setattr(PlainSoundStorm, "logits", lambda *given: torch.roll(plain(*given), 1, dims=-1))
    with pytest.raises(SystemExit, match="1"):
        run(tmp_path / "out.json", monkeypatch, "--parts", "exact", "--clips", "12", "0")


def test_codes_that_a_batch_changes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anytok import Codes
    from anytok.voice import Voice

    fill = Voice.fill

    def changed(*given: Any, **more: Any) -> Codes:
        codes = fill(*given, **more)
        values = np.array(codes.values)
        values[1, 0] = (values[1, 0] + 1) % codes.spec.codebook_size
        return Codes(values, codes.spec)

    monkeypatch.setattr(Voice, "fill", changed)
    with pytest.raises(SystemExit, match="1"):
        run(tmp_path / "out.json", monkeypatch, "--parts", "batch")
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["different"] == row["clips"]


def test_the_page_says_what_was_measured_and_what_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import report_voice

    times = {"frames": 650, "threads": 2, "rounds": 3, "least_s": 6.0, "most_s": 9.0, "ratio": 1.0}
    measured: dict[str, Any] = {
        "machine": {"processor": "P", "cores": 2, "versions": {}, "commit": "c"},
        "rows": [
            {"part": "exact", "clips": [[40, 0], [60, 30]], "choices": 9100, "differing": 1, "margins": [2e-5],
             "logits_apart": 9e-6},
            {"part": "speed", "what": "clip", "way": "original's way", "clips": 1, "median_s": 8.0, **times},
            {"part": "speed", "what": "clip", "way": "float32", "clips": 4, "median_s": 20.0, **times,
             "least_s": 16.0, "most_s": 24.0, "ratio": 1.6},
        ],
    }  # fmt: skip
    monkeypatch.setattr(report_voice, "results", lambda name: measured)
    shown = report_voice.soundstorm()
    assert "1 of 9,100 choices differ where the twin prefers its own choice by 2e-05 of a logit" in shown
    assert "Clips of 40 frames and 60 frames with a prompt of 30." in shown
    assert "| all passes | float32, 4 clips together | 3 | 5.0 s (4.0 to 6.0) | 1.60 × |" in shown
    assert "13 s of sound together; 2 threads. The aim in float32, 1.25 ×, is kept." in shown
    measured["rows"][-1]["ratio"] = 1.24
    assert "is missed (all passes, float32, 4 clips together)." in report_voice.soundstorm()
    assert "*batch: not measured yet (`python benchmarks/soundstorm.py --parts batch`).*" in shown
