"""SEANet's layers over tiles: modules of (tiles [n, c, t], edge indices [3, n, r]) → the same pair.

Where a tile reaches beyond its clip's edges, each layer pads there as it would pad the whole clip. The edge indices of
all layers (see EdgePadding) are one tensor, and one copy to the GPU; each layer uses a slice of it.

Legend: n tiles, c channels, t columns, r columns beyond edges, o output channels, k kernel, s stride.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.seanet import Activation, Conv, ResidualBlock, UpConv
from ..weights import up_weights
from .convolution import ConvOptions, conv_as_product, is_better_as_product
from .tile_layout import EdgePadding, TileLayout, max_padding, output_layout

__all__ = ["tile_layers"]

Tiles: TypeAlias = tuple[Tensor, Tensor]


def tile_layers(
    layers: Iterable[nn.Module], layout: TileLayout, paddings: list[EdgePadding], options: ConvOptions
) -> tuple[nn.Sequential, TileLayout]:
    """`layers` for tiles of `layout`, and the layout of their output.

    Their padding is appended to `paddings`, whose indices, joined in this order, are the edge indices.
    """
    made = nn.Sequential()
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            block, after = tile_layers(layer.block, layout, paddings, options)
            shortcut, _ = tile_layers([] if layer.shortcut is None else [layer.shortcut], layout, paddings, options)
            made.append(TiledResidualBlock(block, shortcut, after.offset - layout.offset))
            layout = after
        elif isinstance(layer, Conv | UpConv):
            first = sum(2 * padding.size for padding in paddings)
            paddings.append(EdgePadding(layout, max_padding(layer)))
            edges = slice(first, first + 2 * max_padding(layer))
            made.append(_convolution(layer, edges, options))
            layout = output_layout(layer, layout)
        else:
            assert isinstance(layer, Activation)
            made.append(TiledActivation(layer))
    return made, layout


class TiledConv(nn.Module):
    """A convolution that first overwrites the columns beyond clips' edges with its padding."""

    def __init__(
        self, weight_ock: Tensor, bias_o: Tensor, stride: int, dilation: int, mode: str, edges: slice,
        options: ConvOptions,
    ) -> None:  # fmt: skip
        super().__init__()
        self._kernel, self._stride, self._dilation = weight_ock.shape[2], stride, dilation
        self._mode, self._edges = mode, edges
        self.is_product = is_better_as_product(weight_ock, stride, dilation, options)
        if self.is_product:
            weight = weight_ock.transpose(1, 2).flatten(1)
        else:  # in two dimensions: torch's conv1d does not keep channels last
            layout = torch.channels_last if options.channels_last else torch.contiguous_format
            weight = weight_ock[:, :, None].contiguous(memory_format=layout)
        self.weight, self.bias = (nn.Parameter(part, requires_grad=False) for part in (weight, bias_o))

    @property
    def weight_ock(self) -> Tensor:
        """The weight as given, in this module's memory."""
        if self.is_product:
            return self.weight.unflatten(1, (self._kernel, -1)).transpose(1, 2)
        return self.weight[:, :, 0]

    def forward(self, tiles: Tiles) -> Tiles:
        signal_nct, edges_3nr = tiles
        if self._edges.stop > self._edges.start:
            _pad_edges(signal_nct, edges_3nr[..., self._edges], self._mode)
        if self.is_product:
            signal_ntc = signal_nct.transpose(1, 2)
            output_nto = conv_as_product(signal_ntc, self.weight, self.bias, self._kernel, self._stride)
            return output_nto.transpose(1, 2), edges_3nr
        stride, dilation = (1, self._stride), (1, self._dilation)
        return F.conv2d(signal_nct[:, :, None], self.weight, self.bias, stride, 0, dilation)[:, :, 0], edges_3nr


class TiledUpConv(nn.Module):
    """A transposed convolution, computed as `up_weights` explains: each column and the one before it give `stride`
    output columns. The first column of a tile, which lacks the one before it, gives none."""

    def __init__(self, conv: UpConv, edges: slice, options: ConvOptions) -> None:
        super().__init__()
        assert conv.bias is not None
        self._stride = conv.stride[0]
        weight_ock = up_weights(conv).plain().transpose(1, 2)
        self.conv = TiledConv(weight_ock, conv.bias.repeat(self._stride), 1, 1, "constant", edges, options)

    def forward(self, tiles: Tiles) -> Tiles:
        signal_nct, edges_3nr = self.conv(tiles)
        signal_nsct = signal_nct.unflatten(1, (self._stride, -1))
        return signal_nsct.permute(0, 2, 3, 1).flatten(2), edges_3nr


class TiledResidualBlock(nn.Module):
    """The sum of two paths. The block's output begins at column `begin` of the shortcut's, which keeps its halo."""

    def __init__(self, block: nn.Sequential, shortcut: nn.Sequential, begin: int) -> None:
        super().__init__()
        self.block, self.shortcut, self._begin = block, shortcut, begin

    def forward(self, tiles: Tiles) -> Tiles:
        (block_nct, edges_3nr), (shortcut_nct, _) = self.block(tiles), self.shortcut(tiles)
        return shortcut_nct[..., self._begin : self._begin + block_nct.shape[-1]] + block_nct, edges_3nr


class TiledActivation(nn.Module):
    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, tiles: Tiles) -> Tiles:
        return self.activation(tiles[0]), tiles[1]


def _convolution(conv: Conv | UpConv, edges: slice, options: ConvOptions) -> nn.Module:
    if isinstance(conv, UpConv):
        return TiledUpConv(conv, edges, options)
    assert conv.bias is not None
    made = TiledConv(conv.weight, conv.bias, conv.stride[0], conv.dilation[0], conv.pad_mode, edges, options)
    conv.weight = nn.Parameter(made.weight_ock, requires_grad=False)  # one copy for both: test_weights_are_there_once
    return made


def _pad_edges(signal_nct: Tensor, edges_3nr: Tensor, mode: str) -> None:
    """In place: nothing else reads the columns beyond an edge, and all others keep their values."""
    target_nr, source_nr, is_beyond_nr = edges_3nr
    shape = (-1, signal_nct.shape[1], -1)
    if mode == "reflect":
        padding_ncr = signal_nct.gather(2, source_nr[:, None].expand(shape))
    else:
        padding_ncr = signal_nct.gather(2, target_nr[:, None].expand(shape)).masked_fill(is_beyond_nr[:, None] != 0, 0)
    signal_nct.scatter_(2, target_nr[:, None].expand(shape), padding_ncr)
