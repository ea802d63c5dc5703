"""SEED's heads in plain tensor operations, as its authors state them: the part that no other package has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...errors import CheckpointError

__all__ = ["SeedHeads"]


class SeedHeads:
    """Encode head, quantizer and decode head over `state`, float32 tensors under their published names.

    Raises CheckpointError where one of them is not there.
    """

    def __init__(self, state: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> None:
        self._state, self._sizes = state, sizes
        layers = [f"{head}_task_layer.{index}" for head in ("encode", "decode") for index in (0, 2)]
        parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        layers += [f"blocks_image.{index}.{part}" for index in range(sizes["decoder_layers"]) for part in parts]
        needed = {f"{layer}.{end}" for layer in [*layers, "distill_image_proj"] for end in ("weight", "bias")}
        needed |= {"query_tokens", "quantize.embedding.weight", "pos_embed_image"}
        missing = sorted((needed | {f"image_down.{index}.weight" for index in (0, 2, 4)}) - state.keys())
        if missing:
            raise CheckpointError(f"seed_quantizer: {len(missing)} tensors are missing, the first {missing[0]}")

    @property
    def codebook_nd(self) -> Tensor:
        return self._state["quantize.embedding.weight"]

    def latents(self, queries_btd: Tensor) -> Tensor:
        """What is quantized, [b, t, codebook_dim]."""
        return self._two_layers("encode_task_layer", queries_btd)

    def quantize(self, latents_td: Tensor) -> Tensor:
        """Nearest codebook row of each point, by |z|^2 + |e|^2 - 2 z.e; the first index wins a tie."""
        distances_tn = latents_td.square().sum(1, keepdim=True) + self.codebook_nd.square().sum(1)
        return (distances_tn - 2 * latents_td @ self.codebook_nd.T).argmin(1)

    def embed(self, codes_bt: Tensor) -> Tensor:
        """Embeddings [b, embedding_dim]."""
        tokens_btd = self._two_layers("decode_task_layer", self.codebook_nd[codes_bt])
        tokens_btd = tokens_btd + self._state["pos_embed_image"]
        for index in range(self._sizes["decoder_layers"]):
            tokens_btd = self._block(f"blocks_image.{index}", tokens_btd)
        tokens_btd = self._linear("image_down.0", tokens_btd).relu()
        tokens_btd = self._linear("image_down.2", tokens_btd).relu()
        tokens_btd = self._linear("image_down.4", tokens_btd)
        return self._linear("distill_image_proj", tokens_btd.flatten(1))

    def _block(self, name: str, tokens_btd: Tensor) -> Tensor:
        width, heads = tokens_btd.shape[-1], self._sizes["decoder_heads"]
        qkv = self._linear(f"{name}.attn.qkv", self._norm(f"{name}.norm1", tokens_btd))
        q, k, v = qkv.reshape(len(qkv), -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
        mixed_btd = (weights @ v).transpose(1, 2).reshape(tokens_btd.shape)
        tokens_btd = tokens_btd + self._linear(f"{name}.attn.proj", mixed_btd)
        hidden = F.gelu(self._linear(f"{name}.mlp.fc1", self._norm(f"{name}.norm2", tokens_btd)))
        return tokens_btd + self._linear(f"{name}.mlp.fc2", hidden)

    def _two_layers(self, name: str, tokens: Tensor) -> Tensor:
        return self._linear(f"{name}.2", self._linear(f"{name}.0", tokens).tanh())

    def _linear(self, name: str, tokens: Tensor) -> Tensor:
        return F.linear(tokens, self._state[f"{name}.weight"], self._state.get(f"{name}.bias"))

    def _norm(self, name: str, tokens: Tensor) -> Tensor:
        weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
        return F.layer_norm(tokens, weight.shape, weight, bias, eps=1e-6)
