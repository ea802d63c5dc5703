"""The options that say what a job is: a file of its own, or SOURCE OUT and what goes with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .loading import DTYPES, key_values

if TYPE_CHECKING:
    from ..jobs import JobConfig

__all__ = ["OF_RUN", "add_job", "add_run", "job_of"]

# Options that go to the job as they are, by their name there.
_SETTINGS = (
    "workers", "readers", "runner", "ray_address", "max_failure_rate", "shard_items", "vocabulary", "cache", "margins",
    "device",
)  # fmt: skip
OF_RUN = ("workers", "runner", "ray_address", "max_failure_rate", "shard_items")
_LOADING = {
    "checkpoint": "folder with the published files; without it they are fetched once",
    "engine": "native (ours; default) or reference (the original package)",
    "dtype": DTYPES,
}
_OF_ONE = ("tokenizer", *_LOADING, "num_codebooks", "option", "sink")  # of SOURCE OUT; a job file has tables for them


def add_job(command: argparse.ArgumentParser) -> None:
    """A job file or SOURCE OUT, with all that can be said beside them."""
    command.add_argument("job", metavar="JOB.toml|SOURCE", help="a job file, or a folder, glob, manifest, tar, …")
    command.add_argument("output", nargs="?", metavar="OUT", help="output folder; overrides the job file's")
    command.add_argument("--tokenizer", metavar="NAME", help="for SOURCE OUT; a job file names its own")
    for name, about in _LOADING.items():
        command.add_argument(f"--{name}", metavar=name.upper(), help=f"for SOURCE OUT: {about}")
    command.add_argument("--num-codebooks", type=int, metavar="N",
                         help="for SOURCE OUT: the first N layers of codes alone (default: all)")  # fmt: skip
    command.add_argument("--option", action="append", metavar="KEY=VALUE",
                         help="for SOURCE OUT: an option of the tokenizer itself; may be repeated")  # fmt: skip
    command.add_argument("--sink", action="append", metavar="KIND",
                         help="for SOURCE OUT: an output: parquet (default), hf, …; may be repeated")  # fmt: skip
    command.add_argument("--device", metavar="DEVICE",
                         help="cpu (default), cuda, cuda:1, …; a job goes on on another one, too")  # fmt: skip
    command.add_argument("--vocabulary", metavar="NAME", help="write ids of this vocabulary, too")
    command.add_argument("--margins", action="store_true", default=None,
                         help="keep each item's least margin, for `verify --canonical`")  # fmt: skip
    command.add_argument("--readers", type=int, metavar="N",
                         help="processes that read and decode, for each worker (default: 1)")  # fmt: skip
    command.add_argument("--cache", metavar="FOLDER", help="look codes up there first, and keep new ones")
    add_run(command)


def add_run(command: argparse.ArgumentParser) -> None:
    """How the work is carried out."""
    command.add_argument("--workers", type=int, metavar="N", help="processes that work; one a GPU (default: 1)")
    command.add_argument("--runner", choices=("local", "ray"), help="this machine (default), or a Ray cluster")
    command.add_argument("--ray-address", metavar="ADDRESS", help="of a running cluster; otherwise Ray starts here")
    command.add_argument("--shard-items", type=int, metavar="N", help="items of a shard (default: 1000)")
    command.add_argument("--max-failure-rate", type=float, metavar="SHARE",
                         help="stop where a larger share of the items fails (default: 0.2)")  # fmt: skip


def job_of(args: argparse.Namespace, output: str = "") -> JobConfig:
    """The job that the arguments say; `output` is where it goes in the short form, if they do not say."""
    from ..jobs import JobConfig, load_config

    given = {name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None}
    theirs = {name: getattr(args, name) for name in _OF_ONE if getattr(args, name) is not None}
    if Path(args.job).suffix == ".toml":
        if theirs:
            option = next(iter(theirs)).replace("_", "-")
            raise UsageError(f"--{option} is for SOURCE OUT, and {args.job} says it itself: leave it out, or edit that")
        return load_config(args.job).override(**given, **({"output": args.output} if args.output else {}))
    output = args.output or output
    if not output or not args.tokenizer:
        raise UsageError("expected a job file (*.toml), or SOURCE OUT --tokenizer NAME")
    options = key_values(theirs.pop("option", []), taken=("name", "engine", "checkpoint", "device", "dtype"))
    if "num_codebooks" in theirs:
        options["num_codebooks"] = theirs.pop("num_codebooks")
    if "sink" in theirs:
        theirs["sinks"] = theirs.pop("sink")
    return JobConfig.simple(args.job, output, theirs.pop("tokenizer"), options=options, **theirs, **given)
