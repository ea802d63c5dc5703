"""What a job costs beside the model: throughput against the bare model, memory against the number of items, and the
plan of a million paths.

    python benchmarks/jobs.py [--checkpoint FOLDER] [--items 200]      about ten minutes on two quiet cores

Throughput: recordings of 4 to 12 s through SpeechTokenizer at its published size (seeded weights, or those in
`--checkpoint`). The bare model gets the same recordings already decoded, a shard in a batch; the two take turns, and
the job's clock runs from its first committed shard to its last. `processor_ratio` compares processor time on one
shard, which other work on the machine disturbs less. Writes benchmarks/results/jobs.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fake_tokenizers")]

SHARD_ITEMS = 25
TURNS = 3


def write_recordings(folder: Path, count: int, seconds: tuple[float, float]) -> None:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        length = int(16000 * draw.uniform(*seconds))
        tone = np.sin(np.arange(length) * draw.uniform(0.01, 0.3)) * 8000 + draw.normal(0, 500, length)
        with wave.open(str(folder / f"{number:06d}.wav"), "wb") as stream:
            stream.setparams((1, 2, 16000, 0, "NONE", ""))
            stream.writeframes(tone.astype(np.int16).tobytes())


def bare_rate(tokenizer, media: list) -> float:
    """Seconds of sound encoded in a second, nothing but the model at work."""
    began = time.monotonic()
    for start in range(0, len(media), SHARD_ITEMS):
        tokenizer.encode_batch(media[start : start + SHARD_ITEMS])
    return sum(one.num_samples / one.sample_rate for one in media) / (time.monotonic() - began)


def job_rate(source: Path, output: Path, checkpoint: Path) -> float:
    """The same of a job in its stride: from the first shard's commit to the last's."""
    from anytok.jobs import JobConfig, run_job
    from anytok.jobs.commit import Store
    from anytok.jobs.shard import TALLY

    job = JobConfig.simple(str(source), str(output), "speechtokenizer", checkpoint=str(checkpoint))
    run_job(job.override(shard_items=SHARD_ITEMS))
    events = [json.loads(line) for line in (output / "_anytok" / "log.jsonl").read_text().splitlines()]
    shards = [event for event in events if event["event"] == "shard"]
    store = Store.of(output)
    sound = [np.load(store.path(one["shard"]) / TALLY)["seconds_speech"].sum() for one in shards[1:]]
    return float(sum(sound)) / (shards[-1]["time"] - shards[0]["time"])


def throughput(folder: Path, count: int, checkpoint: Path | None) -> dict[str, object]:
    """Job and bare model in turns."""
    import anytok
    from anytok.media import prepare

    write_recordings(folder / "speech", count, (4, 12))
    if checkpoint is None:
        from seeded import write_checkpoint

        draw = np.random.default_rng(1)
        waves = [draw.normal(0, 0.1, (1, 32000)).astype(np.float32) for _ in range(2)]
        checkpoint = write_checkpoint("speechtokenizer", folder, waves)
    tokenizer = anytok.load_tokenizer("speechtokenizer", checkpoint=checkpoint)
    media = [prepare(path, tokenizer.spec) for path in sorted((folder / "speech").iterdir())]
    bare_rate(tokenizer, media[:5])  # warm
    turns = []
    for turn in range(TURNS):
        turns.append((bare_rate(tokenizer, media), job_rate(folder / "speech", folder / f"out-{turn}", checkpoint)))
    bare, job = ([turn[place] for turn in turns] for place in (0, 1))
    return {
        "items": count,
        "bare_seconds_per_second": [round(rate, 2) for rate in bare],
        "job_seconds_per_second": [round(rate, 2) for rate in job],
        "median_ratio": round(statistics.median(one[1] / one[0] for one in turns), 3),
        "processor_ratio": round(
            statistics.median(
                processor_ratio(tokenizer, media, folder / "speech", folder / f"shard-{turn}", checkpoint)
                for turn in range(TURNS)
            ),
            3,
        ),
    }


def processor_ratio(tokenizer, media: list, source: Path, output: Path, checkpoint: Path) -> float:
    """Processor time of the bare model on one shard's items over that of a worker which encodes and writes them."""
    from anytok.jobs import JobConfig
    from anytok.jobs.commit import Store
    from anytok.jobs.plan import freeze
    from anytok.jobs.worker import Task, Worker

    job = JobConfig.simple(str(source), str(output), "speechtokenizer", checkpoint=str(checkpoint))
    Store.of(output).create()
    worker = Worker(job.override(shard_items=SHARD_ITEMS))
    freeze(worker.config, worker.specs, None, worker.store.folder)
    began = time.process_time()
    tokenizer.encode_batch(media[:SHARD_ITEMS])
    bare = time.process_time() - began
    started = worker.start(Task(0))
    worker.commit(started, worker.results(started, lambda *_: None))
    worker.work.close()
    return bare / (time.process_time() - began - bare)


def peak_of_job(folder: Path, count: int) -> dict[str, float]:
    """Largest resident set, in MB, of the process that runs a job of so many short items, and of its helpers."""
    source = folder / f"in-{count}"
    write_recordings(source, min(count, 1000), (0.05, 0.1))
    for number in range(1000, count):
        os.link(source / f"{number % 1000:06d}.wav", source / f"{number:06d}.wav")
    return measured("run", str(source), str(folder / f"out-{count}"))


def plan_of(folder: Path, count: int) -> dict[str, float]:
    """Seconds and memory of the plan of `count` paths, without a model."""
    (folder / "paths").mkdir()
    for place in range(-(-count // 1000)):
        below = folder / "paths" / f"{place:05d}"
        below.mkdir()
        (below / "000.wav").write_bytes(b"x")
        for number in range(1, min(1000, count - 1000 * place)):
            os.link(below / "000.wav", below / f"{number:03d}.wav")
    return measured("plan", str(folder / "paths"), str(folder / "plan"))


def measured(what: str, source: str, output: str) -> dict[str, float]:
    """`what` in a fresh process: {items, seconds, own_cpu_seconds, own_mb, helper_mb}."""
    command = [sys.executable, __file__, "--inner", what, source, output]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def inner(what: str, source: str, output: str) -> None:
    from clock import status

    from anytok.jobs import JobConfig
    from anytok.jobs.plan import freeze
    from anytok.jobs.run import run_job
    from anytok.registry import find

    job = JobConfig.simple(source, output, "fake-speech", shard_items=100 if what == "run" else 1000)
    began, worked = time.monotonic(), time.process_time()
    if what == "run":
        items = run_job(job).written
    else:
        items = freeze(job, {"speech": find("fake-speech").spec}, None, Path(output) / "_anytok").num_items
    figures = {"seconds": time.monotonic() - began, "own_cpu_seconds": time.process_time() - worked}
    figures["own_mb"] = status("VmHWM") / 1024  # what getrusage says begins with the caller's
    figures["helper_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"items": items, **{name: round(value, 1) for name, value in figures.items()}}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--items", type=int, default=200, help="recordings for the throughput")
    parser.add_argument("--paths", type=int, default=1_000_000)
    parser.add_argument("--inner", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        return inner(*arguments.inner)
    from machine import machine

    folder = Path(tempfile.mkdtemp(prefix="jobs-"))
    try:
        result = {
            "plan": plan_of(folder, arguments.paths),
            "memory": {str(count): peak_of_job(folder, count) for count in (1000, 10000)},
            "throughput": throughput(folder, arguments.items, arguments.checkpoint),
            **machine(),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    path = ROOT / "benchmarks" / "results" / "jobs.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
