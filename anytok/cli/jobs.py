"""`run`, `compose`, `plan`, `status`, `verify`, `stats`: datasets → shards, and what became of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .job_options import OF_RUN, add_job, add_run, job_of
from .loading import add_progress, say

if TYPE_CHECKING:
    from ..jobs import Canonical, JobStatus
    from ..jobs.status import Extended
    from ..jobs.warned import Warned

__all__ = ["register"]


def register(add: Any) -> None:
    """Add the commands to the parser."""
    run = add(_run)
    add_job(run)
    run.add_argument("--retry-failed", action="store_true", help="take up the items in the ledger once more")
    run.add_argument("--extend", action="store_true", help="take up what is new, changed or removed in the sources")
    run.add_argument("--shard", default="", metavar="I/N", help="only every N-th shard, from I on (Slurm arrays)")
    run.add_argument("--json", action="store_true", help="print the final status as one JSON object")
    add_progress(run)
    compose = add(_compose)
    compose.add_argument("job", metavar="JOB.toml", help="a job file with a table [compose]")
    compose.add_argument("output", nargs="?", metavar="OUT", help="output folder; overrides the job file's")
    add_run(compose)
    compose.add_argument("--shard", default="", metavar="I/N", help="only every N-th shard, from I on (Slurm arrays)")
    compose.add_argument("--json", action="store_true", help="print the final status as one JSON object")
    add_progress(compose)
    plan = add(_plan)
    add_job(plan)
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

    job = job_of(args)
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

    given = {name: getattr(args, name) for name in OF_RUN if getattr(args, name) is not None}
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

    job = job_of(args, output="tokens")  # where it would go; nothing is looked at there
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
