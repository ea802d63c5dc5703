"""What a cache of codes costs, spares and survives, on small tokenizers, offline.

    python benchmarks/cache.py PART … [--items 10000] [--kills 200]

Parts, which go into benchmarks/results/cache.json one by one, beside what is there:
  stores  SQLite against LMDB (`pip install lmdb`): an entry read and written, alone and by eight processes at once;
  hit     what a hit takes beside preparing and hashing, alone and with eight processes on the folder;
  kills   eight processes on one folder, killed at random and started anew, until each has had all `--items`:
          what was acknowledged and is lost, wrong, or torn; and the same with a limit that half of them fit in;
  epoch   two epochs of a DataLoader over recordings, with the codes computed in its workers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "fake_tokenizers")]

import anytok  # noqa: E402
from anytok.cache import cached  # noqa: E402
from anytok.cache.entry import key_of  # noqa: E402
from anytok.cache.store import NAME, open_store  # noqa: E402
from anytok.media import prepare  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "cache.json"
PROCESSES = 8
HARMS = ("wrong", "lost", "unlike", "torn", "failed otherwise")


def item(number: int) -> anytok.Audio:
    """A recording of its own for each number, of 2 to 29 frames."""
    samples = np.random.default_rng(number).integers(-3000, 3000, 320 * (2 + number % 28))
    return anytok.Audio((samples / 32768).astype(np.float32), 16000)


# Processes that are killed


def worker(folder: Path, seed: int, items: int) -> int:
    """Encode every item once, in an order of its own and in batches, and write down which were encoded (`encoded`) and
    which were returned (`returned`), as it happens. Returns 7 where codes are wrong."""
    plain, expected = (anytok.load_tokenizer("fake-speech", milliseconds=0) for _ in range(2))
    logs = {name: os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for name in ("encoded", "returned")}
    numbers: dict[bytes, int] = {}  # of media, by their first samples
    encode = plain._encode

    def logged(prepared: Iterable[Any]) -> Any:
        ready = list(prepared)
        time.sleep(0.002)  # as long as another may want the same, or a signal arrive
        os.write(logs["encoded"], "".join(f"{numbers[_start(one)]}\n" for one in ready).encode())
        return encode(ready)

    plain._encode = logged  # type: ignore[method-assign]
    tokenizer, rng = cached(plain, folder / "codes"), random.Random(seed)
    waiting = rng.sample(range(items), items)
    while waiting:
        batch = [waiting.pop() for _ in range(min(len(waiting), rng.randint(1, 16)))]
        media = [item(number) for number in batch]
        numbers.update((_start(one), number) for one, number in zip(media, batch, strict=True))
        if tokenizer.encode_batch(media) != expected.encode_batch(media):
            return 7
        os.write(logs["returned"], "".join(f"{number}\n" for number in batch).encode())
    return 8 if tokenizer.counts.damaged else 0


def _start(medium: Any) -> bytes:
    return medium.wave[0, :64].tobytes()


def killed(folder: Path, items: int, kills: int, limit: int | None = None, seed: int = 0) -> dict[str, Any]:
    """PROCESSES workers on one folder; `kills` times a random one is killed, and another takes its place. All then
    finish. What was returned must be in the folder (but for what a `limit` drives out), and equal."""
    folder.mkdir(parents=True)
    open_store(folder / "codes").set_limit(limit or 1 << 40)
    rng, started = random.Random(seed), 0

    def start() -> subprocess.Popen:
        nonlocal started
        started += 1
        line = [sys.executable, __file__, "worker", str(folder), str(seed * 100_000 + started), str(items)]
        return subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"})

    running = [start() for _ in range(PROCESSES)]
    codes: Counter[int] = Counter()
    while not (folder / "returned").exists():  # Python starts up
        time.sleep(0.05)
    for _ in range(kills):
        time.sleep(rng.uniform(0.01, 0.6))
        place = rng.randrange(PROCESSES)
        running[place].send_signal(signal.SIGKILL)
        codes[running[place].wait()] += 1
        running[place] = start()
    codes.update(one.wait() for one in running)
    return _checked(folder, items, limit) | {
        "items": items, "kills": codes[-signal.SIGKILL], "finished": codes[0], "wrong": codes[7],
        "failed otherwise": sum(codes.values()) - codes[0] - codes[7] - codes[-signal.SIGKILL],
    }  # fmt: skip


def _checked(folder: Path, items: int, limit: int | None) -> dict[str, Any]:
    """What the folder holds, against what the workers wrote down."""
    encoded, returned = (Counter(map(int, (folder / name).read_text().split())) for name in ("encoded", "returned"))
    intact = _integrity(folder / "codes") == "ok"
    plain, expected = (anytok.load_tokenizer("fake-speech", milliseconds=0) for _ in range(2))
    tokenizer, absent = cached(plain, folder / "codes"), []
    encode = plain._encode

    def noted(prepared: Iterable[Any]) -> Any:
        absent.extend(ready := list(prepared))
        return encode(ready)

    plain._encode = noted  # type: ignore[method-assign]
    media = [item(number) for number in sorted(returned)]
    found = zip(tokenizer.encode_batch(media), expected.encode_batch(media), strict=True)
    unlike = sum(one != other for one, other in found)
    number, total, most = open_store(folder / "codes").size()
    return {
        "returned": len(returned), "encoded": sum(encoded.values()),
        "encoded again": sum(encoded.values()) - len(encoded),
        # Which of the two an absent item was, nobody can tell: without a limit nothing is driven out.
        **({"lost": None, "driven out": len(absent)} if limit else {"lost": len(absent), "driven out": 0}),
        "unlike": unlike, "torn": tokenizer.counts.damaged + (not intact),
        "held": number, "bytes": total, "limit": most, "all returned": len(returned) == items,
        "within the limit": total <= most,
    }  # fmt: skip


def _integrity(folder: Path) -> str:
    with sqlite3.connect(folder / NAME) as db:
        return str(db.execute("PRAGMA integrity_check").fetchone()[0])


def kills(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for limit in (None, 160 * options.items):  # bytes: half of what entries take
        rows.append(killed(folder / f"{limit}", options.items, options.kills, limit))
        print(rows[-1], flush=True)
    return {"processes": PROCESSES, "rows": rows}


# What a hit takes


def hit(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for name, what in (("speech-mini", "10 s of speech"), ("seed-mini", "a picture")):
        for processes in (1, PROCESSES):
            line = [sys.executable, __file__, "hits", str(folder / "codes"), name]
            running = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
            found = [json.loads(one.communicate()[0]) for one in running]
            mean = {key: round(statistics.mean(one[key] for one in found), 4) for key in found[0]}
            rows.append({"what": what, "tokenizer": name, "processes": processes, **mean})
            print(rows[-1], flush=True)
    return {"rows": rows}


def hits(folder: Path, name: str) -> dict[str, float]:
    """Milliseconds: of a hit, without preparing and hashing; and of these."""
    from PIL import Image

    tokenizer = cached(anytok.load_tokenizer(name), folder)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (224, 224, 3), np.uint8))
    medium = picture if tokenizer.spec.is_image else anytok.Audio(rng.uniform(-1, 1, 160_000).astype("f"), 16000)
    alone = milliseconds(lambda: tokenizer._inner.encode(medium), 3)
    tokenizer.encode(medium)
    prepared = prepare(medium, tokenizer.spec)
    hashing = milliseconds(lambda: key_of(prepared, tokenizer._identity), 1000)
    preparing = milliseconds(lambda: prepare(medium, tokenizer.spec), 1000)
    whole = milliseconds(lambda: tokenizer.encode(medium), 1000)
    beside = [one - statistics.median(hashing) - statistics.median(preparing) for one in whole]
    return {
        "hit": statistics.median(beside), "99 of 100": sorted(beside)[989], "hashing": statistics.median(hashing),
        "encoding": statistics.median(alone),
    }  # fmt: skip


def milliseconds(call: Callable[[], Any], times: int) -> list[float]:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - start))
    return found


# A second epoch


class Recordings:
    """A dataset as people write them: the codes of a file, and whether they were found."""

    def __init__(self, files: list[Path], tokenizer: Any) -> None:
        self.files, self.tokenizer = files, tokenizer

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        before = self.tokenizer.counts.found
        return self.tokenizer.encode(self.files[place]).values, self.tokenizer.counts.found - before


def epoch(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from torch.utils.data import DataLoader

    folder.mkdir()
    rng, files = np.random.default_rng(0), []
    for number in range(options.recordings):
        files.append(folder / f"{number}.wav")
        anytok.Audio(rng.uniform(-0.5, 0.5, 16000 * 4).astype("f"), 16000).save(files[-1])
    rows, first = [], []
    for number in (1, 2):
        tokenizer = cached(anytok.load_tokenizer("speech-mini"), folder / "codes")
        loader = DataLoader(Recordings(files, tokenizer), batch_size=None, num_workers=2)  # type: ignore[arg-type]
        start = time.perf_counter()
        codes, found = zip(*loader, strict=True)
        seconds = time.perf_counter() - start
        rows.append({"epoch": number, "seconds": round(seconds, 2), "items": len(codes), "found": sum(found)})
        first = first or list(codes)
        rows[-1]["equal"] = all(np.array_equal(one, other) for one, other in zip(codes, first, strict=True))
        print(rows[-1], flush=True)
    return {"seconds of speech": 4, "workers": 2, "rows": rows}


# The stores


def stores(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import cache_stores

    return cache_stores.compared(folder)


PARTS = {"stores": stores, "hit": hit, "kills": kills, "epoch": epoch}


def main() -> int:
    if sys.argv[1:2] == ["worker"]:
        return worker(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[1:2] == ["hits"]:
        print(json.dumps(hits(Path(sys.argv[2]), sys.argv[3])))
        return 0
    from machine import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--recordings", type=int, default=200, help="of an epoch")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[part](Path(folder) / "cache", options)
        record = json.loads(options.out.read_text()) if options.out.exists() else {}
        record[part] = found | {"machine": machine()}
        options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    rows = json.loads(options.out.read_text()).get("kills", {}).get("rows", [])
    return (
        1 if any(row[harm] for row in rows for harm in ("wrong", "lost", "unlike", "torn", "failed otherwise")) else 0
    )


if __name__ == "__main__":
    sys.exit(main())
