"""Jobs killed with SIGKILL at random moments, restarted with other workers, compared with an undisturbed run.

    python benchmarks/faults.py [--runs 100] [--ray 10] [--compose]

Each run tokenizes 240 small recordings with a fake tokenizer (a millisecond an item) in 24 shards; with --compose it
composes packed sequences of the codes that such a run has stored. Its lives end
in a kill of everything, of the driver alone, or of a worker, when a random number of shards is there; the number
of workers goes 1 → 2 → 1; the last life of some runs is on Ray. Then every item must be in the output once, and
every file must have the bytes of the undisturbed run; exits 1 otherwise. Writes benchmarks/results/faults.json, or
faults-compose.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fake_tokenizers")]

NUM_ITEMS, SHARD_ITEMS = 240, 10
WORKERS = (1, 2, 1)  # of the lives of a run, in turn
HARM = ("lost items", "doubled items", "unreadable files", "differing files", "files left over", "failed lives")
LIFE_SECONDS = 180  # no life needs as long; one that does is counted as hung


def write_source(folder: Path) -> None:
    """240 recordings of 25 to 200 ms, four of them broken."""
    folder.mkdir(parents=True)
    random_numbers = np.random.default_rng(0)
    for number in range(NUM_ITEMS):
        values = random_numbers.integers(-3000, 3000, random_numbers.integers(400, 3200), dtype=np.int16)
        with wave.open(str(folder / f"{number:04d}.wav"), "wb") as stream:
            stream.setparams((1, 2, 16000, 0, "NONE", ""))
            stream.writeframes(values.tobytes())
    for number in range(0, NUM_ITEMS, 60):
        (folder / f"{number:04d}.wav").write_bytes(b"no sound")


def live(source: str, output: str, workers: str, runner: str) -> None:
    """One life: start or resume the job. Codes that are stored are composed, media are tokenized."""
    from anytok.compose import Form
    from anytok.jobs import JobConfig, run_job
    from anytok.jobs.config import ComposeConfig, SinkConfig, SourceConfig

    if (Path(source) / "_anytok").is_dir():
        compose = ComposeConfig(Form("item", seed=3), length=20, window=4, shuffle_files=3)
        vocabulary = str(Path(source) / "vocabulary.json")
        sources, sinks = (SourceConfig(source, "codes", weight=1.5),), (SinkConfig("parquet"), SinkConfig("megatron"))
        job = JobConfig(output, sources, compose=compose, sinks=sinks, vocabulary=vocabulary, shard_items=SHARD_ITEMS)
    else:
        job = JobConfig.simple(source, output, "fake-speech", shard_items=SHARD_ITEMS)
        job = job.override(sinks=(SinkConfig("parquet"), SinkConfig("webdataset")))
    run_job(job.override(workers=int(workers), runner=runner))


def store_codes(source: Path, output: Path) -> None:
    """Codes of the recordings, and a vocabulary of which some runs are longer than a sequence of 20 ids."""
    from anytok.registry import find
    from anytok.vocab import build_vocabulary, segment_of

    if said := finish(start(source, output, 1)):
        raise RuntimeError(said)
    segment = segment_of(find("fake-speech").spec, pattern="flat-delay")
    build_vocabulary("faults", 100, [segment]).save(output / "vocabulary.json")


def start(source: Path, output: Path, workers: int, runner: str = "local") -> subprocess.Popen:
    command = [sys.executable, __file__, "--live", str(source), str(output), str(workers), runner]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> str:
    """Wait for a life that nobody kills; what it said if it failed."""
    try:
        _, said = process.communicate(timeout=LIFE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"hung for {LIFE_SECONDS} s"
    return said.decode()[-2000:] if process.returncode else ""


def contents(output: Path) -> dict[str, str]:
    """SHA-256 of every result, by its path."""
    views = [path for name in ("parquet", "webdataset", "megatron") for path in (output / name).rglob("*")]
    kept = [path for path in (output / "_anytok" / "shards").rglob("*") if path.name != "record.json"]
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in views + kept
        if path.is_file()
    }


def num_shards(output: Path) -> int:
    folder = output / "_anytok" / "shards"
    return len(os.listdir(folder)) if folder.is_dir() else 0


def kill(process: subprocess.Popen, target: str, draw: random.Random) -> bool:
    """Kill everything, the driver alone, or one of its workers; whether there was something to kill."""
    try:
        if target == "all":
            os.killpg(process.pid, signal.SIGKILL)
        elif target == "driver":
            process.kill()
        else:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(draw.choice(children)), signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError, IndexError):
        return False
    return process.returncode is None


def disturb(process: subprocess.Popen, output: Path, target: str, draw: random.Random) -> bool:
    """Kill when a random number of shards more is there, or at a random moment before the first."""
    there = num_shards(output)
    wanted = there + draw.randint(0, max(0, NUM_ITEMS // SHARD_ITEMS - there))
    if draw.random() < 0.2:
        time.sleep(draw.random())  # while it starts and plans
    else:
        while num_shards(output) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.03)
    return process.poll() is None and kill(process, target, draw)


def disturbed_run(source: Path, output: Path, reference: dict[str, str], seed: int, last: str = "local") -> Counter:
    """A run of several lives; what went wrong, and how often it was killed."""
    draw, counts = random.Random(seed), Counter(runs=1)
    for life, workers in enumerate(WORKERS[: draw.randint(1, 3)]):
        target = draw.choice(["all", "driver", "worker"])
        process = start(source, output, workers, "ray" if last == "ray" and life == 2 else "local")
        if disturb(process, output, target, draw):
            counts.update([f"kills of {target}"])
        counts["lives"] += 1
        if target == "worker":
            counts["failed lives"] += bool(finish(process))  # it has to recover by itself
        process.wait()
        process.stderr.close()
    said = finish(start(source, output, draw.choice([1, 2]), last))
    counts["lives"] += 1
    counts["failed lives"] += bool(said)
    if said:
        print(said, file=sys.stderr)
    counts.update(compare(output, reference))
    return counts


def compare(output: Path, reference: dict[str, str]) -> Counter:
    """Items lost and doubled, files that cannot be read or differ from the undisturbed run's."""
    import pyarrow.parquet as pq

    counts, keys = Counter(), Counter()
    for path in sorted((output / "parquet").glob("*")):
        try:
            keys.update(keys_of(pq.read_table(path, page_checksum_verification=True)))
        except OSError:
            counts["unreadable files"] += 1
    ledger = output / "failures.jsonl"
    keys.update(json.loads(line)["key"] for line in ledger.open()) if ledger.exists() else None
    counts["lost items"] = num_items(output) - len(keys)
    counts["doubled items"] = sum(count - 1 for count in keys.values())
    found = contents(output)
    differing = [name for name in found.keys() | reference.keys() if found.get(name) != reference.get(name)]
    counts["differing files"] = len(differing)
    if differing:
        print(output, "differs in", differing, file=sys.stderr)
    left = [*(output / "_anytok" / "staging").iterdir(), *output.rglob("*.tmp")]
    counts["files left over"] = len(left)
    return counts


