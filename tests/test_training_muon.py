"""Muon: its steps have even singular values, it leaves the edges of a network to AdamW, and a resumed run is exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytok.errors import UsageError
from anytok.training.config import RunConfig
from anytok.training.loop import optimize
from anytok.training.muon import Muon, hidden_matrices, orthogonalized

RUN = RunConfig(steps=40, learning_rate=1e-3, muon_rate=0.02, warmup=2, anneal=0.0)


class Net:
    """A recipe with a first, a hidden and a last layer: learn a fixed random network."""

    edges = ("first", "last")

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.state: nn.Module = nn.ModuleDict(
            {"first": nn.Linear(4, 16), "hidden": nn.Conv2d(16, 24, 3, padding=1), "last": nn.Linear(24, 3)}
        )
        self.taught = nn.Linear(4, 3)

    def prepare(self, rng: np.random.Generator) -> None: ...

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        x_bd = torch.from_numpy(rng.normal(size=(16, 4)).astype(np.float32))
        first, hidden, last = (self.state[name] for name in ("first", "hidden", "last"))  # type: ignore[index]
        middle_bd = hidden(first(x_bd).relu()[..., None, None])[..., 0, 0]
        return {"square": F.mse_loss(last(middle_bd.relu()), self.taught(x_bd).detach())}


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_a_step_has_the_gradients_directions_and_even_singular_values(shape: tuple[int, int]) -> None:
    left, _, right = torch.linalg.svd(torch.randn(*shape, generator=torch.Generator().manual_seed(0)))
    values = torch.logspace(0, -1.5, min(shape))  # the least is a thirtieth of the greatest
    core = torch.zeros(shape)
    core.diagonal().copy_(values)
    step = left.T @ orthogonalized(left @ core @ right) @ right.T
    assert step.diagonal().min() > 0.6 and step.diagonal().max() < 1.3
    assert (step - step.diagonal().diag().new_zeros(shape).diagonal_scatter(step.diagonal())).abs().max() < 1e-4


def test_only_hidden_layers_matrices_are_its_own() -> None:
    net = Net()
    assert [tuple(matrix.shape) for matrix in hidden_matrices(net)] == [(24, 16, 3, 3)]
    net.state["hidden"].requires_grad_(False)  # type: ignore[index]
    assert hidden_matrices(net) == []


def test_a_matrix_moves_by_the_rate_and_what_has_no_gradient_stays() -> None:
    moved, still = nn.Parameter(torch.zeros(32, 8)), nn.Parameter(torch.ones(8, 8))
    moved.grad = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    Muon([moved, still], 0.1).step()
    values = torch.linalg.svdvals(moved.detach())
    assert values.min() > 0.1 and values.max() < 0.3  # a tall matrix's are twice the rate: the root of 32 / 8
    assert torch.equal(still.detach(), torch.ones(8, 8))


def test_a_run_with_it_learns_and_resumes_exactly(tmp_path: Path) -> None:
    whole, first, second = Net(), Net(), Net()
    begun = whole.state["hidden"].weight.detach().clone()  # type: ignore[index]
    optimize(whole, RUN, tmp_path / "whole")
    optimize(first, replace(RUN, steps=23), tmp_path / "halves")
    optimize(second, RUN, tmp_path / "halves")
    for name, tensor in whole.state.state_dict().items():
        assert torch.equal(tensor, second.state.state_dict()[name]), name
    assert not torch.allclose(begun, whole.state["hidden"].weight, atol=0.05)  # type: ignore[index]
    lines = (tmp_path / "whole" / "losses.jsonl").read_text().splitlines()
    first_loss, last_loss = (float(lines[i].split('"square": ')[1].split(",")[0]) for i in (0, -1))
    assert last_loss < 0.5 * first_loss


def test_a_kind_of_model_that_names_no_edges_is_refused(tmp_path: Path) -> None:
    class Plain(Net):
        edges = None  # type: ignore[assignment]

    with pytest.raises(UsageError, match="muon_rate: models of this kind are trained by AdamW alone"):
        optimize(Plain(), RUN, tmp_path)
