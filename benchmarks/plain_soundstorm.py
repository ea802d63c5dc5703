"""SoundStorm's network the way the original computes it, from the published file's tensors: what ours is held to.

Written from the description of soundstorm-speechtokenizer's Conformer, operation by operation in its order: attention
as two products around a softmax, convolutions over channels, torch's own SiLU and GLU, one clip at a time. In float32
it is what speed is compared with, in float64 what codes are.

Legend: n frames, q levels, k codes, d width, h heads, x width of a head, c channels, f width of a feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


class PlainSoundStorm:
    """`state` under the published names, in the type that is to be computed in."""

    def __init__(self, state: State, heads: int) -> None:
        self.state, self.heads = state, heads
        self.depth = 1 + max(int(key.split(".")[3]) for key in state if key.startswith("net.conformer.layers."))
        self.levels, _, self.codes = state["net.to_logits.2.weight"].shape

    def logits(self, codes_nq: Tensor, content_n: Tensor) -> Tensor:
        """Logits [n, q, k] of codes [n, q], `codes` for a mask, and content codes [n]."""
        offsets_q = torch.arange(self.levels) * (self.codes + 1)
        embedded_nqd = F.embedding(codes_nq + offsets_q, self.state["net.code_embeds.weight"])
        frames_nd = embedded_nqd.sum(1) + F.embedding(content_n, self.state["semantic_token_emb.weight"])
        for number in range(self.depth):
            frames_nd = self._block(frames_nd, f"net.conformer.layers.{number}.")
        heads_nqd = self._linear(frames_nd, "net.heads.0").unflatten(-1, (self.levels, -1))
        normed_nqd = self._norm(heads_nqd, "net.to_logits.0")
        product_nqk = torch.einsum("nqd,qdk->nqk", normed_nqd, self.state["net.to_logits.2.weight"])
        return product_nqk + self.state["net.to_logits.2.bias"][0]

    def _block(self, frames_nd: Tensor, at: str) -> Tensor:
        frames_nd = frames_nd + 0.5 * self._feed_forward(frames_nd, f"{at}ff1.fn.")
        frames_nd = frames_nd + self._attention(self._norm(frames_nd, f"{at}attn.norm"), f"{at}attn.fn.")
        frames_nd = frames_nd + self._convolution(frames_nd, f"{at}conv.")
        frames_nd = frames_nd + 0.5 * self._feed_forward(frames_nd, f"{at}ff2.fn.")
        return self._norm(frames_nd, f"{at}post_norm")

    def _feed_forward(self, frames_nd: Tensor, at: str) -> Tensor:
        hidden_nf = F.silu(self._linear(self._norm(frames_nd, f"{at}norm"), f"{at}fn.net.0"))
        return self._linear(hidden_nf, f"{at}fn.net.3")

    def _attention(self, frames_nd: Tensor, at: str) -> Tensor:
        query = F.linear(frames_nd, self.state[f"{at}to_q.weight"])
        key, value = F.linear(frames_nd, self.state[f"{at}to_kv.weight"]).chunk(2, dim=-1)
        split = (each.unflatten(-1, (self.heads, -1)).transpose(0, 1).contiguous() for each in (query, key, value))
        query_hnx, key_hnx, value_hnx = split
        angles_nx = self._angles(len(frames_nd), query_hnx)
        query_hnx, key_hnx = (each * angles_nx.cos() + _turned(each) * angles_nx.sin() for each in (query_hnx, key_hnx))
        scores_hnn = torch.einsum("hix,hjx->hij", query_hnx, key_hnx) * query_hnx.shape[-1] ** -0.5
        mixed_hnx = torch.einsum("hij,hjx->hix", scores_hnn.softmax(-1), value_hnx)
        return self._linear(mixed_hnx.transpose(0, 1).flatten(1), f"{at}to_out")

    def _angles(self, frames: int, like_hnx: Tensor) -> Tensor:
        halves = torch.arange(0, like_hnx.shape[-1], 2).float() / like_hnx.shape[-1]
        return (torch.arange(frames)[:, None].to(like_hnx) * (1.0 / 10000.0**halves).to(like_hnx)).repeat(1, 2)

    def _convolution(self, frames_nd: Tensor, at: str) -> Tensor:
        channels_1cn = self._norm(frames_nd, f"{at}net1.0").T[None].contiguous()
        channels_1cn = F.glu(self._convolved(channels_1cn, f"{at}net1.2"), dim=1)
        taps = self.state[f"{at}ds_conv.conv.weight"].shape[-1]
        padded_1cn = F.pad(channels_1cn, (taps // 2, taps // 2))
        channels_1cn = F.silu(self._convolved(padded_1cn, f"{at}ds_conv.conv", groups=channels_1cn.shape[1]))
        variance, mean = channels_1cn.var(1, correction=0, keepdim=True), channels_1cn.mean(1, keepdim=True)
        channels_1cn = (channels_1cn - mean) * variance.clamp(min=1e-6).rsqrt() * self.state[f"{at}net2.1.gamma"]
        return self._convolved(channels_1cn, f"{at}net2.2")[0].T.contiguous()

    def _convolved(self, channels_1cn: Tensor, at: str, groups: int = 1) -> Tensor:
        return F.conv1d(channels_1cn, self.state[f"{at}.weight"], self.state[f"{at}.bias"], groups=groups)

    def _linear(self, frames: Tensor, at: str) -> Tensor:
        return F.linear(frames, self.state[f"{at}.weight"], self.state[f"{at}.bias"])

    def _norm(self, frames: Tensor, at: str) -> Tensor:
        return F.layer_norm(frames, frames.shape[-1:], self.state[f"{at}.weight"], self.state[f"{at}.bias"])


def _turned(heads_hnx: Tensor) -> Tensor:
    first, second = heads_hnx.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
