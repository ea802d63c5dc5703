"""Anything a user holds → exactly what the model eats. A pure function, so workers can run it anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, TypeAlias, Union

import numpy as np

from ..arguments import several
from ..errors import MediaError, UsageError
from ..spec import Spec
from .audio import Audio, load_audio
from .image import load_image
from .limits import DEFAULT_LIMITS, Limits
from .resample import resample
from .source import key_of, naming

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Decoded", "Media", "prepare", "prepare_batch", "prepare_batches"]

Media: TypeAlias = Union[str, "os.PathLike[str]", bytes, IO[bytes], "Image", np.ndarray, Audio]
Decoded: TypeAlias = Union["Image", Audio]


def prepare(source: Media, spec: Spec, *, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """What the tokenizer of `spec` eats, made from `source` as its authors make it.

    Pictures: a PIL RGB image, squashed to `spec.image_size` a side with the filter `spec.preprocessing`
    ("bicubic" or "bilinear"). Sound: an Audio at `spec.sample_rate` with `spec.channels`, by the recipe
    `spec.preprocessing`, "<mix>:<resampler>". What is prepared already passes unchanged. Raises MediaError.
    """
    with naming(key_of(source)):
        if spec.modality == "image":
            return _prepare_image(source, spec, limits)
        return _prepare_audio(source, spec, limits)


def prepare_batch(sources: Sequence[Media], spec: Spec, *, limits: Limits = DEFAULT_LIMITS) -> list[Decoded]:
    """`prepare` of each item, in order; a MediaError names the first bad item (its path, or "item 3")."""
    sources = several(sources, "encode")
    return [item for batch in prepare_batches(sources, spec, len(sources), limits=limits) for item in batch]


def prepare_batches(
    sources: Sequence[Media], spec: Spec, size: int, *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[list[Decoded]]:
    """`prepare_batch` of `size` items after the other.

    Several threads read and resize pictures, since Pillow works outside the interpreter's lock, and do so for the batch
    behind the one that is wanted, too.
    """
    sources = several(sources, "encode")

    def one(place: int) -> Decoded:
        with naming(key_of(sources[place]) or f"item {place}"):
            return prepare(sources[place], spec, limits=limits)

    def begun(first: int) -> list[tuple[int, Future[Decoded] | None]]:
        places = range(first, min(first + size, len(sources)))
        return [(place, pool.submit(one, place) if pool and _apart(sources[place]) else None) for place in places]

    size = max(size, 1)
    threads = 1 if spec.modality != "image" else min(len(sources), size)
    with ThreadPoolExecutor() if threads > 1 else nullcontext() as pool:
        current, coming = [], begun(0)
        try:
            for first in range(0, len(sources), size):
                current, coming = coming, begun(first + size)
                yield [job.result() if job else one(place) for place, job in current]
        finally:
            for job in [job for _, job in current + coming if job]:
                job.cancel()


def _apart(source: Media) -> bool:
    """Whether other threads may look at a picture. One that changes when it is looked at (an open file, a picture still
    to be read, or with a palette) may be in the batch twice."""
    from PIL import Image

    if isinstance(source, Image.Image):
        return type(source) is Image.Image and source.mode == "RGB"
    return isinstance(source, str | os.PathLike | bytes | np.ndarray)


def _prepare_image(source: Media, spec: Spec, limits: Limits) -> Image:
    from PIL import Image

    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    if spec.preprocessing not in filters or spec.image_size is None:
        raise UsageError(f"{spec.name}: preprocessing {spec.preprocessing!r}; known: {', '.join(filters)}")
    if isinstance(source, Audio):
        raise MediaError("wrong_type", f"{spec.name} takes pictures, but this is sound")
    image = load_image(source, limits=limits)
    return image.resize((spec.image_size, spec.image_size), filters[spec.preprocessing])


def _prepare_audio(source: Media, spec: Spec, limits: Limits) -> Audio:
    mix, _, method = spec.preprocessing.partition(":")
    if mix not in _MIXES or spec.sample_rate is None:
        raise UsageError(f"{spec.name}: preprocessing {spec.preprocessing!r}; known: {', '.join(_MIXES)}")
    audio = load_audio(source, limits=limits)
    before, after = _MIXES[mix]
    wave = resample(before(audio.wave), audio.sample_rate, spec.sample_rate, method)
    return Audio(after(wave), spec.sample_rate)


def _keep(wave_ct: np.ndarray) -> np.ndarray:
    return wave_ct


def _first(wave_ct: np.ndarray) -> np.ndarray:
    return wave_ct[:1]


def _mean(wave_ct: np.ndarray) -> np.ndarray:
    if len(wave_ct) == 1:
        return wave_ct
    import torch  # as the originals: from five channels on, numpy adds in another order

    return torch.from_numpy(wave_ct).mean(0, keepdim=True).numpy()


def _stereo(wave_ct: np.ndarray) -> np.ndarray:
    if len(wave_ct) > 2:
        raise MediaError("channels", f"{len(wave_ct)} channels: this model takes 1 or 2; mix them down first")
    return wave_ct if len(wave_ct) == 2 else np.repeat(wave_ct, 2, axis=0)


# What is done to the channels before and after resampling; the order decides the last bits of the samples.
_MIXES = {
    "first": (_first, _keep),  # AnyGPT's speech
    "mean-after": (_keep, _mean),  # AnyGPT's music
    "mean-before": (_mean, _keep),  # encodec.utils.convert_audio to mono
    "stereo": (_stereo, _keep),  # and to stereo
}
