"""Speech to train on: eSpeak NG and flite voices with phone labels, hibari-tts's natural voice and recordings of people
without.

    python -m anytok.training.data_speech OUT --recordings FOLDER --natural

writes OUT/train and OUT/held. Held out are whole voices: eSpeak variants, a flite voice, one speaker of the spoken
digits, and some clips of each other recording folder and of the natural voice.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..arguments import whole
from ..errors import AnytokError, MediaError, MissingExtraError, UsageError
from .clips import Clip, write_clips
from .espeak import speak
from .phones import frame_labels
from .sentences import sentence

__all__ = ["make"]

SAMPLE_RATE, HOP = 16000, 320
_FRAME_RATE = SAMPLE_RATE / HOP

_ACCENTS = ("en-us", "en-gb-x-gbclan", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbcwmd", "en-us-nyc")
_LANGUAGES = ("de", "fr", "es", "it", "nl", "sv", "pl", "pt-br")
_VARIANTS = (
    "", "f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m6", "m7", "Andy", "Annie", "Gene", "Lee", "Michael", "steph",
)  # fmt: skip
_HELD_VARIANTS = ("f5", "m5", "m8", "Mike", "Andrea", "Hugo")
_FLITE = {"slt": False, "awb": False, "kal16": False, "rms": True}  # voice: held out?
_HELD_SPEAKER = "yweweler"
_SPEEDS = (0.88, 1.0, 1.13)  # a few real speakers become more, as record players do it
_MORE_SPEEDS = (0.8, 0.88, 0.94, 1.0, 1.06, 1.13, 1.22)


def make(
    out: Path,
    recordings: Path | None,
    num_clips: int,
    seed: int = 0,
    *,
    more_speakers: bool = False,
    natural: bool = False,
) -> None:
    """Write the training and the held-out set below `out`. `more_speakers`: recordings at seven speeds, spoken digits,
    too, where otherwise digits have one and others three. `natural`: a quarter as many clips of hibari-tts's voice.

    Raises UsageError for what is not installed or not there, MediaError for a recording that cannot be read.
    """
    whole("num_clips", num_clips, 2)  # one is held out
    files = _files(recordings) if recordings else []
    rng = random.Random(seed)
    train: list[Clip] = []
    held: list[Clip] = []
    for i in range(num_clips):
        variants = _HELD_VARIANTS if i % 20 == 0 else _VARIANTS
        (held if i % 20 == 0 else train).append(_espeak_clip(rng, variants))
    for i in range(num_clips // 4):
        voice = list(_FLITE)[i % len(_FLITE)]
        if _FLITE[voice] and i % 16 != 3:  # a held-out voice needs fewer clips
            continue
        (held if _FLITE[voice] else train).append(_flite_clip(rng, voice))
    for i, clip in enumerate(_natural(rng, num_clips // 4) if natural else ()):
        (held if i % 20 == 0 else train).append(clip)
    for clip, is_held in _recorded(files, more_speakers):
        (held if is_held else train).append(clip)
    write_clips(out / "train", train, SAMPLE_RATE, HOP)
    write_clips(out / "held", held, SAMPLE_RATE, HOP)


def _espeak_clip(rng: random.Random, variants: tuple[str, ...]) -> Clip:
    language = rng.choice(_ACCENTS if rng.random() < 0.75 else _LANGUAGES)
    variant = rng.choice(variants)
    voice = f"{language}+{variant}" if variant else language
    wave, rate, phones = speak(sentence(rng), voice, rng.randint(130, 210), rng.randint(25, 75), rng.randint(30, 80))
    return _labelled(wave, rate, phones, "espeak", voice)


def _flite_clip(rng: random.Random, voice: str) -> Clip:
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/clip.wav"
        command = ["flite", "-voice", voice, "-psdur", "-t", sentence(rng), "-o", path]
        try:
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            wave, rate = soundfile.read(path, dtype="float32")
        except (OSError, subprocess.CalledProcessError, soundfile.LibsndfileError) as error:
            raise UsageError(f"flite failed ({error}): apt-get install flite, then run this again") from error
    ends = [pair.split(":") for pair in printed.split()]
    starts = [0.0, *(float(end) for _, end in ends)]
    return _labelled(wave, rate, list(zip(starts, (name for name, _ in ends), strict=False)), "flite", voice)


def _natural(rng: random.Random, count: int) -> Iterator[Clip]:
    """Sentences read by hibari-tts's voice (it ships its model in its wheel), at seven speeds of a record player."""
    try:
        from hibari import Hibari
    except ModuleNotFoundError as error:
        raise UsageError("the natural voice is hibari-tts's: pip install hibari-tts, then run this again") from error
    voice = Hibari()
    for i in range(count):
        wave = voice(sentence(rng), seed=i, speed=rng.uniform(0.85, 1.15)).astype(np.float32)
        speed = rng.choice(_MORE_SPEEDS)
        yield Clip(_resample(wave, round(voice.sample_rate * speed)), "hibari", f"heart-at-{speed}")


def _labelled(wave: np.ndarray, rate: int, phones: list[tuple[float, str]], source: str, name: str) -> Clip:
    wave = _resample(wave, rate)
    return Clip(wave, source, name, frame_labels(phones, len(wave) // HOP, _FRAME_RATE))


def _files(folder: Path) -> list[Path]:
    """The .flac files below a folder; raises UsageError where there are none."""
    files = sorted(folder.rglob("*.flac"))
    if not files:
        raise UsageError(f"{folder}: no .flac recordings below this folder; expected one subfolder for each source")
    return files


def _recorded(files: list[Path], more_speakers: bool = False) -> Iterator[tuple[Clip, bool]]:
    """Recordings, one source a subfolder."""
    import soundfile

    for i, path in enumerate(files):
        try:
            wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            detail = f"this recording cannot be read ({error}); replace it, or take it away"
            raise MediaError("broken", detail, str(path)) from error
        wave, source = wave.mean(axis=1), path.parent.name
        is_held = _HELD_SPEAKER in path.stem if source == "digits" else i % 6 == 0
        few = (1.0,) if source == "digits" else _SPEEDS
        for speed in (1.0,) if is_held else _MORE_SPEEDS if more_speakers else few:
            yield Clip(_resample(wave, round(rate * speed)), source, _named(path.stem, source, speed)), is_held


def _named(stem: str, source: str, speed: float) -> str:
    """A clip's name; digits are DIGIT_SPEAKER_TAKE, and at another speed the speaker is another."""
    parts = stem.split("_")
    if source == "digits" and len(parts) == 3 and speed != 1.0:
        parts[1] += f"-at-{speed}"
    return "_".join(parts)


def _resample(wave: np.ndarray, rate: int) -> np.ndarray:
    if rate == SAMPLE_RATE:
        return wave
    try:
        import soxr
    except ModuleNotFoundError as error:
        raise MissingExtraError("soxr", "media", "resampling") from error
    return soxr.resample(wave, rate, SAMPLE_RATE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--num-clips", type=int, default=1600)
    parser.add_argument("--more-speakers", action="store_true", help="recordings at seven speeds, digits, too")
    parser.add_argument("--natural", action="store_true", help="hibari-tts's voice, too")
    arguments = parser.parse_args()
    kinds = {"more_speakers": arguments.more_speakers, "natural": arguments.natural}
    try:
        make(arguments.out, arguments.recordings, arguments.num_clips, **kinds)
    except AnytokError as error:
        raise SystemExit(f"{parser.prog}: {error}") from None
