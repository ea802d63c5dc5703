"""The linear layers of a plain module, packed: torch's own are slower, and sum a row in an order that changes with the
number of rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....kernels.layers import Linear

__all__ = ["linear_weights", "pack_linears"]


class _PackedLinear(nn.Module):
    """[..., inputs] → [..., outputs]."""

    def __init__(self, product: Linear) -> None:
        super().__init__()
        self._product = product

    def forward(self, rows: Tensor) -> Tensor:
        return self._product(rows.flatten(0, -2)).unflatten(0, rows.shape[:-1])


def linear_weights(module: nn.Module) -> set[str]:
    """The names of the weights that `pack_linears` takes as they are stored; it computes in their biases' type."""
    layers = ((name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear))
    return {f"{name}.weight" for name, layer in layers if layer.bias is not None}


def pack_linears(module: nn.Module) -> None:
    """Replace each linear layer, one after the other, so that weights are in memory once.

    float16 weights stay so where they are to be multiplied in float32, and all weights where it is float64: they are
    widened on the way, which changes no bit and needs half the memory, or a quarter.
    """
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Linear):
                setattr(parent, name, _packed(layer))
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone()  # one small view into a mapped checkpoint would keep all of it in memory


def _packed(layer: nn.Linear) -> nn.Module:
    weight_oi = layer.weight.detach()
    bias_o = weight_oi.new_zeros(len(weight_oi)) if layer.bias is None else layer.bias.detach()
    in_float32 = bias_o.dtype == torch.float32 and weight_oi.dtype == torch.float16
    widened = in_float32 or bias_o.dtype == torch.float64
    return _PackedLinear(Linear(weight_oi if widened else weight_oi.to(bias_o.dtype), bias_o))
