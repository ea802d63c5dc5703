"""Residual vector quantization: each codebook codes what the ones before it left over.

Source: SoundStream (arXiv 2107.03312, section III-C), as used by EnCodec and SpeechTokenizer.
Legend: b batch, k codebooks, t frames, d latent dimension, n codes per codebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

__all__ = ["Quantized", "ResidualQuantizer", "joined", "margins_of", "nearest"]

Quantized: TypeAlias = tuple[Tensor, Tensor | None]  # codes [k, t], and their margins where they were asked for


def joined(pieces: Sequence[Quantized]) -> Quantized:
    """The pieces of a clip, one after the other."""
    margins = [margins_kt for _, margins_kt in pieces if margins_kt is not None]
    return torch.cat([codes_kt for codes_kt, _ in pieces], dim=1), torch.cat(margins, dim=1) if margins else None


class ResidualQuantizer(nn.Module):
    """Codebooks `codebooks_knd`, float32 or float64; nearest neighbour by squared distance, the first of equals."""

    codebooks_knd: Tensor

    def __init__(self, num_codebooks: int, codebook_size: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("codebooks_knd", torch.zeros(num_codebooks, codebook_size, dimension))

    def encode(self, latents_bdt: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Codes, int64 [b, k, t], of the first `num_codebooks` layers (all by default); later ones cost nothing."""
        residual_btd = latents_bdt.transpose(1, 2).to(self.codebooks_knd.dtype)
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


def margins_of(latents_td: Tensor, codes_kt: Tensor, codebooks_knd: Tensor) -> Tensor:
    """How far latents may be off without another code: float64 [k, t], as a share of their length |x|.

    Of a residual r with the nearest entry e, another entry f wins beyond the plane midway between e and f, whose
    distance from r is (|r - f|^2 - |r - e|^2) / (2 |f - e|). A margin is the least of these over all f, divided by |x|:
    as long as the codes of the frame before it are the same, a code is the same for all latents x' with
    |x' - x| < margin * |x|. It is below 0 where the code given is not the nearest in float64, and 0 where the entry is
    twice in its codebook. `codes_kt` are those of the first k of the codebooks [k, n, d].
    """
    residual_td = latents_td.double()
    length_t = residual_td.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    margins = []
    for codes_t, codebook_nd in zip(codes_kt, codebooks_knd, strict=False):
        codebook_nd = codebook_nd.double()
        chosen_td, square_n = codebook_nd[codes_t], codebook_nd.square().sum(1)
        # (|r - f|^2 - |r - e|^2) / 2, and |f - e|^2
        gap_tn = (residual_td * chosen_td).sum(1, keepdim=True) - residual_td @ codebook_nd.T
        gap_tn += (square_n - square_n[codes_t, None]) / 2
        apart_tn = square_n + square_n[codes_t, None] - 2 * (chosen_td @ codebook_nd.T)
        distance_tn = gap_tn / apart_tn.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        distance_tn.scatter_(1, codes_t[:, None], torch.inf)
        margins.append(distance_tn.amin(1) / length_t)
        residual_td = residual_td - chosen_td
    return torch.stack(margins)
