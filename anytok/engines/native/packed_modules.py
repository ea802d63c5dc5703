"""The linear layers of a plain module in half precision, packed: torch's own reorder their weights at every call.

In float32 a fifth could be gained, too, but packing takes longer than all of loading.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .packed import PackedLinear, can_pack
from .precision import has_half_kernels

__all__ = ["can_pack_linears", "linear_weights", "pack_linears"]


class _Product(nn.Module):
    """[..., inputs] → [..., outputs]. It must be given as many rows every time: their number may change bits."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self._product = PackedLinear(layer.weight.detach().to(dtype), layer.bias.detach().to(dtype))

    def forward(self, some: Tensor) -> Tensor:
        return self._product(some.flatten(0, -2)).unflatten(0, some.shape[:-1])


def can_pack_linears(device: str, dtype: torch.dtype) -> bool:
    """Whether there are packed products of half precision there."""
    return dtype == torch.bfloat16 and can_pack(torch.device(device)) and has_half_kernels()


def linear_weights(module: nn.Module, prefix: str) -> set[str]:
    """The names of what `pack_linears` packs, behind `prefix`; it takes them in any type."""
    return {f"{prefix}{name}.weight" for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}


def pack_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace each linear layer by one of `dtype` that computes the same; one after the other, for memory's sake."""
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Linear):
                setattr(parent, name, _Product(layer, dtype))
