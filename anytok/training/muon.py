"""Muon: matrices of hidden layers take steps whose singular values are all about one.

What is rare in the gradients of a matrix is learned as fast as what is frequent, in fewer steps than Adam takes.
Other parameters are left to AdamW.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with its five iterations of
Newton and Schulz.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError

__all__ = ["Muon", "hidden_matrices", "orthogonalized"]

_MOMENTUM = 0.95
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # of singular values: steep at 0, near 1 from 0.3 to 1
_ITERATIONS = 5


def hidden_matrices(recipe: Any) -> list[Tensor]:
    """Weights of linear layers and convolutions, but for those of the first and last layers, which a recipe names in
    `edges`. Raises UsageError for a recipe that names none."""
    edges = getattr(recipe, "edges", None)
    if edges is None:
        raise UsageError("muon_rate: models of this kind are trained by AdamW alone; leave it out")
    return [
        module.weight
        for name, module in recipe.state.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.requires_grad and not name.startswith(edges)
    ]


class Muon(torch.optim.Optimizer):
    """Matrices, and the kernels of convolutions as matrices [output channels, all else]."""

    def __init__(self, matrices: list[Tensor], learning_rate: float) -> None:
        super().__init__(matrices, {"lr": learning_rate, "initial_lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step with Nesterov's momentum."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                mean = self.state[matrix].setdefault("mean", torch.zeros_like(matrix))
                mean.lerp_(matrix.grad, 1 - _MOMENTUM)
                step_ab = orthogonalized(matrix.grad.lerp(mean, _MOMENTUM).flatten(1))
                tall = max(1.0, step_ab.shape[0] / step_ab.shape[1]) ** 0.5
                matrix.add_(step_ab.view_as(matrix), alpha=-tall * group["lr"])


def orthogonalized(matrix_ab: Tensor) -> Tensor:
    """The same singular vectors, all singular values between 0.7 and 1.2 but for those that are nearly zero."""
    wide_ab = matrix_ab if matrix_ab.shape[0] <= matrix_ab.shape[1] else matrix_ab.T
    wide_ab = wide_ab / (wide_ab.norm() + 1e-7)
    first, third, fifth = _POLYNOMIAL
    for _ in range(_ITERATIONS):
        square_aa = wide_ab @ wide_ab.T
        wide_ab = first * wide_ab + (third * square_aa + fifth * square_aa @ square_aa) @ wide_ab
    return wide_ab if matrix_ab.shape[0] <= matrix_ab.shape[1] else wide_ab.T
