"""EnCodec at 48 kHz works on one-second segments: their loudness, and how decoded ones are joined.

Source: EnCodec (arXiv 2210.13438, section 3.1: non-streamable setup). Legend: c channels, s samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["normalize", "overlap_add"]


def normalize(segment_cs: Tensor) -> tuple[Tensor, float]:
    """The segment divided by its loudness (rms of the channels' mean, plus 1e-8), and that loudness."""
    mono_s = segment_cs.sum(0) / segment_cs.shape[0]
    power = np.mean(mono_s.square().numpy())  # torch's own mean changes its last bit with the number of threads
    scale = float(np.sqrt(power) + power.dtype.type(1e-8))
    return segment_cs / scale, scale


def overlap_add(segments: Iterable[Tensor], stride: int, total: int) -> Tensor:
    """Segments [c, s], one every `stride` samples and the longest first, as one wave [c, total].

    They are blended with triangular weights that are divided out again, each stretch as soon as no later segment
    reaches it: the weights of a whole wave would be half as many numbers again as a wave in stereo.
    """
    each = iter(segments)
    first_cs = next(each)
    ramp_s = torch.linspace(0, 1, first_cs.shape[1] + 2, dtype=first_cs.dtype)[1:-1]
    weight_s = 0.5 - (ramp_s - 0.5).abs()
    wave_cs = first_cs.new_zeros(first_cs.shape[0], total)
    open_cs = wave_cs  # what is not yet divided, from where the next segment begins
    sum_s = torch.zeros_like(weight_s)  # of the weights there
    for segment_cs in chain([first_cs], each):
        length = segment_cs.shape[1]
        open_cs[:, :length] += weight_s[:length] * segment_cs
        sum_s[:length] += weight_s[:length]
        settled_cs = open_cs[:, :stride]
        settled_cs /= sum_s[: settled_cs.shape[1]]
        open_cs, sum_s = open_cs[:, stride:], F.pad(sum_s[stride:], (0, stride))
    open_cs /= sum_s[: open_cs.shape[1]]
    return wave_cs
