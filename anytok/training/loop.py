"""The training loop that all recipes share: schedule, progress, checkpoints that resume exactly, a loss plot.

Every step seeds itself from (seed, step), so a run that was killed and resumed sees the same data and noise as
one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..atomic import replacing, sweep
from ..errors import CheckpointError, DiskError, UsageError, first_line
from .config import RunConfig
from .data import check_data
from .settings import check_settings, flat
from .stopping import Stopped, held_signals

__all__ = ["Recipe", "learning_rate", "optimize", "plot_losses"]

_MAX_SKIPPED = 100  # bad batches in a row
_SAVE_SECONDS = 10  # a kill loses as much, or
_SAVE_SHARE = 20  # as many times what saving takes, so that it takes a twentieth of the time at most


class Recipe(Protocol):
    """What a model brings to the loop. `state` holds everything that is learned, buffers included."""

    state: nn.Module

    def prepare(self, rng: np.random.Generator) -> None:
        """Once, before the first step: calibrate, fit statistics."""

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """The weighted losses of one step, by name; their sum is minimised."""


def learning_rate(step: int, run: RunConfig) -> float:
    """Linear warm-up, a plateau, then half a cosine down to 2 % over the last `anneal` of the steps.

    On the plateau the length of the run does not show: it can be made longer or shorter without starting anew.
    """
    if step < run.warmup:
        return run.learning_rate * (step + 1) / run.warmup
    falling = max(1.0, run.anneal * run.steps)
    done = (step - run.steps + falling) / falling if run.anneal else 0.0
    return run.learning_rate * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, done)))))


def optimize(
    recipe: Recipe,
    run: RunConfig,
    folder: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    allow_changes: bool = False,
) -> None:
    """Train to `run.steps`, resuming from `folder/checkpoint.pt` if it is there.

    The checkpoint is written after the first step, then every `run.save_every` steps, every 10 seconds (or 20 times as
    long as writing takes), and when SIGINT, SIGTERM or SIGHUP comes; then Stopped is raised. It records `settings`
    (those of the run, if None) and the hashes of `data` by file. Where they have changed, resuming raises UsageError,
    or with `allow_changes` logs it. Raises UsageError, too, where training has run away, CheckpointError for a
    checkpoint that it cannot go on from, DiskError for one that cannot be written.
    """
    from tqdm import tqdm

    torch.set_num_threads(run.threads)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    parameters = [p for p in recipe.state.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, run.learning_rate, betas=(0.8, 0.99), weight_decay=0.01, fused=True)
    recorded = flat({"run": asdict(run)} if settings is None else settings)
    checkpoint = _Checkpoint(folder / "checkpoint.pt", recipe.state, optimizer, recorded, data)
    first = checkpoint.resume(run.steps, allow_changes)
    if first == 0:
        torch.manual_seed(run.seed)
        recipe.prepare(np.random.default_rng(run.seed))
    recipe.state.train()
    log_path = folder / "losses.jsonl"
    _forget_from(log_path, first)
    skipped, bar = 0, tqdm(range(first, run.steps), initial=first, total=run.steps, mininterval=10, desc=folder.name)
    with log_path.open("a", encoding="utf-8") as log, held_signals() as received, bar:
        for step in bar:
            record, stepped = _step(recipe, optimizer, parameters, run, step)
            skipped = 0 if stepped else skipped + 1
            if skipped == _MAX_SKIPPED:
                raise _run_away(checkpoint.path, step)
            log.write(json.dumps(record) + "\n")
            if received or checkpoint.is_due(step + 1, run):
                log.flush()
                checkpoint.save(step + 1)
                bar.set_postfix({k: v for k, v in record.items() if k not in ("step", "seconds", "rate")})
            if received:
                raise Stopped(f"stopped after step {step + 1} of {run.steps}, saved to {checkpoint.path}", received[0])
    if not all(bool(tensor.isfinite().all()) for tensor in recipe.state.state_dict().values()):
        raise _run_away(checkpoint.path, run.steps)
    plot_losses(folder)


def _run_away(checkpoint: Path, step: int) -> UsageError:
    return UsageError(
        f"{checkpoint.parent}: at step {step} losses or weights have not been finite for a while, and will not be "
        f"again. Lower learning_rate or clip_gradient, delete {checkpoint.name}, and begin anew"
    )


def _step(
    recipe: Recipe, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], run: RunConfig, step: int
) -> tuple[dict[str, Any], bool]:
    """What the log says of a step, and whether it was taken."""
    started = time.monotonic()
    torch.manual_seed(run.seed * 1_000_003 + step)
    rate = learning_rate(step, run)
    for group in optimizer.param_groups:
        group["lr"] = rate
    losses = recipe.losses(step, np.random.default_rng((run.seed, step)))
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    norm = nn.utils.clip_grad_norm_(parameters, run.clip_gradient)
    finite = bool(torch.isfinite(norm))
    if finite:  # one bad batch must not poison the weights
        optimizer.step()
    values = {name: round(float(loss.detach()), 5) for name, loss in losses.items()}
    return {"step": step, **values, "rate": rate, "seconds": round(time.monotonic() - started, 3)}, finite


class _Checkpoint:
    """`checkpoint.pt`: weights, the optimizer's state, how many steps are done, with which settings and data."""

    def __init__(
        self,
        path: Path,
        state: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: dict[str, Any],
        data: Mapping[str, str] | None,
    ) -> None:
        self.path, self._state, self._optimizer, self._settings = path, state, optimizer, settings
        self._data = None if data is None else dict(data)
        self._due = time.monotonic() + _SAVE_SECONDS

    def is_due(self, done: int, run: RunConfig) -> bool:
        """Whether to save after so many steps."""
        return done in (1, run.steps) or done % run.save_every == 0 or time.monotonic() >= self._due

    def save(self, done: int) -> None:
        started = time.monotonic()
        package = {
            "state": self._state.state_dict(), "optimizer": self._optimizer.state_dict(), "step": done,
            "settings": self._settings, "data": self._data,
        }  # fmt: skip
        try:
            with replacing(self.path) as aside:
                torch.save(package, aside)
        except (OSError, RuntimeError) as error:  # torch's own where the disk is full
            raise DiskError(
                f"{self.path}: cannot be written at step {done} ({first_line(error)}). Make room, and give the "
                "same command again: it goes on from the one before"
            ) from error
        ended = time.monotonic()
        self._due = ended + max(_SAVE_SECONDS, _SAVE_SHARE * (ended - started))

    def resume(self, steps: int, allow_changes: bool) -> int:
        """Load it if it is there; returns how many of the `steps` are done."""
        if not self.path.is_file():
            return 0
        with self._readable():
            package = torch.load(self.path, weights_only=True)
            done, settings, data = int(package["step"]), package.get("settings"), package.get("data")
        if done > steps:
            raise UsageError(f"{self.path}: {done} steps are done, and steps = {steps}: expected {done} or more")
        check_settings(self.path, settings, self._settings, allow_changes)
        if self._data is not None:
            check_data(self.path, data, self._data, allow_changes)
        with self._readable():
            self._state.load_state_dict(package["state"])
            self._optimizer.load_state_dict(package["optimizer"])
        return done

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Raises CheckpointError for whatever fails."""
        try:
            yield
        except Exception as error:  # torch raises half a dozen types
            raise CheckpointError(
                f"{self.path}: training cannot go on from it ({first_line(error)}): it is damaged, or of another "
                "model. Delete it to begin anew, or give `out` another folder"
            ) from error


def _forget_from(log: Path, first: int) -> None:
    """Cut the log back to the steps that the checkpoint has: later ones come again."""
    if log.is_file():
        kept = [record for record in _records(log) if record["step"] < first]
        log.write_text("".join(json.dumps(record) + "\n" for record in kept), "utf-8")


def _records(log: Path) -> list[dict[str, Any]]:
    """The lines of a log, but for torn ones: what a crash leaves must not stop a training at its end."""
    records = []
    for line in log.read_bytes().splitlines():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append(record)
    return records


def plot_losses(folder: Path) -> Path:
    """Draw `losses.jsonl`, smoothed, to `losses.png`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    records = _records(folder / "losses.jsonl")
    names = sorted({name for record in records for name in record} - {"step", "seconds", "rate"})
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name in names:
        points = np.array([(record["step"], record[name]) for record in records if name in record])
        width = max(1, len(points) // 100)
        smooth = np.convolve(points[:, 1], np.ones(width) / width, "valid")
        axes.plot(points[width - 1 :, 0], smooth, label=name)
    axes.set(xlabel="step", ylabel="weighted loss", yscale="log", title=folder.name)
    axes.legend()
    figure.savefig(folder / "losses.png", dpi=120)
    pyplot.close(figure)
    return folder / "losses.png"
