"""SEANet's layers over tiles with a halo: what each must hear, and what it hears beyond the edges of a clip.

Where each layer's tiles lie is known beforehand, and so is all of this; what remains is to copy a few columns.

Legend: n tiles, c channels, t time, r columns beyond edges, o output channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.seanet import Activation, Conv, ResidualBlock, UpConv, padding

__all__ = ["Edge", "Form", "Place", "halo", "tiled"]


@dataclass(frozen=True)
class Place:
    """Where tiles lie before some layer: `width` columns, at `up` / `down` of the stack's own rate, the first of them
    `offset` samples from the tile's beginning."""

    offset: int
    width: int
    down: int = 1
    up: int = 1


@dataclass(frozen=True)
class Edge:
    """The `reach` columns beyond either edge of a clip, which a layer hears as a mirror image or as silence."""

    place: Place
    reach: int

    def columns(self, begin_n: Tensor, samples_n: Tensor) -> Tensor:
        """[3, n, r]: which columns to overwrite, which ones they mirror, and whether they are beyond an edge.

        Of tiles that begin at sample `begin_n` of clips of `samples_n`, at the stack's own rate. A column that the tile
        lacks stands for its nearest one; so one that is written twice gets the same number twice.
        """
        place = self.place
        first_n1 = (begin_n // place.down * place.up + place.offset)[:, None]
        last_n1 = (-(-samples_n // place.down) * place.up - 1)[:, None]
        beyond_r = torch.arange(1, self.reach + 1)
        wanted_nr = torch.cat([-beyond_r.expand(len(begin_n), -1), last_n1 + beyond_r], dim=1)
        columns_nr = (wanted_nr - first_n1).clamp(0, place.width - 1)
        samples_nr = first_n1 + columns_nr
        mirrored_nr = last_n1 - (last_n1 - samples_nr.abs()).abs()
        sources_nr = (mirrored_nr - first_n1).clamp(0, place.width - 1)
        return torch.stack([columns_nr, sources_nr, mirrored_nr != samples_nr])


@dataclass(frozen=True)
class Form:
    """How layers are computed: `channels_last`, as tensor cores want their numbers; and `products` alone, as far as
    they can be, which are not the fastest, but whose rows keep their bits for any number of tiles at a time."""

    channels_last: bool = False
    products: bool = False


class TiledConv(nn.Module):
    """A convolution; what it hears beyond the edges of clips is at `at` of `edges_3nr`."""

    def __init__(
        self, weight_oct: Tensor, bias_o: Tensor, stride: int, dilation: int, at: slice, mode: str, form: Form
    ) -> None:
        super().__init__()
        self._at, self._mode, self._kernel = at, mode, weight_oct.shape[2]
        self._stride, self._dilation = stride, dilation
        self._product = _is_better_product(weight_oct, stride, dilation, form)
        if self._product:
            weight = weight_oct.transpose(1, 2).flatten(1)
        else:  # in two dimensions, since in one torch gives up the order of channels
            layout = torch.channels_last if form.channels_last else torch.contiguous_format
            weight = weight_oct[:, :, None].contiguous(memory_format=layout)
        self.weight, self.bias = (nn.Parameter(part, requires_grad=False) for part in (weight, bias_o))

    @property
    def weight_oct(self) -> Tensor:
        """The weight that it was made of, in its own memory."""
        if self._product:
            return self.weight.unflatten(1, (self._kernel, -1)).transpose(1, 2)
        return self.weight[:, :, 0]

    def forward(self, signal_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        if self._at.stop > self._at.start:
            _pad(signal_nct, edges_3nr[..., self._at], self._mode)
        if self._product:
            heard_ntkc = signal_nct.transpose(1, 2).unfold(1, self._kernel, self._stride).transpose(2, 3)
            return F.linear(heard_ntkc.flatten(2), self.weight, self.bias).transpose(1, 2)
        stride, dilation = (1, self._stride), (1, self._dilation)
        return F.conv2d(signal_nct[:, :, None], self.weight, self.bias, stride, 0, dilation)[:, :, 0]


def _is_better_product(weight_oct: Tensor, stride: int, dilation: int, form: Form) -> bool:
    """Whether to lay out what each output hears, and make one product of it.

    On an H200, cuDNN's float16 and TF32 kernels for 1024 to 2560 numbers heard, or 640 outputs, give a tile other bits
    in another place of the group; products, with strides or without, did not in all layers of the published codecs, and
    those of single columns are twice as fast. In full float32 cuDNN took 80 times as long for one wide convolution.
    For 2, 4 or 8 tiles at a time instead of 32 others of its convolutions do the same, but none in full float32.
    """
    outputs, heard = len(weight_oct), weight_oct[0].numel()
    if form.channels_last:
        return dilation == 1 and (form.products or weight_oct.shape[2] == 1 or heard >= 1000 or outputs > 512)
    return dilation == stride == 1 and heard > 4096


class TiledUpConv(nn.Module):
    """A transposed convolution as what it computes: each step and the one before it give `stride` outputs.

    The first step of a tile, which lacks the one before it, gives none.
    """

    def __init__(self, conv: UpConv, at: slice, form: Form) -> None:
        super().__init__()
        assert conv.bias is not None
        self._stride = conv.stride[0]
        now_cos, before_cos = conv.weight.split(self._stride, dim=2)
        weight_soc2 = torch.stack([before_cos, now_cos], dim=-1).permute(2, 1, 0, 3)
        bias_so = conv.bias.repeat(self._stride)
        self._conv = TiledConv(weight_soc2.flatten(0, 1), bias_so, 1, 1, at, "constant", form)

    def forward(self, signal_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        together_nsot = self._conv(signal_nct, edges_3nr).unflatten(1, (self._stride, -1))
        return together_nsot.permute(0, 2, 3, 1).flatten(2)


class TiledBlock(nn.Module):
    """A residual block: what comes through is added to what comes by, from column `begin` on."""

    def __init__(self, layers: Iterable[nn.Module], shortcut: Iterable[nn.Module], begin: int) -> None:
        super().__init__()
        self.layers, self.shortcut, self._begin = nn.ModuleList(layers), nn.ModuleList(shortcut), begin

    def forward(self, signal_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        inner_nct = side_nct = signal_nct
        for layer in self.layers:
            inner_nct = layer(inner_nct, edges_3nr)
        for layer in self.shortcut:
            side_nct = layer(side_nct, edges_3nr)
        return side_nct[..., self._begin : self._begin + inner_nct.shape[-1]] + inner_nct


class TiledActivation(nn.Module):
    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self._activation = activation

    def forward(self, signal_nct: Tensor, _: Tensor) -> Tensor:
        return self._activation(signal_nct)


def tiled(layers: Iterable[nn.Module], place: Place, edges: list[Edge], form: Form) -> tuple[list[nn.Module], Place]:
    """The layers for tiles that lie at `place`, and where what they give lies; the edges that they hear join `edges`,
    and in this order `edges_3nr`."""
    made: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            inner, after = tiled(layer.block, place, edges, form)
            shortcut, _ = tiled([] if layer.shortcut is None else [layer.shortcut], place, edges, form)
            made.append(TiledBlock(inner, shortcut, after.offset - place.offset))
            place = after
        elif isinstance(layer, Conv | UpConv):
            assert -place.offset > _reach(layer), "a halo for other layers"
            start = sum(2 * edge.reach for edge in edges)
            at = slice(start, start + 2 * _reach(layer))
            edges.append(Edge(place, _reach(layer)))
            made.append(_convolution(layer, at, form))
            place = _after(layer, place)
        else:
            assert isinstance(layer, Activation)
            made.append(TiledActivation(layer))
    return made, place


def _convolution(layer: Conv | UpConv, at: slice, form: Form) -> nn.Module:
    if isinstance(layer, UpConv):
        return TiledUpConv(layer, at, form)
    assert layer.bias is not None
    stride, dilation = layer.stride[0], layer.dilation[0]
    made = TiledConv(layer.weight, layer.bias, stride, dilation, at, layer.pad_mode, form)
    layer.weight = nn.Parameter(made.weight_oct, requires_grad=False)  # or it would be there twice
    return made


def _after(layer: Conv | UpConv, place: Place) -> Place:
    stride = layer.stride[0]
    if isinstance(layer, UpConv):
        offset = (place.offset + 1) * stride - _left(layer)
        return Place(offset, (place.width - 1) * stride, place.down, place.up * stride)
    assert (place.offset + _left(layer)) % stride == 0, "a halo for other layers"
    width = (place.width - _reach(layer) - 1) // stride + 1
    return Place((place.offset + _left(layer)) // stride, width, place.down * stride, place.up)


def halo(layers: Sequence[nn.Module], columns: int) -> Place:
    """Where the tiles lie that give `columns` columns from 0 on.

    The least that all layers hear, so that no strided layer has columns to skip, and on the left so many more that a
    mirrored edge finds all that it mirrors.
    """
    for more in count():
        offset, width, enough = -more, columns + more, True
        for layer in reversed(list(_convolutions(layers))):
            offset, width = _heard(layer, offset, width)
            enough &= -offset > _reach(layer)
        if enough:
            return Place(offset, width)
    raise AssertionError("unreachable")


def _convolutions(layers: Iterable[nn.Module]) -> Iterator[Conv | UpConv]:
    """Those that a signal passes one after the other."""
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            yield from _convolutions(layer.block)
        elif isinstance(layer, Conv | UpConv):
            yield layer


def _heard(layer: Conv | UpConv, offset: int, width: int) -> tuple[int, int]:
    """Where the inputs lie that `width` outputs from `offset` on hear."""
    stride = layer.stride[0]
    if isinstance(layer, UpConv):
        first, last = ((column + _left(layer)) // stride for column in (offset, offset + width - 1))
        return first - 1, last - first + 2
    return offset * stride - _left(layer), (width - 1) * stride + _reach(layer) + 1


def _left(layer: Conv | UpConv) -> int:
    """Output p of a Conv begins to hear at input p * stride - left; input p of an UpConv begins at that output."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    if isinstance(layer, UpConv):
        return 0 if layer.causal else stride - stride // 2
    return padding(0, kernel, stride, layer.dilation[0], layer.causal)[0]


def _reach(layer: Conv | UpConv) -> int:
    """How many columns beyond a clip's edge a layer can hear."""
    return 1 if isinstance(layer, UpConv) else (layer.kernel_size[0] - 1) * layer.dilation[0]


def _pad(signal_nct: Tensor, edges_3nr: Tensor, mode: str) -> None:
    """In place: nobody wants what lies beyond the edges, and all else stays."""
    columns_nr, sources_nr, beyond_nr = edges_3nr
    shape = (-1, signal_nct.shape[1], -1)
    if mode == "reflect":
        heard_ncr = signal_nct.gather(2, sources_nr[:, None].expand(shape))
    else:
        heard_ncr = signal_nct.gather(2, columns_nr[:, None].expand(shape)).masked_fill(beyond_nr[:, None] != 0, 0)
    signal_nct.scatter_(2, columns_nr[:, None].expand(shape), heard_ncr)
