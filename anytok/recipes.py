"""The named recipes by which media become model input: what `Spec.preprocessing` refers to.

A recipe of pictures is the filter that resizes them. A recipe of sound is "mix:resampler": how channels are mixed, and
whether before or after resampling, which decides the last bits of the samples; and what resamples. The names are part
of every Spec that was ever written beside codes, so they stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .errors import UsageError

__all__ = [
    "ANYGPT_MUSIC", "ANYGPT_SPEECH", "ENCODEC_MONO", "ENCODEC_STEREO", "FILTERS", "MIXES", "RESAMPLERS",
    "described", "with_sound_options",
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


def with_sound_options(name: str, *, channels: str | None = None, resampler: str | None = None) -> str:
    """The recipe `name` with other `channels`, "first" or "mean", or another resampler; raises UsageError on others."""
    mix, _, published = name.partition(":")
    if resampler not in (None, *RESAMPLERS):
        raise UsageError(f"resampler {resampler!r}: expected {', '.join(map(repr, RESAMPLERS))}")
    if channels is not None:
        if channels not in ("first", "mean"):
            raise UsageError(f"channels {channels!r}: expected 'first' (the first channel alone) or 'mean' (of all)")
        if mix == "stereo":
            raise UsageError(f"channels {channels!r}: this model takes two channels")
        mean = mix if mix.startswith("mean") else "mean-before"
        mix = mean if channels == "mean" else "first"
    return f"{mix}:{resampler or published}"


def described(name: str) -> str:
    """A recipe in words, for people."""
    if name in FILTERS:
        return FILTERS[name]
    mix, _, resampler = name.partition(":")
    return f"{MIXES[mix]}; resampled {RESAMPLERS[resampler]}"