def keys_of(table) -> list[str]:
    """The keys of a table's items, or of the documents that begin in its sequences."""
    if "key" in table.column_names:
        return table["key"].to_pylist()
    columns = (table[name].combine_chunks().flatten().to_pylist() for name in ("documents", "offsets"))
    return [key for key, offset in zip(*columns, strict=True) if offset == 0]


def num_items(output: Path) -> int:
    return json.loads((output / "_anytok" / "plan.json").read_text())["round"]["num_items"]


def measure(num_runs: int, num_ray: int, show: bool = False, compose: bool = False) -> dict[str, object]:
    """All runs, two at a time, in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    source, began, total = folder / "source", time.monotonic(), Counter()
    try:
        write_source(source)
        if compose:
            store_codes(source, folder / "stored")
            source = folder / "stored"
        if said := finish(start(source, folder / "undisturbed", 1)):
            raise RuntimeError(said)
        reference = contents(folder / "undisturbed")
        items, shards = num_items(folder / "undisturbed"), num_shards(folder / "undisturbed")
        on_ray = {number * num_runs // num_ray for number in range(num_ray)}

        def one(seed: int) -> Counter:
            last = "ray" if seed in on_ray else "local"
            counts = disturbed_run(source, folder / f"run-{seed}", reference, seed, last)
            shutil.rmtree(folder / f"run-{seed}")
            return counts + Counter({"runs that ended on ray": last == "ray"})

        with ThreadPoolExecutor(2) as pool:
            for number, counts in enumerate(pool.map(one, range(num_runs)), 1):
                total.update(counts)
                if show:
                    print(f"{number} of {num_runs} runs", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        **{name: total[name] for name in ("runs", "lives", "runs that ended on ray")},
        "kills": sum(count for name, count in total.items() if name.startswith("kills of ")),
        **{name: total[name] for name in sorted(total) if name.startswith("kills of ")},
        **{name: total[name] for name in HARM},
        "items": items,
        "shards": shards,
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--ray", type=int, default=10, help="how many of them end on Ray")
    parser.add_argument("--compose", action="store_true", help="kill jobs that compose stored codes")
    parser.add_argument("--live", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.live:
        return live(*arguments.live)
    from machine import machine

    result = {**measure(arguments.runs, arguments.ray, show=True, compose=arguments.compose), **machine()}
    path = ROOT / "benchmarks" / "results" / ("faults-compose.json" if arguments.compose else "faults.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path.read_text())
    raise SystemExit(any(result[name] for name in HARM))


if __name__ == "__main__":
    main()
