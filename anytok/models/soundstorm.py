"""SoundStorm's network: all codes of a clip, some of them masked → how likely each code is at each place.

A Conformer over frames. The codes of a frame and its content code are embedded and summed, so that a sequence is as
long as the clip has frames, whatever the number of levels.

Sources: SoundStorm (arXiv 2305.09636, section 3), Conformer (arXiv 2005.08100, section 2), rotary positions (arXiv
2104.09864); sizes and details as in AnyGPT's copy of soundstorm-speechtokenizer.

Legend: r rows, which are the frames of all clips, one clip behind the other; q levels (level 0 is layer 2 of the
codec), k codes; d width, f width of a feed-forward layer, c channels of a convolution; h heads, x width of a head, n
frames of one clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Depthwise", "SoundStorm"]

_LEAST_VARIANCE = 1e-6  # of the channels of a frame, which are divided by its root


class SoundStorm(nn.Module):
    """Codes and content → logits. Sizes default to the published ones.

    Codes are 0 to `codebook_size` - 1, and `codebook_size` is the mask. Each clip sees its own frames only.
    """

    def __init__(
        self, *, width: int = 1024, depth: int = 12, heads: int = 8, head_width: int = 128, codebook_size: int = 1024,
        num_levels: int = 7, mlp_ratio: int = 4, expansion: int = 2, kernel: int = 31,
    ) -> None:  # fmt: skip
        super().__init__()
        self.codebook_size, self.num_levels = codebook_size, num_levels
        self.code_embedding = nn.Embedding(num_levels * (codebook_size + 1), width)
        self.content_embedding = nn.Embedding(codebook_size, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, head_width, mlp_ratio * width, expansion * width, kernel) for _ in range(depth)
        )
        self.heads = nn.Linear(width, num_levels * width)
        self.norm = nn.LayerNorm(width)
        self.to_logits = nn.ModuleList(nn.Linear(width, codebook_size) for _ in range(num_levels))

    @property
    def mask(self) -> int:
        return self.codebook_size

    def forward(self, codes_rq: Tensor, content_r: Tensor, lengths: Sequence[int]) -> Tensor:
        """Logits [r, q, k] of codes [r, q] and content codes [r]; `lengths` are the frames of each clip."""
        rows_rd = self.embed(codes_rq, content_r)
        rotation = rotations(lengths, self.blocks[0].attention.head_width, rows_rd)  # type: ignore[union-attr, arg-type]
        for block in self.blocks:
            rows_rd = block(rows_rd, rotation, lengths)
        heads_rqd = self.norm(self.heads(rows_rd).unflatten(-1, (self.num_levels, -1)))
        return torch.stack([to(heads_rqd[:, q]) for q, to in enumerate(self.to_logits)], dim=1)

    def embed(self, codes_rq: Tensor, content_r: Tensor) -> Tensor:
        """The sum of a frame's embeddings, level by level, the content last: [r, d]."""
        embedded_rd = self.code_embedding(codes_rq[:, 0])
        for level in range(1, self.num_levels):
            embedded_rd = embedded_rd + self.code_embedding(codes_rq[:, level] + level * (self.codebook_size + 1))
        return embedded_rd + self.content_embedding(content_r)


class Block(nn.Module):
    """A Conformer block: half a feed-forward layer, attention, convolution, half a feed-forward layer, norm."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.before = FeedForward(width, hidden)
        self.attention = Attention(width, heads, head_width)
        self.convolution = Convolution(width, channels, kernel)
        self.after = FeedForward(width, hidden)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows_rd: Tensor, rotation: tuple[Tensor, Tensor], lengths: Sequence[int]) -> Tensor:
        rows_rd = torch.add(rows_rd, self.before(rows_rd), alpha=0.5)
        rows_rd = rows_rd + self.attention(rows_rd, rotation, lengths)
        rows_rd = rows_rd + self.convolution(rows_rd, lengths)
        rows_rd = torch.add(rows_rd, self.after(rows_rd), alpha=0.5)
        return self.norm(rows_rd)


class FeedForward(nn.Module):
    """Norm, and two linear layers around a SiLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, rows_rd: Tensor) -> Tensor:
        hidden_rf = self.fc1(self.norm(rows_rd))
        return self.fc2(gated(hidden_rf, hidden_rf))


