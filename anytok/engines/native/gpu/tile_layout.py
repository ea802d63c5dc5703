"""Which columns of a clip a tile holds before each layer of a SEANet, and which of them lie beyond the clip's edges.

A tile is a window of fixed length on a clip, with a halo on both sides: the columns that its outputs depend on but that
neighbouring tiles compute. All of this follows from the layers' shapes, the tile's place and the clip's length.

Legend: n tiles, r columns beyond a clip's edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn

from ....models.seanet import Conv, ResidualBlock, UpConv, padding

__all__ = ["EdgePadding", "TileLayout", "input_layout", "max_padding", "output_layout"]

TOO_NARROW = "the halo is too narrow for these layers"


@dataclass(frozen=True)
class TileLayout:
    """The columns that a tile holds before some layer: `width` of them, the first at `offset` from where the tile
    without its halo begins. So far `down` samples of the first layer's input became `up` columns."""

    offset: int
    width: int
    down: int = 1
    up: int = 1


@dataclass(frozen=True)
class EdgePadding:
    """The `size` columns beyond either edge of a clip that a layer reads: mirrored ones or zeros."""

    layout: TileLayout
    size: int

    def indices(self, begin_n: Tensor, samples_n: Tensor) -> Tensor:
        """int64 [3, n, 2 * size]: columns of the tile to overwrite, the columns that they mirror, and whether they lie
        beyond an edge (1) or not (0).

        For tiles that begin at sample `begin_n` of clips of `samples_n`. A column that the tile lacks is replaced by
        the tile's nearest: one that is written several times gets the same value each time.
        """
        layout = self.layout
        first_n1 = (begin_n // layout.down * layout.up + layout.offset)[:, None]  # counted from the clip's first column
        last_n1 = (-(-samples_n // layout.down) * layout.up - 1)[:, None]
        distance_r = torch.arange(1, self.size + 1)
        beyond_nr = torch.cat([-distance_r.expand(len(begin_n), -1), last_n1 + distance_r], dim=1)
        target_nr = (beyond_nr - first_n1).clamp(0, layout.width - 1)
        column_nr = first_n1 + target_nr
        mirrored_nr = last_n1 - (last_n1 - column_nr.abs()).abs()
        source_nr = (mirrored_nr - first_n1).clamp(0, layout.width - 1)
        return torch.stack([target_nr, source_nr, mirrored_nr != column_nr])


def input_layout(layers: Sequence[nn.Module], columns: int) -> TileLayout:
    """The narrowest tile from which `layers` compute `columns` columns from 0 on.

    On its left it may be wider than their receptive field: a tile at a clip's beginning must hold what is mirrored.
    """
    for extra in count():
        offset, width, is_enough = -extra, columns + extra, True
        for layer in reversed(list(_convolutions(layers))):
            offset, width = _receptive_field(layer, offset, width)
            is_enough &= -offset > max_padding(layer)
        if is_enough:
            return TileLayout(offset, width)
    raise AssertionError("unreachable")


def output_layout(layer: Conv | UpConv, layout: TileLayout) -> TileLayout:
    """What a layer computes of a tile, without padding."""
    stride = layer.stride[0]
    assert -layout.offset > max_padding(layer), TOO_NARROW
    if isinstance(layer, UpConv):  # of the first column only as the one before the second
        offset = (layout.offset + 1) * stride - _left(layer)
        return TileLayout(offset, (layout.width - 1) * stride, layout.down, layout.up * stride)
    assert (layout.offset + _left(layer)) % stride == 0, TOO_NARROW
    width = (layout.width - max_padding(layer) - 1) // stride + 1
    return TileLayout((layout.offset + _left(layer)) // stride, width, layout.down * stride, layout.up)


def max_padding(layer: Conv | UpConv) -> int:
    """The most columns beyond either edge of a clip that a layer reads."""
    return 1 if isinstance(layer, UpConv) else (layer.kernel_size[0] - 1) * layer.dilation[0]


def _convolutions(layers: Iterable[nn.Module]) -> Iterator[Conv | UpConv]:
    """In order; of a residual block those of its longer path, since a shortcut has kernel 1."""
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            yield from _convolutions(layer.block)
        elif isinstance(layer, Conv | UpConv):
            yield layer


def _receptive_field(layer: Conv | UpConv, offset: int, width: int) -> tuple[int, int]:
    """Offset and width of the input columns that `width` outputs from `offset` on depend on."""
    stride = layer.stride[0]
    if isinstance(layer, UpConv):
        first, last = ((column + _left(layer)) // stride for column in (offset, offset + width - 1))
        return first - 1, last - first + 2
    return offset * stride - _left(layer), (width - 1) * stride + max_padding(layer) + 1


def _left(layer: Conv | UpConv) -> int:
    """The left padding of a Conv; the columns that an UpConv trims on the left of its output."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    if isinstance(layer, UpConv):
        return 0 if layer.causal else stride - stride // 2
    return padding(0, kernel, stride, layer.dilation[0], layer.causal)[0]
