"""Vector quantization while it is being learned: codebooks follow the latents as running means.

Each code moves to the mean of the latents it stands for (an exponential moving average), starts at a k-means
centre, and is put back onto a random latent when nothing uses it any more. Gradients pass straight through.

Sources: VQ-VAE (arXiv 1711.00937, appendix A.1), SoundStream (arXiv 2107.03312, section III-C).
Legend: b batch, t frames, d dimension, m all latents of a batch, n codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.quantize import nearest

__all__ = ["LearnedCodebook", "LearnedQuantizer", "Quantized", "kmeans"]


def kmeans(points_md: Tensor, num_codes: int, steps: int = 10) -> Tensor:
    """Centres [n, d] by Lloyd's iterations from random points; an empty centre moves to a random point."""
    centres_nd = points_md[torch.randint(len(points_md), (num_codes,))].clone()
    for _ in range(steps):
        chosen_m = nearest(points_md[None], centres_nd)[0]
        counts_n = torch.bincount(chosen_m, minlength=num_codes)
        sums_nd = torch.zeros_like(centres_nd).index_add_(0, chosen_m, points_md)
        empty_n = counts_n == 0
        centres_nd = sums_nd / counts_n.clamp(min=1)[:, None]
        centres_nd[empty_n] = points_md[torch.randint(len(points_md), (int(empty_n.sum()),))]
    return centres_nd


class LearnedCodebook(nn.Module):
    """One codebook [n, d] with its running counts and sums."""

    codes_nd: Tensor
    counts_n: Tensor
    sums_nd: Tensor

    def __init__(self, num_codes: int, dimension: int, decay: float = 0.99, dead_below: float = 0.05) -> None:
        super().__init__()
        self.decay, self.dead_below = decay, dead_below
        self.register_buffer("codes_nd", torch.zeros(num_codes, dimension))
        self.register_buffer("counts_n", torch.ones(num_codes))
        self.register_buffer("sums_nd", torch.zeros(num_codes, dimension))

    @torch.no_grad()
    def start(self, points_md: Tensor) -> None:
        """Place the codes at k-means centres of `points_md`."""
        self.place(kmeans(points_md, len(self.codes_nd)))

    @torch.no_grad()
    def place(self, codes_nd: Tensor) -> None:
        """Begin with these codes, all taken to be used alike."""
        self.codes_nd.copy_(codes_nd)
        self.counts_n.fill_(1.0)
        self.sums_nd.copy_(self.codes_nd)

    @torch.no_grad()
    def follow(self, points_md: Tensor, chosen_m: Tensor) -> None:
        """Move every code towards the mean of its points, and revive the dead ones; stay where they are not finite.

        A code is dead when its share of the latents stays below `dead_below` of an even share.
        """
        if not bool(torch.isfinite(points_md).all()):  # one bad batch must not poison the codebooks either
            return
        num_codes = len(self.codes_nd)
        here_n = torch.bincount(chosen_m, minlength=num_codes).float() * (num_codes / len(points_md))
        here_nd = torch.zeros_like(self.sums_nd).index_add_(0, chosen_m, points_md) * (num_codes / len(points_md))
        self.counts_n.lerp_(here_n, 1 - self.decay)
        self.sums_nd.lerp_(here_nd, 1 - self.decay)
        dead_n = self.counts_n < self.dead_below
        if bool(dead_n.any()):
            fresh = points_md[torch.randint(len(points_md), (int(dead_n.sum()),))]
            self.counts_n[dead_n] = 0.5
            self.sums_nd[dead_n] = 0.5 * fresh
        self.codes_nd.copy_(self.sums_nd / self.counts_n[:, None])


@dataclass(frozen=True)
class Quantized:
    """What a quantizer hands back: latents with straight-through gradients, their codes, and the commitment loss."""

    latents_bdt: Tensor
    first_bdt: Tensor  # the first layer alone
    codes_bkt: Tensor
    commitment: Tensor


class LearnedQuantizer(nn.Module):
    """Residual quantization with learned codebooks."""

    def __init__(self, num_codebooks: int, codebook_size: int, dimension: int) -> None:
        super().__init__()
        self.books = nn.ModuleList(LearnedCodebook(codebook_size, dimension) for _ in range(num_codebooks))

    @torch.no_grad()
    def start(self, latents_bdt: Tensor) -> None:
        """Fit all codebooks, one after the other, to what the ones before leave of these latents."""
        rest_md = latents_bdt.transpose(1, 2).flatten(0, 1)
        for book in self.books:
            book.start(rest_md)  # type: ignore[operator]
            rest_md = rest_md - book.codes_nd[nearest(rest_md[None], book.codes_nd)[0]]  # type: ignore[index,arg-type]

    def forward(self, latents_bdt: Tensor, depth_b: Tensor | None = None) -> Quantized:
        """Quantize; `depth_b` says how many layers each item keeps (all by default), so that a decoder learns
        to make do with fewer. Codebooks follow only in training mode."""
        rest_btd = latents_bdt.transpose(1, 2)
        total_btd, first_btd = torch.zeros_like(rest_btd), rest_btd
        codes, losses = [], []
        for layer, book in enumerate(self.books):
            points_md = rest_btd.detach().flatten(0, 1)
            chosen_m = nearest(points_md[None], book.codes_nd)[0]  # type: ignore[arg-type]
            picked_btd = book.codes_nd[chosen_m].view_as(rest_btd)  # type: ignore[index]
            losses.append(F.mse_loss(rest_btd, picked_btd))
            through_btd = rest_btd + (picked_btd - rest_btd).detach()
            keep = 1.0 if depth_b is None else (depth_b > layer).to(rest_btd)[:, None, None]
            total_btd = total_btd + through_btd * keep
            first_btd = through_btd if layer == 0 else first_btd
            rest_btd = rest_btd - picked_btd
            codes.append(chosen_m.view(rest_btd.shape[:2]))
            if self.training:
                book.follow(points_md, chosen_m)  # type: ignore[operator]
        commitment = torch.stack(losses).mean()
        return Quantized(total_btd.transpose(1, 2), first_btd.transpose(1, 2), torch.stack(codes, 1), commitment)
