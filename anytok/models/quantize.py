"""Residual vector quantization: each codebook codes what the ones before it left over.

Source: SoundStream (arXiv 2107.03312, section III-C), as used by EnCodec and SpeechTokenizer.
Legend: b batch, k codebooks, t frames, d latent dimension, n codes per codebook.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ResidualQuantizer"]


class ResidualQuantizer(nn.Module):
    """Codebooks `codebooks_knd`, float32; nearest neighbour by squared distance, the first index winning ties."""

    codebooks_knd: Tensor

    def __init__(self, num_codebooks: int, codebook_size: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("codebooks_knd", torch.zeros(num_codebooks, codebook_size, dimension))

    def encode(self, latents_bdt: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Codes, int64 [b, k, t], of the first `num_codebooks` layers (all by default); later ones cost nothing."""
        residual_btd = latents_bdt.transpose(1, 2).float()
        codes = []
        for codebook_nd in self.codebooks_knd[:num_codebooks]:
            codes_bt = nearest(residual_btd, codebook_nd)
            residual_btd = residual_btd - codebook_nd[codes_bt]
            codes.append(codes_bt)
        return torch.stack(codes, dim=1)

    def decode(self, codes_bkt: Tensor, first: int = 0) -> Tensor:
        """Latents [b, d, t]: the sum of the chosen rows. Row 0 of the codes belongs to codebook `first`."""
        latents_btd = self.codebooks_knd[first][codes_bkt[:, 0]]
        for layer in range(1, codes_bkt.shape[1]):
            latents_btd = latents_btd + self.codebooks_knd[first + layer][codes_bkt[:, layer]]
        return latents_btd.transpose(1, 2)


def nearest(points_btd: Tensor, codebook_nd: Tensor) -> Tensor:
    """Index of the nearest row for each point.

    |p - e|^2 = |p|^2 - 2 p.e + |e|^2, and |p|^2 is the same for every row: the largest p.e - |e|^2 / 2 wins.
    """
    scores_btn = points_btd @ codebook_nd.T - 0.5 * codebook_nd.square().sum(1)
    return scores_btn.argmax(-1)
