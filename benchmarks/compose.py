"""What composing stored codes costs: tokens a second, how full sequences are, memory, and time against encoding.

    python benchmarks/compose.py [--items 1000000] [--checkpoints FOLDER]

Rates are of one worker in this process, from stored parquet to written parquet, by processor time: AnyGPT's choice of
layers (one of speech, all four of music) over the small models' vocabulary, packed to 4,096. Memory is of whole jobs
of captioned pictures, in processes of their own. Encoding is that of the small models on all cores, by the clock, and
composing of the same codes on as many; with --checkpoints, a folder of speed.py's with one for each of AnyGPT's
tokenizers, also theirs at the published sizes. Writes benchmarks/results/compose.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

LENGTH, SHARD_ITEMS, FILE_ITEMS = 4096, 10_000, 1000
RUNS = {"speech": 1}
PUBLISHED = {"image": "seed-2", "speech": "speechtokenizer", "music": "encodec-32khz"}  # AnyGPT's
TEXTS = {
    "image": "a small red house by the sea, in the evening",
    "speech": "and then she said that it was late already, so we all went home",
    "music": "a slow waltz for two guitars",
}
MIX = {"image": 0.6, "speech": 0.36, "music": 0.04}
SECONDS = {"speech": (2, 15), "music": (5, 20)}
TURNS = 3


def spec_of(modality: str):
    from anytok.vocab import load_vocabulary

    [segment] = [one for one in load_vocabulary("mini").layout.segments if one.modality == modality]
    return segment.spec


def codes_of(modality: str, draw: np.random.Generator):
    """Codes of a picture, or of sound of a drawn length, at random."""
    from anytok import Codes

    spec = spec_of(modality)
    frames = spec.num_frames or int(50 * draw.uniform(*SECONDS[modality]))
    return Codes(draw.integers(0, spec.codebook_size, (spec.num_codebooks, frames)), spec)


def store(folder: Path, items: Iterator, count: int) -> Path:
    """(modality, codes) → the parquet files that a job would have written of them, `count` in all."""
    from anytok.jobs.items import Item
    from anytok.jobs.shard import Row, Shard
    from anytok.jobs.sinks.tables import write_parquet

    folder.mkdir(parents=True)
    specs = {modality: spec_of(modality) for modality in TEXTS}
    for number in range(-(-count // FILE_ITEMS)):
        rows = []
        for place in range(min(FILE_ITEMS, count - number * FILE_ITEMS)):
            modality, codes = next(items)
            rows.append(Row(Item(f"{number:06d}/{place:03d}", modality, "", text=TEXTS[modality]), codes))
        write_parquet(folder / f"{number:06d}", Shard(number, rows, specs, "", None))
    return folder


def mixed(draw: np.random.Generator, shares: dict[str, float]) -> Iterator:
    while True:
        modality = str(draw.choice(list(shares), p=list(shares.values())))
        yield modality, codes_of(modality, draw)


def job(source: Path, output: Path, kind: str = "caption"):
    from anytok.compose import Form
    from anytok.jobs import JobConfig
    from anytok.jobs.config import ComposeConfig, RunsConfig, SourceConfig

    more = {"template": "mini", "loss": "answers"} if kind == "conversation" else {}
    form = Form(kind, bos="<s>", **({"eos": "</s>"} if not more else {}), **more)
    compose = ComposeConfig(form, LENGTH, runs={name: RunsConfig(num_codebooks=count) for name, count in RUNS.items()})
    sources = (SourceConfig(str(source / "*.parquet"), "codes"),)
    return JobConfig(str(output), sources, compose=compose, vocabulary="mini", shard_items=SHARD_ITEMS)


def composed(source: Path, output: Path, kind: str = "caption") -> dict[str, float]:
    """One worker's time over all shards of a job, from reading to the commit, and what came of it."""
    from anytok.jobs import job_stats
    from anytok.jobs.commit import Store
    from anytok.jobs.plan import freeze
    from anytok.jobs.worker import Task, Worker

    Store.of(output).create()
    worker = Worker(job(source, output, kind))
    plan = freeze(worker.config, worker.specs, worker.work.vocabulary, worker.store.folder)
    began = time.process_time()
    for shard in range(plan.num_shards):
        started = worker.start(Task(shard))
        worker.commit(started, worker.results(started, lambda *_: None))
    seconds, stats = time.process_time() - began, job_stats(output).sequences
    return {
        "tokens_per_item": round(stats.tokens / plan.num_items, 1),
        "million_per_s": round(stats.tokens / seconds / 1e6, 3),
        "fill": stats.fill,
        "items": plan.num_items,
        "seconds_per_item": seconds / plan.num_items,
    }


