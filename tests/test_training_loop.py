"""The training loop: it resumes exactly, and what would come to nothing is stopped and named."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_codec import MODEL
from torch import Tensor, nn

from anytok import atomic
from anytok.cli import main
from anytok.errors import CheckpointError, DiskError, UsageError
from anytok.training import Stopped, loop, train
from anytok.training.clips import Clip, write_clips
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


def test_a_spoilt_log_stops_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = replace(RUN, steps=40)
    optimize(Line(), RUN, tmp_path)
    log = tmp_path / "losses.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:10], b"\0\0\xff\n", b'["step"]\n', b'{"step": 10, "sq\n', *lines[12:]]))
    optimize(Line(), run, tmp_path)
    assert re.search("run.steps was 30, is 40$", caplog.messages[-1])
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
    with pytest.raises(DiskError, match=r"checkpoint\.pt: cannot be written at step 1 .*same command again"):
        optimize(Line(), RUN, tmp_path)


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "configs" / "train" / "vae_mini.toml").read_text("utf-8")
    (tmp_path / "a.toml").write_text(text.replace("runs/vae-mini", str(tmp_path / "a.toml")), "utf-8")
    with pytest.raises(UsageError, match="is no folder; choose another"):
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


def steps_done(folder: Path) -> int:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["step"]


def at_step(line: Line, wanted: int, act: Any) -> Line:
    """A recipe that does something in the middle of a step."""
    ask = line.losses

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        if step == wanted:
            act()
        return ask(step, rng)

    line.losses = losses  # type: ignore[method-assign]
    return line


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """Signals act as in a new Python: a shell takes Ctrl-C from what it starts in the background, and Ray, in tests of
    this process before these, handles SIGTERM."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_waits_until_the_step_is_saved(tmp_path: Path, name: str) -> None:
    """A run that is shorter than save_every loses nothing, and ends where one that was not stopped does."""
    run, number = replace(RUN, save_every=1000), getattr(signal, name)
    whole, first, second = Line(), Line(), Line()
    optimize(whole, run, tmp_path / "whole")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(Stopped, match=r"stopped after step 8 of 30, saved to .*halves/checkpoint\.pt") as stopped:
        optimize(at_step(first, 7, lambda: signal.raise_signal(number)), run, tmp_path / "halves")
    assert stopped.value.number == number and steps_done(tmp_path / "halves") == 8
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    optimize(second, run, tmp_path / "halves")
    assert torch.equal(second.state.weight, whole.state.weight)  # type: ignore[arg-type]
    assert len((tmp_path / "halves" / "losses.jsonl").read_text("utf-8").splitlines()) == 30


def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        optimize(at_step(Line(), 7, twice), RUN, tmp_path)
    assert not isinstance(stopped.value, Stopped) and steps_done(tmp_path) == 1


def test_signals_that_others_handle_stay_theirs(tmp_path: Path) -> None:
    """As where nohup ignores SIGHUP, or training runs in a thread."""
    theirs = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        optimize(at_step(Line(), 7, lambda: signal.raise_signal(signal.SIGTERM)), RUN, tmp_path / "ignored")
    finally:
        signal.signal(signal.SIGTERM, theirs)
    thread = threading.Thread(target=optimize, args=(Line(), RUN, tmp_path / "thread"))
    thread.start()
    thread.join()
    assert steps_done(tmp_path / "ignored") == steps_done(tmp_path / "thread") == 30


class Killed(Exception):
    """Stands for a kill: nothing is done after it."""


@pytest.mark.parametrize(("killed_at", "seconds", "kept"), [(5, 0.0, 1), (5, 4.0, 4), (25, 0.0, 20)])
def test_a_kill_loses_what_few_seconds_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int, seconds: float, kept: int
) -> None:
    """Saved are the first step, each tenth by `save_every`, and what is 10 seconds after the one before."""
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])

    def kill() -> None:
        raise Killed

    line = at_step(Line(), killed_at, kill)
    ask = line.losses

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        clock[0] += seconds
        return ask(step, rng)

    line.losses = losses  # type: ignore[method-assign]
    with pytest.raises(Killed):
        optimize(line, RUN, tmp_path)
    assert steps_done(tmp_path) == kept


