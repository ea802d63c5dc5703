"""Originals and native engines side by side in one run: speed, code agreement, memory.

    python benchmarks/speed.py --threads 2 --speech FOLDER --music FOLDER --images FOLDER [--peers]

Published sizes, seeded weights (benchmarks/seeded.py). The originals take one item at a time, which is all they can do
without changing codes; the native engines one at a time, and a batch as well. Every engine takes its turn in every
round, so the ratios hold where absolute times drift; all times are per item. About a quarter of an hour on two quiet
cores; the load beside the results says how quiet they were. Painting (seed-2-paint) needs a GPU: a CPU takes minutes a
picture.

With --peers codecs in float32 stand beside what else a CPU can run them with, alone and in equal batches, in a run and
a result file of their own (results/speed-peers.json), in about twenty minutes: see speed_peers.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, rows_before, write_record
from seeded import write_checkpoint
from speed_peers import PACKAGES, peer_rows
from speed_rows import ALONE, GPU_POLICIES, Row, agreement, cut, kept_checkpoint, measured

import anytok
from anytok.engines.native.precision import has_half_kernels
from anytok.torch_settings import products

RESULTS = Path(__file__).parent / "results"
CODECS = ("speechtokenizer", "speechtokenizer-snake", "encodec-32khz", "encodec-24khz", "encodec-48khz")
COMPILED = ("encodec-32khz",)  # it takes a minute
LONE_SIZES = (1, 4)  # tiles at a time for a clip alone, beside the default
CHOICES = (*CODECS, "seed-2", "seed-2-paint")
POLICIES = ("float32", "mixed", "bfloat16")


def codec_rows(
    name: str, folder: Path | None, seconds: float, batch: int, rounds: int, device: str, kept: Path | None = None
) -> list[Row]:
    """Encode and decode rows of one codec: original, native in each precision, and what `natives_of` has besides."""
    first_half, *clips = cut(name, folder, seconds, batch)
    with kept_checkpoint(name, kept, lambda folder: write_checkpoint(name, folder, [first_half.wave])) as place:
        original = anytok.load_tokenizer(name, engine="reference", checkpoint=place, device=device)
        natives = natives_of(name, place, device)
    codes = {engine: tokenizer.encode_batch(clips) for engine, tokenizer in natives.items()}
    with products("ieee"):  # which an original is not by itself, on GPUs
        expected = [original.encode(clip) for clip in clips]
    encode, decode = {}, {}
    for engine, precision in originals(device).items():
        encode[engine] = (1, products(precision)(lambda: original.encode(clips[0])))
        decode[engine] = (1, products(precision)(lambda: original.decode(expected[0])))
    for engine, tokenizer in natives.items():
        encode[engine] = (1, lambda t=tokenizer: t.encode(clips[0]))
        decode[engine] = (1, lambda t=tokenizer: t.decode(expected[0]))
        if "at a time" not in engine:  # that is for clips alone
            encode[f"{engine}, batch of {batch}"] = (batch, lambda t=tokenizer: t.encode_batch(clips))
            decode[f"{engine}, batch of {batch}"] = (batch, lambda t=tokenizer: t.decode_batch(expected))
    decode = {engine: run for engine, run in decode.items() if "layer 1" not in engine}
    rows = measured(name, "encode", encode, rounds, seconds) + measured(name, "decode", decode, rounds, seconds)
    for row in rows:
        engine, _, batched = row["engine"].partition(", batch")
        if row["way"] == "encode" and engine in natives:
            row["equal"] = agreement(expected, codes[engine])
        if batched:
            row["alone"] = alone(natives[engine], row["way"], clips, codes[engine], expected)
    return rows


def natives_of(name: str, checkpoint: Path, device: str) -> dict[str, Any]:
    """The native engines by the names of their rows: in each precision; layer 1 alone for speech; on GPUs compiled, and
    with few tiles at a time, too."""

    def load(**options: Any) -> Any:
        return anytok.load_tokenizer(name, checkpoint=checkpoint, device=device, **options)

    natives = {f"native {dtype}": load(dtype=dtype) for dtype in policies(device)}
    if device != "cpu" and name in COMPILED:
        natives["native float16, compiled"] = load(dtype="float16", compile=True)
    if device != "cpu" and name != "encodec-48khz":  # which encodes each second on its own
        natives |= {f"native float32, {size} at a time": load(batch_size=size) for size in LONE_SIZES}
    if name.startswith("speech"):
        natives["native float32, layer 1"] = load(num_codebooks=1)
    return natives


def alone(tokenizer: Any, way: str, clips: list[Any], codes: list[anytok.Codes], given: list[anytok.Codes]) -> bool:
    """Whether a batch gave, bit by bit, what each of its first items gives alone."""
    if way == "encode":
        return codes[:ALONE] == [tokenizer.encode(clip) for clip in clips[:ALONE]]
    together = tokenizer.decode_batch(given)[:ALONE]
    singles = [tokenizer.decode(item) for item in given[:ALONE]]
    return all(np.array_equal(one.wave, other.wave) for one, other in zip(together, singles, strict=True))


def originals(device: str) -> dict[str, str]:
    """How an original makes its float32 products, by the name of its row: on GPUs it rounds what goes in to TF32."""
    return {"original": "ieee"} | ({} if device == "cpu" else {"original, TF32": "tf32"})


def policies(device: str) -> tuple[str, ...]:
    """The precisions that codecs have on this device."""
    if device != "cpu":
        return GPU_POLICIES
    return POLICIES if has_half_kernels() else POLICIES[:1]


def rows_of(name: str, options: argparse.Namespace) -> list[Row]:
    """The rows of one of CHOICES."""
    if name == "seed-2":
        from speed_seed import seed_rows

        return seed_rows(options.images, options.rounds, options.device, options.checkpoints)
    if name == "seed-2-paint":
        from speed_paint import paint_rows

        return paint_rows(options.rounds, options.device)
    folder = options.speech if name.startswith("speech") else options.music
    sizes = (options.seconds, options.batch, options.rounds)
    if options.peers:
        return peer_rows(name, folder, *sizes, options.threads, options.checkpoints)
    return codec_rows(name, folder, *sizes, options.device, options.checkpoints)


def choice(row: Row) -> str:
    """Which of CHOICES a row comes from."""
    return "seed-2-paint" if (row["tokenizer"], row["way"]) == ("seed-2", "decode") else row["tokenizer"]


def line(row: Row) -> str:
    """A row as it is printed."""
    if "left_out" in row:
        return f"{row['tokenizer']:22s} {row['way']} {row['engine']:38s} not measured: {row['left_out']}"
    said = f"{row['tokenizer']:22s} {row['way']} {row['engine']:38s} {row['median_s'] * 1000:7.1f} ms "
    said += f"{row['ratio']:5.2f} x original  equal {min(row.get('equal', [1])):.4f}  +{row['peak_mb']:.0f} MB"
    said += f"  decode error {row['decode_error']:.0e}" if "decode_error" in row else ""
    said += "" if row.get("alone", True) else "  NOT what its items give alone"
    if "levels" in row:
        told = (f"{row[key]['mean']:.2f} (at most {row[key]['largest']:.0f})" for key in ("levels", "control"))
        said += "  levels apart {}, control {}".format(*told)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("speech", "music", "images"):
        parser.add_argument(f"--{kind}", type=Path, help=f"a folder of {kind} (default: synthetic)")
    parser.add_argument("--only", nargs="+", choices=CHOICES, help="default: all; on a CPU all but seed-2-paint")
    parser.add_argument("--peers", action="store_true", help="ONNX Runtime, OpenVINO and torch.compile (codecs, a CPU)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="length of a clip (default: 10; with --peers 4)")
    parser.add_argument("--batch", type=int, help="clips in a batch (default: 16; with --peers 8, on a GPU 64)")
    parser.add_argument(
        "--checkpoints", type=Path, help="where seeded checkpoints stay for the next run (default: nowhere)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="default: results/speed.json, speed-peers.json or speed-cuda.json")
    options = parser.parse_args()
    gpu = options.device != "cpu"
    if options.peers and (gpu or set(options.only or ()) - set(CODECS)):
        parser.error("--peers is for codecs on a CPU: give --device cpu, and none but codecs with --only")
    name = "speed-peers.json" if options.peers else "speed-cuda.json" if gpu else "speed.json"
    options.out = options.out or RESULTS / name
    options.batch = options.batch or (8 if options.peers else 64 if gpu else 16)
    options.seconds = options.seconds or (4.0 if options.peers else 10.0)
    options.only = options.only or (CODECS if options.peers else CHOICES if gpu else CHOICES[:-1])
    torch.set_num_threads(options.threads)
    rows = rows_before(options.out, lambda row: choice(row) not in options.only)
    for name in options.only:
        found = rows_of(name, options)
        for row in found:
            print(line(row), flush=True)
        rows += found
        record = {"machine": machine(*(PACKAGES if options.peers else ())), "threads": options.threads}
        write_record(options.out, record | {"device": options.device, "rows": rows})
    print(f"-> {options.out}")


if __name__ == "__main__":
    main()
