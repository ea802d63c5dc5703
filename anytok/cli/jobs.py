"""`run`, `compose`, `plan`, `status`, `verify`, `stats`: datasets → shards, and what became of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .loading import DTYPES, add_progress, key_values, say

if TYPE_CHECKING:
    from ..jobs import Canonical, JobConfig, JobStatus
    from ..jobs.status import Extended
    from ..jobs.warned import Warned

__all__ = ["register"]

# Options that go to the job as they are, by their name there.
_SETTINGS = (
    "workers", "readers", "runner", "ray_address", "max_failure_rate", "shard_items", "vocabulary", "cache", "margins",
    "device",
)  # fmt: skip
_OF_RUN = ("workers", "runner", "ray_address", "max_failure_rate", "shard_items")
_LOADING = {
    "checkpoint": "folder with the published files; without it they are fetched once",
    "engine": "native (ours; default) or reference (the original package)",
    "dtype": DTYPES,
}
_OF_ONE = ("tokenizer", *_LOADING, "num_codebooks", "option", "sink")  # of SOURCE OUT; a job file has tables for them


def register(add: Any) -> None:
    """Add the commands to the parser."""
    run = add(_run)
    _add_job(run)
    run.add_argument("--retry-failed", action="store_true", help="take up the items in the ledger once more")
    run.add_argument("--extend", action="store_true", help="take up what is new, changed or removed in the sources")
    run.add_argument("--shard", default="", metavar="I/N", help="only every N-th shard, from I on (Slurm arrays)")
    run.add_argument("--json", action="store_true", help="print the final status as one JSON object")
    add_progress(run)
    compose = add(_compose)
    compose.add_argument("job", metavar="JOB.toml", help="a job file with a table [compose]")
    compose.add_argument("output", nargs="?", metavar="OUT", help="output folder; overrides the job file's")
    _add_run(compose)
    compose.add_argument("--shard", default="", metavar="I/N", help="only every N-th shard, from I on (Slurm arrays)")
    compose.add_argument("--json", action="store_true", help="print the final status as one JSON object")
    add_progress(compose)
    plan = add(_plan)
    _add_job(plan)
    plan.add_argument("--sample", type=int, default=16, metavar="N", help="items to measure (default: 16)")
    plan.add_argument("--json", action="store_true", help="one JSON object for scripts")
    verify, stats = add(_verify), add(_stats)
    for command in (add(_status), verify, stats):
        command.add_argument("output", metavar="OUT", help="the output folder of a job")
        command.add_argument("--json", action="store_true", help="one JSON object for scripts")
    verify.add_argument("--one-in", type=int, default=0, metavar="N", help="encode one item in N again and compare")
    verify.add_argument("--canonical", nargs="?", type=float, const=-1.0, metavar="BOUND",
                        help="encode in float64 the items with a code whose margin is below BOUND")  # fmt: skip
    verify.add_argument("--device", default="", help="device for both, if not the job's own")
    stats.add_argument("--no-picture", action="store_true", help="write stats.json only, no stats.png")


def _run(args: argparse.Namespace) -> int:
    """Tokenize a dataset into shards; the same command again goes on where it was stopped.

    A job file says everything (`anytok init` writes one); SOURCE OUT --tokenizer NAME is the short form of one source
    and one tokenizer.
    Items that cannot be used go to OUT/failures.jsonl, and the rest goes on.

    Example:
      anytok run configs/speech_tar.toml --workers 2
      anytok run recordings/ tokens/ --tokenizer speechtokenizer --sink hf --sink webdataset --device cuda
      anytok run recordings/ tokens/ --tokenizer speechtokenizer --extend
    """
    from ..jobs import run_job

    job = _job(args)
    status = run_job(job, retry_failed=args.retry_failed, extend=args.extend, shard=args.shard, progress=args.progress)
    _show(status, args.json)
    return 1 if status.failed else 0


def _compose(args: argparse.Namespace) -> int:
    """Make training sequences of codes that `anytok run` has stored; no model is loaded.

    The job file says which vocabulary, which form of documents, what is learned, and how long sequences are. The same
    command again goes on where it was stopped; status, verify and stats are those of every job.

    Example:
      anytok compose configs/compose/anygpt.toml --workers 2
    """
    from ..jobs import load_config, run_job

    given = {name: getattr(args, name) for name in _OF_RUN if getattr(args, name) is not None}
    job = load_config(args.job).override(**given, **({"output": args.output} if args.output else {}))
    if job.compose is None:
        raise UsageError(f"{args.job} has no table [compose], which says how sequences are made: see `anytok run`")
    status = run_job(job, shard=args.shard, progress=args.progress)
    _show(status, args.json)
    return 1 if status.failed else 0


def _plan(args: argparse.Namespace) -> int:
    """Count what a job would do, and measure a sample for time and size; nothing is written.

    Example:
      anytok plan configs/speech_tar.toml
      anytok plan recordings/ --tokenizer speechtokenizer
    """
    from ..jobs import plan_job

    job = _job(args, output="tokens")  # where it would go; nothing is looked at there
    estimate = plan_job(job, sample=args.sample)
    if args.json:
        print(json.dumps(asdict(estimate), indent=2))
        return 0
    kinds = ", ".join(f"{count} {modality}" for modality, count in estimate.modalities.items())
    print(f"items      {estimate.items} ({kinds}), {_bytes(estimate.bytes)}, in {estimate.shards} shards")
    _show_beside(estimate.ignored, estimate.sidecars)
    for modality, name in estimate.specs.items():
        print(f"tokenizer  {name} ({modality})")
    print(f"time       about {_time(estimate.seconds)}, from {estimate.sampled} items")
    print(f"output     about {_bytes(estimate.output_bytes)}")
    for key, reason in estimate.sample_failures.items():
        print(f"unusable   {key}: {reason}")
    _show_warnings(estimate.sample_warnings)
    return 0


def _status(args: argparse.Namespace) -> int:
    """Say how far a job is, while it runs or after.

    Example:
      anytok status tokens/
    """
    from ..jobs import job_status

    status = job_status(args.output)
    _show(status, args.json)
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Check that every planned item is in the output or the ledger exactly once, and every byte as written.

    With --canonical, where the job has kept margins (`anytok run … --margins`), count the items whose codes are not
    those of float64, too.

    Example:
      anytok verify tokens/ --one-in 100
      anytok verify tokens/ --canonical
    """
    from ..jobs import check_canonical, verify_job

    found = verify_job(args.output, one_in=args.one_in, device=args.device)
    exact = None
    if args.canonical is not None:
        bound = {} if args.canonical == -1 else {"bound": args.canonical}
        exact = check_canonical(args.output, device=args.device, **bound)
    ok = found.ok and not (exact and exact.differ + exact.failed)
    if args.json:
        print(json.dumps({**asdict(found), "ok": ok, "canonical": exact and asdict(exact)}, indent=2))
    else:
        print(f"items      {found.items}: {found.written} written, {found.failed} in the ledger")
        print(f"checked    {found.files} files, {found.reencoded} items encoded again")
        _show_beside(found.ignored, found.sidecars)
        print("\n".join(f"problem    {problem}" for problem in found.problems) or "all is as it should be")
        if found.repair:
            print(f"repair     {found.repair}")
        if exact:
            _show_canonical(exact)
    return 0 if ok else 1


