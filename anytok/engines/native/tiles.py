"""SEANet's convolutions over tiles of one fixed shape, many clips at once: the form for GPUs.

Every clip is cut into tiles of TILE_FRAMES frames with a halo on both sides, and tiles are computed TILES at a time,
the last group filled up with silence. So each kernel sees one shape only, whatever the clips: it is chosen once, fits
CUDA graphs and `torch.compile`, and a clip's numbers cannot depend on its neighbours. The halo is wide enough for all
layers together; where a tile reaches over its clip's edge, each layer pads there as it would for the whole clip.

Legend: n tiles, c channels, t time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.seanet import Activation, Conv, ResidualBlock, UpConv, padding

__all__ = ["TiledStack"]

TILE_FRAMES, TILES = 100, 16
HALO_FRAMES = 16
SHORTEST = 16  # frames: up to so many, padding may mirror more than there is, which the plain form knows how to do


@dataclass(frozen=True)
class Tiles:
    """Tiles at some layer's rate: column i of tile n is sample `base_n[n] + offset + i` of a clip of `length_n[n]`."""

    signal_nct: Tensor
    base_n: Tensor
    offset: int
    length_n: Tensor

    def padded(self, mode: str) -> Tensor:
        """The signal with what lies outside of the clips mirrored about their edge samples, or zero."""
        columns_t = torch.arange(self.signal_nct.shape[-1], device=self.signal_nct.device)
        first_n1 = (self.base_n + self.offset)[:, None]
        last_n1 = self.length_n[:, None] - 1
        places_nt = first_n1 + columns_t
        if mode != "reflect":
            inside_nt = (places_nt >= 0) & (places_nt <= last_n1)
            return self.signal_nct * inside_nt[:, None]
        mirrored_nt = last_n1 - (last_n1 - places_nt.abs()).abs()
        columns_nt = (mirrored_nt - first_n1).clamp(0, len(columns_t) - 1)
        return self.signal_nct.gather(2, columns_nt[:, None].expand_as(self.signal_nct))


class TiledStack(nn.Module):
    """Some layers of a SEANet, in order: `up` samples out for every `down` samples in."""

    def __init__(self, layers: Sequence[nn.Module], dtype: torch.dtype, compile: bool = False) -> None:
        super().__init__()
        self.layers, self.dtype = nn.ModuleList(layers).to(dtype), dtype
        self.down = math.prod(layer.stride[0] for layer in layers if isinstance(layer, Conv))
        self.up = math.prod(layer.stride[0] for layer in layers if isinstance(layer, UpConv))
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
        step, halo = TILE_FRAMES * self.down, HALO_FRAMES * self.down
        tiles, places, counts = [], [], []
        for clip_ct in clips:
            samples = clip_ct.shape[1]
            counts.append(-(-samples // step))
            wide_ct = F.pad(clip_ct.to(self.dtype), (halo, counts[-1] * step - samples + halo))
            tiles.append(wide_ct.unfold(1, step + 2 * halo, step).transpose(0, 1))
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
        tiles = Tiles(tiles_nct, base_n, -HALO_FRAMES * self.down, length_n)
        for layer in self.layers:
            tiles = _through(layer, tiles)
        begin = -tiles.offset  # what is left of the halo
        return tiles.signal_nct[..., begin : begin + TILE_FRAMES * self.up]


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
    """Output p hears inputs from p * stride - left on, so the first column heard must be such an input."""
    stride, dilation = conv.stride[0], conv.dilation[0]
    left, _ = padding(0, conv.kernel_size[0], stride, dilation, conv.causal)
    # as far back as a mirrored edge can lie
    assert -tiles.offset >= (conv.kernel_size[0] - 1) * dilation + 1, "the halo is used up"
    skip = -(tiles.offset + left) % stride
    out_nct = F.conv1d(tiles.padded(conv.pad_mode)[..., skip:], conv.weight, conv.bias, stride, 0, dilation)
    offset = (tiles.offset + skip + left) // stride
    return Tiles(out_nct, tiles.base_n // stride, offset, -(-tiles.length_n // stride))


def _up_conv(conv: UpConv, tiles: Tiles) -> Tiles:
    """Input n begins at output n * stride - left; the first and last stride lack a neighbour and go."""
    stride = conv.stride[0]
    left = 0 if conv.causal else stride - stride // 2
    out_nct = F.conv_transpose1d(tiles.padded("constant"), conv.weight, conv.bias, stride)[..., stride:-stride]
    offset = (tiles.offset + 1) * stride - left
    return Tiles(out_nct, tiles.base_n * stride, offset, tiles.length_n * stride)


def _residual(block: ResidualBlock, tiles: Tiles) -> Tiles:
    inner = tiles
    for layer in block.block:
        inner = _through(layer, inner)
    side = tiles if block.shortcut is None else _conv(block.shortcut, tiles)
    begin = inner.offset - side.offset
    signal_nct = side.signal_nct[..., begin : begin + inner.signal_nct.shape[-1]] + inner.signal_nct
    return replace(inner, signal_nct=signal_nct)
