"""The causal Q-Former: learned queries attend to image features and become a sequence.

A BERT encoder (post-norm) whose tokens are queries; every second layer has cross-attention to the image features.
Query i sees only queries 0 to i, so the codes have an order that a language model can follow.

Sources: BLIP-2 (arXiv 2301.12597, section 3.1), SEED (arXiv 2307.08041, section 3.2).
Legend: b batch, t queries, m image tokens, d width, e width of the image features, n heads.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["QFormer"]


class Attention(nn.Module):
    """Attention of queries over a memory, added to the queries and normalised."""

    def __init__(self, width: int, heads: int, memory_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory_width, width)
        self.value = nn.Linear(memory_width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, queries_btd: Tensor, memory_bme: Tensor, *, causal: bool = False) -> Tensor:
        mixed_bntx = F.scaled_dot_product_attention(
            self.split(self.query(queries_btd)),
            self.split(self.key(memory_bme)),
            self.split(self.value(memory_bme)),
            is_causal=causal,
        )
        return self.norm(self.output(mixed_bntx.transpose(1, 2).flatten(2)) + queries_btd)

    def split(self, tokens_btd: Tensor) -> Tensor:
        return tokens_btd.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Causal self-attention, attention over the image where the layer has it, feed-forward."""

    def __init__(self, width: int, heads: int, image_width: int | None) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads, width)
        self.cross_attention = Attention(width, heads, image_width) if image_width is not None else None
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)
        self.feed_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, queries_btd: Tensor, image_bme: Tensor) -> Tensor:
        return self.attend_image(self.attend_queries(queries_btd), image_bme)

    def attend_queries(self, queries_btd: Tensor) -> Tensor:
        """The first half: causal self-attention."""
        return self.self_attention(queries_btd, queries_btd, causal=True)

    def attend_image(self, queries_btd: Tensor, image_bme: Tensor) -> Tensor:
        """The second half: cross-attention, where the layer has it, and the feed-forward layers."""
        if self.cross_attention is not None:
            queries_btd = self.cross_attention(queries_btd, image_bme)
        hidden_btd = self.feed_out(F.gelu(self.feed_in(queries_btd)))
        return self.feed_norm(hidden_btd + queries_btd)


class QFormer(nn.Module):
    """Queries [1, t, d] and image features [b, m, e] to [b, t, d]. Queries have no positions but their order.

    The original is causal for exactly 32 queries and silently not for any other number; this one always is.
    """

    def __init__(
        self, *, width: int = 768, layers: int = 12, heads: int = 12, image_width: int = 1408,
        cross_attention_frequency: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(
            Layer(width, heads, image_width if index % cross_attention_frequency == 0 else None)
            for index in range(layers)
        )

    @property
    def _first(self) -> Layer:
        return cast(Layer, self.layers[0])

    def attend_queries(self, queries_1td: Tensor) -> Tensor:
        """The self-attention of the first layer, which comes before any image: the same for all, so it can be kept."""
        return self._first.attend_queries(self.norm(queries_1td))

    def forward(self, attended_1td: Tensor, image_bme: Tensor) -> Tensor:
        """Output queries [b, t, d]; `attended_1td` comes from `attend_queries`."""
        queries_btd = self._first.attend_image(attended_1td.expand(image_bme.shape[0], -1, -1), image_bme)
        for layer in self.layers[1:]:
            queries_btd = layer(queries_btd, image_bme)
        return queries_btd
