"""Media through a tokenizer and back: how much of it comes back, and how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MediaError, UsageError
from ..media import Audio, Media, prepare
from ..spec import Codes
from ..tokenizer import Tokenizer
from . import audio, codes, image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Evaluation", "Speed", "evaluate", "speed"]


@dataclass(frozen=True)
class Evaluation:
    """`items` has a row of metrics for each item, `means` their means, `usage` and `perplexity` a number a codebook.
    A metric is None for an item that is too short or silent for it; `counts` says over how many items each mean is.

    Sound: `log_mel_distance` (nepers, 0 is equal) and `si_sdr` (dB) of the mean of the channels, speech also
    `stoi` (0 to 1). Pictures: `psnr` (dB), and `retrieved`, whether the decoded picture is nearer to its original
    than to the others.
    """

    tokenizer: str
    items: list[dict[str, float | None]]
    means: dict[str, float | None]
    counts: dict[str, int]
    usage: list[float]
    perplexity: list[float]


@dataclass(frozen=True)
class Speed:
    """Medians and extremes over rounds, in seconds for the whole batch; `media_seconds` is the sound in it."""

    tokenizer: str
    items: int
    media_seconds: float
    encode: tuple[float, float, float]  # median, least, most
    decode: tuple[float, float, float]


def evaluate(tokenizer: Tokenizer, media: Sequence[Media], done: Callable[[], object] = lambda: None) -> Evaluation:
    """Encode and decode each of `media` and compare with what the tokenizer was given (resized, resampled).

    `done` is called after each item. Raises MediaError on media that cannot be used, MissingExtraError where
    speech is to be judged and pystoi is absent.
    """
    if not media:
        raise UsageError("nothing to evaluate: give at least one picture or recording")
    originals: list[Any] = []
    decoded: list[Any] = []
    coded: list[Codes] = []
    for item in media:
        originals.append(prepare(item, tokenizer.spec))
        coded.append(tokenizer.encode(item))
        decoded.append(tokenizer.decode(coded[-1]))
        done()
    rows = _picture_rows(decoded, originals) if tokenizer.spec.modality == "image" else [
        _sound_row(made, wanted, tokenizer.spec.modality) for made, wanted in zip(decoded, originals, strict=True)
    ]  # fmt: skip
    known = {key: [value for row in rows if (value := row[key]) is not None] for key in rows[0]}
    return Evaluation(
        tokenizer.spec.id,
        rows,
        {key: sum(values) / len(values) if values else None for key, values in known.items()},
        {key: len(values) for key, values in known.items()},
        codes.usage(coded).tolist(),
        codes.perplexity(coded).tolist(),
    )


def speed(tokenizer: Tokenizer, media: Sequence[Media], rounds: int = 5) -> Speed:
    """Time one batch of `media`, prepared beforehand, `rounds` times after one that warms up."""
    if not media or rounds < 1:
        raise UsageError("nothing to time: give at least one picture or recording, and one round")
    batch = [prepare(item, tokenizer.spec) for item in media]
    coded = tokenizer.encode_batch(batch)
    seconds = sum(item.duration for item in batch if isinstance(item, Audio))
    return Speed(
        tokenizer.spec.id,
        len(batch),
        seconds,
        _clock(lambda: tokenizer.encode_batch(batch), rounds),
        _clock(lambda: tokenizer.decode_batch(coded), rounds),
    )


def _clock(run: Callable[[], list[Codes] | list[Any]], rounds: int) -> tuple[float, float, float]:
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()  # ends with results in main memory, so a GPU has nothing left to do
        times.append(time.perf_counter() - start)
    return statistics.median(times), min(times), max(times)


def _sound_row(made: Any, wanted: Any, modality: str) -> dict[str, float | None]:
    ours, theirs, rate = made.wave.mean(axis=0), wanted.wave.mean(axis=0), wanted.sample_rate
    row = {
        "seconds": wanted.duration,
        "log_mel_distance": audio.log_mel_distance(ours, theirs, rate),
        "si_sdr": _if_judged(partial(audio.si_sdr, ours, theirs)),
    }
    return row | ({"stoi": _if_judged(partial(audio.stoi, ours, theirs, rate))} if modality == "speech" else {})


def _if_judged(metric: Callable[[], float]) -> float | None:
    try:
        return metric()
    except MediaError:  # too short, or silent
        return None


def _picture_rows(made: Sequence[Image], wanted: Sequence[Image]) -> list[dict[str, float | None]]:
    nearest = image.retrieved(made, wanted)
    return [
        {
            "psnr": image.psnr(np.asarray(ours.resize(theirs.size)), np.asarray(theirs)),
            "retrieved": float(nearest[place] == place),
        }
        for place, (ours, theirs) in enumerate(zip(made, wanted, strict=True))
    ]
