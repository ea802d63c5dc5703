"""Media through a tokenizer and back: how much of it comes back, and how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from ..arguments import several, whole
from ..errors import MediaError, MissingExtraError, UsageError
from ..media import Audio, Media, prepare
from ..media.source import key_of, naming
from ..spec import Codes
from ..tokenizer import Tokenizer
from . import audio, codes, image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Evaluation", "Refused", "Speed", "evaluate", "speed"]

T = TypeVar("T")
Refused: TypeAlias = Callable[[int, MediaError | MissingExtraError], object]  # the item's place, and why


@dataclass(frozen=True)
class Evaluation:
    """`items` has a row of metrics for each item, `means` their means, `usage` and `perplexity` a number a codebook.
    A metric is None for an item that it cannot judge; `counts` says over how many items each mean is.

    Sound: `log_mel_distance` (nepers, 0 is equal) and `si_sdr` (dB) of the mean of the channels, speech also
    `stoi` (0 to 1); what is too short or silent is not judged. Pictures: `psnr` (dB), and `retrieved`, 1 if no other
    original is nearer to the decoded picture than its own, as `image.retrieved` has it; not judged where there is but
    one picture, or all look alike: then there is none to mistake it for.
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


def evaluate(
    tokenizer: Tokenizer,
    media: Sequence[Media],
    done: Callable[[], object] = lambda: None,
    refused: Refused | None = None,
) -> Evaluation:
    """Encode and decode each of `media` and compare with what the tokenizer was given (resized, resampled).

    `done` is called after each item. Media that cannot be used are left out and told to `refused`, as place and
    error; without it the first raises its MediaError. Raises MissingExtraError, before any work, where speech is to
    be judged and pystoi is absent, and UsageError where there is nothing to evaluate.
    """
    media, modality = several(media, "[item]"), tokenizer.spec.modality
    has_pictures = tokenizer.spec.image_size is not None
    if not media:
        raise UsageError("nothing to evaluate: give at least one picture or recording")
    if modality == "speech":
        audio.require_stoi()

    def there_and_back(item: Media) -> tuple[Codes, Any]:
        wanted = prepare(item, tokenizer.spec)
        coded = tokenizer.encode(wanted)
        made = tokenizer.decode(coded)
        # Sound is judged at once, since hours of it would not fit in memory; pictures are small, and need the others.
        return coded, (made, wanted) if has_pictures else _sound_row(made, wanted, modality)

    found = list(_each(there_and_back, media, done, refused))
    rows = _picture_rows([pair for _, pair in found]) if has_pictures else [row for _, row in found]
    coded = [one for one, _ in found]
    known = {key: [value for row in rows if (value := row[key]) is not None] for key in (rows[0] if rows else ())}
    return Evaluation(
        tokenizer.spec.id,
        rows,
        {key: sum(values) / len(values) if values else None for key, values in known.items()},
        {key: len(values) for key, values in known.items()},
        codes.usage(coded).tolist() if coded else [],
        codes.perplexity(coded).tolist() if coded else [],
    )


def speed(
    tokenizer: Tokenizer, media: Sequence[Media], rounds: int = 5, refused: Refused | None = None
) -> Speed | None:
    """Time one batch of `media`, prepared beforehand, `rounds` times after one that warms up.

    Media that cannot be used are left out and told to `refused`, as place and error; without it the first raises
    its MediaError. None where all of them are left out.
    """
    media, rounds = several(media, "[item]"), whole("rounds", rounds, 1)
    if not media:
        raise UsageError("nothing to time: give at least one picture or recording")
    batch = list(_each(partial(prepare, spec=tokenizer.spec), media, lambda: None, refused))
    if not batch:
        return None
    coded = tokenizer.encode_batch(batch)
    tokenizer.decode_batch(coded)  # both ways once before the clock runs: warm, and sure to work
    return Speed(
        tokenizer.spec.id,
        len(batch),
        sum(item.duration for item in batch if isinstance(item, Audio)),
        _clock(lambda: tokenizer.encode_batch(batch), rounds),
        _clock(lambda: tokenizer.decode_batch(coded), rounds),
    )


def _each(
    work: Callable[[Media], T], media: Sequence[Media], done: Callable[[], object], refused: Refused | None
) -> Iterator[T]:
    """What `work` makes of each item; those that it cannot use go to `refused`, if there is one."""
    for place, item in enumerate(media):
        try:
            with naming(key_of(item) or f"item {place}"):
                result = work(item)
        except (MediaError, MissingExtraError) as error:
            if refused is None:
                raise
            refused(place, error)
        else:
            yield result
        done()


def _clock(run: Callable[[], object], rounds: int) -> tuple[float, float, float]:
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


def _picture_rows(pairs: Sequence[tuple[Image, Image]]) -> list[dict[str, float | None]]:
    made, wanted = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
    if not pairs:
        return []
    nearest = image.retrieved(made, wanted)
    apart = len({image.thumbnail(picture).tobytes() for picture in wanted}) > 1
    return [
        {
            "psnr": image.psnr(np.asarray(ours.resize(theirs.size)), np.asarray(theirs)),
            "retrieved": float(nearest[place] == place) if apart else None,
        }
        for place, (ours, theirs) in enumerate(pairs)
    ]
