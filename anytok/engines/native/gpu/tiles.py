"""SEANet's convolutions over tiles of one fixed shape, many clips at once: the form for GPUs.

Every clip is cut into tiles of TILE_FRAMES frames with a halo on both sides, and tiles are computed so many at a time,
the last group filled up with silence. So each kernel sees one shape only, whatever the clips: it is chosen once, fits
CUDA graphs and `torch.compile`, and a clip's numbers cannot depend on its neighbours. The halo is what all layers
together hear; where a tile reaches over its clip's edge, each layer pads there as it would for the whole clip.

Legend: n tiles, c channels, t time, r columns beyond edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.seanet import Conv, UpConv
from .tile_layers import Edge, Form, halo, tiled

__all__ = ["TiledStack"]

TILE_FRAMES, BATCH_SIZE = 100, 32


class TiledStack(nn.Module):
    """Some layers of a SEANet, in order: `up` samples out for every `down` samples in.

    `channels_last` is how tensor cores want their numbers; products in full float32 are faster the other way.
    `batch_size` tiles are computed at a time; which of cuDNN's convolutions keep their bits was tried out for
    BATCH_SIZE of them, and for other numbers none is trusted in less than full float32.
    """

    def __init__(
        self, layers: Sequence[nn.Module], dtype: torch.dtype, channels_last: bool = False, compile: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> None:  # fmt: skip
        super().__init__()
        self._batch_size = batch_size
        self.layers, self.dtype, self.channels_last = nn.ModuleList(layers).to(dtype), dtype, channels_last
        self.down = math.prod(layer.stride[0] for layer in layers if isinstance(layer, Conv))
        self.up = math.prod(layer.stride[0] for layer in layers if isinstance(layer, UpConv))
        self._place, self._edges = halo(layers, TILE_FRAMES * self.up), list[Edge]()
        made, after = tiled(layers, self._place, self._edges, Form(channels_last, products=batch_size != BATCH_SIZE))
        self._tiled, self._spare = nn.ModuleList(made), -after.offset
        self._longest_whole = _longest_whole(self._edges)
        self._compute = torch.compile(self._tiles, dynamic=False) if compile else self._tiles

    def run(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """[c, t] → float32 [c_out, ceil(t / down) * up] of each clip; the shortest ones go whole, one by one."""
        long = [i for i, clip_ct in enumerate(clips) if clip_ct.shape[1] > self._longest_whole]
        tiled = dict(zip(long, self._run_tiled([clips[i] for i in long]) if long else (), strict=True))
        return [tiled[i] if i in tiled else self._run_whole(clip_ct) for i, clip_ct in enumerate(clips)]

    def _run_whole(self, clip_ct: Tensor) -> Tensor:
        signal_bct = clip_ct[None].to(self.dtype)
        for layer in self.layers:
            signal_bct = layer(signal_bct)
        return signal_bct[0].float()

    def _run_tiled(self, clips: Sequence[Tensor]) -> list[Tensor]:
        step = TILE_FRAMES * self.down
        tiles, counts = [], []
        for clip_ct in clips:
            samples = clip_ct.shape[1]
            counts.append(-(-samples // step))
            after = (counts[-1] - 1) * step + self._place.offset + self._place.width - samples
            wide_ct = F.pad(clip_ct.to(self.dtype), (-self._place.offset, after))
            tiles.append(wide_ct.unfold(1, self._place.width, step).transpose(0, 1))
        begin_n = torch.cat([step * torch.arange(count) for count in counts])
        samples_n = torch.tensor([clip_ct.shape[1] for clip_ct in clips]).repeat_interleave(torch.tensor(counts))
        edges = [edge.columns(begin_n, samples_n) for edge in self._edges]
        edges_3nr = torch.cat(edges, dim=2).to(clips[0].device)  # of all layers in one copy
        groups = zip(torch.cat(tiles).split(self._batch_size), edges_3nr.split(self._batch_size, dim=1), strict=True)
        made_nct = torch.cat([self._group(*group) for group in groups])
        joined = (one_nct.transpose(0, 1).flatten(1) for one_nct in made_nct.split(counts))
        sizes = (-(-clip_ct.shape[1] // self.down) * self.up for clip_ct in clips)
        return [out_ct[:, :size] for out_ct, size in zip(joined, sizes, strict=True)]

    def _group(self, tiles_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        """Up to `batch_size` tiles, filled up with silent ones for the same shape every time."""
        count = len(tiles_nct)
        tiles_nct = F.pad(tiles_nct, (0, 0, 0, 0, 0, self._batch_size - count))
        edges_3nr = F.pad(edges_3nr, (0, 0, 0, self._batch_size - count))
        return self._compute(tiles_nct, edges_3nr)[:count].float()

    def _tiles(self, signal_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        if self.channels_last:
            signal_nct = signal_nct.transpose(1, 2).contiguous().transpose(1, 2)
        for layer in self._tiled:
            signal_nct = layer(signal_nct, edges_3nr)
        return signal_nct[..., self._spare : self._spare + TILE_FRAMES * self.up]


def _longest_whole(edges: Sequence[Edge]) -> float:
    """Up to so many samples a mirror image may be longer than a clip, which the plain form knows how to do; without end
    where one may be longer than a tile."""
    if any(edge.place.offset + edge.place.width <= edge.reach for edge in edges):
        return math.inf
    return max(edge.reach // edge.place.up * edge.place.down for edge in edges)
