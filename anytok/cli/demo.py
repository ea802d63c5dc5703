"""`demo`: the first command."""

from __future__ import annotations

import argparse
from typing import Any

from .loading import Failures, say

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the command to the parser."""
    demo = add(_demo)
    taken = "your own pictures and recordings, in place of ours; sound in two channels, or called music, is music"
    demo.add_argument("files", nargs="*", metavar="FILE", help=taken)
    demo.add_argument("--out", default="demo-out", metavar="DIR", help="folder for the page (default: demo-out)")


def _demo(args: argparse.Namespace) -> int:
    """Send a picture, speech and music through codes and shared ids and back, and write one HTML page of it.

    The page also mixes: halves of two pictures' codes, what one voice says with the sound of another. A picture or a
    voice that is alone is mixed with one of ours. A file that cannot be used is named, and the others go on. An earlier
    page is replaced.

    Example:
      anytok demo
      anytok demo me.jpg hello.wav tune-music.mp3
    """
    from tqdm import tqdm

    from ..demo import run_demo

    failures = Failures(args.files)
    with tqdm(desc="demo", unit="item", disable=None) as bar:
        result = run_demo(args.out, args.files, progress=bar.update, refused=failures)
    for line in result.lines:
        print(line)
    if result.page:
        say("open the page in a browser")
        print(result.page)
    return failures.exit_code("shown")
