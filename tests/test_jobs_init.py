"""`anytok init`: every example is written, and runs from an empty folder; what is there stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from job_corpus import write_png, write_wav

from anytok.cli import main
from anytok.jobs import load_config, verify_job
from anytok.records import read_toml

CONFIGS = Path(__file__).parent.parent / "configs"
JOBS = ["start", "image_folder", "speech_tar", "music_parquet", "anygpt_mixed"]
ITEMS = {"start": 2, "anygpt_mixed": 3}


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in an empty folder, and nothing may be fetched."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", ["start", "speech_tar", "anygpt_mixed"])
def test_an_example_runs_from_an_empty_folder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With media that are made for it; test_jobs_real.py runs all."""
    assert main(["init", "mine.toml", "--from", name]) == 0
    said = capsys.readouterr()
    assert said.out == "mine.toml\n" and "next: anytok run mine.toml" in said.err
    job = load_config("mine.toml")
    text = Path("mine.toml").read_text()
    assert "anytok run mine.toml" in text and f"{name}.toml" not in text
    assert main(["run", "mine.toml", "--progress", "none"]) == 0
    assert f"items      {ITEMS.get(name, 1)}: {ITEMS.get(name, 1)} written, 0 failed" in capsys.readouterr().out
    assert verify_job(job.output, one_in=1).ok
    assert all(any(Path(job.output, sink.kind).rglob("*")) for sink in job.sinks)


def test_the_example_of_composing_runs_behind_that_of_media(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("anygpt_mixed", "compose/anygpt"):
        assert main(["init", "--from", name]) == 0
    assert "tokens/anygpt: codes of another job, which must be there first" in capsys.readouterr().err
    assert main(["run", "anygpt_mixed.toml", "--progress", "none"]) == 0
    assert main(["compose", "anygpt.toml", "--progress", "none"]) == 0
    assert "items      3: 3 written, 0 failed" in capsys.readouterr().out
    assert verify_job("train/anygpt", one_in=1).ok


def test_all_examples_are_listed_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    names = {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.toml")}
    assert main(["init", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("start ") and {line.split()[0] for line in lines} == names
    assert all(len(line.split()) > 4 for line in lines) and not list(Path().iterdir())
    for name in names - set(JOBS):
        assert main(["init", f"{name.replace('/', '-')}.toml", "--from", name]) == 0
        assert read_toml(f"{name.replace('/', '-')}.toml", "") == read_toml(CONFIGS / f"{name}.toml", "")


def test_media_of_ones_own_are_read_and_none_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(Path('re"c ü/a.wav'), 8000)
    write_png(Path('re"c ü/b.png'))
    assert main(["init", "--source", 're"c ü']) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["job.toml", 're"c ü']
    assert main(["run", "job.toml", "--progress", "none"]) == 0
    assert "items      2: 2 written" in capsys.readouterr().out
    for source in ("s3://bucket/*.tar", "*.wav"):
        Path("job.toml").unlink()
        assert main(["init", "--source", source]) == 0 and load_config("job.toml").sources[0].path == source


def test_what_is_there_stays(capsys: pytest.CaptureFixture[str]) -> None:
    write_png(Path("media/mine.png"))
    assert main(["init"]) == 0
    assert [path.name for path in Path("media").iterdir()] == ["mine.png"]
    before = Path("job.toml").read_bytes()
    assert main(["init"]) == 2 and "job.toml: exists already" in capsys.readouterr().err
    assert Path("job.toml").read_bytes() == before
    Path("job.toml").unlink()
    assert main(["init", "--source", "media", "--from", "image_folder"]) == 0
    Path("tokens").mkdir()
    Path("tokens/first").mkdir()
    assert main(["init", "other.toml", "--source", "tokens/first"]) == 2  # it is where the job writes to
    assert not Path("other.toml").exists()


def test_a_wheel_has_the_examples(tmp_path: Path) -> None:
    """… and a command that is installed from it finds them."""
    source, site = tmp_path / "source", tmp_path / "site"
    left_out = shutil.ignore_patterns("*.so", "__pycache__", "weights", "csrc")
    for name in ("anytok", "configs"):
        shutil.copytree(CONFIGS.parent / name, source / name, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py", ".gitignore"):
        shutil.copy(CONFIGS.parent / name, source)
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    environment = {**os.environ, "CC": "no-such-compiler"}
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, env=environment, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    ZipFile(wheel).extractall(site)
    examples = {path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.toml")}
    assert {path.relative_to(site / "anytok/configs") for path in (site / "anytok/configs").rglob("*.*")} == examples
    run = [sys.executable, "-m", "anytok", "init", "--from", "train/music_mini"]
    subprocess.run(run, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, check=True)
    assert read_toml(tmp_path / "music_mini.toml", "") == read_toml(CONFIGS / "train" / "music_mini.toml", "")
