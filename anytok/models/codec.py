"""A SEANet codec: encoder, residual quantizer, decoder. The plain twin of the fast engine.

Legend: b batch, c channels, s samples, k codebooks, t frames.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .quantize import ResidualQuantizer
from .seanet import SeanetDecoder, SeanetEncoder

__all__ = ["Codec"]


class Codec(nn.Module):
    """Wave [b, c, s] ⇄ codes [b, k, t]. Keyword arguments are those of SeanetEncoder; see there."""

    def __init__(self, *, num_codebooks: int, codebook_size: int, bidirectional: bool = False, **sizes: Any) -> None:
        super().__init__()
        self.encoder = SeanetEncoder(bidirectional=bidirectional, **sizes)
        self.quantizer = ResidualQuantizer(num_codebooks, codebook_size, sizes["dimension"])
        self.decoder = SeanetDecoder(**sizes)

    def encode(self, wave_bcs: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Codes of the first `num_codebooks` layers (all by default), int64 [b, k, t]."""
        return self.quantizer.encode(self.encoder(wave_bcs), num_codebooks)

    def decode(self, codes_bkt: Tensor, first: int = 0) -> Tensor:
        """Wave [b, c, t * hop]. Row 0 of the codes belongs to codebook `first`."""
        return self.decoder(self.quantizer.decode(codes_bkt, first))
