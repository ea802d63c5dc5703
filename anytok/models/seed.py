"""The SEED-2 image tokenizer without its painter: pixels → 32 codes → one CLIP-space embedding.

Encode: ViT → LayerNorm → causal Q-Former → head → nearest code.
Decode: codebook → head → transformer → projection. Attributes have the published names where those read well.

Sources: SEED (arXiv 2307.08041), SEED-LLaMA (arXiv 2310.01218, section 3.1).
Legend: b batch, c channels, h height, w width, m image tokens, e their width, t queries (also frames),
d width, n codes in the codebook.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .qformer import QFormer
from .quantize import nearest
from .vit import Block, VisionTransformer

__all__ = ["Seed", "normalize"]

# OpenAI CLIP's, of red, green, blue.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def normalize(levels_bhwc: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 RGB levels [b, h, w, 3] to the pixels [b, 3, h, w] that the encoder takes, float32 or float64."""
    # Made on a GPU, they would wait for all that it has still to do. Elsewhere (MPS) a copy that is not waited for may
    # read what is gone by then.
    both = (torch.tensor(values, dtype=dtype, device="cpu") for values in (MEAN, STD))
    mean_c, std_c = (values_c.to(levels_bhwc.device, non_blocking=levels_bhwc.is_cuda) for values_c in both)
    return ((levels_bhwc.type(dtype) / 255 - mean_c) / std_c).permute(0, 3, 1, 2)


class Seed(nn.Module):
    """Sizes default to the published ones. `vision=False` leaves the ViT out: decoding needs none of it.

    `vision_dtype` is the type of the ViT and the Q-Former, which do 99.9 % of the work of encoding. Heads,
    codebook and decoding stay float32: they take next to no time, and two codes may be almost equally near. In float64
    all of it is.
    """

    codebook_nd: Tensor
    attended_1td: Tensor | None

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 14,
        vision_width: int = 1408,
        vision_layers: int = 39,
        vision_heads: int = 16,
        vision_mlp_ratio: float = 4.3637,
        qformer_width: int = 768,
        qformer_layers: int = 12,
        qformer_heads: int = 12,
        cross_attention_frequency: int = 2,
        queries: int = 32,
        codebook_size: int = 8192,
        codebook_dim: int = 32,
        decoder_layers: int = 4,
        decoder_heads: int = 12,
        embedding_dim: int = 1024,
        vision: bool = True,
        vision_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        width, self.embedding_dim = qformer_width, embedding_dim
        self.visual_encoder = VisionTransformer(
            image_size=image_size, patch_size=patch_size, width=vision_width, layers=vision_layers,
            heads=vision_heads, mlp_ratio=vision_mlp_ratio,
        ).to(vision_dtype) if vision else None  # fmt: skip
        self.ln_vision = nn.LayerNorm(vision_width, eps=1e-5).to(vision_dtype)
        self.query_tokens = nn.Parameter(torch.zeros(1, queries, width, dtype=vision_dtype))
        self.qformer = QFormer(
            width=width, layers=qformer_layers, heads=qformer_heads, image_width=vision_width,
            cross_attention_frequency=cross_attention_frequency,
        ).to(vision_dtype)  # fmt: skip
        self.encode_task_layer = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, codebook_dim))
        self.register_buffer("codebook_nd", torch.zeros(codebook_size, codebook_dim))
        self.decode_task_layer = nn.Sequential(
            nn.Linear(codebook_dim, codebook_dim), nn.Tanh(), nn.Linear(codebook_dim, width)
        )
        self.pos_embed_image = nn.Parameter(torch.zeros(1, queries, width))
        self.blocks_image = nn.Sequential(*(Block(width, decoder_heads) for _ in range(decoder_layers)))
        self.image_down = nn.Sequential(
            nn.Linear(width, 256, bias=False), nn.ReLU(),
            nn.Linear(256, 128, bias=False), nn.ReLU(),
            nn.Linear(128, 32, bias=False),
        )  # fmt: skip
        self.distill_image_proj = nn.Linear(32 * queries, embedding_dim)
        self.register_buffer("attended_1td", None, persistent=False)
        if vision_dtype == torch.float64:
            self.double()

    def freeze(self) -> Seed:
        """For inference: no gradients, and the Q-Former's first self-attention, the same for all images, is kept."""
        self.eval().requires_grad_(False)
        self.attended_1td = self.qformer.attend_queries(self.query_tokens)
        return self

    def encode_image(self, pixels_bchw: Tensor) -> Tensor:
        """Normalised pixels [b, 3, h, w] to image features [b, m, e]."""
        assert self.visual_encoder is not None, "built with vision=False"
        return self.ln_vision(self.visual_encoder(pixels_bchw.to(self.ln_vision.weight.dtype)))

    def query(self, image_bme: Tensor) -> Tensor:
        """Image features [b, m, e] to the Q-Former's output queries [b, t, d]."""
        attended_1td = self.attended_1td
        if attended_1td is None:
            attended_1td = self.qformer.attend_queries(self.query_tokens)
        return self.qformer(attended_1td, image_bme)

    def latents(self, pixels_bchw: Tensor) -> Tensor:
        """Pixels to the points [b, t, codebook_dim] that are quantized, in the codebook's type."""
        return self.encode_task_layer(self.query(self.encode_image(pixels_bchw)).to(self.codebook_nd.dtype))

    def quantize(self, latents_btd: Tensor) -> Tensor:
        """Index of the nearest codebook row, int64 [b, t]; the first one wins a tie."""
        return nearest(latents_btd, self.codebook_nd)

    def embed(self, codes_bt: Tensor) -> Tensor:
        """Codes to one embedding per image [b, embedding_dim], the codebook's type: CLIP ViT-H/14's, not normalised."""
        tokens_btd = self.decode_task_layer(self.codebook_nd[codes_bt]) + self.pos_embed_image
        return self.distill_image_proj(self.image_down(self.blocks_image(tokens_btd)).flatten(1))
