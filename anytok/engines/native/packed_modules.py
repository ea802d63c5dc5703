"""The linear layers of a plain module, packed: torch's own are slower, and sum a row in an order that changes with the
number of rows.

Weights that were stored in float16 stay so, also where they are to be multiplied in float32: they are widened on the
way through our kernel, which changes no bit, takes little time, and needs half the memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import kernels
from .packed import CompiledLinear, can_pack, has_kernel, linear
from .precision import has_half_kernels

__all__ = ["linear_weights", "pack_linears"]


class _Product(nn.Module):
    """[..., inputs] → [..., outputs], by one of packed.py's products."""

    def __init__(self, product: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._product = product

    def forward(self, some: Tensor) -> Tensor:
        return self._product(some.flatten(0, -2)).unflatten(0, some.shape[:-1])


def linear_weights(module: nn.Module) -> set[str]:
    """The names of the weights that `pack_linears` takes as they are stored; it computes in their biases' type."""
    layers = ((name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear))
    return {f"{name}.weight" for name, layer in layers if layer.bias is not None}


def pack_linears(module: nn.Module) -> None:
    """Replace each linear layer, one after the other, for memory's sake."""
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Linear):
                setattr(parent, name, _packed(layer))
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone()  # one small view into a mapped checkpoint would keep all of it in memory


def _packed(layer: nn.Linear) -> nn.Module:
    weight_oi = layer.weight.detach()
    bias_o = weight_oi.new_zeros(len(weight_oi)) if layer.bias is None else layer.bias.detach()
    dtype = bias_o.dtype
    if has_kernel(layer.in_features, bias_o):
        is_exact = dtype == torch.float32 and weight_oi.dtype == torch.float16
        return _Product(CompiledLinear(kernels.pack_plain(weight_oi if is_exact else weight_oi.to(dtype)), bias_o))
    # Without kernels of our own oneDNN would take longer to pack float32 weights than it takes to load them.
    is_worth_it = has_half_kernels() if dtype == torch.bfloat16 else not kernels.missing()
    if is_worth_it and can_pack(weight_oi.device):
        return _Product(linear(weight_oi.to(dtype), bias_o))
    return layer.to(dtype)
