"""`eval`, `bench`, `doctor`, `fingerprint`: how good, how fast, and whether this machine is in order."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..arguments import whole
from ..errors import UsageError
from .loading import Failures, add_loading, fetch_missing, load

if TYPE_CHECKING:
    from ..metrics.evaluate import Evaluation, Speed

__all__ = ["register"]

_MARKS = {True: "ok", None: "--", False: "!!"}


def register(add: Any) -> None:
    """Add the commands to the parser."""
    for command in (add(_eval), bench := add(_bench)):
        command.add_argument("files", nargs="+", metavar="FILE", help="pictures or recordings")
        command.add_argument("--tokenizer", required=True, metavar="NAME", help="as `anytok list` calls it")
        command.add_argument("--json", action="store_true", help="one JSON object for scripts")
        add_loading(command)
    bench.add_argument("--rounds", type=int, default=5, metavar="N", help="times to measure (default: 5)")
    bench.add_argument("--against", metavar="ENGINE", help="measure this engine, too, such as reference")
    add(_doctor).add_argument("--json", action="store_true", help="one JSON object for scripts")
    fingerprint = add(_fingerprint)
    fingerprint.add_argument("names", nargs="*", metavar="NAME", help="tokenizers (default: the small ones)")
    fingerprint.add_argument("--checkpoint", metavar="PATH", help="folder with the published files of the one NAME")
    fingerprint.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    fingerprint.add_argument("--json", action="store_true", help="one JSON list for scripts")


def _eval(args: argparse.Namespace) -> int:
    """Send files through a tokenizer and back, and say how close what comes back is.

    A file that cannot be used is named, and the others go on.

    Example:
      anytok eval hello.wav world.flac --tokenizer speechtokenizer
    """
    from tqdm import tqdm

    from ..metrics.evaluate import evaluate

    failures = Failures(args.files)
    tokenizer = load(args.tokenizer, args, decodes=True)
    with tqdm(total=len(args.files), desc="eval", unit="file", disable=None) as bar:
        found = evaluate(tokenizer, args.files, done=bar.update, refused=failures)
    if args.json:
        print(json.dumps(_finite({**asdict(found), **failures.to_json()}), indent=2))
    elif found.items:
        _print_evaluation(found, failures.used())
    return failures.exit_code("measured")


def _print_evaluation(found: Evaluation, files: list[str]) -> None:
    columns = list(found.means)
    width = max(map(len, [*files, "mean"]))
    print(" ".join(["file".ljust(width), *(f"{key:>16}" for key in columns)]))
    for name, row in [*zip(files, found.items, strict=True), ("mean", found.means)]:
        cells = ("-".rjust(16) if (value := row[key]) is None else f"{value:16.3f}" for key in columns)
        print(" ".join([name.ljust(width), *cells]))
    for key, count in found.counts.items():
        if key == "retrieved" and count < len(files):
            print("retrieved is for two pictures or more that look different: here is none to mistake one for")
        elif count < len(files):
            print(f"the mean {key} is over {count} of {len(files)} files: others are too short or silent for it")
    print(f"codes in use  {' '.join(f'{share:.0%}' for share in found.usage)}")
    print(f"perplexity    {' '.join(f'{value:.0f}' for value in found.perplexity)}")


def _finite(record: Any) -> Any:
    """The same with text, "Infinity" or "-Infinity", for what JSON has no number for, as the PSNR of equal pictures.
    It is not null, which is a metric that could not judge the file."""
    if isinstance(record, dict):
        return {key: _finite(value) for key, value in record.items()}
    if isinstance(record, list):
        return [_finite(value) for value in record]
    return json.dumps(record) if isinstance(record, float) and not math.isfinite(record) else record


def _bench(args: argparse.Namespace) -> int:
    """Time a tokenizer on your files, as one batch; the median of some rounds, with the extremes.

    A file that cannot be used is named, and the others go on.

    Example:
      anytok bench hello.wav world.flac --tokenizer speechtokenizer --against reference
    """
    from ..metrics.evaluate import speed

    engines = _engines(args)
    failures = Failures(args.files)
    found = {}
    # From the last on: the one to compare with is the one that may not be installed, or lack an option.
    for args.engine in reversed(engines):
        found[args.engine] = speed(load(args.tokenizer, args, decodes=True), args.files, args.rounds, failures)
    times = {engine: one for engine in engines if (one := found[engine])}
    if args.json:
        named = {name: {**asdict(one), **_named(one)} for name, one in times.items()}
        print(json.dumps({"engines": named, **failures.to_json()}, indent=2))
        return failures.exit_code("timed")
    for engine, one in times.items():
        for way, (median, least, most) in (("encode", one.encode), ("decode", one.decode)):
            rate = (one.media_seconds or one.items) / median
            pace = f"{rate:.1f} x real time" if one.media_seconds else f"{rate:.2f} pictures a second"
            print(f"{engine:10} {way}  {median:.3f} s ({least:.3f} to {most:.3f})  {pace}")
    return failures.exit_code("timed")


def _named(one: Speed) -> dict[str, dict[str, float]]:
    """The times of both ways, in seconds, each with its name."""
    names = ("median", "least", "most")
    return {way: dict(zip(names, getattr(one, way), strict=True)) for way in ("encode", "decode")}


def _engines(args: argparse.Namespace) -> list[str]:
    """The engines to time; raises UsageError on what can be known to be wrong before anything is loaded."""
    from ..registry import option_names

    whole("--rounds", args.rounds, 1)
    engines = [args.engine, args.against] if args.against is not None else [args.engine]
    for engine in engines:
        option_names(args.tokenizer, engine)  # which must be there
    if args.against == args.engine:
        raise UsageError(f"--against {args.against}: this is the engine that is timed anyway; name another, or none")
    return engines


def _doctor(args: argparse.Namespace) -> int:
    """Check what anytok stands on here: Python, torch, devices, optional packages, the cache and its disk.

    "ok" is in order, "--" an extra that is not installed, and "!!" what will not work, which makes the exit code 3.

    Example:
      anytok doctor
    """
    from .doctor import examine

    findings = examine()
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{_MARKS[finding.ok]}  {finding.what:14} {finding.said}")
    return 3 if any(finding.ok is False for finding in findings) else 0


def _fingerprint(args: argparse.Namespace) -> int:
    """Print a short hash of the codes of fixed media, in float64 and in float32, to compare machines by.

    In float64 the hashes of the small models are known, and have to be the same everywhere; of others, two machines'
    can be compared. Those in float32 may differ between machines.

    Example:
      anytok fingerprint
      anytok fingerprint speechtokenizer --device cuda
    """
    from ..fingerprint import fingerprints

    if args.checkpoint is not None and len(args.names) != 1:
        raise UsageError("--checkpoint holds the files of one tokenizer: name it, and no other")
    if args.checkpoint is None:
        for name in args.names:
            fetch_missing(name, "--checkpoint", optional=False)
    found = list(fingerprints(args.names, checkpoint=args.checkpoint, device=args.device))
    if args.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in found:
            known = "" if one.recorded is None else "  as everywhere" if one.ok else f"  !! expected {one.recorded}"
            print(f"{one.hash}  {one.dtype}  {one.tokenizer}, {one.codes} codes, "
                  f"margins from {one.least_margin:.1e}{known}")  # fmt: skip
    return 0 if all(one.ok for one in found) else 3
