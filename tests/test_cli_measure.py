"""`eval`, `bench` and `doctor`, and the measurements behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import GOLDEN, picture
from PIL import Image

import anytok
from anytok import Codes, Spec, Tokenizer, UsageError
from anytok.cli import doctor, main
from anytok.engines.native import kernels, precision, selfcheck
from anytok.metrics.evaluate import evaluate, speed

SPEECH = ["--tokenizer", "speechtokenizer", "--checkpoint", str(GOLDEN / "speechtokenizer")]


class Perfect(Tokenizer):
    """Gives back what it got: the measure of the measures."""

    spec = Spec("perfect", "image", 1, 4, num_frames=2, image_size=32, preprocessing="bicubic")

    def __init__(self, turned: bool = False) -> None:
        self.kept: list[Image.Image] = []
        self.turned = turned

    def encode_batch(self, media: Any) -> list[Codes]:
        self.kept += [anytok.media.prepare(item, self.spec) for item in media]
        return [Codes(np.array([[1, 2]]), self.spec) for _ in media]

    def decode_batch(self, codes: Any, **options: Any) -> list[Any]:
        return [self.kept.pop(0).rotate(180 * self.turned) for _ in codes]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    wave = np.sin(np.cumsum(np.linspace(0.02, 0.4, 20000))) * np.random.default_rng(0).uniform(0.5, 1, 20000)
    anytok.Audio(wave, 16000).save("a.wav")
    anytok.Audio(wave[::-1].copy(), 16000).save("b.wav")
    return tmp_path


def test_a_perfect_tokenizer_measures_as_perfect() -> None:
    pictures = [picture(40, 60, seed) for seed in range(4)]
    found = evaluate(Perfect(), pictures)
    assert found.means == {"psnr": float("inf"), "retrieved": 1.0}
    assert found.usage == [0.5] and found.perplexity == [pytest.approx(2.0)]
    turned = evaluate(Perfect(turned=True), pictures)
    assert turned.means["psnr"] < 25


def test_what_has_no_number_in_json_is_null(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("anytok.cli.measure.load", lambda *_, **__: Perfect())
    picture(40, 60, 0).save("a.png")
    assert main(["eval", "a.png", "--tokenizer", "perfect", "--json"]) == 0
    said = capsys.readouterr().out
    assert "Infinity" not in said and json.loads(said)["items"] == [{"psnr": None, "retrieved": 1.0}]


def test_eval_says_how_close(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "a.wav", "b.wav", *SPEECH, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"seconds", "log_mel_distance", "si_sdr", "stoi"} == set(found["means"]) and len(found["items"]) == 2
    assert len(found["usage"]) == 8
    assert main(["eval", "a.wav", "b.wav", *SPEECH]) == 0
    assert "mean" in capsys.readouterr().out
    assert main(["eval", "absent.wav", *SPEECH]) == 1


def test_eval_leaves_a_metric_out_where_a_file_is_too_short_or_silent(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    anytok.Audio(wave[:200], 16000).save("tiny.wav")
    anytok.Audio(0 * wave, 16000).save("silent.wav")
    assert main(["eval", "a.wav", "tiny.wav", "silent.wav", *SPEECH, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    whole, tiny, silent = found["items"]
    assert tiny["stoi"] is silent["stoi"] is silent["si_sdr"] is None and tiny["si_sdr"] is not None
    assert found["counts"] == {"seconds": 3, "log_mel_distance": 3, "si_sdr": 2, "stoi": 1}
    assert found["means"]["stoi"] == whole["stoi"]
    assert found["means"]["si_sdr"] == pytest.approx((whole["si_sdr"] + tiny["si_sdr"]) / 2)
    assert main(["eval", "a.wav", "tiny.wav", "silent.wav", *SPEECH]) == 0
    assert "stoi is over 1 of 3 files" in capsys.readouterr().out
    assert main(["eval", "tiny.wav", *SPEECH]) == 0
    said = capsys.readouterr().out
    assert "stoi is over 0 of 1 files" in said and "si_sdr is" not in said
    assert said.splitlines()[1].split()[-1] == "-"


def test_bench_says_how_fast(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "a.wav", *SPEECH, "--rounds", "2", "--against", "reference", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"native", "reference"} and found["native"]["media_seconds"] == 1.25
    median, least, most = found["native"]["encode"]
    assert 0 < least <= median <= most
    assert main(["bench", "a.wav", *SPEECH, "--rounds", "1"]) == 0
    assert "x real time" in capsys.readouterr().out
    assert main(["bench", "a.wav", *SPEECH, "--rounds", "0"]) == 2
    with pytest.raises(UsageError):
        speed(Perfect(), [])


@pytest.mark.parametrize("there", [True, False])
def test_doctor_says_where_bfloat16_is_not_for_this_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(precision, "has_half_kernels", lambda: there)
    monkeypatch.setattr(doctor, "_batches", lambda: (True, "not tried out"))
    main(["doctor"])
    assert ("no bfloat16 kernels" in capsys.readouterr().out) is not there


def test_doctor_says_why_there_are_no_kernels(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "missing", lambda: "a reason")
    monkeypatch.setattr(doctor, "_batches", lambda: (True, "not tried out"))
    assert main(["doctor"]) == 0
    assert "none of anytok's own (a reason)" in capsys.readouterr().out
    monkeypatch.setattr(kernels, "missing", lambda: None)
    assert main(["doctor"]) == 0
    assert "a reason" not in (said := capsys.readouterr().out) and "compiled for this CPU" in said


def test_doctor_tries_out_whether_batches_change_anything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor"]) == 0
    assert "the same bits alone, in any batch" in capsys.readouterr().out
    monkeypatch.setattr(selfcheck, "unsteady", lambda dtype: ["product 9 → 9"])
    assert main(["doctor"]) == 3
    assert "product 9 → 9 in float32" in capsys.readouterr().out


def test_doctor_reports_what_fails_and_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--json"]) == 0
    assert {"python", "torch", "torchaudio", "cache"} <= {one["what"] for one in json.loads(capsys.readouterr().out)}

    def broken() -> tuple[bool, str]:
        raise OSError("libtorch.so: wrong ELF class")

    monkeypatch.setattr(doctor, "_torch", broken)
    assert main(["doctor"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("!!") and "wrong ELF class" in line for line in lines) and len(lines) >= 8
