"""Exported files give the tokenizer's codes in ONNX Runtime, at lengths from one sample on and in batches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import anytok
from anytok import Audio, UsageError
from anytok.cli import main
from anytok.export import ExportResult, export_onnx
from anytok.export.samples import samples_for
from anytok.models.seanet import padding

GOLDEN = Path(__file__).parent / "golden"
# Every kind of layer that a published codec has: bidirectional LSTMs, Snake, causal and reflected padding, norms,
# loudness; the smallest checkpoint in each published form.
CODECS = {
    "speechtokenizer": GOLDEN / "speechtokenizer",
    "speechtokenizer-snake": GOLDEN / "speechtokenizer-snake",
    "encodec-24khz": GOLDEN / "encodec_24khz",
    "encodec-32khz": GOLDEN / "encodec_32khz",
    "encodec-48khz": GOLDEN / "encodec_48khz",
    "speech-mini": None,
    "music-mini": None,
}


def sound(spec: anytok.Spec, count: int, seed: int = 0) -> Audio:
    assert spec.sample_rate and spec.channels
    wave = np.random.default_rng(seed).normal(0, 0.2, (spec.channels, count))
    return Audio(np.cumsum(wave, axis=1).clip(-0.9, 0.9).astype(np.float32), int(spec.sample_rate))


@pytest.fixture(scope="module", params=list(CODECS))
def exported(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[anytok.Tokenizer, ExportResult]:
    name, checkpoint = request.param, CODECS[request.param]
    tokenizer = anytok.load_tokenizer(name, checkpoint=checkpoint)
    hop, rate = tokenizer.spec.hop_length, int(tokenizer.spec.sample_rate or 0)
    samples = [sound(tokenizer.spec, count, count) for count in (1, 2, hop - 1, hop + 1, 7 * hop, int(1.3 * rate))]
    folder = tmp_path_factory.mktemp("export") / name
    return tokenizer, export_onnx(name, folder, samples, checkpoint=checkpoint)


def test_codes_are_equal_at_any_length(exported: tuple[anytok.Tokenizer, ExportResult]) -> None:
    _, result = exported
    for one in result.samples:
        # 1e-5: beyond what float32 decides differently in another order of sums
        assert all(margin < 1e-5 for margin in one.margins), one
        assert one.codes - one.equal <= 0.01 * one.codes + 32 * bool(one.margins) and one.decode_error < 1e-4, one


def test_files_are_valid_and_say_what_they_are(exported: tuple[anytok.Tokenizer, ExportResult]) -> None:
    tokenizer, result = exported
    for part in ("encoder", "decoder"):
        model = onnx.load(result.folder / f"{part}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert {one.key: one.value for one in model.metadata_props}["anytok.id"] == tokenizer.spec.id
    card = json.loads((result.folder / "card.json").read_text())
    assert card["id"] == tokenizer.spec.id and len(card["tried"]) == len(result.samples)
    assert card["spec"]["sample_rate"] == tokenizer.spec.sample_rate and card["preprocessing"]


def test_a_batch_has_the_codes_of_its_clips(exported: tuple[anytok.Tokenizer, ExportResult]) -> None:
    tokenizer, result = exported
    clips = [sound(tokenizer.spec, 5 * tokenizer.spec.hop_length, seed) for seed in range(3)]
    session = onnxruntime.InferenceSession(result.folder / "encoder.onnx")
    together = session.run(["codes"], {"wave": np.stack([clip.wave for clip in clips])})[0]
    for row, clip in zip(together, clips, strict=True):
        assert (row == session.run(["codes"], {"wave": clip.wave[None]})[0][0]).all()
    assert len(np.unique(together)) > 8, "codes vary, so that equality says something"


def test_a_wrong_graph_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison at the end of an export is one that can fail: here the padding is swapped."""

    def swapped(*args: Any) -> tuple[int, int]:
        left, right = padding(*args)
        return right, left

    monkeypatch.setattr("anytok.export.codec.padding", swapped)
    clip = sound(anytok.load_tokenizer("music-mini").spec, 32000)
    (found,) = export_onnx("music-mini", tmp_path / "wrong", [clip]).samples
    assert found.equal < 0.9 * found.codes and found.margins and max(found.margins) > 1e-3


def test_a_killed_export_leaves_nothing_that_stands_for_a_whole_one(tmp_path: Path) -> None:
    """The folder then has no files under their names, and the next export into it works."""
    script = """if True:
        import os, signal, sys
        import anytok.export.export as export
        from anytok.export.samples import samples_for
        export.agreement = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        export.export_onnx("music-mini", sys.argv[1], samples_for("music-mini"))
    """
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not [*(tmp_path / "out").glob("[!.]*")] and [*(tmp_path / "out").iterdir()]
    result = export_onnx("music-mini", tmp_path / "out", samples_for("music-mini"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(result.files)


def test_half_precision_is_half_the_size_and_says_what_differs(tmp_path: Path) -> None:
    clip = sound(anytok.load_tokenizer("speech-mini").spec, 32000)
    kinds = ("float32", "float16")
    whole, half = (export_onnx("speech-mini", tmp_path / dtype, [clip], dtype=dtype) for dtype in kinds)
    sizes = [sum(path.stat().st_size for path in one.folder.glob("*.onnx")) for one in (whole, half)]
    assert sizes[1] < 0.65 * sizes[0]  # codebooks stay float32
    (found,) = half.samples
    # Little is promised: a runtime may compute in float32, or, where a CPU can, in float16, which loses more.
    assert found.equal >= 0.5 * found.codes and 0 < found.decode_error < 0.05
    wave = onnxruntime.InferenceSession(half.folder / "encoder.onnx").get_inputs()[0]
    assert wave.type == "tensor(float)", "programs hand in the same as in float32"


def test_fewer_codebooks(tmp_path: Path) -> None:
    clip = sound(anytok.load_tokenizer("speech-mini").spec, 8000)
    (found,) = export_onnx("speech-mini", tmp_path / "first", [clip], num_codebooks=1).samples
    assert found.codes == 25 and found.equal == 25


def test_pictures(tmp_path: Path) -> None:
    """Two pictures one by one, though the exporter was shown a batch of two."""
    result = export_onnx("seed-mini", tmp_path / "pictures", samples_for("seed-mini"))
    for one in result.samples:
        assert all(margin < 1e-5 for margin in one.margins) and one.equal >= 30 and one.decode_error < 1e-4, one
    for part in ("encoder", "decoder"):
        onnx.checker.check_model(str(result.folder / f"{part}.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(result.folder / "encoder.onnx")
    side = anytok.load_tokenizer("seed-mini").spec.image_size
    levels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    assert session.run(None, {"levels": levels})[0].shape == (3, 1, 32)


def test_the_command_tries_what_it_has_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", "speech-mini", str(out), "--num-codebooks", "2"]) == 0
    told = capsys.readouterr()
    assert "codes equal; decoded to within" in told.out and "encoder.onnx" in told.err
    assert main(["export", "speech-mini", str(out)]) == 2 and "holds files already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dtype": "int8"}, "dtype='int8': expected 'float32', 'float16'"),
        ({"samples": []}, "no samples"),
        ({"num_codebooks": 99}, "num_codebooks=99"),
        ({"name": "speech-mono"}, "no tokenizer is called 'speech-mono'"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    usual = {"name": "speech-mini", "samples": [sound(anytok.load_tokenizer("speech-mini").spec, 100)]}
    wanted = usual | given
    with pytest.raises(UsageError, match=said):
        export_onnx(wanted.pop("name"), tmp_path / "none", wanted.pop("samples"), **wanted)
    assert not (tmp_path / "none").exists()
