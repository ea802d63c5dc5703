"""What a finished job holds: lengths, tokens, and how well the codebooks are used, or the sequences are filled."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics.codes import perplexity_of, used
from .commit import write_aside
from .shard import TALLY
from .status import open_failures, open_job

__all__ = ["JobStats", "ModalityStats", "SequenceStats", "job_stats"]


@dataclass(frozen=True)
class ModalityStats:
    """Of one modality. `used` and `perplexity` have a number for each codebook: the share of its codes that occur,
    and exp(entropy), the number of evenly used codes that would be as surprising."""

    items: int
    frames: int
    tokens: int  # codes: frames × codebooks
    seconds: float  # of sound
    frames_quantiles: Mapping[str, int]  # "0", "0.05", "0.5", "0.95", "1"
    codebook_size: int
    used: tuple[float, ...]
    perplexity: tuple[float, ...]


@dataclass(frozen=True)
class SequenceStats:
    """Of a job that composes. `fill` is the share of the positions that ids stand at, where sequences have a length;
    `ids` goes by modality, "text" among them."""

    sequences: int
    tokens: int
    learned: int  # tokens that the loss counts
    fill: float | None
    cut: int  # documents longer than a sequence
    ids: Mapping[str, int]
    document_quantiles: Mapping[str, int]  # ids of a document: "0", "0.05", "0.5", "0.95", "1"


@dataclass(frozen=True)
class JobStats:
    output: str
    items: int
    written: int
    failures: Mapping[str, int]
    modalities: Mapping[str, ModalityStats]
    sequences: SequenceStats | None
    files: tuple[str, ...]  # what was written: stats.json, stats.png


def job_stats(output: str | Path, *, picture: bool = True) -> JobStats:
    """Count what the job in `output` has written so far; leaves OUT/stats.json and, unless `picture` is False,
    OUT/stats.png. A job that composes has no picture.

    Computed anew from the shards, never carried on from an earlier count. Raises UsageError if there is no job.
    """
    plan, store = open_job(output)
    counts = {modality: _Count(spec.num_codebooks, spec.codebook_size) for modality, spec in plan.specs.items()}
    composed = _Composed() if plan.record["work"].get("compose") else None
    written = 0
    for shard in sorted(store.committed() & plan.live):
        written += store.record(shard)["written"]
        with np.load(store.path(shard) / TALLY) as tally:
            if composed:
                composed.add(tally)
            for modality, count in counts.items():
                if f"usage_{modality}" in tally:
                    count.add(tally[f"frames_{modality}"], tally[f"seconds_{modality}"], tally[f"usage_{modality}"])
    kinds: dict[str, int] = {}
    for failure in open_failures(plan, store):
        kinds[failure["kind"]] = kinds.get(failure["kind"], 0) + 1
    folder = Path(output)
    modalities = {modality: count.stats() for modality, count in counts.items() if count.frames.sum()}
    picture = picture and composed is None
    files = tuple(str(folder / name) for name in ["stats.json", *(["stats.png"] if picture else [])])
    sequences = composed.stats(plan.record["work"]["compose"]["length"]) if composed else None
    stats = JobStats(str(output), plan.num_items, written, kinds, modalities, sequences, files)
    write_aside(folder, "stats.json", [json.dumps(asdict(stats), indent=1).encode() + b"\n"])
    if picture:
        draw(counts, plan.specs, folder / "stats.png")
    return stats


class _Composed:
    """Sums over shards of sequences."""

    def __init__(self) -> None:
        self._lengths = np.zeros(1, np.int64)  # how many documents have so many ids
        self._sums: Counter[str] = Counter()

    def add(self, tally: Mapping[str, np.ndarray]) -> None:
        self._lengths = _added(self._lengths, tally["documents"])
        self._sums["sequences"] += len(tally["sequences"])
        self._sums["tokens"] += int(tally["sequences"].sum(dtype=np.int64))
        for name in tally:
            if name in ("learned", "cut", "text") or name.startswith("ids_"):
                self._sums[name] += int(tally[name][0])

    def stats(self, length: int) -> SequenceStats:
        sums = self._sums
        fill = round(sums["tokens"] / (length * sums["sequences"]), 6) if length and sums["sequences"] else None
        ids = {name.removeprefix("ids_"): count for name, count in sums.items() if name[:4] in ("ids_", "text")}
        return SequenceStats(
            sums["sequences"], sums["tokens"], sums["learned"], fill, sums["cut"], ids, _quantiles(self._lengths)
        )


class _Count:
    """Sums over shards, in memory that does not grow with the items."""

    def __init__(self, num_codebooks: int, codebook_size: int) -> None:
        self.usage = np.zeros((num_codebooks, codebook_size), np.int64)
        self.frames = np.zeros(1, np.int64)  # how many items have so many frames
        self.seconds = 0.0

    def add(self, frames: np.ndarray, seconds: np.ndarray, usage: np.ndarray) -> None:
        self.frames = _added(self.frames, frames)
        self.seconds += float(seconds.sum())
        self.usage[: len(usage)] += usage

    def stats(self) -> ModalityStats:
        items = int(self.frames.sum())
        total = int((self.frames * np.arange(len(self.frames))).sum())
        return ModalityStats(
            items, total, int(self.usage.sum()), round(self.seconds, 3), _quantiles(self.frames), self.usage.shape[1],
            tuple(used(self.usage).round(6).tolist()),
            tuple(perplexity_of(self.usage).round(3).tolist()),
        )  # fmt: skip


def _added(counts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """How many items have each length, with more of them."""
    more = np.bincount(lengths)
    size = max(len(counts), len(more))
    return np.pad(counts, (0, size - len(counts))) + np.pad(more, (0, size - len(more)))


def _quantiles(counts: np.ndarray) -> dict[str, int]:
    """Lengths that such shares of the items have at most, by how many have each."""
    ranks = np.cumsum(counts)
    wanted = {share: max(1, np.ceil(share * ranks[-1])) for share in (0, 0.05, 0.5, 0.95, 1)}
    return {f"{share:g}": min(int(np.searchsorted(ranks, rank)), len(counts) - 1) for share, rank in wanted.items()}


def draw(counts: Mapping[str, _Count], specs: Mapping[str, Any], path: Path) -> None:
    """A row for each modality: lengths, codes by how often they occur, perplexity of each codebook."""
    from matplotlib.figure import Figure

    shown = {modality: count for modality, count in counts.items() if count.frames.sum()} or dict(counts)
    figure = Figure(figsize=(13, 3.4 * len(shown)), layout="constrained")
    for row, (modality, count) in zip(figure.subplots(len(shown), 3, squeeze=False), shown.items(), strict=True):
        spec, (lengths, usage, books) = specs[modality], row
        rate = spec.frame_rate or 1
        lengths.hist(np.arange(len(count.frames)) / rate, bins=40, weights=count.frames)
        lengths.set(xlabel="seconds" if spec.frame_rate else "frames", ylabel="items", title=f"{modality}: {spec.id}")
        for number, layer in enumerate(count.usage):
            usage.plot(np.sort(layer)[::-1] / max(1, layer.sum()), label=f"codebook {number + 1}")
        usage.set(xscale="symlog", yscale="symlog", xlabel="codes, most frequent first", ylabel="share")
        usage.set_yscale("log")
        usage.legend(fontsize="x-small", ncols=2)
        values = perplexity_of(count.usage)
        books.bar(np.arange(1, len(values) + 1), values)
        books.axhline(spec.codebook_size, color="grey", linestyle=":")
        books.set(xlabel="codebook", ylabel="perplexity", title=f"of {spec.codebook_size} codes")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_aside(path.parent, path.name, [stream.getvalue()])