class Attention(nn.Module):
    """Norm, and self-attention, every frame of a clip seeing every other, with rotary positions over the whole head."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.proj = nn.Linear(heads * head_width, width)

    def forward(self, rows_rd: Tensor, rotation: tuple[Tensor, Tensor], lengths: Sequence[int]) -> Tensor:
        qkv_r3hx = self.qkv(self.norm(rows_rd)).unflatten(-1, (3, self.heads, -1))
        query_rhx, key_rhx = (rotated(qkv_r3hx[:, which], *rotation).to(qkv_r3hx.dtype) for which in (0, 1))
        mixed_rhx = by_clip(_attention, lengths, query_rhx, key_rhx, qkv_r3hx[:, 2])
        return self.proj(mixed_rhx.flatten(1))


class Depthwise(nn.Conv1d):
    """Each channel's frames [n, c] weighed by its own kernel, with zeros beyond both ends."""

    def forward(self, rows_nc: Tensor) -> Tensor:
        # As a picture one pixel wide in torch's channels_last layout, which is that of rows: six times as fast on CPUs
        # as to turn rows into columns and back.
        mixed_1cn1 = F.conv2d(
            rows_nc[None, :, None].permute(0, 3, 1, 2), self.weight[..., None], self.bias,
            padding=(self.kernel_size[0] // 2, 0), groups=self.groups,
        )  # fmt: skip
        return mixed_1cn1[0, :, :, 0].T


class Convolution(nn.Module):
    """Norm, and a depthwise convolution over time between two linear layers. The first is gated; before the second, the
    channels of each frame are brought to mean 0 and variance 1."""

    def __init__(self, width: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * channels)
        self.depthwise = Depthwise(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.gain_c = nn.Parameter(torch.ones(channels))
        self.fc2 = nn.Linear(channels, width)

    def forward(self, rows_rd: Tensor, lengths: Sequence[int]) -> Tensor:
        value_rc, gate_rc = self.fc1(self.norm(rows_rd)).chunk(2, dim=-1)
        mixed_rc = by_clip(self.depthwise, lengths, gated(value_rc, gate_rc))
        channels_rc = gated(mixed_rc, mixed_rc)
        centred_rc = channels_rc - channels_rc.mean(-1, keepdim=True)
        variance_r1 = centred_rc.square().mean(-1, keepdim=True)
        scale_r1 = variance_r1.clamp_min(_LEAST_VARIANCE).rsqrt()  # a floor, and no sum: as published
        return self.fc2(centred_rc * scale_r1 * self.gain_c)


def rotations(lengths: Sequence[int], head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [r, 1, x] of each frame's angles; positions count from 0 in each clip."""
    halves = torch.arange(0, head_width, 2, device=like.device).float() / head_width
    positions_r = torch.cat([torch.arange(length, device=like.device) for length in lengths])
    angles_rx = positions_r[:, None].to(like.dtype) * (1.0 / 10000.0**halves).to(like.dtype).repeat(2)
    return angles_rx.cos()[:, None], angles_rx.sin()[:, None]


def rotated(heads_rhx: Tensor, cos_r1x: Tensor, sin_r1x: Tensor) -> Tensor:
    """Each pair of numbers, one of either half of a head, turned by its angle."""
    first_rhx, second_rhx = heads_rhx.chunk(2, dim=-1)
    return heads_rhx * cos_r1x + torch.cat([-second_rhx, first_rhx], dim=-1) * sin_r1x


def gated(value: Tensor, gate: Tensor) -> Tensor:
    """value · σ(gate), which is SiLU where both are the same, and GLU.

    torch's own sigmoid and SiLU compute the last few numbers of each thread's share in another way, so that the number
    of threads would show in the last bits: tests/test_voice.py.
    """
    return value * torch.sigmoid(gate) if gate.is_cuda else value / (1 + torch.neg(gate).exp_())


def by_clip(function: Callable[..., Tensor], lengths: Sequence[int], *rows: Tensor) -> Tensor:
    """`function` of the rows of each clip by themselves, joined again."""
    if len(lengths) == 1:
        return function(*rows)
    clips = zip(*(each.split(list(lengths)) for each in rows), strict=True)
    return torch.cat([function(*clip) for clip in clips])


def _attention(query_nhx: Tensor, key_nhx: Tensor, value_nhx: Tensor) -> Tensor:
    query_1hnx, key_1hnx, value_1hnx = (each.transpose(0, 1)[None] for each in (query_nhx, key_nhx, value_nhx))
    mixed_1hnx = F.scaled_dot_product_attention(query_1hnx, key_1hnx, value_1hnx)
    return cast(Tensor, mixed_1hnx)[0].transpose(0, 1)
