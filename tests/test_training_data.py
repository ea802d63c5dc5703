"""Training data: MIDI bytes, phone labels, clips on disk, pictures."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from anytok.errors import MediaError, UsageError
from anytok.training import data_music, data_speech
from anytok.training.clips import Clip, Clips, write_clips
from anytok.training.compose import compose
from anytok.training.descriptor import Descriptor
from anytok.training.midi import Score
from anytok.training.phones import PHONES, UNKNOWN, frame_labels, phone_class
from anytok.training.pictures import Pictures, held_out
from anytok.training.sentences import sentence


def test_midi_bytes_of_one_note(tmp_path: Path) -> None:
    """Written out by hand from the standard: 480 ticks a beat, 120 beats a minute, a note of one beat."""
    score = Score(tempo=120)
    score.program(2, 40)
    score.note(2, start=1, length=1, pitch=60, velocity=100)
    score.save(tmp_path / "a.mid")
    track = "00ff510307a120 00c228 8360923c64 8360823c00 00ff2f00"
    wanted = f"4d546864 00000006 0000 0001 01e0 4d54726b {len(bytes.fromhex(track)):08x} {track}"
    assert (tmp_path / "a.mid").read_bytes() == bytes.fromhex(wanted)


def test_compositions_repeat_by_seed_and_differ_between_seeds(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        compose(random.Random(seed)).save(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_sentences_repeat_by_seed() -> None:
    first, again = ([sentence(random.Random(i)) for i in range(50)] for _ in range(2))
    assert first == again and len(set(first)) > 40


@pytest.mark.parametrize(
    ("symbol", "phone"),
    [("uː", "u"), ("ˈɛ", "ɛ"), ("", "_"), ("pau", "_"), ("hh", "h"), ("tʃ", "tʃ"), ("ɐ", "ʌ"), ("ow", "oʊ")],
)
def test_both_synthesisers_symbols_meet_in_one_class(symbol: str, phone: str) -> None:
    assert PHONES[phone_class(symbol)] == phone


def test_an_unknown_symbol_has_no_class() -> None:
    assert phone_class("(en)") == UNKNOWN and phone_class("ŧ") == UNKNOWN


def test_frame_labels_say_what_sounds_in_the_middle_of_a_frame() -> None:
    labels = frame_labels([(0.02, "s"), (0.055, "iː")], 5, 50)
    assert [PHONES[i] for i in labels] == ["_", "s", "s", "i", "i"]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="eSpeak NG is not installed")
def test_espeak_reports_phones_with_times() -> None:
    from anytok.training.espeak import speak

    wave, rate, phones = speak("see", "en-us")
    assert 0.2 < len(wave) / rate < 1.5 and np.abs(wave).max() > 0.05
    assert [symbol[:1] for _, symbol in phones if symbol][:2] == ["s", "i"]
    assert [start for start, _ in phones] == sorted(start for start, _ in phones)


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    long = Clip(np.linspace(0, 1, 1000), "a", "rising", np.arange(100) % 50)
    short = Clip(np.full(25, -0.5), "b", "short")  # two frames, and half a one that is cut
    write_clips(tmp_path, [long, short], sample_rate=1000, hop=10)
    return Clips(tmp_path)


def test_clips_come_back_whole_with_their_labels(clips: Clips) -> None:
    wave, labels = clips.clip(0)
    assert len(clips) == 2 and wave == pytest.approx(np.linspace(0, 1, 1000), abs=1e-4)
    assert labels.tolist() == (np.arange(100) % 50).tolist()
    assert clips.clip(1)[0].tolist() == pytest.approx([-0.5] * 20, abs=1e-4)


def test_stretches_keep_wave_and_labels_together(clips: Clips) -> None:
    waves, labels = clips.batch(np.random.default_rng(0), 20, 5, {"a": 1.0})
    starts = np.round(waves[:, 0] * 999 / 10).astype(int)
    assert (labels == (starts[:, None] + np.arange(5)) % 50).all() and len(set(starts)) > 5


def test_short_clips_stand_in_silence_and_sources_are_weighed(clips: Clips) -> None:
    waves, labels = clips.batch(np.random.default_rng(0), 30, 5, {"a": 0.5, "b": 0.5})
    short = waves.min(axis=1) < -0.4
    assert 5 < short.sum() < 25
    assert ((waves[short] < -0.4).sum(axis=1) == 20).all() and (labels[short] == -1).all()


def test_without_sources_all_clips_are_drawn_by_length(clips: Clips) -> None:
    waves, _ = clips.batch(np.random.default_rng(0), 1000, 5, {})
    assert 5 < (waves.min(axis=1) < -0.4).sum() < 50  # 2 frames of 102


@pytest.mark.parametrize("weights", [{"c": 1.0}, {"a": 0.5, "c": 0.5}, {"a": 0.0}, {"a": 1.0, "b": -0.5}, {"a": -1.0}])
def test_sources_that_cannot_be_drawn_are_refused(clips: Clips, weights: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="clips of a, b"):
        clips.batch(np.random.default_rng(0), 2, 5, weights)


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no clips"):
        Clips(tmp_path)


def test_data_without_sound_are_not_written(tmp_path: Path) -> None:
    for clips in ([], [Clip(np.zeros(9), "a", "short")]):
        with pytest.raises(UsageError, match="no sound"):
            write_clips(tmp_path / "new", clips, sample_rate=1000, hop=10)
    assert not (tmp_path / "new").exists()


def test_data_that_were_written_half_are_no_data(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no room"):
        write_clips(tmp_path, [Clip(np.zeros(1000), "a", "0")], sample_rate=1000, hop=10)
    with pytest.raises(UsageError, match="no clips"):
        Clips(tmp_path)


@pytest.mark.parametrize("name", ["wave.npy", "labels.npy", "clips.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "foreign", "pickled", "pipe", "other"])
def test_damaged_clips_are_named_with_how_to_make_them_again(
    clips: Clips, tmp_path: Path, name: str, damage: str
) -> None:
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if damage in ("empty", "short", "foreign"):
        path.write_bytes({"empty": b"", "short": content[:-30], "foreign": b"\xff\xfe no such data"}[damage])
    elif damage == "pickled":
        np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
        (tmp_path / "o.npy").rename(path)
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "other":  # of other data
        np.save(tmp_path / "o.npy", np.zeros(77, np.int16))
        (tmp_path / "o.npy").rename(path)
    with pytest.raises(UsageError, match=rf"{tmp_path}.*(clips\.json|{name}).*make the data anew: python -m"):
        Clips(tmp_path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"hop": 0}, "hop=0"),
        ({"hop": None}, "hop=None"),
        ({"sample_rate": "16k"}, "sample_rate='16k'"),
        ({"clips": []}, "no sound"),
        ({"clips": 3}, "not an index"),
        ({"clips": [{"source": "a", "name": "", "start": 0}]}, "frames"),
        ({"clips": [{"source": "a", "name": "", "start": -1, "frames": 102}]}, "start=-1"),
        ({"clips": [{"source": "a", "name": "", "start": 0, "frames": 0}]}, "no sound"),
        ({"clips": [{"source": "a", "name": "", "start": 0, "frames": 103}]}, "not written together"),
    ],
)
def test_an_index_that_cannot_be_is_refused(clips: Clips, tmp_path: Path, change: dict, error: str) -> None:
    index = json.loads((tmp_path / "clips.json").read_text("utf-8"))
    (tmp_path / "clips.json").write_text(json.dumps(index | change), "utf-8")
    with pytest.raises(UsageError, match=error):
        Clips(tmp_path)


@pytest.mark.parametrize(("make", "count"), [(data_speech.make, "num_clips"), (data_music.make, "num_pieces")])
def test_data_of_less_than_two_sets_are_refused(tmp_path: Path, make: Any, count: str) -> None:
    for number in (1, 0, -3, 2.5):
        with pytest.raises(UsageError, match=f"{count}={number}"):
            make(tmp_path, **{"num_clips": {"recordings": None}, "num_pieces": {}}[count], **{count: number})


def test_recordings_that_are_not_there_are_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=f"{folder}: no .flac"):
            data_speech.make(tmp_path / "out", folder, 2)


def test_a_recording_that_cannot_be_read_is_named_and_one_in_stereo_is_mixed(tmp_path: Path) -> None:
    stereo = np.stack([np.full(640, 0.5), np.full(640, -0.25)], axis=1)
    soundfile.write(tmp_path / "a.flac", stereo, 16000)
    (tmp_path / "b.flac").write_bytes((tmp_path / "a.flac").read_bytes()[:10])
    clips = data_speech._recorded([tmp_path / "a.flac", tmp_path / "b.flac"])
    assert next(clips)[0].wave == pytest.approx(np.full(640, 0.125), abs=1e-3)
    with pytest.raises(MediaError, match=r"b\.flac: this recording cannot be read"):
        next(clips)


def test_recordings_at_other_speeds_are_other_speakers(tmp_path: Path) -> None:
    """In steps of voices single words of one speaker are joined, by the names of their clips."""
    files = [tmp_path / name for name in ("digits/3_ann_0.flac", "digits/3_yweweler_0.flac", "people/a.flac")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, np.zeros(1600), 16000)
    found = {more: list(data_speech._recorded(files, more)) for more in (False, True)}
    assert [clip.name for clip, _ in found[False]] == ["3_ann_0", "3_yweweler_0", "a", "a", "a"]
    named = [clip.name for clip, _ in found[True] if clip.source == "digits"]
    assert named[0] == "3_ann-at-0.8_0" and len(set(named)) == 7 + 1 and "3_ann_0" in named
    assert [is_held for _, is_held in found[True]] == [False] * 7 + [True] + [False] * 7
    assert len({len(clip.wave) for clip, _ in found[True][:7]}) == 7


def test_a_natural_voice_reads_sentences_and_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(UsageError, match="pip install hibari-tts"):
        next(data_speech._natural(rng, 1))

    class Hibari:
        sample_rate = 24000

        def __call__(self, text: str, *, seed: int, speed: float) -> np.ndarray:
            assert text.count(" ") > 3 and 0.8 < speed < 1.2
            return np.full(2400, seed / 10)

    monkeypatch.setitem(sys.modules, "hibari", types.SimpleNamespace(Hibari=Hibari))
    clips = list(data_speech._natural(rng, 8))
    assert {clip.source for clip in clips} == {"hibari"} and all(clip.labels is None for clip in clips)
    assert clips[5].wave[400:900] == pytest.approx(0.5, abs=0.01) and clips[0].wave.dtype == np.float32
    assert len({len(clip.wave) for clip in clips}) > 2 and all(1200 < len(clip.wave) < 2100 for clip in clips)


def test_music_that_cannot_be_played_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    font = tmp_path / "font.sf2"
    with pytest.raises(UsageError, match=r"font\.sf2: no such sound font"):
        data_music.make(tmp_path, 2, font)
    font.touch()
    for wave, error in ((np.zeros((999, 2)), "nothing but silence"), (None, "fluidsynth failed")):

        def play(command: list[str], wave: Any = wave, **_: object) -> None:
            path = Path(command[command.index("-F") + 1])
            path.touch() if wave is None else soundfile.write(path, wave, 32000)

        monkeypatch.setattr(subprocess, "run", play)
        with pytest.raises(UsageError, match=f"{error}.*apt-get install fluidsynth"):
            data_music.make(tmp_path, 2, font)


def test_a_tool_that_fails_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anytok.training.data_speech", str(tmp_path), "--recordings", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "no .flac" in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    from PIL import Image

    for i in range(14):
        Image.fromarray(np.full((20, 30, 3), 10 * i, np.uint8)).save(tmp_path / f"{i:02}.png")
    return tmp_path


def test_held_out_photographs_are_never_drawn(photographs: Path) -> None:
    assert [path.stem for path in held_out(photographs)] == ["00", "07"]
    pictures = Pictures(photographs, side=16, drawn=0.0)
    assert len(pictures.photographs) == 12
    assert {int(np.asarray(each).mean()) for each in pictures.photographs}.isdisjoint({0, 70})


def test_one_photograph_which_is_held_out_is_not_enough(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="at least one more"):
        Pictures(tmp_path, side=16, drawn=0.5)
    assert Pictures(tmp_path, side=16, drawn=1.0).batch(np.random.default_rng(0), 2).shape == (2, 16, 16, 3)
    Image.new("RGB", (40, 40)).save(tmp_path / "b.png")
    assert Pictures(tmp_path, side=16, drawn=0.0).batch(np.random.default_rng(0), 2).shape == (2, 16, 16, 3)


@pytest.mark.parametrize(("damage", "kind"), [("short", "truncated"), ("text", "unsupported"), ("pipe", "not_a_file")])
def test_a_photograph_that_cannot_be_read_is_named(photographs: Path, damage: str, kind: str) -> None:
    path = photographs / "03.png"
    content = path.read_bytes()
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content[:-25] if damage == "short" else b"no picture at all")
    with pytest.raises(MediaError, match=rf"03\.png.*take it away.*{kind}"):
        Pictures(photographs, side=16, drawn=0.0)


def test_a_missing_folder_of_photographs_is_named(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path / "a.png"):
        (tmp_path / "a.png").touch()
        with pytest.raises(UsageError, match=f"{place}: no such folder"):
            Pictures(place, side=16, drawn=1.0)


def test_pictures_have_the_asked_shape_and_repeat_by_seed(photographs: Path) -> None:
    pictures = Pictures(photographs, side=16, drawn=0.5)
    first, again = (pictures.batch(np.random.default_rng(3), 8) for _ in range(2))
    assert first.shape == (8, 16, 16, 3) and first.dtype == np.uint8 and (first == again).all()


def test_a_descriptor_draws_a_smooth_picture_again() -> None:
    import torch

    ramp = torch.linspace(0.2, 0.8, 32)
    picture = torch.stack([ramp[:, None].expand(32, 32), ramp[None].expand(32, 32), torch.full((32, 32), 0.4)])
    describe = Descriptor()
    again = describe.draw(describe(picture[None]))[0]
    assert describe.width == 224 and (again - picture).abs().mean() < 0.01


def test_the_descriptors_first_entry_is_brightness() -> None:
    import torch

    describe = Descriptor()
    dark, light = (describe(torch.full((1, 3, 64, 64), level))[0] for level in (0.25, 0.75))
    assert light[0] > 0 > dark[0] and light[1:].abs().max() < 1e-4
