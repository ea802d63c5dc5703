"""A training set of sound: many clips end to end in one array, with a label per frame where there are labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import whole
from ..errors import UsageError

__all__ = ["Clip", "Clips", "write_clips"]

_MAKE = (
    "make the data anew: python -m anytok.training.data_speech or data_music, with the folder above this one "
    "(see the data lines of the config)"
)


@dataclass(frozen=True)
class Clip:
    """One recording: float32 samples in [-1, 1], who or what made it, and int8 labels per frame if known."""

    wave: np.ndarray
    source: str  # "espeak", "flite", "ljspeech", …: training draws sources by weight
    name: str
    labels: np.ndarray | None = None


class Clips:
    """Clips on disk (`wave.npy` int16 [samples], `labels.npy` int8 [frames], `clips.json`), drawn at random."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not (folder / "clips.json").is_file():
            raise UsageError(f"{folder}: no clips.json; put recordings in the folder above it, or {_MAKE}")
        try:
            index = json.loads((folder / "clips.json").read_text("utf-8"))
            self.hop = whole("hop", index["hop"], 1, 1 << 20)
            self.sample_rate = whole("sample_rate", index["sample_rate"], 1, 1 << 20)
            self.items = [_item(item) for item in index["clips"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{folder / 'clips.json'}: not an index of clips ({error!r}); {_MAKE}") from error
        frames = max((item["start"] + item["frames"] for item in self.items), default=0)
        if not frames:
            raise UsageError(f"{folder / 'clips.json'}: there is no sound in it; {_MAKE}")
        self.files = [folder / name for name in ("clips.json", "wave.npy", "labels.npy")]
        self.wave = _array(folder / "wave.npy", np.int16, frames * self.hop)
        self.labels = _array(folder / "labels.npy", np.int8, frames)

    @classmethod
    def of(cls, clips: list[Clip], sample_rate: int, hop: int, files: list[Path]) -> Clips:
        """The same of clips in memory, which come from `files`; each is cut to whole frames."""
        made = cls.__new__(cls)
        made.hop, made.sample_rate, made.files = hop, sample_rate, files
        made.wave, made.labels, made.items = _packed(clips, hop)
        return made

    def __len__(self) -> int:
        return len(self.items)

    def clip(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Clip i whole: float32 samples and int8 labels (-1 unknown)."""
        return self._cut(self.items[i]["start"], self.items[i]["frames"])

    def batch(
        self, rng: np.random.Generator, size: int, frames: int, weights: dict[str, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Random stretches: float32 [size, frames * hop] and int8 labels [size, frames].

        `weights` says how often each source is drawn; within one, or among all for {}, long clips come more often.
        Raises UsageError for sources that are not here, or weights that draw none.
        """
        chances = self.chances(weights)
        chosen = rng.choice(len(self), size, p=chances)
        waves, labels = zip(*(self._stretch(rng, i, frames) for i in chosen), strict=True)
        return np.stack(waves), np.stack(labels)

    def chances(self, weights: dict[str, float]) -> np.ndarray:
        """How likely each clip is to be drawn, by the weights of the sources; see `batch`."""
        frames = np.array([item["frames"] for item in self.items], np.float64)
        if not weights:
            return frames / frames.sum()
        sources = np.array([item["source"] for item in self.items])
        there = set(sources[frames > 0].tolist())
        if not set(weights) <= there or min(weights.values()) < 0 or not any(weights.values()):
            raise UsageError(
                f"sources {weights}: the training data have clips of {', '.join(sorted(there))}; expected some of "
                "these, with weights of 0 or more, not all 0"
            )
        chances = np.zeros(len(self))
        for source, weight in weights.items():
            here = sources == source
            chances[here] = weight * frames[here] / frames[here].sum()
        return chances / chances.sum()

    def _stretch(self, rng: np.random.Generator, i: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        item = self.items[i]
        if item["frames"] <= frames:  # a short clip stands in silence, at a random place
            wave, labels = self._cut(item["start"], item["frames"])
            before = int(rng.integers(0, frames - item["frames"] + 1))
            sides = (before, frames - item["frames"] - before)
            return (
                np.pad(wave, [side * self.hop for side in sides]),  # type: ignore[arg-type]
                np.pad(labels, sides, constant_values=-1),
            )
        return self._cut(item["start"] + int(rng.integers(0, item["frames"] - frames + 1)), frames)

    def _cut(self, start: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        wave = self.wave[start * self.hop : (start + frames) * self.hop]
        return wave.astype(np.float32) / 32768, np.asarray(self.labels[start : start + frames])


def _item(item: dict[str, Any]) -> dict[str, Any]:
    """One clip's entry in the index, after a check of what batches are cut by."""
    places = {key: whole(key, item[key], 0, 1 << 40) for key in ("start", "frames")}
    return {**item, "source": str(item["source"]), **places}


def _array(path: Path, kind: type[np.generic], length: int) -> np.ndarray:
    """The array in a file, left on disk; raises UsageError unless it is of this type and length."""
    try:
        # np.load would also open archives, and a pipe for ever
        array = np.lib.format.open_memmap(path, mode="r") if path.is_file() else None
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: damaged, or no numpy array ({error}); {_MAKE}") from error
    if array is None:
        raise UsageError(f"{path}: no such file, though clips.json is there; {_MAKE}")
    if array.dtype != kind or array.shape != (length,):
        raise UsageError(
            f"{path}: {array.dtype} of shape {list(array.shape)}, where clips.json beside it tells of "
            f"{np.dtype(kind)} [{length}]: they were not written together; {_MAKE}"
        )
    return array


def write_clips(folder: Path, clips: list[Clip], sample_rate: int, hop: int) -> None:
    """Write clips in the form that Clips reads; each is cut to whole frames.

    The index goes first and comes last, so that what was stopped half way is not taken for a training set.
    """
    if not any(len(clip.wave) >= hop for clip in clips):
        raise UsageError(f"{folder}: no sound to write: ask for more clips")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clips.json").unlink(missing_ok=True)
    wave, labels, items = _packed(clips, hop)
    np.save(folder / "wave.npy", wave)
    np.save(folder / "labels.npy", labels)
    index = {"sample_rate": sample_rate, "hop": hop, "clips": items}
    (folder / "clips.json").write_text(json.dumps(index), "utf-8")


def _packed(clips: list[Clip], hop: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """Samples int16 and labels int8 of all clips, end to end, and where each begins, in frames."""
    waves, labels, items, start = [], [], [], 0
    for clip in clips:
        frames = len(clip.wave) // hop
        waves.append((np.clip(clip.wave[: frames * hop], -1, 1) * 32767).astype(np.int16))
        labels.append(np.full(frames, -1, np.int8) if clip.labels is None else clip.labels[:frames].astype(np.int8))
        items.append({"source": clip.source, "name": clip.name, "start": start, "frames": frames})
        start += frames
    return np.concatenate(waves), np.concatenate(labels), items