def _show_canonical(exact: Canonical) -> None:
    below = f"{exact.recomputed} of {exact.items} items have a margin below {exact.bound:g}"
    print(f"canonical  {below}: encoded in float64, {exact.differ} have other codes, {exact.failed} failed")
    for key in exact.keys:
        print(f"differs    {key}")


def _stats(args: argparse.Namespace) -> int:
    """Count lengths, tokens and the use of codebooks in a job's output, as JSON and as a picture.

    Example:
      anytok stats tokens/
    """
    from ..jobs import job_stats

    stats = job_stats(args.output, picture=not args.no_picture)
    if args.json:
        print(json.dumps(asdict(stats), indent=2))
        return 0
    print(f"items      {stats.written} of {stats.items}")
    for modality, one in stats.modalities.items():
        length = f", {_time(one.seconds)} of sound" if one.seconds else ""
        print(f"{modality:9}  {one.items} items, {one.tokens} tokens{length}")
        used = " ".join(f"{share:.0%}" for share in one.used)
        print(f"           codes in use {used}; perplexity {' '.join(f'{value:.0f}' for value in one.perplexity)}")
    if made := stats.sequences:
        fill = "" if made.fill is None else f", {made.fill:.2%} of the positions filled"
        print(f"sequences  {made.sequences}{fill}")
        print(f"tokens     {made.tokens}, {made.learned} learned; {', '.join(f'{n} {m}' for m, n in made.ids.items())}")
        print(f"documents  {made.document_quantiles['0.5']} tokens in the median, {made.cut} cut")
    for path in stats.files:
        print(path)
    return 0


def _add_job(command: argparse.ArgumentParser) -> None:
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
    _add_run(command)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", type=int, metavar="N", help="processes that work; one a GPU (default: 1)")
    command.add_argument("--runner", choices=("local", "ray"), help="this machine (default), or a Ray cluster")
    command.add_argument("--ray-address", metavar="ADDRESS", help="of a running cluster; otherwise Ray starts here")
    command.add_argument("--shard-items", type=int, metavar="N", help="items of a shard (default: 1000)")
    command.add_argument("--max-failure-rate", type=float, metavar="SHARE",
                         help="stop where a larger share of the items fails (default: 0.2)")  # fmt: skip


def _job(args: argparse.Namespace, output: str = "") -> JobConfig:
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


def _show(status: JobStatus, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(status), indent=2))
        return
    state = "finished" if status.finished else f"{status.shards_done} of {status.shards} shards"
    if not status.finished and status.shards_done == status.shards:
        state += ", not laid out for their readers: run the job again"
    print(f"{status.output}: {state}")
    print(f"items      {status.items}: {status.written} written, {status.failed} failed")
    _show_beside(status.ignored, status.sidecars)
    print(f"output     {_bytes(status.bytes_written)}, {_time(status.seconds)} of work")
    for kind, count in status.failures.items():
        print(f"failed     {count} {kind}")
    if status.extensions:
        _show_extension(status.extensions[-1])
    _show_warnings(status.warnings)
    if status.failed:
        say(f"the failures, one JSON line each: {status.ledger}")


def _show_extension(last: Extended) -> None:
    """What the last round took up that extended the job, and of what was removed the first keys."""
    words = ("new", "changed", "relabelled", "touched", "removed")
    counts = [f"{getattr(last, word)} {word}" for word in words if getattr(last, word)]
    print(f"extended   {', '.join(counts) or 'nothing'}; {last.kept} written anew without encoding")
    if keys := last.removed_keys:
        more = f" and {last.removed - len(keys)} more" if last.removed > len(keys) else ""
        print(f"removed    {', '.join(keys)}{more}; {last.changes}")


def _show_beside(ignored: Mapping[str, int], sidecars: Mapping[str, int]) -> None:
    """What the sources hold beside the items: read with them, or passed over."""
    for suffix, count in sidecars.items():
        print(f"beside     {count} {suffix}, read with their media")
    for reason, count in ignored.items():
        print(f"passed over {count} {reason}")


def _show_warnings(warnings: Iterable[Warned]) -> None:
    for one in warnings:
        print(f"warned     {one.items} of the items, first {one.first}: {one.message}")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
