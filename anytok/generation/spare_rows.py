"""Which rows behind a language model's text rows are padding, told by their values.

Padding's ids never stand in a text, so nothing trains its input rows: they stay as they were initialised, or weight
decay takes them to zero (Land and Bartolo, arXiv 2405.05417, section 2). Rows that fit neither may be trained.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["UNTRAINED", "untrained_rows"]

UNTRAINED = ("zero", "equal to one another", "at the mean of the text's", "as the model initialises rows")
_ZERO, _NEAR = 0.01, 3e-3  # in deviations of the text rows; rounding to bfloat16 is about 1e-3
_BOUND = 6.0  # deviations of a statistic of Gaussian noise


def untrained_rows(rows_nh: Tensor, mean_h: Tensor, spread_h: Tensor, initial: float) -> Tensor:
    """Which reason of UNTRAINED holds for each of n rows, int64 `[n]`; -1 where none does.

    `mean_h` and `spread_h` are those of the text rows; `initial` is the deviation of the Gaussian noise from which the
    model's rows begin. A row that was trained a little from such noise cannot be told from one that was not.
    """
    scale, rows_nh = _rms(spread_h), rows_nh.float()
    noise = _is_noise(rows_nh, initial)
    if noise.any():  # all of it at once shows what one row does not
        noise &= _is_noise(rows_nh[noise].reshape(1, -1), initial)
    found = torch.stack(
        [
            _rms(rows_nh) < _ZERO * scale,
            (_rms(rows_nh - rows_nh.median(0).values) < _NEAR * scale) & (len(rows_nh) > 1),
            _rms(rows_nh - mean_h) < _NEAR * scale,
            noise,
        ]
    )
    return torch.where(found.any(0), found.int().argmax(0), -1)


def _rms(values: Tensor) -> Tensor:
    return values.square().mean(-1).sqrt()


def _is_noise(rows_nh: Tensor, deviation: float) -> Tensor:
    """Whether each row's mean and mean square are those of Gaussian noise around 0; the latter's cube root is nearly
    Gaussian (Wilson and Hilferty, 1931)."""
    variance = 2 / (9 * rows_nh.shape[1])
    z_mean = rows_nh.mean(1) / deviation * math.sqrt(rows_nh.shape[1])
    z_square = ((rows_nh / deviation).square().mean(1) ** (1 / 3) - (1 - variance)) / math.sqrt(variance)
    return (z_mean.abs() < _BOUND) & (z_square.abs() < _BOUND)
