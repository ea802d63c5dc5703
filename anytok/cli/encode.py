"""`encode`: files → codes, one JSON line an item."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..atomic import replacing
from ..errors import DiskError, MediaError, MissingExtraError, UsageError
from ..jobs.items import valid_text
from ..progress import Reporter
from .loading import Failures, add_loading, add_progress, load, say

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the command to the parser."""
    encode = add(_encode)
    encode.add_argument("files", nargs="+", metavar="FILE", help="pictures or recordings")
    encode.add_argument("--tokenizer", required=True, metavar="NAME", help="as `anytok list` calls it")
    encode.add_argument("--out", default="codes.jsonl", metavar="FILE", help="default codes.jsonl; - is stdout")
    encode.add_argument("--force", action="store_true", help="replace FILE if it exists")
    encode.add_argument("--cache", metavar="FOLDER", help="look codes up there first, and keep new ones")
    add_loading(encode)
    add_progress(encode)


def _encode(args: argparse.Namespace) -> int:
    """Turn pictures or recordings into codes, one JSON line each.

    A file that cannot be used is named, and the others go on. For thousands of files there is `anytok run`.

    Example:
      anytok encode hello.wav world.flac --tokenizer speechtokenizer --out codes.jsonl
    """
    failures = Failures(args.files)
    with _output(args.out, args.force) as out:
        tokenizer = load(args.tokenizer, args)
        if args.cache:
            from ..cache import cached

            tokenizer = cached(tokenizer, args.cache)
        with Reporter("encode", len(args.files), unit="file", kind=args.progress) as progress:
            for place, path in enumerate(args.files):
                try:
                    codes = tokenizer.encode(path)
                except (MediaError, MissingExtraError) as error:
                    failures(place, error)
                else:
                    out.write(json.dumps({"source": valid_text(path), **codes.to_dict()}, ensure_ascii=False) + "\n")
                progress.update(place + 1, failed=len(failures.reasons))
    where = "stdout" if args.out == "-" else args.out
    done = len(failures.used())
    into = f" into {where}" if done else f"; {where} is left as it was"
    found = f", {tokenizer.counts.found} of them from the cache" if args.cache else ""  # type: ignore[attr-defined]
    say(f"{done} of {len(args.files)} files encoded{into}{found}")
    return 1 if failures.reasons else 0


@contextmanager
def _output(name: str, force: bool) -> Iterator[IO[str]]:
    """stdout, or a file that gets its name only when it is complete, and if there is anything in it."""
    if name == "-":
        yield sys.stdout
        return
    path = Path(os.path.realpath(name))  # of a link, what it leads to
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: no regular file; choose another --out, or - for stdout")
    if path.exists() and not force:
        raise UsageError(f"{path}: exists already; choose another --out, or --force replaces it")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder; make it, or choose another --out")
    with replacing(path) as unfinished:
        try:
            out = unfinished.open("w", encoding="utf-8")
        except OSError as error:
            raise DiskError(f"cannot write {name} ({error.strerror or error}): choose another --out") from error
        with out:
            yield out
        if not unfinished.stat().st_size:
            unfinished.unlink()
