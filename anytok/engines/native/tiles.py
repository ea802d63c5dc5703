"""SEANet's convolutions over tiles of one fixed shape, many clips at once: the form for GPUs.

Every clip is cut into tiles of TILE_FRAMES frames with a halo on both sides, and tiles are computed TILES at a time,
the last group filled up with silence. So each kernel sees one shape only, whatever the clips: it is chosen once, fits
CUDA graphs and `torch.compile`, and a clip's numbers cannot depend on its neighbours. The halo is what all layers
together hear; where a tile reaches over its clip's edge, each layer pads there as it would for the whole clip.

Legend: n tiles, c channels, t time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.seanet import Activation, Conv, ResidualBlock, UpConv, padding

__all__ = ["TiledStack"]

TILE_FRAMES, TILES = 100, 16
SHORTEST = 16  # frames: up to so many, padding may mirror more than there is, which the plain form knows how to do


@dataclass(frozen=True)
class Tiles:
    """Tiles at some layer's rate: column i of tile n is sample `base_n[n] + offset + i` of a clip of `length_n[n]`."""

    signal_nct: Tensor
    base_n: Tensor
    offset: int
    length_n: Tensor

    def pad(self, reach: int, mode: str) -> None:
        """Overwrite the `reach` columns outside of either edge of a clip, where the tile has them: mirrored or zero.

        In place: nobody wants what lies outside, and all else stays. An absent column stands for the nearest present
        one, so columns that are written twice get the same number twice.
        """
        first_n1 = (self.base_n + self.offset)[:, None]
        last_n1 = self.length_n[:, None] - 1
        beyond_r = torch.arange(1, reach + 1, device=first_n1.device)
        columns_nr = torch.cat([-beyond_r - first_n1, last_n1 + beyond_r - first_n1], dim=1)
        columns_nr = columns_nr.clamp(0, self.signal_nct.shape[-1] - 1)
        places_nr = first_n1 + columns_nr
        mirrored_nr = last_n1 - (last_n1 - places_nr.abs()).abs()
        sources_nr = (mirrored_nr - first_n1).clamp(0, self.signal_nct.shape[-1] - 1)
        shape = (-1, self.signal_nct.shape[1], -1)
        heard_ncr = self.signal_nct.gather(2, sources_nr[:, None].expand(shape))
        if mode != "reflect":
            heard_ncr = heard_ncr.masked_fill((places_nr != mirrored_nr)[:, None], 0)
        self.signal_nct.scatter_(2, columns_nr[:, None].expand(shape), heard_ncr)


