"""The same codes every time: real sound and pictures at random lengths, every way of encoding them, and the originals.

    python benchmarks/exact.py --speech FOLDER --music FOLDER --images FOLDER [--codes 100000]

Clips of 1 sample to 60 seconds (log-uniform) are encoded one by one, which is then compared with: batches of mixed
lengths, one and three threads, small tiles, one whole tile, and the original package, at published sizes on seeded
weights (benchmarks/seeded.py). Some are decoded in the same ways, too, bit by bit, and by the original. Pictures go
through seed-mini (100,000 codes at the published size would take a day on two cores; benchmarks/parity.py compares
some). About half an hour on two cores. Writes benchmarks/results/exact.json; exits 1 on an unexplained difference.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from machine import machine, rows_before
from parity import DECODE_ERROR, divergences, near_tie, race
from pictures import crops, real_pictures, synthetic_pictures
from seeded import write_checkpoint
from seeded_seed import levels
from sounds import real_waves, synthetic_waves

import anytok
from anytok.engines.native.cpu import codec as cpu_codec
from anytok.registry import find

RESULT = Path(__file__).parent / "results" / "exact.json"
CODECS = ("speechtokenizer", "speechtokenizer-snake", "encodec-32khz", "encodec-24khz", "encodec-48khz")
LONGEST = 60.0
Run = Callable[[list[Any]], list[Any]]


def codec_row(name: str, folder: Path | None, wanted: int) -> dict[str, Any]:
    """Differences of one codec over at least `wanted` codes."""
    clips, calibration = cut(name, folder, wanted)
    with tempfile.TemporaryDirectory() as place:
        checkpoint = write_checkpoint(name, Path(place), calibration)
        native = anytok.load_tokenizer(name, checkpoint=checkpoint)
        original = anytok.load_tokenizer(name, engine="reference", checkpoint=checkpoint)
    codes = [native.encode(clip) for clip in clips]
    theirs = [original.encode(clip) for clip in clips]
    places = [place for item in zip(clips, theirs, codes, strict=True) for place in divergences(native, *item)]
    few = [item for item in theirs if item.num_frames <= 500][::5]
    waves = _waves(map(native.decode, few))
    expected = [original.decode(item).wave for item in few]
    return {
        "tokenizer": name,
        "clips": len(clips),
        "samples": [min(clip.num_samples for clip in clips), max(clip.num_samples for clip in clips)],
        "codes": sum(item.values.size for item in codes),
        "use": round(least_use(codes), 3),
        "differences": _differences(ways(native.encode, native.encode_batch), clips, codes),
        "codes_unlike_the_originals": differing(theirs, codes),
        "first_places": places,  # of each frame: the layers behind follow from it
        "unexplained": sum(not near_tie(place) for place in places),
        "waves": len(waves),
        "wave_differences": {
            way: sum(map(_unlike, waves, _waves(run(few))))
            for way, run in ways(native.decode, native.decode_batch).items()
        },
        "decode_error": max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(waves, expected, strict=True)),
    }


def cut(name: str, folder: Path | None, wanted: int) -> tuple[list[anytok.Audio], list[np.ndarray]]:
    """Clips of random lengths from anywhere in the sound; and 20 s of each file to calibrate on."""
    spec = find(name).spec
    rate = spec.sample_rate or 0
    waves = list((real_waves(folder, spec) if folder else synthetic_waves(spec, 4, 20.0)).values())
    whole = np.concatenate(waves, axis=1)
    random = np.random.default_rng(0)
    clips: list[anytok.Audio] = []
    per_second = spec.num_codebooks * (spec.frame_rate or 0)
    while sum(clip.duration for clip in clips) * per_second < wanted:
        samples = min(int(np.exp(random.uniform(0, np.log(LONGEST * rate)))), whole.shape[1])
        start = int(random.integers(whole.shape[1] - samples + 1))
        clips.append(anytok.Audio(whole[:, start : start + samples], rate))
    return clips, [wave[:, : 20 * rate] for wave in waves]


def ways(one: Callable[[Any], Any], batch: Run) -> dict[str, Run]:
    """Other ways to do the same to many items than one by one, by name."""

    def alone(items: list[Any]) -> list[Any]:
        return [one(item) for item in items]

    def in_fives(items: list[Any]) -> list[Any]:
        return [done for i in range(0, len(items), 5) for done in batch(items[i : i + 5])]

    def within(setting: Any, inner: Run = alone) -> Run:
        def run(items: list[Any]) -> list[Any]:
            with setting():
                return inner(items)

        return run

    return {
        "in one batch": batch,
        "in batches of 5": in_fives,
        "with one thread": within(lambda: threads(1)),
        "with three threads, in a batch": within(lambda: threads(3), batch),
        "in tiles of 7 frames": within(lambda: tiles(7, 50)),
        "in one tile": within(lambda: tiles(10**6, 10**6)),
    }  # fmt: skip


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def tiles(frames: int, chunk: int) -> Iterator[None]:
    with patch.object(cpu_codec, "TILE_FRAMES", frames), patch.object(cpu_codec, "CHUNK_FRAMES", chunk):
        yield


def picture_row(folder: Path | None, wanted: int) -> dict[str, Any]:
    """The same for pictures, with seed-mini."""
    tokenizer = anytok.load_tokenizer("seed-mini")
    original = anytok.load_tokenizer("seed-mini", engine="reference")
    sources: list[Any] = real_pictures(folder) if folder else synthetic_pictures(20)
    pictures = crops(sources, -(-wanted // 32))
    codes = [tokenizer.encode(picture) for picture in pictures]
    others = ways(tokenizer.encode, tokenizer.encode_batch)
    kept = {way: run for way, run in others.items() if "tile" not in way}
    theirs = [original.encode(picture) for picture in pictures]
    each = zip(pictures, theirs, codes, strict=True)
    places = [place for item in each for place in picture_places(original, *item)]
    return {
        "tokenizer": "seed-mini",
        "pictures": len(pictures),
        "codes": sum(item.values.size for item in codes),
        "use": round(least_use(codes), 3),
        "differences": _differences(kept, pictures, codes),
        "codes_unlike_the_originals": differing(theirs, codes),
        "first_places": places,  # a picture's codes do not follow from each other: here it is all of them
        "unexplained": sum(not near_tie(place) for place in places),
    }


def picture_places(original: Any, picture: Any, theirs: anytok.Codes, ours: anytok.Codes) -> list[dict[str, Any]]:
    """Every code of a picture that differs, and how near the two nearest rows were to the original's latent."""
    differ = np.flatnonzero(theirs.values[0] != ours.values[0])
    if not len(differ):
        return []
    with torch.inference_mode():
        latents_td = original.latents(levels([picture])[0].numpy())[0]
    return [{"frame": int(frame)} | race(latents_td[frame], original.codebook_nd) for frame in differ]


