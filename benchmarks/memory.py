"""What a memory finds again, keeps and costs, with the small tokenizers, offline; and mem0 alone on the same inputs.

    python benchmarks/memory.py PART … [--pictures FOLDER] [--speech FOLDER] [--number 900] [--runs 50]

Parts, which go into benchmarks/results/memory.json one by one, beside what is there:
  pictures  recall of each of `--number` pictures with words among all of them, re-compressed, cropped, brightened;
  speech    recall of clips of 3 s of `ljspeech`, among these and 400 of `digits`, at 8 kHz, quieter, cut, as mp3;
  size      milliseconds and bytes a memory, with 1,000 and 5,000 memories;
  kills     `--runs` processes killed while they add: what was acknowledged and is not there;
  threads   eight threads that add 125 each: what is lost; and the same on mem0 without anytok's lock.
Every part counts the calls to a language model and the connections opened; both must be 0.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image, ImageEnhance

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from machine import machine  # noqa: E402
from memories import any2any  # noqa: E402
from pictures import real_pictures  # noqa: E402
from sounds import real_waves  # noqa: E402

import anytok  # noqa: E402
from anytok.media.resample import resample  # noqa: E402
from anytok.memory import Memory  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "memory.json"
WHO = ("cat", "dog", "grandmother", "train", "bridge", "garden", "friend", "teacher", "boat", "kitchen", "violin",
       "window", "market", "river", "tower", "horse", "bicycle", "letter", "lamp", "orange", "mountain", "doctor",
       "neighbour", "carpet", "mirror", "puzzle", "festival", "concert", "hedgehog", "umbrella")  # fmt: skip
WHERE = ("Rome", "Oslo", "Kyoto", "Lima", "Cairo", "Prague", "Dublin", "Boston", "Delhi", "Quito", "Seoul", "Tunis",
         "Vienna", "Sydney", "Havana", "Zagreb", "Bergen", "Lagos", "Malaga", "Hanoi", "Naples", "Gdansk", "Porto",
         "Tallinn", "Ankara", "Basel", "Cork", "Dresden", "Exeter", "Florence")  # fmt: skip
WORDS = [f"the {who} that we saw in {where}" for who, where in product(WHO, WHERE)]


class NoModel:
    """Counts what would have been calls to a language model."""

    calls = 0

    def generate_response(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        raise RuntimeError("no part asks a model")


@contextmanager
def counted(folder: Path) -> Iterator[tuple[Memory, dict[str, int]]]:
    """A memory, and how often a model was asked and a connection opened while it was used."""
    llm, counts, before = NoModel(), {"llm_calls": 0, "connections": 0}, socket.socket.connect

    def connect(*given: Any) -> Any:
        counts["connections"] += 1
        return before(*given)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    try:
        with anytok.load_memory(folder, any2any(), user="alice", llm=llm) as memory:
            yield memory, counts
    finally:
        socket.socket.connect = before  # type: ignore[method-assign]
        counts["llm_calls"] = llm.calls


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def cropped(image: Image.Image, share: float) -> Image.Image:
    """The middle of a picture, `share` of each side."""
    width, height = image.size
    left, top = (round(side * (1 - share) / 2) for side in (width, height))
    return image.crop((left, top, width - left, height - top))


PICTURES: dict[str, Callable[[Image.Image], Any]] = {
    "the same": lambda image: image,
    "jpeg, quality 75": lambda image: jpeg(image, 75),
    "jpeg, quality 30": lambda image: jpeg(image, 30),
    "cropped to 90 %": lambda image: cropped(image, 0.9),
    "cropped to 80 %": lambda image: cropped(image, 0.8),
    "brightened by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}


def found_first(memory: Memory, ids: list[str], queries: list[Any]) -> float:
    """The share, in percent, of queries whose first answer is their own memory."""
    found = [[item.id for item in memory.search(query, 1)] == [id] for query, id in zip(queries, ids, strict=True)]
    return round(100 * statistics.mean(found), 2)


def pictures(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    files = real_pictures(options.pictures)[: options.number]
    words = random.Random(0).sample(WORDS, len(files))
    images = [Image.open(file).convert("RGB") for file in files]
    codes = batched([anytok.Image(image) for image in images])
    with counted(folder) as (memory, counts):
        ids = [str(memory.add([one, said])) for one, said in zip(codes, words, strict=True)]
        found, few = {}, slice(0, None, len(files) // min(options.queries, len(files)))
        for name, damage in PICTURES.items():
            queries = batched([anytok.Image(damage(image)) for image in images[few]])
            found[name] = found_first(memory, ids[few], queries)
            print(f"{name}: {found[name]} %", flush=True)
        found["its words"] = found_first(memory, ids, list(words))
        found["two words of it"] = found_first(memory, ids, [f"{said.split()[1]} {said.split()[-1]}" for said in words])
        again = [memory.add([one, said]) == id for one, said, id in zip(codes, words, ids, strict=True)]
    with anytok.load_memory(folder, any2any(), user="alice") as memory:
        kept = [memory.get(id).codes == one for id, one in zip(ids, codes, strict=True)]
    return {
        "number": len(files), "queries": len(ids[few]), "distinct": len(set(ids)), "recall": found,
        "added again is one": sum(again), "codes equal after reopening": sum(kept), **counts,
        "mem0 alone": mem0_alone(folder / "alone", images, words),
    }  # fmt: skip


def mem0_alone(folder: Path, images: list[Image.Image], words: list[str]) -> dict[str, Any]:
    """The same messages, picture and words, given to mem0 itself with the same words embedder and no model."""
    import base64

    with anytok.load_memory(folder, any2any(), user="alice") as memory:
        mem0, kept = memory._store.mem0, 0
        for image, said in zip(images[:50], words, strict=False):
            url = f"data:image/jpeg;base64,{base64.b64encode(jpeg(image, 75)).decode()}"
            content = [{"type": "text", "text": said}, {"type": "image_url", "image_url": {"url": url}}]
            ids = mem0.add([{"role": "user", "content": content}], user_id="alice", infer=False)["results"]
            kept += any(url[:80] in json.dumps(mem0.get(one["id"])) for one in ids)
        try:
            mem0.search(images[0], filters={"user_id": "alice"})
            refused = "no"
        except ValueError as error:
            refused = str(error)
    return {"given": len(images[:50]), "pictures kept": kept, "search by a picture": refused}


def batched(media: list[anytok.Medium], size: int = 50) -> list[anytok.Codes]:
    return [code for start in range(0, len(media), size) for code in any2any().to_codes(media[start : start + size])]  # type: ignore[misc]


def mp3(wave: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, 16000, format="MP3")
    return file.getvalue()


def resampled(wave: np.ndarray) -> anytok.Audio:
    """At 8 kHz, as a telephone's."""
    return anytok.Audio(resample(wave[None], 16000, 8000, "functional"), 8000)


