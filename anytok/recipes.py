"""The named recipes by which media become model input: what `Spec.preprocessing` refers to.

A recipe of pictures is the filter that resizes them. A recipe of sound is "mix:resampler": how channels are mixed, and
whether before or after resampling, which decides the last bits of the samples; and what resamples. With ":float64"
behind it, both are computed in float64. The names are part of every Spec that was ever written beside codes, so they
stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from .errors import UsageError

__all__ = [
    "ANYGPT_MUSIC", "ANYGPT_SPEECH", "ENCODEC_MONO", "ENCODEC_STEREO", "FILTERS", "MIXES", "RESAMPLERS",
    "SoundRecipe", "described", "sound_recipe", "with_sound_options",
]  # fmt: skip

# The recipes of published pipelines.
ANYGPT_SPEECH = "first:functional"  # AnyGPT, infer/pre_post_process.py: first channel, torchaudio.functional.resample
ANYGPT_MUSIC = "mean-after:transform"  # the same file: torchaudio.transforms.Resample, then the mean of the channels
ENCODEC_MONO = "mean-before:transform"  # encodec.utils.convert_audio to one channel
ENCODEC_STEREO = "stereo:transform"  # … and to two


# What is done to the channels; before resampling or after decides the last bits. `media.prepare` has the functions.
MIXES: Mapping[str, str] = MappingProxyType(
    {
        "first": "the first channel alone",
        "mean-before": "the mean of the channels, then resampled",
        "mean-after": "resampled, then the mean of the channels",
        "stereo": "two channels; one is doubled, more are refused",
    }
)
RESAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "functional": "as torchaudio.functional.resample does it",
        "transform": "as torchaudio.transforms.Resample does it",
        "soxr": "by soxr, very high quality",
    }
)
FILTERS: Mapping[str, str] = MappingProxyType(
    {
        "bicubic": "resized by Pillow's bicubic filter, as AnyGPT does it",
        "bilinear": "resized by Pillow's bilinear filter, as SEED's scripts do it",
    }
)


class SoundRecipe(NamedTuple):
    """A recipe of sound in its parts: keys of MIXES and RESAMPLERS, and whether it is computed in float64."""

    mix: str
    resampler: str
    double: bool


@cache
def sound_recipe(name: str) -> SoundRecipe:
    """The parts of the recipe `name`; raises UsageError where it has others than are known."""
    mix, _, rest = name.partition(":")
    resampler, *precision = rest.split(":")
    if mix not in MIXES or resampler not in RESAMPLERS or precision not in ([], ["float64"]):
        raise UsageError(
            f"preprocessing {name!r}: expected mix:resampler, or mix:resampler:float64; known mixes: "
            f"{', '.join(MIXES)}; known resamplers: {', '.join(RESAMPLERS)}"
        )
    if resampler == "soxr" and precision:
        raise UsageError(f"preprocessing {name!r}: soxr's HQ computes in float32; use another resampler, or float32")
    return SoundRecipe(mix, resampler, bool(precision))


def with_sound_options(
    name: str, *, channels: str | None = None, resampler: str | None = None, double: bool = False
) -> str:
    """The recipe `name` with other `channels`, "first" or "mean", another resampler, or in float64 (`double`); raises
    UsageError on others."""
    mix, published, _ = sound_recipe(name)
    if resampler not in (None, *RESAMPLERS):
        raise UsageError(f"resampler {resampler!r}: expected {', '.join(map(repr, RESAMPLERS))}")
    if channels is not None:
        if channels not in ("first", "mean"):
            raise UsageError(f"channels {channels!r}: expected 'first' (the first channel alone) or 'mean' (of all)")
        if mix == "stereo":
            raise UsageError(f"channels {channels!r}: this model takes two channels")
        mean = mix if mix.startswith("mean") else "mean-before"
        mix = mean if channels == "mean" else "first"
    made = f"{mix}:{resampler or published}{':float64' if double else ''}"
    sound_recipe(made)  # or not with one another
    return made


def described(name: str) -> str:
    """A recipe in words, for people."""
    if name in FILTERS:
        return FILTERS[name]
    recipe = sound_recipe(name)
    words = f"{MIXES[recipe.mix]}; resampled {RESAMPLERS[recipe.resampler]}"
    return f"{words}; in float64" if recipe.double else words
