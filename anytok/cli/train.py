"""`train`: one's own tokenizers."""

from __future__ import annotations

import argparse
from typing import Any

from .loading import say

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the command to the parser."""
    command = add(_train)
    command.add_argument("config", metavar="CONFIG.toml", help="a recipe, such as those in configs/train")
    command.add_argument(
        "--allow-changes", action="store_true", help="go on from a checkpoint of other settings or data"
    )


def _train(args: argparse.Namespace) -> int:
    """Train a small tokenizer of your own, or go on where training stopped; prints the folder with the weights.

    A checkpoint is written after the first step, every save_every steps and every 10 seconds (or 20 times as long as
    writing takes): a kill loses no more. Ctrl-C, SIGTERM and SIGHUP end the step and write one before the command
    leaves, with exit code 130, 143 or 129. The same command goes on from it. It refuses a config whose settings have
    changed, but for steps, threads and save_every, and data that have changed.

    Example:
      anytok train configs/train/speech_mini.toml
    """
    from ..training import Stopped, train

    try:
        print(train(args.config, allow_changes=args.allow_changes))
    except Stopped as stopped:
        say(f"{stopped}: the same command goes on from there")
        return 128 + stopped.number
    return 0
