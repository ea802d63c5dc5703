"""SEANet's convolutions over tiles of one shape, of many clips at once.

Every clip is cut into tiles of TILE_FRAMES frames with a halo on both sides (tile_layout.py), which are computed in
batches of one size, the last one padded with zeros. So every kernel sees one shape, whatever the clips: it is chosen
once, suits `torch.compile`, and a clip's output cannot depend on its neighbours.

Legend: n tiles, c channels, t columns, r columns beyond edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.seanet import Conv, UpConv
from .convolution import ConvOptions
from .tile_layers import tile_layers
from .tile_layout import EdgePadding, input_layout

__all__ = ["BATCH_SIZE", "TiledStack"]

TILE_FRAMES, BATCH_SIZE = 100, 32


class TiledStack(nn.Module):
    """Successive layers of a SEANet, in `dtype`: clips [c, t] → float32 [c_out, ceil(t / down) * up] of each.

    `channels_last` is a memory order that is faster on tensor cores, and slower in full float32. `compile` compiles the
    layers on first use. `batch_size` tiles are a batch; which of cuDNN's convolutions give a tile the same bits in
    any place was measured for BATCH_SIZE, so in less than full float32 other sizes do without them.
    """

    def __init__(
        self, layers: Sequence[nn.Module], dtype: torch.dtype, channels_last: bool = False, compile: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers, self.dtype = nn.Sequential(*layers).to(dtype), dtype
        self.channels_last, self.batch_size = channels_last, batch_size
        self.down = math.prod(layer.stride[0] for layer in layers if isinstance(layer, Conv))
        self.up = math.prod(layer.stride[0] for layer in layers if isinstance(layer, UpConv))
        self.layout, self._paddings = input_layout(layers, TILE_FRAMES * self.up), list[EdgePadding]()
        options = ConvOptions(channels_last, only_products=batch_size != BATCH_SIZE)
        self.tile_layers, output = tile_layers(layers, self.layout, self._paddings, options)
        self._begin, self._max_untiled = -output.offset, _max_untiled(self._paddings)
        self._compute = torch.compile(self._batch, dynamic=False) if compile else self._batch

    def forward(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Clips so short that padding mirrors more than they hold are computed by the plain layers, one by one."""
        tiled = [i for i, clip_ct in enumerate(clips) if clip_ct.shape[1] > self._max_untiled]
        outputs = dict(zip(tiled, self._tiled([clips[i] for i in tiled]) if tiled else (), strict=True))
        return [
            outputs[i] if i in outputs else self.layers(clip_ct[None].to(self.dtype))[0].float()
            for i, clip_ct in enumerate(clips)
        ]

    def _tiled(self, clips: Sequence[Tensor]) -> list[Tensor]:
        step, left, width = TILE_FRAMES * self.down, -self.layout.offset, self.layout.width
        samples = [clip_ct.shape[1] for clip_ct in clips]
        counts = [-(-count // step) for count in samples]
        tiles = []
        for clip_ct, count in zip(clips, counts, strict=True):
            right = (count - 1) * step + width - left - clip_ct.shape[1]
            padded_ct = F.pad(clip_ct.to(self.dtype), (left, right))
            tiles.append(padded_ct.unfold(1, width, step).transpose(0, 1))
        begin_n = torch.cat([step * torch.arange(count) for count in counts])
        samples_n = torch.tensor(samples).repeat_interleave(torch.tensor(counts))
        indices = [padding.indices(begin_n, samples_n) for padding in self._paddings]
        edges_3nr = torch.cat(indices, dim=2).to(clips[0].device)
        batches = zip(torch.cat(tiles).split(self.batch_size), edges_3nr.split(self.batch_size, dim=1), strict=True)
        output_nct = torch.cat([self._padded_batch(*batch) for batch in batches])
        joined = (clip_nct.transpose(0, 1).flatten(1) for clip_nct in output_nct.split(counts))
        return [out_ct[:, : -(-count // self.down) * self.up] for out_ct, count in zip(joined, samples, strict=True)]

    def _padded_batch(self, tiles_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        """Up to `batch_size` tiles, padded to `batch_size`: test_every_kernel_sees_one_shape."""
        count = len(tiles_nct)
        missing = self.batch_size - count
        tiles_nct, edges_3nr = F.pad(tiles_nct, (0, 0, 0, 0, 0, missing)), F.pad(edges_3nr, (0, 0, 0, missing))
        return self._compute(tiles_nct, edges_3nr)[:count].float()

    def _batch(self, tiles_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        if self.channels_last:
            tiles_nct = tiles_nct.transpose(1, 2).contiguous().transpose(1, 2)
        output_nct, _ = self.tile_layers((tiles_nct, edges_3nr))
        return output_nct[..., self._begin : self._begin + TILE_FRAMES * self.up]


def _max_untiled(paddings: Sequence[EdgePadding]) -> float:
    """The most samples of a clip that some layer mirrors beyond its end; infinity if a layer mirrors more than a tile
    holds."""
    if any(padding.layout.offset + padding.layout.width <= padding.size for padding in paddings):
        return math.inf
    return max(padding.size // padding.layout.up * padding.layout.down for padding in paddings)
