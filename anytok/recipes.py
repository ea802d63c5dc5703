"""The named recipes by which media become model input: what `Spec.preprocessing` refers to.

A recipe of pictures is the filter that resizes them. A recipe of sound is "mix:resampler": how channels are mixed, and
whether before or after resampling, which decides the last bits of the samples; and what resamples. The names are part
of every Spec that was ever written beside codes, so they stay as they are.

Legend: c channels, s samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .errors import MediaError, UsageError

__all__ = [
    "ANYGPT_MUSIC", "ANYGPT_SPEECH", "ENCODEC_MONO", "ENCODEC_STEREO", "FILTERS", "MIXES", "RESAMPLERS", "Mix",
    "described", "sound_recipe", "with_sound_options",
]  # fmt: skip

# The recipes of published pipelines.
ANYGPT_SPEECH = "first:functional"  # AnyGPT, infer/pre_post_process.py: first channel, torchaudio.functional.resample
ANYGPT_MUSIC = "mean-after:transform"  # the same file: torchaudio.transforms.Resample, then the mean of the channels
ENCODEC_MONO = "mean-before:transform"  # encodec.utils.convert_audio to one channel
ENCODEC_STEREO = "stereo:transform"  # … and to two


@dataclass(frozen=True)
class Mix:
    """What is done to the channels of a wave, float32 [c, s], before and after it is resampled."""

    meaning: str
    before: Callable[[np.ndarray], np.ndarray]
    after: Callable[[np.ndarray], np.ndarray]


def _keep(wave_cs: np.ndarray) -> np.ndarray:
    return wave_cs


def _first(wave_cs: np.ndarray) -> np.ndarray:
    return wave_cs[:1]


def _mean(wave_cs: np.ndarray) -> np.ndarray:
    if len(wave_cs) == 1:
        return wave_cs
    import torch  # as the originals: from five channels on, numpy adds in another order

    return torch.from_numpy(wave_cs).mean(0, keepdim=True).numpy()


def _stereo(wave_cs: np.ndarray) -> np.ndarray:
    if len(wave_cs) > 2:
        raise MediaError("channels", f"{len(wave_cs)} channels: this model takes 1 or 2; mix them down first")
    return wave_cs if len(wave_cs) == 2 else np.repeat(wave_cs, 2, axis=0)


MIXES: Mapping[str, Mix] = MappingProxyType(
    {
        "first": Mix("the first channel alone", _first, _keep),
        "mean-before": Mix("the mean of the channels, then resampled", _mean, _keep),
        "mean-after": Mix("resampled, then the mean of the channels", _keep, _mean),
        "stereo": Mix("two channels; one is doubled, more are refused", _stereo, _keep),
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


def sound_recipe(name: str) -> tuple[Mix, str]:
    """The mix and the resampler of "mix:resampler"; raises UsageError on others."""
    mix, _, resampler = name.partition(":")
    if mix not in MIXES or resampler not in RESAMPLERS:
        raise UsageError(
            f"preprocessing {name!r}: expected mix:resampler; known mixes: {', '.join(MIXES)}; "
            f"known resamplers: {', '.join(RESAMPLERS)}"
        )
    return MIXES[mix], resampler


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
    mix, resampler = sound_recipe(name)
    return f"{mix.meaning}; resampled {RESAMPLERS[resampler]}"
