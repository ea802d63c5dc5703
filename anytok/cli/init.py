"""`init`: a job file to begin with, and the media it reads."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import tomllib
from collections.abc import Callable
from glob import glob
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ..arguments import did_you_mean
from ..errors import DiskError, UsageError
from .loading import say

if TYPE_CHECKING:
    from ..jobs import JobConfig

__all__ = ["register"]

_TEXTS = {
    "image": "a sunset over hills, with a house",
    "speech": "a picture, a voice and a tune become tokens, and come back",
    "music": "a plucked broken chord",
}


def register(add: Any) -> None:
    """Add the command to the parser."""
    command = add(_init)
    command.add_argument("file", nargs="?", metavar="FILE.toml", help="the file to write (default: job.toml)")
    command.add_argument("--from", dest="example", default="start", metavar="NAME", help="an example of --list")
    command.add_argument("--source", metavar="PATH", help="your media: a folder, pattern, table, archive or URL")
    command.add_argument("--list", action="store_true", help="list the examples, and write nothing")


def _init(args: argparse.Namespace) -> int:
    """Write a commented job file that runs at once with the small models: `anytok run job.toml`.

    Without --source a few media to try it on are written, too, where the file says. Nothing is overwritten.

    Example:
      anytok init
      anytok init mine.toml --source recordings/
    """
    from ..jobs.config import from_record

    examples = _examples()
    if args.list:
        for name, path in examples.items():
            about = path.read_text("utf-8").splitlines()[0].lstrip("# ").partition(". ")[0]  # the first sentence
            print(f"{name:20} {about.rstrip('.')}")
        return 0
    if args.example not in examples:
        near = did_you_mean(args.example, examples)
        raise UsageError(f"no example is called {args.example!r}; known: {', '.join(examples)}{near}")
    example = examples[args.example]
    path = Path(args.file or ("job.toml" if args.example == "start" else example.name))
    if path.suffix != ".toml" or not str(path).isprintable():
        raise UsageError(f"{str(path)!r}: expected a name that ends in .toml")
    text = example.read_text("utf-8").replace(example.name, quote(str(path)))
    if args.source is not None:
        text = _with_source(text, args.source)
    record = tomllib.loads(text)
    job = from_record(record, str(path)) if "sources" in record else None
    _write(path, text)
    if job and args.source is None:
        _make_sources(job)
    say(f"next: anytok {'train' if job is None else 'compose' if job.compose else 'run'} {quote(str(path))}")
    print(path)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        with open(path, "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{path}: exists already; choose another name") from None
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path.parent}: no such folder; make it first") from None
    except OSError as error:
        raise DiskError(f"cannot write {path} ({error.strerror or error}): choose another place") from error


def _examples() -> dict[str, Path]:
    """The files in configs/ by name; of a wheel they are in the package, else beside it."""
    package = Path(__file__).parent.parent
    folder = next(path for path in (package / "configs", package.parent / "configs") if path.is_dir())
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.toml")}
    return dict(sorted(names.items(), key=lambda one: (one[0] != "start", "/" in one[0], one[0])))


def _with_source(text: str, source: str) -> str:
    """The job file reading `source`. Raises UsageError where it has no source, or several, or nothing is there."""
    from ..jobs.urls import is_pattern, is_url

    count = len(tomllib.loads(text).get("sources", ()))
    if count != 1:
        raise UsageError(f"--source is for examples of one source, and this one has {count}: edit the file instead")
    if not (is_url(source) or is_pattern(source) or Path(source).exists()):
        raise UsageError(f"source {source!r}: there is no such file or folder")
    text_of_it = json.dumps(source, ensure_ascii=False).replace("\x7f", "\\u007f")
    return re.sub(r'^path = ".*?"', lambda _: f"path = {text_of_it}", text, count=1, flags=re.MULTILINE)


def _make_sources(job: JobConfig) -> None:
    """Write media to try the job on, where it reads them and nothing is there."""
    from ..jobs.examples import make_source, place_of

    with tempfile.TemporaryDirectory() as folder:
        for source in job.sources:
            place = place_of(source)
            if place is None:
                say(f"{source.path}: codes of another job, which must be there first")
            elif not glob(source.path):
                modalities = [source.modality] if source.modality else list(job.tokenizers)
                make_source(source, [(_medium(modality, Path(folder)), _TEXTS[modality]) for modality in modalities])
                say(f"{place} holds something to try it on")


def _medium(modality: str, folder: Path) -> Path:
    """One of the media that the demo shows, as a file in `folder`."""
    from ..demo.clips import draw_landscape, play_tune, speak_deep

    makers: dict[str, tuple[str, Callable[[], Any]]] = {
        "image": ("landscape.png", draw_landscape),
        "speech": ("voice.wav", speak_deep),
        "music": ("tune.wav", play_tune),
    }
    name, make = makers[modality]
    make().save(folder / name)
    return folder / name
