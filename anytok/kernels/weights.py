"""The weights of a convolution as a checkpoint has them.

Legend: o outputs, i input channels, k taps of the kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Weights"]


@dataclass(frozen=True)
class Weights:
    """float32 `parts_oik` [*o, i, k], whose outputs may be several dimensions, to be multiplied by a gain per output
    and per input (weight norm, arXiv 1602.07868); with `backwards` the last tap comes first.

    The product is not made before packing, which makes it on the way: filling fresh memory costs more than the
    arithmetic.
    """

    parts_oik: Tensor
    gain_o: Tensor | None = None
    gain_i: Tensor | None = None
    backwards: bool = False

    @property
    def outputs(self) -> int:
        return math.prod(self.parts_oik.shape[:-2])

    def plain(self) -> Tensor:
        """[o, k, i], multiplied out: a row is in the order of a signal's window, time first."""
        taps = self.parts_oik.unbind(-1)  # [*o, i] each
        made_oki = torch.stack(taps[::-1] if self.backwards else taps, dim=-2).flatten(0, -3)
        if self.gain_o is not None:
            made_oki.mul_(self.gain_o[:, None, None])
        if self.gain_i is not None:
            made_oki.mul_(self.gain_i)
        return made_oki
