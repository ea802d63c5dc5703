"""`train`: one's own tokenizers."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the command to the parser."""
    add(_train).add_argument("config", metavar="CONFIG.toml", help="a recipe, such as those in configs/train")


def _train(args: argparse.Namespace) -> int:
    """Train a small tokenizer of your own, or go on where training stopped; prints the folder with the weights.

    Example:
      anytok train configs/train/speech_mini.toml
    """
    from ..training import train

    print(train(args.config))
    return 0
