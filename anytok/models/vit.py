"""The vision transformer of EVA-CLIP: a picture to one feature vector per patch.

Sources: ViT (arXiv 2010.11929, section 3.1), EVA (arXiv 2211.07636).
Legend: b batch, c channels, h height, w width, t tokens (class token and patches), d width, n heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "Mlp", "VisionTransformer"]


class Attention(nn.Module):
    """Self-attention, every token seeing every token; query, key and value weights are one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_btd: Tensor) -> Tensor:
        qkv_bt3nx = self.qkv(tokens_btd).unflatten(-1, (3, self.heads, -1))
        query_bntx, key_bntx, value_bntx = qkv_bt3nx.permute(2, 0, 3, 1, 4)
        mixed_bntx = F.scaled_dot_product_attention(query_bntx, key_bntx, value_bntx)
        return self.proj(mixed_bntx.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers around an exact (erf) GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens_btd: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens_btd)))


class Block(nn.Module):
    """A pre-norm transformer block: normalise, mix, add; normalise, transform, add."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, tokens_btd: Tensor) -> Tensor:
        tokens_btd = tokens_btd + self.attn(self.norm1(tokens_btd))
        return tokens_btd + self.mlp(self.norm2(tokens_btd))


class VisionTransformer(nn.Module):
    """Pixels [b, 3, h, w] to features [b, 1 + patches, d]: the class token, then the patches row by row.

    There is no final norm and no pooling; SEED reads all tokens.
    """

    def __init__(
        self, *, image_size: int = 224, patch_size: int = 14, width: int = 1408, layers: int = 39,
        heads: int = 16, mlp_ratio: float = 4.3637,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch_size = patch_size
        # The published stride-14 convolution, written as the matrix product that it is: convolutions are
        # rounded to TF32 on GPUs by default, products are not.
        self.patch_embed = nn.Linear(3 * patch_size**2, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch_size) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(layers))

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        patches_btd = self.patch_embed(self.cut(pixels_bchw))
        tokens_btd = torch.cat([self.cls_token.expand(patches_btd.shape[0], -1, -1), patches_btd], dim=1)
        tokens_btd = tokens_btd + self.pos_embed
        for block in self.blocks:
            tokens_btd = block(tokens_btd)
        return tokens_btd

    def cut(self, pixels_bchw: Tensor) -> Tensor:
        """Square patches, flattened [b, patches, c * side * side], in reading order."""
        side = self.patch_size
        grid_bcyixj = pixels_bchw.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        return grid_bcyixj.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
