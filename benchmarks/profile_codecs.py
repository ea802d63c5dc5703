"""Where a codec's time goes, part by part, beside what this machine's arithmetic and memory allow.

    python benchmarks/profile_codecs.py [--speech FOLDER] [--music FOLDER] [--threads 2] [--seconds 8] [--batch 16]
                                        [--dtype float32] [--out FILE]

Published sizes, seeded weights. Convolutions stand beside the speed of one large product, which they should
reach; LSTM steps of a clip alone beside the time to read their weights once a step in a product with two rows. "rest"
is what remains: padding, kept samples, sums. Writes benchmarks/results/profile.json, or FILE.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import machine
from seeded import write_checkpoint
from speed import cut

import anytok
from anytok.engines.native.cpu.codec import FastCodec
from anytok.kernels import current
from anytok.kernels.layers import Conv, Linear, Lstm, Search

RESULT = Path(__file__).parent / "results" / "profile.json"
CODECS = ("speechtokenizer", "encodec-32khz")
Row = dict[str, Any]


class Clock:
    """Seconds and floating-point operations by part, of functions that do not call one another."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()

    def watch(self, owner: Any, name: str, part: str, operations: Callable[..., float] = lambda *_: 0) -> None:
        """Replace `owner.name` by itself with a clock around it; `operations(result, *arguments)` counts its work."""
        run = getattr(owner, name)

        @functools.wraps(run)
        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = run(*arguments, **named)
            self.seconds[part] += time.perf_counter() - started
            self.operations[part] += int(operations(result, *arguments))
            return result

        setattr(owner, name, timed)

    def reset(self) -> None:
        self.seconds.clear()
        self.operations.clear()


def watched() -> Clock:
    """A clock on every part of the native engine; call it before a codec is loaded."""
    clock = Clock()
    clock.watch(Conv, "__call__", "convolutions", _conv_operations)
    clock.watch(Lstm, "__call__", "LSTM", _lstm_operations)
    for activation in ("elu", "snake"):
        clock.watch(type(current()), activation, "activations")
    clock.watch(Search, "__call__", "quantizer")
    clock.watch(FastCodec, "dequantize", "quantizer")
    return clock


def _conv_operations(out_tc: torch.Tensor, conv: Conv, signal_tc: torch.Tensor) -> float:
    return 2.0 * out_tc.numel() * conv.kernel * signal_tc.shape[1]


def _lstm_operations(_: Any, layer: Lstm, inputs_tbi: torch.Tensor, *states: torch.Tensor) -> float:
    frames, clips, inputs = inputs_tbi.shape
    return frames * clips * 2.0 * 4 * layer.width * (layer.width + inputs)


def profile(name: str, dtype: str, folder: Path | None, seconds: float, batch: int, rounds: int) -> list[Row]:
    """Rows of one codec: encode and decode, a clip alone and a batch; milliseconds a clip."""
    clock = watched()
    first_half, *clips = cut(name, folder, seconds, batch)
    with tempfile.TemporaryDirectory() as place:
        checkpoint = write_checkpoint(name, Path(place), [first_half.wave])
        tokenizer = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype=dtype)
    codes = tokenizer.encode_batch(clips)
    rows = []
    for way, run, items in (("encode", tokenizer.encode_batch, clips), ("decode", tokenizer.decode_batch, codes)):
        for count in (1, batch):
            rows.append({"tokenizer": name, "way": way, "items": count, **_parts(clock, run, items[:count], rounds)})
    return rows


def _parts(clock: Clock, run: Callable[[Any], Any], items: Any, rounds: int) -> Row:
    run(items)
    totals, parts = [], []
    for _ in range(rounds):
        clock.reset()
        started = time.perf_counter()
        run(items)
        totals.append(time.perf_counter() - started)
        parts.append(dict(clock.seconds))
    each = 1000 / len(items)
    medians = {part: statistics.median(one[part] for one in parts) * each for part in parts[0]}
    total = statistics.median(totals) * each
    rates = {part: clock.operations[part] / clock.seconds[part] / 1e9 for part in ("convolutions", "LSTM")}
    return {
        "total_ms": total,
        "parts_ms": {**medians, "rest": total - sum(medians.values())},
        "gflops": rates,
        "operations_gflop": {part: clock.operations[part] / len(items) / 1e9 for part in rates},
    }


def limits(dtype: torch.dtype) -> dict[str, float]:
    """What the machine gives: GFLOP/s of a large product, GB/s of reading 17 MB, an LSTM layer's float32 weights, again
    and again."""
    square, weights = torch.randn(2048, 2048).to(dtype), torch.randn(4096, 1024)
    large = Linear(square, square[0])
    product, reading = _least(lambda: large(square), 5), _least(weights.sum, 50)
    return {"product_gflops": 2 * 2048**3 / product / 1e9, "read_gb_s": weights.numel() * 4 / reading / 1e9}


def _least(run: Callable[[], Any], times: int) -> float:
    run()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("speech", "music"):
        parser.add_argument(f"--{kind}", type=Path, help=f"a folder of {kind} (default: synthetic)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {"machine": machine(), "threads": options.threads, "dtype": options.dtype}
    result |= {"limits": limits(getattr(torch, options.dtype)), "rows": []}
    for name in CODECS:
        folder = options.speech if name.startswith("speech") else options.music
        for row in profile(name, options.dtype, folder, options.seconds, options.batch, options.rounds):
            print(json.dumps(row), flush=True)
            result["rows"].append(row)
    options.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
