"""A folder of one's own recordings as a training set: nothing beside them is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import MediaError, UsageError
from ..media.audio import load_audio
from ..media.formats import kind_of
from ..media.resample import resample
from .clips import Clip, Clips

__all__ = ["read_clips"]

_RATES = {"speech": 16000, "music": 32000}  # Hz, of what the weights of each kind load as


def read_clips(folder: str | Path, kind: str, hop: int) -> Clips:
    """The clips of a training set of `kind` in `folder`: those that were written to `folder`/train, else all recordings
    in the folder and those below it, as one channel at the rate of their kind. They are read once and kept in memory, 2
    bytes a sample: an hour of speech takes 115 MB. A recording's source is the folder in `folder` that it lies in.

    Raises UsageError where there are none, MediaError naming one that cannot be read.
    """
    paths = [] if (Path(folder) / "train" / "clips.json").is_file() else _sounds(Path(folder))
    if not paths:
        return Clips(f"{folder}/train")
    clips = [_read(path, path.relative_to(folder), _RATES[kind]) for path in paths]
    if not any(len(clip.wave) >= hop for clip in clips):
        raise UsageError(f"{folder}: no recording is as long as a frame of {hop} samples")
    return Clips.of(clips, _RATES[kind], hop, paths)


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and kind_of(path.suffix.lower()) == "sound")


def _read(path: Path, name: Path, rate: int) -> Clip:
    try:
        audio = load_audio(path)
    except MediaError as error:
        raise MediaError(error.kind, f"{error.detail}; replace this recording, or take it away", error.key) from error
    wave_cs = audio.wave.mean(axis=0, keepdims=True, dtype=np.float32)
    if audio.sample_rate != rate:
        wave_cs = resample(wave_cs, audio.sample_rate, rate, "transform")
    return Clip(wave_cs[0], name.parts[0] if len(name.parts) > 1 else "recordings", str(name))
