"""Options and messages that every command has which loads a tokenizer."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ..errors import MediaError, MissingExtraError, UsageError
from ..jobs.items import valid_text
from ..progress import KINDS

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

__all__ = [
    "DTYPES", "Failures", "add_loading", "add_progress", "fetch_missing", "key_value", "key_values", "load", "say",
]  # fmt: skip


DTYPES = (
    "float32 (default: the codes of the originals), float64 (the same codes on every machine), bfloat16; for sound "
    "also mixed (LSTMs alone in bfloat16); on GPUs also tf32, float16. The last four are faster, and change some codes"
)


def say(message: object) -> None:
    """A line for the person at the terminal; scripts read stdout."""
    print(f"anytok: {message}", file=sys.stderr)


class Failures:
    """The files of a command that cannot be used: named as they are met, the others go on."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self.reasons: dict[int, str] = {}

    def __call__(self, place: int, error: MediaError | MissingExtraError) -> None:
        if place in self.reasons:  # a second engine met it, too
            return
        # a MediaError names its file as well, the other kind does not
        self.reasons[place] = f"{error.detail} [{error.kind}]" if isinstance(error, MediaError) else str(error)
        say(f"{self.files[place]}: {self.reasons[place]}")

    def used(self) -> list[str]:
        return [file for place, file in enumerate(self.files) if place not in self.reasons]

    def to_json(self) -> dict[str, Any]:
        failed = [{"file": valid_text(self.files[place]), "error": why} for place, why in sorted(self.reasons.items())]
        return {"files": [valid_text(file) for file in self.used()], "failed": failed}

    def exit_code(self, done: str) -> int:
        """1 if there were any, which is said; otherwise 0."""
        if self.reasons:
            say(f"{len(self.used())} of {len(self.files)} files {done}")
        return 1 if self.reasons else 0


def add_loading(parser: argparse.ArgumentParser, *, checkpoint_help: str = "") -> None:
    """--checkpoint, --engine, --device, --dtype and --option."""
    group = parser.add_argument_group("loading")
    group.add_argument(
        "--checkpoint",
        metavar="PATH",
        help=checkpoint_help or "folder with the published files; without it they are fetched once (checkpoints.md)",
    )
    group.add_argument("--engine", default="native", help="native (ours) or reference (the original package)")
    group.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    group.add_argument(
        "--dtype",
        default="float32",
        help=DTYPES,
    )
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the tokenizer itself, such as num_codebooks=1 or bandwidth=6.0; may be repeated",
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    """--progress."""
    parser.add_argument(
        "--progress", choices=KINDS, default="auto",
        help="how progress is told on stderr: a bar, or every 10 seconds a plain or a JSON line "
        "(default: a bar on a terminal, else lines)",
    )  # fmt: skip


def fetch_missing(name: str, option: str, *, optional: bool = True) -> None:
    """Fetch the published files of a tokenizer or a voice that are not here, and say so beforehand, and which option
    takes the place of that."""
    from ..checkpoints.fetch import fetch, missing_files

    if missing := missing_files(name, optional=optional):
        sizes = ", ".join(f"{file.name} ({file.size})" for file in missing)
        say(f"fetching {sizes}; {option} PATH uses files that you have")
        fetch(name, optional=optional)


def load(name: str, args: argparse.Namespace, *, decodes: bool = False) -> Tokenizer:
    """The tokenizer that the options name; its load report goes to stderr. What only decoding needs is fetched for a
    command that `decodes`."""
    from ..registry import load_tokenizer

    options = key_values(args.option, taken=("name", "engine", "checkpoint", "device", "dtype"))
    if args.checkpoint is None:
        fetch_missing(name, "--checkpoint", optional=decodes)
    with warnings.catch_warnings():  # torch has opinions on what the original packages use
        warnings.simplefilter("ignore", FutureWarning)
        tokenizer = load_tokenizer(
            name,
            engine=args.engine,
            checkpoint=args.checkpoint,
            device=args.device,
            dtype=args.dtype,
            **options,
        )
    report = getattr(tokenizer, "load_report", None)
    say(f"{tokenizer.spec.id} loaded" + (f"; {report}" if report else ""))
    return tokenizer


def key_values(pairs: list[str], taken: Collection[str] = ()) -> dict[str, Any]:
    """["bandwidth=6.0"] → {"bandwidth": 6.0}: numbers, True and False where they look like them, otherwise text.
    Raises UsageError on keys that are `taken`: what they would be is given otherwise."""
    options = dict(map(key_value, pairs))
    if given := sorted(set(options) & set(taken)):
        raise UsageError(f"option {given[0]!r}: none of a tokenizer's own; what all of them have, --help names")
    return {key: _value(text) for key, text in options.items()}


def key_value(pair: str) -> tuple[str, str]:
    """Key and value of "bandwidth=6.0"; raises UsageError where there is no "="."""
    key, equals, value = pair.partition("=")
    if not equals or not key:
        raise UsageError(f"option {pair!r}: expected KEY=VALUE, such as num_codebooks=1")
    return key, value


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
