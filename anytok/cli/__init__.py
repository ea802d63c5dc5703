"""The command line. Each command is one function: its docstring is the help, and it calls the library once.

Results go to stdout; progress, load reports and errors to stderr. Nothing here imports torch before work starts.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .. import __version__
from ..errors import (
    AnytokError,
    CacheError,
    CheckpointError,
    DiskError,
    FetchError,
    JobError,
    MissingExtraError,
    NetworkError,
    UsageError,
)
from ..openmp import share_cores
from . import decode, demo, encode, export, init, jobs, loading, measure, show, train, vocab

__all__ = ["build_parser", "main"]

_ABOUT = """Images, speech and music to discrete tokens of one shared vocabulary, and back.

Example:
  anytok demo
"""
_CODES = """exit codes:
  0  all went well
  1  some inputs could not be used; they are listed
  2  the command line is wrong
  3  something around us is missing or full: a package, the network, the disk, a permission
  4  refused: weights or a plan that cannot be trusted, a job in which too much fails
  130  stopped by Ctrl-C
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; building it imports nothing heavy."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("anytok", description=_ABOUT, epilog=_CODES, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"anytok {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(run: Callable[[argparse.Namespace], int], under: Any = commands) -> argparse.ArgumentParser:
        """A command named after its function, with its docstring as help; `under` another one's, if given."""
        about = (run.__doc__ or "").replace("\n    ", "\n").strip()
        name = run.__name__.strip("_")
        command = under.add_parser(name, help=about.splitlines()[0], description=about, formatter_class=form)
        command.set_defaults(run=run)
        return command

    for module in (demo, show, encode, decode, export, init, jobs, measure, train, vocab):
        module.register(add)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code that `anytok --help` lists."""
    if sys.stderr is None:  # `2>&-`: nobody is to be told
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        print("anytok: stdout is closed, and results go there: leave it open, or send it to /dev/null", file=sys.stderr)
        return 3
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no arrows, or not all letters
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # not of every retry: our error tells the outcome
    share_cores()
    logger, handler = logging.getLogger("anytok"), _Spoken(logging.WARNING)
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, category, *_: _say_warning(message, category)
            return _run(arguments)
    finally:
        logger.removeHandler(handler)


def _run(arguments: Sequence[str] | None) -> int:
    args = build_parser().parse_args(vocab.spelled_out(sys.argv[1:] if arguments is None else arguments))
    try:
        code: int = args.run(args)
        sys.stdout.flush()  # here, where a closed pipe is still ours to handle
        return code
    except BrokenPipeError:  # `anytok list | head -1`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("anytok: stopped", file=sys.stderr)
        return 130
    except (AnytokError, OSError) as error:
        print(f"anytok: {error}", file=sys.stderr)
        return exit_code(error)


class _Spoken(logging.Handler):
    """What the library logs, as lines of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        loading.say(self.format(record))


def _say_warning(message: Warning | str, category: type[Warning]) -> None:
    """What is odd about media, as a line of the command; of other packages' warnings their kind, too."""
    loading.say(message if category is UserWarning else f"{category.__name__}: {message}")


def exit_code(error: Exception) -> int:
    """2 usage, 3 environment, 4 refused, 1 everything that an input is to blame for."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, (MissingExtraError, CacheError, DiskError, FetchError, NetworkError, OSError)):
        return 3
    return 4 if isinstance(error, (CheckpointError, JobError)) else 1
