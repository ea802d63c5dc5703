"""EnCodec at 48 kHz works on one-second segments: their loudness, and how decoded ones are joined.

Source: EnCodec (arXiv 2210.13438, section 3.1: non-streamable setup). Legend: c channels, s samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
import torch
from torch import Tensor

__all__ = ["normalize", "overlap_add"]


def normalize(segment_cs: Tensor) -> tuple[Tensor, float]:
    """The segment divided by its loudness (rms of the channels' mean, plus 1e-8), and that loudness."""
    mono_s = segment_cs.sum(0) / segment_cs.shape[0]
    power = np.mean(mono_s.square().numpy())  # torch's own mean changes its last bit with the number of threads
    scale = float(np.sqrt(power) + np.float32(1e-8))
    return segment_cs / scale, scale


def overlap_add(segments: Iterable[Tensor], stride: int, total: int) -> Tensor:
    """Segments [c, s], one every `stride` samples and the longest first, as one wave [c, total].

    They are blended with triangular weights that are divided out again.
    """
    each = iter(segments)
    first_cs = next(each)
    ramp_s = torch.linspace(0, 1, first_cs.shape[1] + 2, dtype=first_cs.dtype)[1:-1]
    weight_s = 0.5 - (ramp_s - 0.5).abs()
    sum_cs = first_cs.new_zeros(first_cs.shape[0], total)
    weights_s = first_cs.new_zeros(total)
    for i, segment_cs in enumerate(chain([first_cs], each)):
        place = slice(i * stride, i * stride + segment_cs.shape[1])
        sum_cs[:, place] += weight_s[: segment_cs.shape[1]] * segment_cs
        weights_s[place] += weight_s[: segment_cs.shape[1]]
    return sum_cs.div_(weights_s)
