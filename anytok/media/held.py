"""What people hold beside files: the cells of Hugging Face datasets, pairs of a wave and its rate, tensors of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import MediaError
from .audio import Audio
from .source import plain_array

__all__ = ["as_audio", "as_pixels", "unwrapped"]


def unwrapped(source: Any) -> Any:
    """A cell of a dataset that is not decoded, {"bytes", "path"}, as its bytes, or else its path."""
    if isinstance(source, Mapping) and "array" not in source and {"bytes", "path"} & set(source):
        found = source.get("bytes") or source.get("path")
        if found is None:
            raise MediaError("empty", "a cell with neither bytes nor a path")
        return found
    return source


def as_audio(source: Any) -> Any:
    """{"array", "sampling_rate"}, a (wave, rate) pair, or torchcodec's decoder as Audio; anything else as it is.

    Waves are float `[samples]` or `[channels, samples]`. Raises MediaError on mappings and pairs of other things.
    """
    if isinstance(source, Mapping):
        if not {"array", "sampling_rate"} <= set(source):
            raise MediaError(
                "wrong_type",
                f"a mapping with {', '.join(map(repr, source)) or 'nothing'}: expected 'array' and 'sampling_rate', or "
                "'bytes' or 'path', as datasets have them",
            )
        return Audio(source["array"], source["sampling_rate"])
    if isinstance(source, tuple):
        if len(source) != 2 or np.ndim(source[0]) == 0:
            raise MediaError("wrong_type", "a tuple, but no pair of a wave and its rate, in this order: (wave, 16000)")
        return Audio(*source)
    if hasattr(source, "get_all_samples"):  # torchcodec's, which datasets from 4.0 on hand out
        samples = source.get_all_samples()
        return Audio(samples.data, samples.sample_rate)
    return source


def as_pixels(source: Any) -> Any:
    """A tensor of torch, uint8 `[3, height, width]` as torchvision has them, or `[height, width, 3]`, as an array
    `[height, width, 3]`; anything else as it is. Raises MediaError on mappings and pairs."""
    if isinstance(source, (Mapping, tuple)):
        raise MediaError(
            "wrong_type",
            f"a {type(source).__name__}: expected a picture: a path, bytes, a PIL image, uint8 [height, width, 3], or "
            "a cell with 'bytes' or 'path', as datasets have them",
        )
    if not hasattr(source, "requires_grad"):  # open files have a `detach`, too
        return source
    array = plain_array(source)
    is_planar = array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3
    return array.transpose(1, 2, 0) if is_planar else array
