"""Rescale a fresh network on real data so that the output of every layer depends on its input.

With default initialisation a SEANet's output hardly depends on its input (biases dominate the shrinking signal) and
training stays stuck. One pass over real media, layer by layer, gives every convolution unit output; biases are
made small. Compare LSUV (arXiv 1511.06422).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import UsageError

__all__ = ["unit_outputs"]


@torch.no_grad()
def unit_outputs(network: nn.Module, run: Callable[[], object], bias: float = 0.1) -> None:
    """Scale every convolution and linear layer, in the order in which `run()` reaches them, so that its outputs
    deviate by 1 between places and between the items of a batch; what is the same for all does not count.

    Raises UsageError where nothing differs."""

    def rescale(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module.weight, Tensor)
        channels = -1 if isinstance(module, nn.Linear) else 1
        offset = torch.zeros(())
        if isinstance(module.bias, Tensor):
            shape = [1] * output.dim()
            shape[channels] = -1
            offset = module.bias.view(shape).clone()
            module.bias.mul_(bias)
        others = [axis for axis in range(output.dim()) if axis != channels % output.dim()]
        # of items that are alike at each place, as queries are, only the difference between items says anything
        axes = [0] if isinstance(module, nn.Linear) else others
        deviation = float((output - offset).var(dim=axes).mean().sqrt())
        if not deviation > 1e-6:  # nor is NaN, the deviation of a single output
            raise UsageError(
                "a layer of the fresh network gives the same for all of the first batch, and would never learn: raise "
                "batch_size, frames or the sizes, take another seed, or look whether the data are silent or all alike"
            )
        scale = 1.0 / deviation
        module.weight.mul_(scale)
        return (output - offset) * scale + offset * bias

    kinds = (nn.Conv1d, nn.ConvTranspose1d, nn.Linear)
    hooks = [module.register_forward_hook(rescale) for module in network.modules() if isinstance(module, kinds)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