def test_saving_takes_a_twentieth_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large weights on a slow disk: 6 seconds to write, a step a second."""
    clock, saves, write = [0.0], [], torch.save

    def slow(package: Any, path: Path) -> None:
        clock[0] += 6
        saves.append(package["step"])
        write(package, path)

    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(torch, "save", slow)
    line = Line()
    for step in range(300):
        at_step(line, step, lambda: clock.__setitem__(0, clock[0] + 1))
    optimize(line, replace(RUN, steps=300, save_every=1000), tmp_path)
    assert saves == [1, 121, 241, 300]


def test_other_settings_are_refused_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    optimize(Line(), RUN, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for change, said in (
        ({"learning_rate": 0.2}, "run.learning_rate was 0.1, is 0.2"),
        ({"batch_size": 4, "seed": 1}, "run.batch_size was 8, is 4, run.seed was 0, is 1"),
        ({"warmup": 6, "steps": 40}, "run.steps was 30, is 40, run.warmup was 5, is 6"),
    ):
        run = replace(RUN, **change)
        with pytest.raises(UsageError, match=rf"{said}\. Set them back, .*--allow-changes"):
            optimize(Line(), run, tmp_path)
        with pytest.raises(UsageError, match=r"model\.sizes\.width was not set, is 3"):
            optimize(Line(), run, tmp_path, settings={"run": asdict(RUN), "model": {"sizes": {"width": 3}}})
        assert (tmp_path / "checkpoint.pt").read_bytes() == before
    optimize(Line(), run, tmp_path, allow_changes=True)
    assert re.search("goes on with other settings: .*run.warmup was 5, is 6", caplog.messages[-1])
    optimize(Line(), run, tmp_path)  # the new ones are recorded
    with pytest.raises(UsageError, match="40 steps are done, and steps = 30: expected 40 or more"):
        optimize(Line(), replace(run, steps=30), tmp_path, allow_changes=True)


def test_a_checkpoint_without_settings_is_gone_on_from_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    optimize(Line(), RUN, tmp_path)
    package = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del package["settings"]
    torch.save(package, tmp_path / "checkpoint.pt")
    optimize(Line(), RUN, tmp_path)
    assert "earlier version, which did not record settings" in caplog.messages[-1]


MUSIC = """name = "tiny"
kind = "music"
data = "{folder}"
out = "{folder}/run"
[run]
steps = {steps}
batch_size = 2
learning_rate = {rate}
save_every = 1000000
""" + MODEL


def test_the_command_ends_by_ctrl_c_in_one_line_and_says_what_it_would_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    write_clips(tmp_path / "train", [Clip(noise, "a", "0", np.zeros(50))], 24000, 320)
    config, log = tmp_path / "a.toml", tmp_path / "run" / "losses.jsonl"
    config.write_text(MUSIC.format(folder=tmp_path, rate=1e-3, steps=100000), "utf-8")
    child = subprocess.Popen(
        [sys.executable, "-m", "anytok", "train", str(config)], stderr=subprocess.PIPE, text=True, env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while child.poll() is None and not (tmp_path / "run" / "checkpoint.pt").exists():
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    done = steps_done(tmp_path / "run")
    assert child.returncode == 130 and "Traceback" not in said
    assert said.rstrip().splitlines()[-1].startswith(f"anytok: stopped after step {done} of 100000, saved to ")
    assert len(log.read_text("utf-8").splitlines()) == done >= 1
    config.write_text(MUSIC.format(folder=tmp_path, rate=2e-3, steps=done), "utf-8")
    assert main(["train", str(config)]) == 2
    assert "run.learning_rate was 0.001, is 0.002" in capsys.readouterr().err
    assert main(["train", "--allow-changes", str(config)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'run' / 'weights'}\n"
    assert err.startswith("anytok: ") and "run.learning_rate was 0.001, is 0.002" in err.splitlines()[0]