SPEECH: dict[str, Callable[[np.ndarray], Any]] = {
    "the same": lambda wave: anytok.Audio(wave, 16000),
    "at 8 kHz": resampled,
    "half as loud": lambda wave: anytok.Audio(wave / 2, 16000),
    "without its first 200 ms": lambda wave: anytok.Audio(wave[3200:], 16000),
    "as mp3": mp3,
}


def speech(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    spec = any2any().tokenizer("speech").spec
    waves = [wave_ct[0] for wave_ct in real_waves(options.speech / "ljspeech", spec).values()]
    clips = [wave[start : start + 48000] for wave in waves for start in range(0, len(wave) - 48000, 48000)]
    digits = sorted((options.speech / "digits").iterdir())[:: len(clips) // 10]
    others = batched([anytok.Speech(path) for path in digits[:400]])
    with counted(folder) as (memory, counts):
        codes = batched([anytok.Speech(anytok.Audio(clip, 16000)) for clip in clips])
        ids = [str(memory.add(one)) for one in codes]
        for other in others:
            memory.add(other)
        found = {}
        for name, damage in SPEECH.items():
            found[name] = found_first(memory, ids, batched([anytok.Speech(damage(clip)) for clip in clips]))
            print(f"{name}: {found[name]} %", flush=True)
    return {"clips": len(clips), "among": len(clips) + len(others), "recall": found, **counts}


def size(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    spec = any2any().tokenizer("image").spec
    rng = np.random.default_rng(0)

    def one() -> list[Any]:
        values = rng.integers(0, spec.codebook_size, (1, spec.num_frames))
        return [anytok.Codes(values, spec), f"{rng.choice(WORDS)}, number {rng.integers(10**6)}"]

    for number in options.sizes:
        with counted(folder) as (memory, counts):
            held = len(memory.get_all())
            memory._equal = lambda item: None  # type: ignore[method-assign]  # all differ; the scan for an equal one
            for _ in range(number - held):  # at each of these would take most of the time
                memory.add(one())
            del memory._equal
            added = [seconds(lambda: memory.add(one())) for _ in range(options.timed)]
            by_words = [seconds(lambda: memory.search("the violin in Lima")) for _ in range(options.timed)]
            shown = one()[0]
            by_medium = [seconds(lambda: memory.search(shown)) for _ in range(options.timed)]  # noqa: B023
        files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        start = time.perf_counter()
        with anytok.load_memory(folder, any2any(), user="alice"):
            opened = time.perf_counter() - start
        rows.append({
            "memories": number, "timed": options.timed, "add ms": median_ms(added),
            "search by words ms": median_ms(by_words), "search by codes ms": median_ms(by_medium),
            "open ms": round(1000 * opened),
            "bytes a memory": round(files / (number + options.timed)), **counts,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return {"rows": rows}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_ms(times: list[float]) -> float:
    return round(1000 * statistics.median(times), 1)


def kills(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from test_memory_faults import killed_while_adding, lost

    rng, acknowledged = random.Random(1), {}
    for run in range(options.runs):
        acknowledged |= killed_while_adding(folder, run * 10_000, rng.uniform(0.02, 0.6))
    with counted(folder) as (memory, counts):
        missing = lost(memory, acknowledged)
        print(f"{len(acknowledged)} acknowledged in {options.runs} runs, {len(missing)} lost", flush=True)
        held = len(memory.get_all())
    return {"runs": options.runs, "acknowledged": len(acknowledged), "lost": len(missing), "held": held, **counts}


def threads(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from test_memory_faults import added_by_threads, lost

    with counted(folder / "with") as (memory, counts):
        acknowledged = added_by_threads(memory, 8, options.adds)
    with anytok.load_memory(folder / "with", any2any(), user="alice") as memory:
        result = {"adds": len(acknowledged), "lost after reopening": len(lost(memory, acknowledged)), **counts}
    print(result, flush=True)
    return result | {"mem0 alone, four threads": bare_threads(folder / "alone", options.adds)}


def bare_threads(folder: Path, each: int) -> dict[str, Any]:
    """mem0 itself, without a lock around it."""
    from concurrent.futures import ThreadPoolExecutor

    with anytok.load_memory(folder, any2any(), user="alice") as memory:
        mem0 = memory._store.mem0

        def work(thread: int) -> tuple[list[str], int]:
            ids, errors = [], 0
            for number in range(each):
                try:
                    [one] = mem0.add(f"{thread} {number}", user_id="alice", infer=False)["results"]
                    ids.append(one["id"])
                except Exception:  # sqlite's, of several kinds
                    errors += 1
            return ids, errors

        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(work, range(4)))
    with anytok.load_memory(folder, any2any(), user="alice") as memory:
        held = {item.id for item in memory.get_all()}
    acknowledged = {id for ids, _ in done for id in ids}
    return {
        "adds": 4 * each, "errors": sum(errors for _, errors in done),
        "acknowledged and lost after reopening": len(acknowledged - held),
    }  # fmt: skip


PARTS = {"pictures": pictures, "speech": speech, "size": size, "kills": kills, "threads": threads}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--pictures", type=Path, default=ROOT.parent / "shared" / "train" / "images")
    parser.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "train" / "speech")
    parser.add_argument("--number", type=int, default=900, help="pictures, at most 900")
    parser.add_argument("--queries", type=int, default=900, help="pictures searched for, of each kind of damage")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--timed", type=int, default=20, help="adds, and searches of each kind, at each size")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--adds", type=int, default=125, help="of each thread")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[part](Path(folder) / "memories", options)
        record = json.loads(options.out.read_text()) if options.out.exists() else {}
        record[part] = found | {"machine": machine()}
        options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    results = json.loads(options.out.read_text())
    harm = [part for part, found in results.items() if found.get("lost") or found.get("lost after reopening")]
    counts = [row for found in results.values() for row in (found, *found.get("rows", ()))]
    return 1 if harm or any(row.get("llm_calls") or row.get("connections") for row in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