def rates(folder: Path) -> list[dict[str, object]]:
    pictures = store_pictures(folder / "pictures", 10_000)
    mix = store(folder / "mix", mixed(np.random.default_rng(0), MIX), 10_000)
    kinds = {
        "captioned pictures": (pictures, "caption"),
        "a mix of pictures, speech and music": (mix, "caption"),
        "the mix, as conversations": (mix, "conversation"),
    }
    found = []
    for number, (name, (source, kind)) in enumerate(kinds.items()):
        turns = [composed(source, folder / f"rate-{number}-{turn}", kind) for turn in range(TURNS)]
        best = sorted(turns, key=lambda one: one["million_per_s"])[TURNS // 2]
        found.append({"documents": name, **best, "million_per_s_all": [one["million_per_s"] for one in turns]})
    return found


def store_pictures(folder: Path, count: int) -> Path:
    """Many captioned pictures: one file's codes under the keys of many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    store(folder, mixed(np.random.default_rng(0), {"image": 1.0}), min(count, FILE_ITEMS))
    table = pq.read_table(folder / "000000.parquet")
    for number in range(1, -(-count // FILE_ITEMS)):
        keys = pa.array([f"{number:06d}/{place:03d}" for place in range(table.num_rows)])
        pq.write_table(table.set_column(0, "key", keys), folder / f"{number:06d}.parquet", compression="zstd")
    return folder


def memory(folder: Path, count: int) -> dict[str, float]:
    source = store_pictures(folder / f"in-{count}", count)
    command = [sys.executable, __file__, "--inner", str(source), str(folder / f"out-{count}")]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def inner(source: str, output: str) -> None:
    from clock import status

    from anytok.jobs import job_stats, run_job

    began = time.monotonic()
    done = run_job(job(Path(source), Path(output)).override(workers=os.cpu_count() or 1))
    seconds, stats = time.monotonic() - began, job_stats(output).sequences
    figures = {"items": done.written, "seconds": round(seconds, 1), "fill": stats.fill}
    figures["million_per_s"] = round(stats.tokens / seconds / 1e6, 3)
    figures["own_mb"] = round(status("VmHWM") / 1024, 1)  # what getrusage says begins with the caller's
    figures["worker_mb"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1)
    print(json.dumps(figures))


def media(count: int) -> dict[str, list]:
    """Six times `count` pictures, three times `count` clips of speech of 5 s, and `count` of music of 10 s."""
    import anytok

    draw = np.random.default_rng(0)
    return {
        "image": [draw.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(6 * count)],
        "speech": [anytok.Audio(draw.normal(0, 0.1, (1, 80_000)).astype(np.float32), 16_000) for _ in range(3 * count)],
        "music": [anytok.Audio(draw.normal(0, 0.1, (1, 320_000)).astype(np.float32), 32_000) for _ in range(count)],
    }


def encoded(tokenizers: dict, items: dict[str, list]) -> tuple[list, float]:
    """(modality, codes) of each item, and the seconds that one takes, batched."""
    codes, seconds = [], 0.0
    for modality, some in items.items():
        tokenizers[modality].encode_batch(some[:2])  # warm
        began = time.perf_counter()
        codes += [(modality, one) for one in tokenizers[modality].encode_batch(some)]
        seconds += time.perf_counter() - began
    return codes, seconds / len(codes)


def encoding(folder: Path, checkpoints: Path | None) -> dict[str, float]:
    """Seconds an item of encoding, and of a job that composes the small models' codes, many times under other keys:
    both on all cores, the job in its stride, between its first and its last commit."""
    import anytok
    from anytok.jobs import run_job

    suite = anytok.load_multimodal("mini")
    codes, encode_s = encoded({modality: suite.tokenizer(modality) for modality in TEXTS}, media(8))
    again = 400
    specs = {modality: spec_of(modality) for modality in TEXTS}
    many = ((modality, anytok.Codes(one.values, specs[modality])) for _ in range(again) for modality, one in codes)
    source = store(folder / "encoded", many, again * len(codes))
    turns = []
    for turn in range(TURNS):
        output = folder / f"encoded-{turn}"
        run_job(job(source, output).override(workers=os.cpu_count() or 1, shard_items=1000))
        events = [json.loads(line) for line in (output / "_anytok" / "log.jsonl").read_text().splitlines()]
        shards = [event for event in events if event["event"] == "shard"]
        done = sum(event["items"] for event in shards[1:])
        turns.append((shards[-1]["time"] - shards[0]["time"]) / done)
    compose_s = sorted(turns)[TURNS // 2]
    found = {"items": len(codes), "encode_s": encode_s, "compose_s": compose_s, "ratio": round(encode_s / compose_s, 1)}
    if checkpoints is None:
        return found
    published = {
        modality: anytok.load_tokenizer(name, checkpoint=checkpoints / name) for modality, name in PUBLISHED.items()
    }
    few, published_s = encoded(published, media(2))
    return found | {
        "published_items": len(few), "published_s": published_s, "published_ratio": round(published_s / compose_s),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="of the largest job")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "compose.json")
    parser.add_argument("--inner", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        return inner(*arguments.inner)
    from machine import machine

    with tempfile.TemporaryDirectory(prefix="compose-", dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        result = {"rates": rates(folder), "encoding": encoding(folder, arguments.checkpoints)}
        sizes = [arguments.items // 100, arguments.items // 10, arguments.items]
        result["memory"] = [memory(folder, count) for count in sizes]
    arguments.out.write_text(json.dumps({**result, **machine()}, indent=1) + "\n")
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
