"""A folder of one's own recordings, with nothing beside them, is a training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_codec import MODEL

import anytok
from anytok import Audio, MediaError, UsageError
from anytok.cli import main
from anytok.training import train
from anytok.training.clips import Clip, write_clips
from anytok.training.recordings import read_clips

CONFIG = """name = "own"
kind = "{kind}"
data = "{data}"
out = "{data}/run"
[run]
steps = 2
batch_size = 2
""" + MODEL


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Recordings of three rates, forms and folders."""
    rng = np.random.default_rng(0)
    for name, rate, channels in (("a/one.wav", 16000, 1), ("a/deep/two.flac", 44100, 2), ("three.wav", 8000, 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Audio(rng.uniform(-0.5, 0.5, (channels, rate)).astype(np.float32), rate).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not sound")
    return tmp_path


@pytest.mark.parametrize(("kind", "rate"), [("speech", 16000), ("music", 32000)])
def test_recordings_become_clips(data: Path, kind: str, rate: int) -> None:
    clips = read_clips(data, kind, 320)
    assert clips.sample_rate == rate and [item["frames"] for item in clips.items] == [rate // 320] * 3
    assert [(item["source"], item["name"]) for item in clips.items] == [
        ("a", "a/deep/two.flac"), ("a", "a/one.wav"), ("recordings", "three.wav"),
    ]  # fmt: skip
    waves, labels = clips.batch(np.random.default_rng(0), 4, 10, {"a": 1.0})
    assert waves.shape == (4, 3200) and 0.1 < waves.std() < 0.6 and (labels == -1).all()
    if kind == "speech":
        wave = anytok.media.audio.load_audio(data / "a" / "one.wav").wave[0]
        assert np.abs(clips.clip(1)[0] - wave).max() < 1e-3


def test_the_command_trains_on_them(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "own.toml").write_text(CONFIG.format(kind="music", data=data))
    assert main(["train", str(data / "own.toml")]) == 0
    weights = Path(capsys.readouterr().out.strip())
    tokenizer = anytok.load_tokenizer("encodec-32khz", checkpoint=weights)
    assert tokenizer.encode(str(data / "three.wav")).num_frames == 100


def test_recordings_that_changed_are_named_when_training_goes_on(data: Path) -> None:
    (data / "own.toml").write_text(CONFIG.format(kind="music", data=data))
    train(data / "own.toml")
    train(data / "own.toml")
    Audio(np.full(16000, 0.25, np.float32), 16000).save(data / "a" / "one.wav")
    (data / "three.wav").unlink()
    with pytest.raises(UsageError, match=r"other data: .*/a/one\.wav was changed; .*/three\.wav is gone\. Put"):
        train(data / "own.toml")


def test_what_was_written_as_a_training_set_is_one(data: Path) -> None:
    write_clips(data / "train", [Clip(np.zeros(3200, np.float32), "made", "0")], 24000, 320)
    assert read_clips(data, "music", 320).sample_rate == 24000


def test_what_cannot_be_used_is_named(data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (data / "broken.wav").write_text("no sound")
    with pytest.raises(MediaError, match=r"broken\.wav: .*replace this recording, or take it away"):
        read_clips(data, "speech", 320)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UsageError, match=r"no clips\.json; put recordings in the folder above it, or make the data"):
        read_clips(empty, "speech", 320)
    Audio(np.zeros(100), 16000).save(empty / "short.wav")
    with pytest.raises(UsageError, match="no recording is as long as a frame of 320 samples"):
        read_clips(empty, "speech", 320)
