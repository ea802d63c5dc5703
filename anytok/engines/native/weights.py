"""Convolutions' weights in the form that both the CPU's and the GPU's layers take."""

from __future__ import annotations

from ...kernels.weights import Weights
from ...models.seanet import UpConv, unfolded

__all__ = ["Weights", "up_weights"]


def up_weights(conv: UpConv) -> Weights:
    """A transposed convolution with kernel 2 s and stride s, as an ordinary one with kernel 2 and s c_out channels.

    Output sample n s + j is the sum of x[n] times tap j and x[n - 1] times tap s + j. So the s samples of step n are
    one output row: its channels are (j, c_out), its taps x[n - 1] and x[n], and reading the rows in order reads time.
    """
    direction_iok, gain_i = unfolded(conv)
    now_and_before = direction_iok.unflatten(2, (2, -1))  # [i, o, k, j]
    return Weights(now_and_before.permute(3, 1, 0, 2), gain_i=gain_i, backwards=True)
