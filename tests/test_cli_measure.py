"""`eval`, `bench` and `doctor`, and the measurements behind them."""

from __future__ import annotations

import json
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

import anytok
from anytok import Codes, MediaError, Spec, Tokenizer, UsageError, kernels
from anytok.cli import doctor, main
from anytok.engines.native import precision
from anytok.errors import MissingExtraError
from anytok.kernels import selfcheck
from anytok.metrics.evaluate import evaluate, speed
from anytok.testing import picture

GOLDEN = Path(__file__).parent / "golden"

SPEECH = ["--tokenizer", "speechtokenizer", "--checkpoint", str(GOLDEN / "speechtokenizer")]


class Perfect(Tokenizer):
    """Gives back what it got: the measure of the measures."""

    spec = Spec("perfect", "image", 1, 4, num_frames=2, image_size=32, preprocessing="bicubic")

    def __init__(self, turned: bool = False) -> None:
        self.kept: list[Image.Image] = []
        self.turned = turned

    def _encode(self, prepared: Any) -> list[Codes]:
        images = list(prepared)
        self.kept += images
        return [Codes(np.array([[1, 2]]), self.spec) for _ in images]

    def _decode(self, codes: Any) -> list[Any]:
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


def test_what_has_no_number_in_json_is_text(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """… but infinity, which is no "not judged": that is null."""
    monkeypatch.setattr("anytok.cli.measure.load", lambda *_, **__: Perfect())
    picture(40, 60, 0).save("a.png")
    assert main(["eval", "a.png", "--tokenizer", "perfect", "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["items"] == [{"psnr": "Infinity", "retrieved": None}] and found["failed"] == []


def test_a_picture_is_retrieved_where_no_other_is_nearer() -> None:
    """A copy is no other, and with nothing else to mistake it for there is nothing to tell."""
    ones, twos = picture(40, 60, 0), picture(40, 60, 1)
    assert [row["retrieved"] for row in evaluate(Perfect(), [ones, twos, ones]).items] == [1, 1, 1]
    for alike in ([ones], [ones, ones]):
        found = evaluate(Perfect(), alike)
        assert found.means["retrieved"] is None and found.counts["retrieved"] == 0
    swapped = Perfect()
    swapped.decode_batch = lambda codes, **_: [swapped.kept.pop().point(lambda level: 255 - level)]  # type: ignore
    black, white = Image.new("RGB", (40, 40)), Image.new("RGB", (40, 40), "white")
    assert [row["retrieved"] for row in evaluate(swapped, [black, white, black]).items] == [0, 0, 0]


def test_eval_says_why_nothing_is_retrieved(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("anytok.cli.measure.load", lambda *_, **__: Perfect())
    picture(40, 60, 0).save("a.png")
    assert main(["eval", "a.png", "--tokenizer", "perfect"]) == 0
    assert "two pictures or more" in (said := capsys.readouterr().out) and "silent" not in said


@pytest.fixture
def mixed(here: Path) -> list[str]:
    """Two recordings among what newcomers give by mistake."""
    (here / "empty.wav").touch()
    (here / "notes.txt").write_text("words, not media" * 10)
    (here / "folder").mkdir()
    return ["absent.wav", "a.wav", "empty.wav", "notes.txt", "b.wav", "folder"]


@pytest.mark.parametrize("command", ["eval", "bench"])
def test_bad_files_are_named_and_the_others_measured(
    mixed: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *mixed, *SPEECH, "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["files"] == ["a.wav", "b.wav"]
    assert [one["file"] for one in found["failed"]] == [name for name in mixed if name not in found["files"]]
    assert "no such file [missing]" in found["failed"][0]["error"]
    lines = said.err.splitlines()
    assert sum(line.startswith(f"anytok: {name}: ") for line in lines for name in mixed) == 4
    assert lines[-1].startswith("anytok: 2 of 6 files")
    assert (len(found["items"]) if command == "eval" else found["engines"]["native"]["items"]) == 2
    assert main([command, *mixed, *SPEECH]) == 1
    assert ("mean" if command == "eval" else "real time") in capsys.readouterr().out


@pytest.mark.parametrize("command", ["eval", "bench"])
def test_where_no_file_can_be_used_there_is_only_that_to_say(
    mixed: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "notes.txt", *SPEECH, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["files"] and not found.get("items") and not found.get("engines") and len(found["failed"]) == 1
    assert main([command, "notes.txt", *SPEECH]) == 1
    said = capsys.readouterr()
    assert not said.out and "0 of 1 files" in said.err


def test_a_file_that_overflows_is_left_out_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the encoder finds out; without anyone to tell, it is raised, with its place."""
    monkeypatch.setattr(Perfect, "encode", _overflow)
    left_out: list[tuple[int, str]] = []
    found = evaluate(Perfect(), [picture(9, 9, 0)], refused=lambda place, error: left_out.append((place, str(error))))
    assert not found.items and left_out == [(0, "item 0: too loud [overflow]")]
    with pytest.raises(MediaError, match="item 0"):
        evaluate(Perfect(), [picture(9, 9, 0)])


def _overflow(self: Tokenizer, media: Any) -> Codes:
    raise MediaError("overflow", "too loud")


def test_an_open_file_is_read_once(here: Path) -> None:
    picture(40, 60, 0).save("a.png")
    with open("a.png", "rb") as file:
        assert evaluate(Perfect(), [file]).means["psnr"] == float("inf")
    with pytest.raises(UsageError, match="expected a list"):
        evaluate(Perfect(), "a.png")


def test_without_pystoi_speech_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystoi", None)
    hears = Perfect()
    hears.spec = Spec("hears", "speech", 1, 4, frame_rate=50, sample_rate=16000, preprocessing="first:functional")
    with pytest.raises(MissingExtraError, match="pystoi"):
        evaluate(hears, [anytok.Audio(np.zeros(16000), 16000)])
    assert not hears.kept


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
    engines = json.loads(capsys.readouterr().out)["engines"]
    assert list(engines) == ["native", "reference"] and engines["native"]["media_seconds"] == 1.25
    times = engines["native"]["encode"]
    assert 0 < times["least"] <= times["median"] <= times["most"] and times.keys() == engines["native"]["decode"].keys()
    assert main(["bench", "a.wav", *SPEECH, "--rounds", "1"]) == 0
    assert "x real time" in capsys.readouterr().out
    for media, rounds in (([], 1), ([picture(9, 9, 0)], 0)):
        with pytest.raises(UsageError):
            speed(Perfect(), media, rounds)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--rounds", "0"], "at least 1"),
        (["--against", "nonsense"], "it has native, reference"),
        (["--against", ""], "it has native, reference"),
        (["--engine", "nonsense", "--against", "reference"], "it has native, reference"),
        (["--against", "native"], "name another"),
    ],
)
def test_bench_checks_its_arguments_before_it_loads(
    wrong: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("anytok.cli.measure.load", lambda *_, **__: pytest.fail("loaded"))
    assert main(["bench", "a.wav", *SPEECH, *wrong]) == 2
    assert said in capsys.readouterr().err


def test_the_engine_to_compare_with_is_loaded_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the one that may not be installed, which is better known before than after the work."""

    def load(name: str, args: Any, **_: Any) -> Tokenizer:
        if args.engine == "reference":
            raise MissingExtraError("speechtokenizer", "reference", "engine='reference'")
        return Perfect()

    monkeypatch.setattr("anytok.cli.measure.load", load)
    monkeypatch.setattr("anytok.metrics.evaluate.speed", lambda *_, **__: pytest.fail("timed"))
    assert main(["bench", "a.wav", *SPEECH, "--against", "reference"]) == 3
    assert "pip install 'anytok[reference]'" in capsys.readouterr().err


@pytest.mark.parametrize("there", [True, False])
def test_doctor_says_where_bfloat16_is_not_for_this_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(precision, "has_half_kernels", lambda: there)
    monkeypatch.setattr(doctor, "_batches", lambda: (True, "not tried out"))
    main(["doctor"])
    assert ("no bfloat16 kernels" in capsys.readouterr().out) is not there


def test_doctor_names_the_kernels_that_serve_and_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_batches", lambda: (True, "not tried out"))
    monkeypatch.setattr(kernels, "why_not", lambda build: None if build == "portable" else "a reason")
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    assert main(["doctor"]) == 0
    assert "portable, in plain torch (amx: a reason)" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "_batches", lambda: (True, "not tried out"))
    monkeypatch.setenv(kernels.VARIABLE, "portable")
    assert main(["doctor"]) == 0
    assert "portable, in plain torch (ANYTOK_KERNELS=portable)" in capsys.readouterr().out
    monkeypatch.setenv(kernels.VARIABLE, "neon")
    assert main(["doctor"]) == 3
    assert "expected one of amx" in capsys.readouterr().out


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


def test_doctor_looks_at_every_package_of_every_extra() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {
        extra: {Requirement(one).name for one in packages}
        for extra, packages in project["optional-dependencies"].items()
        if extra != "test"
    }
    assert {extra: set(packages) for extra, packages in doctor.EXTRAS.items()} == wanted


def test_doctor_says_of_an_absent_package_what_it_would_bring(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither a fault nor in order."""

    def found(package: str) -> str:
        if package in ("soxr", "megatron-energon"):
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(doctor, "version", found)
    monkeypatch.setattr(doctor, "_batches", lambda: (True, "not tried out"))
    assert main(["doctor"]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["media"].startswith("--") and "av 1.0" in lines["media"]
    assert "not installed: soxr (the soxr resampler); pip install 'anytok[media]'" in lines["media"]
    assert lines["energon"].startswith("--") and lines["hf"].startswith("ok") and "accelerate 1.0" in lines["hf"]
