"""Music to train on: pieces of our own making, played by FluidSynth with a General MIDI sound font.

    python -m anytok.training.data_music OUT

writes OUT/train and OUT/held; held out are whole pieces.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..arguments import whole
from ..errors import AnytokError, UsageError
from .clips import Clip, write_clips
from .compose import compose

__all__ = ["make"]

SAMPLE_RATE, HOP = 32000, 640
_SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")  # Debian's fluid-soundfont-gm
_INSTALL = "apt-get install fluidsynth fluid-soundfont-gm"


def make(out: Path, num_pieces: int, sound_font: Path = _SOUND_FONT, seed: int = 0) -> None:
    """Write the training and the held-out set (every tenth piece) below `out`.

    Raises UsageError where FluidSynth or the sound font is missing.
    """
    whole("num_pieces", num_pieces, 2)  # one is held out
    if not sound_font.is_file():
        raise UsageError(f"{sound_font}: no such sound font; {_INSTALL}, or give another by --sound-font")

    def play(i: int) -> Clip:
        return _piece(random.Random(f"{seed}/{i}"), f"piece-{i}", sound_font)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the work is fluidsynth's, in processes of its own
        pieces = list(pool.map(play, range(num_pieces)))
    write_clips(out / "train", [piece for i, piece in enumerate(pieces) if i % 10], SAMPLE_RATE, HOP)
    write_clips(out / "held", pieces[::10], SAMPLE_RATE, HOP)


def _piece(rng: random.Random, name: str, sound_font: Path) -> Clip:
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        score, wave_file = Path(folder) / "score.mid", Path(folder) / "wave.wav"
        compose(rng).save(score)
        files = [str(path) for path in (wave_file, sound_font, score)]
        command = ["fluidsynth", "-niq", "-r", str(SAMPLE_RATE), "-g", "0.6", "-F", *files]
        try:
            subprocess.run(command, check=True, capture_output=True)
            wave, _ = soundfile.read(wave_file, dtype="float32", always_2d=True)
        except (OSError, subprocess.CalledProcessError, soundfile.LibsndfileError) as error:
            raise UsageError(f"fluidsynth failed ({error}): {_INSTALL}") from error
    wave = wave.mean(axis=1)
    loud = np.flatnonzero(np.abs(wave) > 1e-3)
    if not len(loud):  # all that fluidsynth says of a sound font that it cannot read
        raise UsageError(f"{sound_font}: fluidsynth plays nothing but silence with it; {_INSTALL}")
    return Clip(wave[loud[0] : loud[-1]], "midi", name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-pieces", type=int, default=500)
    parser.add_argument("--sound-font", type=Path, default=_SOUND_FONT)
    arguments = parser.parse_args()
    try:
        make(arguments.out, arguments.num_pieces, arguments.sound_font)
    except AnytokError as error:
        raise SystemExit(f"{parser.prog}: {error}") from None
