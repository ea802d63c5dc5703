"""The training loop: it resumes exactly, and what would come to nothing is stopped and named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anytok import atomic
from anytok.errors import CheckpointError, DiskError, UsageError
from anytok.training import train
from anytok.training.config import RunConfig
from anytok.training.loop import learning_rate, optimize


class Line:
    """A recipe small enough to follow: fit y = 2x + 1 from noisy points."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.state: nn.Module = nn.Linear(1, 1)
        self.prepared = 0

    def prepare(self, rng: np.random.Generator) -> None:
        self.prepared += 1

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        x = torch.from_numpy(rng.normal(size=(16, 1)).astype(np.float32))
        y = 2 * x + 1 + 0.1 * torch.randn(16, 1)
        return {"square": (self.state(x) - y).square().mean()}


RUN = RunConfig(steps=30, learning_rate=0.1, warmup=5, save_every=10)


def test_a_torn_log_is_cut_back(tmp_path: Path) -> None:
    optimize(Line(), RUN, tmp_path)
    log = tmp_path / "losses.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 30, "squ')
    optimize(Line(), RUN, tmp_path)
    assert log.read_text() == whole


def test_a_spoilt_log_stops_no_training(tmp_path: Path) -> None:
    run = replace(RUN, steps=40)
    optimize(Line(), RUN, tmp_path)
    log = tmp_path / "losses.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:10], b"\0\0\xff\n", b'["step"]\n', b'{"step": 10, "sq\n', *lines[12:]]))
    optimize(Line(), run, tmp_path)
    steps = [json.loads(line)["step"] for line in log.read_text("utf-8").splitlines()]
    assert steps == [*range(10), *range(12, 40)]


@pytest.mark.parametrize(("after", "steps"), [(5, 1000), (28, 30)])
def test_a_training_that_runs_away_is_stopped(tmp_path: Path, after: int, steps: int) -> None:
    """Soon, and at the end in any case: nothing would load the weights."""
    line = Line()
    ask = line.losses

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        if step == after:
            line.state.weight.data.fill_(float("nan"))  # type: ignore[operator, union-attr]
        return ask(step, rng)

    line.losses = losses  # type: ignore[method-assign]
    at = min(after + 99, steps)
    with pytest.raises(UsageError, match=rf"at step {at} .*Lower learning_rate .*delete checkpoint\.pt"):
        optimize(line, replace(RUN, steps=steps), tmp_path)
    assert not (tmp_path / "losses.png").exists()


def test_some_bad_batches_stop_nothing(tmp_path: Path) -> None:
    line = Line()
    ask = line.losses

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return {name: loss * (float("nan") if step % 100 else 1) for name, loss in ask(step, rng).items()}

    line.losses = losses  # type: ignore[method-assign]
    optimize(line, replace(RUN, steps=250), tmp_path)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aside").symlink_to("/dev/full")
    monkeypatch.setattr(atomic, "aside_name", lambda folder: folder / "aside")
    with pytest.raises(DiskError, match=r"checkpoint\.pt: cannot be written at step 10 .*same command again"):
        optimize(Line(), RUN, tmp_path)


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "configs" / "train" / "vae_mini.toml").read_text("utf-8")
    (tmp_path / "a.toml").write_text(text.replace("runs/vae-mini", str(tmp_path / "a.toml")), "utf-8")
    with pytest.raises(UsageError, match="is a file: expected a folder"):
        train(tmp_path / "a.toml")


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(tmp_path: Path, damage: bytes | None) -> None:
    optimize(Line(), RUN, tmp_path)
    if damage is None:
        torch.save({"other": 1}, tmp_path / "checkpoint.pt")
    else:
        (tmp_path / "checkpoint.pt").write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: training cannot go on from it"):
        optimize(Line(), RUN, tmp_path)


def test_a_run_that_stops_and_resumes_ends_where_one_that_does_not(tmp_path: Path) -> None:
    whole, first, second = Line(), Line(), Line()
    optimize(whole, RUN, tmp_path / "whole")

    class Stop(Exception):
        pass

    ask = first.losses

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        if step == 23:
            raise Stop
        return ask(step, rng)

    first.losses = losses  # type: ignore[method-assign]
    with pytest.raises(Stop):
        optimize(first, RUN, tmp_path / "halves")
    optimize(second, RUN, tmp_path / "halves")
    assert (first.prepared, second.prepared) == (1, 0)
    assert torch.equal(second.state.weight, whole.state.weight)  # type: ignore[arg-type]
    assert whole.state.weight.item() == pytest.approx(2, abs=0.2)  # type: ignore[arg-type]
    for place in ("halves", "whole"):
        lines = [json.loads(line) for line in (tmp_path / place / "losses.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(30))
    assert [line["step"] for line in lines] == list(range(30)) and lines[-1]["square"] < lines[0]["square"]


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    rates = [learning_rate(step, RUN) for step in range(30)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[5:21] == pytest.approx([0.1] * 16) and rates[21:] == sorted(rates[21:], reverse=True)
    assert rates[-1] < 0.01
    longer = RunConfig(steps=300, learning_rate=0.1, warmup=5)
    assert rates[:21] == [learning_rate(step, longer) for step in range(21)]  # the length does not show early