def _differences(others: dict[str, Run], items: list[Any], codes: list[anytok.Codes]) -> dict[str, int]:
    return {way: differing(codes, run(items)) for way, run in others.items()}


def differing(one: list[anytok.Codes], other: list[anytok.Codes]) -> int:
    """Codes that are not equal, all of an item's where the shapes are not."""
    pairs = [(a.values, b.values) for a, b in zip(one, other, strict=True)]
    return sum(int((a != b).sum()) if a.shape == b.shape else a.size for a, b in pairs)


def least_use(codes: list[anytok.Codes]) -> float:
    """The smallest share of a codebook that was used."""
    layers = np.concatenate([item.values for item in codes], axis=1)
    return min(len(np.unique(row)) for row in layers) / codes[0].spec.codebook_size


def _waves(sounds: Iterable[anytok.Audio]) -> list[np.ndarray]:
    return [audio.wave for audio in sounds]


def _unlike(one: np.ndarray, other: np.ndarray) -> bool:
    return not np.array_equal(one, other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("speech", "music", "images"):
        parser.add_argument(f"--{kind}", type=Path, help=f"a folder of real {kind} (default: synthetic)")
    parser.add_argument("--codes", type=int, default=100_000, help="codes for each tokenizer, at least")
    parser.add_argument("--only", nargs="+", choices=(*CODECS, "seed-mini"), default=(*CODECS, "seed-mini"))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = rows_before(options.out, lambda row: row["tokenizer"] not in options.only)
    for name in options.only:
        folder = options.speech if name.startswith("speech") else options.music
        picture = name == "seed-mini"
        row = picture_row(options.images, options.codes) if picture else codec_row(name, folder, options.codes)
        print(json.dumps(row), flush=True)
        rows.append(row)
        options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    bad = [row["tokenizer"] for row in rows if row["tokenizer"] in options.only and not holds(row)]
    raise SystemExit(f"differences: {', '.join(bad)}" if bad else 0)


def holds(row: dict[str, Any]) -> bool:
    """Whether every way gave the same codes and waves, and the original those, but for near ties and DECODE_ERROR."""
    unlike = [*row["differences"].values(), *row.get("wave_differences", {}).values(), row["unexplained"]]
    return not any(unlike) and row.get("decode_error", 0.0) <= DECODE_ERROR


if __name__ == "__main__":
    main()
