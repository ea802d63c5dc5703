"""What a picture looks like from afar, as a vector: the teacher of the image tokenizer.

SEED learns to rebuild CLIP's image embedding, which cannot be had offline. Ours is a picture's lowest cosine
frequencies: its layout in luma, and more coarsely in two colour differences. Whoever has the vector can draw the
picture blurred, and a diffusion model can draw it sharp.

Legend: b batch, c channels, h height, w width, u and v vertical and horizontal frequencies, e descriptor width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["NUM_FREQUENCIES", "Descriptor"]

_SIDE = 32  # the picture is first shrunk to this many pixels a side
NUM_FREQUENCIES = _SIDE * _SIDE

# RGB in [0, 1] to luma and two colour differences (ITU-R BT.601), all about equally visible.
_OPPONENT = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))


class Descriptor:
    """The `num_luma` and, for each colour difference, `num_colour` lowest frequencies of a picture.

    Natural pictures have less of higher frequencies, about in proportion: each entry is multiplied by
    1 + its frequency, so that all entries are of similar size. `importance_e` undoes that in a loss.
    """

    def __init__(self, num_luma: int = 144, num_colour: int = 40) -> None:
        self.opponent_cc = torch.tensor(_OPPONENT)
        places = torch.arange(_SIDE)
        angles = math.pi / _SIDE * (places[None] + 0.5) * places[:, None]
        self.cosines_uh = torch.cos(angles) * math.sqrt(2 / _SIDE)
        self.cosines_uh[0] = math.sqrt(1 / _SIDE)
        heights_uv = torch.hypot(places[:, None].float(), places[None].float())
        order = heights_uv.flatten().argsort(stable=True)
        self.places = [order[:num_luma], order[:num_colour], order[:num_colour]]
        frequencies_e = torch.cat([heights_uv.flatten()[place] for place in self.places])
        self.weights_e = 4 * (1 + frequencies_e) / _SIDE
        self.importance_e = 1 / (1 + frequencies_e)

    @property
    def width(self) -> int:
        return len(self.weights_e)

    def __call__(self, rgb_bchw: Tensor) -> Tensor:
        """Descriptors [b, e] of RGB pictures in [0, 1] of any size."""
        small_bchw = F.interpolate(rgb_bchw, (_SIDE, _SIDE), mode="area") - 0.5
        opponent_bchw = torch.einsum("dc,bchw->bdhw", self.opponent_cc, small_bchw)
        spectra_bcuv = self.cosines_uh @ opponent_bchw @ self.cosines_uh.T
        kept = [spectra_bcuv[:, c].flatten(1)[:, place] for c, place in enumerate(self.places)]
        return torch.cat(kept, dim=1) * self.weights_e

    def draw(self, descriptors_be: Tensor) -> Tensor:
        """The blurred RGB picture [b, 3, 32, 32] that a descriptor stands for."""
        spectra_bcf = descriptors_be.new_zeros(len(descriptors_be), 3, _SIDE * _SIDE)
        parts = (descriptors_be / self.weights_e).split([len(place) for place in self.places], dim=1)
        for c, (place, part) in enumerate(zip(self.places, parts, strict=True)):
            spectra_bcf[:, c, place] = part
        opponent_bchw = self.cosines_uh.T @ spectra_bcf.unflatten(2, (_SIDE, _SIDE)) @ self.cosines_uh
        return torch.einsum("dc,bchw->bdhw", torch.linalg.inv(self.opponent_cc), opponent_bchw) + 0.5
