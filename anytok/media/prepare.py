"""Anything a user holds → exactly the model's input. A pure function, so workers can run it anywhere."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar, Union

import numpy as np

from ..errors import MediaError, MissingExtraError, UsageError
from ..recipes import FILTERS, sound_recipe
from ..spec import Spec
from .audio import Audio, DoubleAudio, load_audio, warn_if_first_is_silent
from .held import as_audio, as_pixels, unwrapped
from .image import load_image
from .limits import DEFAULT_LIMITS, Limits
from .resample import resample
from .source import key_of, naming

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Decoded", "Media", "prepare", "prepare_each", "try_each"]

T = TypeVar("T")

# The mapping is one of `datasets`, the pair a wave and its rate; arrays may be torch's.
Media: TypeAlias = Union[
    str, "os.PathLike[str]", bytes, IO[bytes], "Image", np.ndarray, Audio, Mapping[str, Any], tuple[Any, int]
]
Decoded: TypeAlias = Union["Image", Audio]

_PLAIN = (str, os.PathLike, bytes, Audio)  # what is no other library's
_AHEAD = 32  # pictures that threads read and resize before they are asked for


def prepare(source: Media, spec: Spec, *, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """The input that the tokenizer of `spec` takes, made from `source` as its authors make it.

    Pictures: a PIL RGB image, resized to `spec.image_size` a side without keeping its proportions. Sound: an Audio of
    `spec.sample_rate` and `spec.channels`. `spec.preprocessing` names the recipe; see `anytok.recipes`. What is
    prepared already passes unchanged. Samples are read as float32, which holds integers of up to 24 bits exactly; where
    the recipe says float64, all that follows is computed in it, and a DoubleAudio comes back. Raises MediaError.
    """
    if not isinstance(source, _PLAIN):
        source = unwrapped(source)
    with naming(key_of(source)):
        if not isinstance(source, _PLAIN):
            source = as_pixels(source) if spec.is_image else as_audio(source)
        return (_prepare_image if spec.is_image else _prepare_audio)(source, spec, limits)


def prepare_each(sources: Sequence[Media], spec: Spec, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[Decoded]:
    """`prepare` of each item, in order; a MediaError names the first bad item (its path, or "item 3").

    Several threads read and resize pictures, since Pillow works outside the interpreter's lock, and do so for those
    after the one that is asked for, too.
    """


    def one(place: int) -> Decoded:
        with naming(key_of(sources[place]) or f"item {place}"):
            return prepare(sources[place], spec, limits=limits)

    return _ahead(sources, one, spec.is_image and len(sources) > 1)


def try_each(
    sources: Sequence[Media], spec: Spec, *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Decoded | MediaError | MissingExtraError]:
    """`prepare_each`, where an item that cannot be used gives the error that `prepare_each` would raise."""

    def one(place: int) -> Decoded | MediaError | MissingExtraError:
        try:
            with naming(key_of(sources[place]) or f"item {place}"):
                return prepare(sources[place], spec, limits=limits)
        except (MediaError, MissingExtraError) as error:
            return error

    return _ahead(sources, one, spec.is_image and len(sources) > 1)


def _ahead(sources: Sequence[Media], one: Callable[[int], T], threads: bool) -> Iterator[T]:
    """`one` of each place, in order; in threads, for those after the one that is asked for, too."""
    begun: deque[Future[T] | None] = deque()  # of the items from the present one on
    with ThreadPoolExecutor() if threads else nullcontext() as pool:
        try:
            for place in range(len(sources)):
                for ahead in range(place + len(begun), min(place + _AHEAD, len(sources))):
                    begun.append(pool.submit(one, ahead) if pool and _is_shareable(sources[ahead]) else None)
                job = begun.popleft()
                yield job.result() if job else one(place)
        finally:
            for job in begun:
                if job:
                    job.cancel()


def _is_shareable(source: Media) -> bool:
    """Whether other threads may read a picture. One that changes when it is read (an open file, an image that Pillow
    has not read yet, one with a palette) may be in the batch twice."""
    from PIL import Image

    if isinstance(source, Image.Image):
        return type(source) is Image.Image and source.mode == "RGB"
    return isinstance(source, str | os.PathLike | bytes | np.ndarray)


def _prepare_image(source: Media, spec: Spec, limits: Limits) -> Image:
    from PIL import Image

    if spec.preprocessing not in FILTERS or spec.image_size is None:
        raise UsageError(f"{spec.name}: preprocessing {spec.preprocessing!r}; known: {', '.join(FILTERS)}")
    if isinstance(source, Audio):
        raise MediaError("wrong_type", f"{spec.name} takes pictures, but this is sound")
    image = load_image(source, limits=limits)
    return image.resize((spec.image_size, spec.image_size), Image.Resampling[spec.preprocessing.upper()])


def _prepare_audio(source: Media, spec: Spec, limits: Limits) -> Audio:
    mix, resampler, double = sound_recipe(spec.preprocessing)
    if spec.sample_rate is None:
        raise UsageError(f"{spec.name}: preprocessing {spec.preprocessing!r} to no sample rate: its Spec must name one")
    audio = load_audio(source, limits=limits)
    kind = DoubleAudio if double else Audio
    wave_cs = audio.wave.astype(kind.dtype, copy=False)
    wave_cs = wave_cs if mix == "mean-after" else _mixed(mix, wave_cs)
    if audio.sample_rate != spec.sample_rate:
        wave_cs = resample(wave_cs, audio.sample_rate, spec.sample_rate, resampler)
    return kind(_mixed(mix, wave_cs) if mix == "mean-after" else wave_cs, spec.sample_rate)


def _mixed(mix: str, wave_cs: np.ndarray) -> np.ndarray:
    """The channels [c, s], as `recipes.MIXES` says."""
    if mix == "first":
        warn_if_first_is_silent(wave_cs)
        return wave_cs[:1]
    if mix == "stereo":
        if len(wave_cs) > 2:
            raise MediaError("channels", f"{len(wave_cs)} channels: this model takes 1 or 2; mix them down first")
        return wave_cs if len(wave_cs) == 2 else np.repeat(wave_cs, 2, axis=0)
    if len(wave_cs) == 1:
        return wave_cs
    import torch  # as the originals: from five channels on, numpy adds in another order

    return torch.from_numpy(wave_cs).mean(0, keepdim=True).numpy()
