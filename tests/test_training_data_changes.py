"""Training goes on with the data that it began with, not with others that lie under the same path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_loop import MUSIC

from anytok.errors import UsageError
from anytok.training import train
from anytok.training.clips import Clip, Clips, write_clips
from anytok.training.data import check_data, hash_files
from anytok.training.pictures import Pictures
from anytok.training.voice import codes_of


def write_noise(folder: Path, seed: int, rate: int = 24000, name: str = "0") -> None:
    noise = np.random.default_rng(seed).normal(0, 0.1, 16000).astype(np.float32)
    write_clips(folder / "train", [Clip(noise, "a", name, np.zeros(50))], rate, 320)


def write_config(folder: Path, steps: int) -> Path:
    path = folder / "a.toml"
    path.write_text(MUSIC.format(folder=folder, rate=1e-3, steps=steps), "utf-8")
    return path


def test_data_that_changed_under_their_path_are_refused_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_noise(tmp_path, seed=0)
    train(write_config(tmp_path, 2))
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    before, index = checkpoint.read_bytes(), tmp_path / "train" / "clips.json"
    write_noise(tmp_path, seed=0)  # the same once more, with other times
    train(tmp_path / "a.toml")
    assert "other data" not in caplog.text
    for seed, name, said in ((1, "0", r"wave\.npy was changed\. Put"), (0, "other", r"clips\.json was changed\. Put")):
        write_noise(tmp_path, seed, name=name)
        with pytest.raises(UsageError, match=rf"trained on other data: {tmp_path}/train/{said} .*--allow-changes"):
            train(tmp_path / "a.toml")
        assert checkpoint.read_bytes() == before and index.is_file()
    train(write_config(tmp_path, 3), allow_changes=True)
    assert "goes on with other data: " in caplog.text
    caplog.clear()
    train(tmp_path / "a.toml")  # the new ones are recorded
    assert "other data" not in caplog.text


def test_a_checkpoint_without_data_is_gone_on_from_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_noise(tmp_path, seed=0)
    train(write_config(tmp_path, 2))
    package = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    del package["data"]
    torch.save(package, tmp_path / "run" / "checkpoint.pt")
    train(tmp_path / "a.toml")
    assert "earlier version, which did not record its data" in caplog.text


def test_a_photograph_more_or_less_is_named(tmp_path: Path) -> None:
    """It changes which are held out, too."""
    from PIL import Image

    for number in range(9):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    before = hash_files(Pictures(tmp_path, 4, 0.5).files)
    (tmp_path / "0.png").rename(tmp_path / "a.png")
    Image.new("RGB", (8, 8), (99, 0, 0)).save(tmp_path / "7.png")
    now = hash_files(Pictures(tmp_path, 4, 0.5).files)
    with pytest.raises(UsageError, match=r"/0\.png is gone; .*/7\.png was changed; .*/a\.png is new\. Put"):
        check_data(tmp_path, before, now, allow=False)
    with pytest.raises(UsageError, match=r"; and 4 more\. Put"):
        check_data(tmp_path, {}, now, allow=False)


def test_codes_of_other_sound_are_not_taken_for_those_of_a_voice_s_clips(tmp_path: Path) -> None:
    kept = []
    for seed in (0, 1, 0):
        write_noise(tmp_path, seed, rate=16000)
        kept.append(codes_of(Clips(tmp_path / "train"), tmp_path / "train", "speech-mini"))
    assert (kept[0] != kept[1]).any() and (kept[0] == kept[2]).all()
