"""Residual vector quantization: the search for the nearest entry of one codebook after the other.

Nearest to x is the entry e with the largest x.e - |e|^2 / 2, the first among equals; what it leaves, x - e, is searched
for in the next codebook. So a layer is one product, of which only the places of the maxima are wanted.

Legend: k codebooks, n entries, d dimensions, t time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from . import kernels
from .packed import has_kernel, linear

__all__ = ["CompiledSearch", "PackedSearch", "Search", "search"]

# Latents [t, d] and a number of codebooks → codes [k, t], int64, of the first so many.
Search: TypeAlias = Callable[[Tensor, int], Tensor]


class CompiledSearch:
    """By our own kernel: all codebooks in one pass over the latents. Matrix units find in bfloat16 the few entries that
    may be nearest, and those are compared in float32: the codes are the same."""

    def __init__(self, codebooks_knd: Tensor, near: bool | None = None) -> None:
        _, entries, dimension = codebooks_knd.shape
        if near is None:
            near = kernels.has_matrix() and kernels.fits_near(entries, dimension)
        rows_nd = codebooks_knd.flatten(0, 1)
        packed_nd = kernels.pack_plain(rows_nd.bfloat16() if near else rows_nd)
        longest_k = codebooks_knd.norm(dim=2).amax(1) * (1 + 2**-16)  # whichever way it was rounded
        self._codebooks = (
            packed_nd.view(codebooks_knd.shape),
            _bias(codebooks_knd),
            longest_k,
            codebooks_knd.contiguous(),
        )

    def __call__(self, latents_td: Tensor, num_codebooks: int) -> Tensor:
        packed_knd, bias_kn, longest_k, codebooks_knd = (of_all[:num_codebooks] for of_all in self._codebooks)
        return kernels.quantize(packed_knd, bias_kn, longest_k, codebooks_knd, latents_td)


class PackedSearch:
    """One product per codebook, in the fastest way that there is."""

    def __init__(self, codebooks_knd: Tensor) -> None:
        self._codebooks_knd = codebooks_knd
        self._scores = [
            linear(rows_nd, bias_n) for rows_nd, bias_n in zip(codebooks_knd, _bias(codebooks_knd), strict=True)
        ]

    def __call__(self, latents_td: Tensor, num_codebooks: int) -> Tensor:
        residual_td, codes = latents_td, []
        for layer in range(num_codebooks):
            codes_t = _first_largest(self._scores[layer](residual_td))
            codes.append(codes_t)
            if layer + 1 < num_codebooks:
                residual_td = residual_td - self._codebooks_knd[layer][codes_t]
        return torch.stack(codes)


def search(codebooks_knd: Tensor) -> Search:
    """The fastest search there is here, with the same codes."""
    _, entries, dimension = codebooks_knd.shape
    compiled = has_kernel(dimension, codebooks_knd.new_empty(entries))
    return (CompiledSearch if compiled else PackedSearch)(codebooks_knd)


def _bias(codebooks_knd: Tensor) -> Tensor:
    return torch.stack([-0.5 * rows_nd.square().sum(1) for rows_nd in codebooks_knd])


def _first_largest(scores_tn: Tensor) -> Tensor:
    """`scores_tn.argmax(1)`, the first among equals. torch seeks places number by number, but maxima in vectors: so
    first the block with the largest number, then the place in it."""
    size = math.gcd(scores_tn.shape[1], 64)
    blocks_tbn = scores_tn.unflatten(1, (-1, size))
    block_t = blocks_tbn.amax(2).argmax(1)
    every_t = torch.arange(len(scores_tn), device=scores_tn.device)
    return block_t * size + blocks_tbn[every_t, block_t].argmax(1)