class TiledStack(nn.Module):
    """Some layers of a SEANet, in order: `up` samples out for every `down` samples in."""

    def __init__(self, layers: Sequence[nn.Module], dtype: torch.dtype, compile: bool = False) -> None:
        super().__init__()
        self.layers, self.dtype = nn.ModuleList(layers).to(dtype), dtype
        self.down = math.prod(layer.stride[0] for layer in layers if isinstance(layer, Conv))
        self.up = math.prod(layer.stride[0] for layer in layers if isinstance(layer, UpConv))
        self._offset, self._length = _halo(layers, TILE_FRAMES * self.up)
        self._compute = torch.compile(self._tiles, dynamic=False) if compile else self._tiles

    def run(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """[c, t] → float32 [c_out, ceil(t / down) * up] of each clip; the shortest ones go whole, one by one."""
        long = [i for i, clip_ct in enumerate(clips) if clip_ct.shape[1] > SHORTEST * self.down]
        tiled = dict(zip(long, self._run_tiled([clips[i] for i in long]) if long else (), strict=True))
        return [tiled[i] if i in tiled else self._run_whole(clip_ct) for i, clip_ct in enumerate(clips)]

    def _run_whole(self, clip_ct: Tensor) -> Tensor:
        signal_bct = clip_ct[None].to(self.dtype)
        for layer in self.layers:
            signal_bct = layer(signal_bct)
        return signal_bct[0].float()

    def _run_tiled(self, clips: Sequence[Tensor]) -> list[Tensor]:
        step = TILE_FRAMES * self.down
        tiles, places, counts = [], [], []
        for clip_ct in clips:
            samples = clip_ct.shape[1]
            counts.append(-(-samples // step))
            after = (counts[-1] - 1) * step + self._offset + self._length - samples
            wide_ct = F.pad(clip_ct.to(self.dtype), (-self._offset, after))
            tiles.append(wide_ct.unfold(1, self._length, step).transpose(0, 1))
            places += [(step * i, samples) for i in range(counts[-1])]
        tiles_nct, places_n2 = torch.cat(tiles), torch.tensor(places, device=clips[0].device)
        made_nct = torch.cat(
            [self._group(*group) for group in zip(tiles_nct.split(TILES), places_n2.split(TILES), strict=True)]
        )
        joined = (one_nct.transpose(0, 1).flatten(1) for one_nct in made_nct.split(counts))
        sizes = (-(-clip_ct.shape[1] // self.down) * self.up for clip_ct in clips)
        return [out_ct[:, :size] for out_ct, size in zip(joined, sizes, strict=True)]

    def _group(self, tiles_nct: Tensor, places_n2: Tensor) -> Tensor:
        """Up to TILES tiles, filled up with silent ones for the same shape every time."""
        count = len(tiles_nct)
        tiles_nct = F.pad(tiles_nct, (0, 0, 0, 0, 0, TILES - count))
        base_n, length_n = F.pad(places_n2, (0, 0, 0, TILES - count), value=1).unbind(1)
        return self._compute(tiles_nct, base_n, length_n)[:count].float()

    def _tiles(self, tiles_nct: Tensor, base_n: Tensor, length_n: Tensor) -> Tensor:
        tiles = Tiles(tiles_nct, base_n, self._offset, length_n)
        for layer in self.layers:
            tiles = _through(layer, tiles)
        begin = -tiles.offset  # what is left of the halo
        return tiles.signal_nct[..., begin : begin + TILE_FRAMES * self.up]


def _halo(layers: Sequence[nn.Module], columns: int) -> tuple[int, int]:
    """Offset and length of the tiles that give `columns` columns from 0 on.

    The least that all layers hear, so that no strided layer has columns to skip, and on the left so many more that a
    mirrored edge finds all that it mirrors.
    """
    for more in count():
        offset, length, enough = -more, columns + more, True
        for layer in reversed(list(_leaves(layers))):
            offset, length = _heard(layer, offset, length)
            enough &= -offset >= _reach(layer) + 1
        if enough:
            return offset, length
    raise AssertionError("unreachable")


def _leaves(layers: Iterable[nn.Module]) -> Iterator[Conv | UpConv]:
    """The convolutions that a signal passes one after the other."""
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            yield from _leaves(layer.block)
        elif isinstance(layer, Conv | UpConv):
            yield layer


def _heard(layer: Conv | UpConv, offset: int, length: int) -> tuple[int, int]:
    """Offset and length of the inputs that the outputs from `offset` on hear."""
    stride = layer.stride[0]
    if isinstance(layer, UpConv):
        first, last = ((place + _left(layer)) // stride for place in (offset, offset + length - 1))
        return first - 1, last - first + 2
    return offset * stride - _left(layer), (length - 1) * stride + _reach(layer) + 1


def _left(layer: Conv | UpConv) -> int:
    """Input p begins at output p * stride - left of an UpConv; output p of a Conv at input p * stride - left."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    if isinstance(layer, UpConv):
        return 0 if layer.causal else stride - stride // 2
    return padding(0, kernel, stride, layer.dilation[0], layer.causal)[0]


def _reach(layer: Conv | UpConv) -> int:
    """How many columns beyond a clip's edge a layer can hear."""
    return 1 if isinstance(layer, UpConv) else (layer.kernel_size[0] - 1) * layer.dilation[0]


def _through(layer: nn.Module, tiles: Tiles) -> Tiles:
    if isinstance(layer, Conv):
        return _conv(layer, tiles)
    if isinstance(layer, UpConv):
        return _up_conv(layer, tiles)
    if isinstance(layer, ResidualBlock):
        return _residual(layer, tiles)
    assert isinstance(layer, Activation)
    return replace(tiles, signal_nct=layer(tiles.signal_nct))


def _conv(conv: Conv, tiles: Tiles) -> Tiles:
    stride, dilation, reach = conv.stride[0], conv.dilation[0], _reach(conv)
    assert -tiles.offset > reach and (tiles.offset + _left(conv)) % stride == 0, "a halo for other layers"
    if reach:
        tiles.pad(reach, conv.pad_mode)
    out_nct = F.conv1d(tiles.signal_nct, conv.weight, conv.bias, stride, 0, dilation)
    return Tiles(out_nct, tiles.base_n // stride, (tiles.offset + _left(conv)) // stride, -(-tiles.length_n // stride))


def _up_conv(conv: UpConv, tiles: Tiles) -> Tiles:
    """The first and last stride lack a neighbour and go."""
    stride = conv.stride[0]
    tiles.pad(1, "constant")
    out_nct = F.conv_transpose1d(tiles.signal_nct, conv.weight, conv.bias, stride)[..., stride:-stride]
    return Tiles(out_nct, tiles.base_n * stride, (tiles.offset + 1) * stride - _left(conv), tiles.length_n * stride)


def _residual(block: ResidualBlock, tiles: Tiles) -> Tiles:
    inner = tiles
    for layer in block.block:
        inner = _through(layer, inner)
    side = tiles if block.shortcut is None else _conv(block.shortcut, tiles)
    begin = inner.offset - side.offset
    signal_nct = side.signal_nct[..., begin : begin + inner.signal_nct.shape[-1]] + inner.signal_nct
    return replace(inner, signal_nct=signal_nct)
