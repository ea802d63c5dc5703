"""SoundStorm at the published size, seeded weights: exactness, batches, speed, memory.

    python benchmarks/soundstorm.py [--parts exact batch speed memory] [--small] [--threads 2] [--device cuda]

`exact`: our loop asks our network, and at each pass a plain float64 twin (plain_soundstorm.py) is asked the same:
how far apart are the logits, how many of the choices differ, and by how little. `batch`: clips of 1 frame to 20
seconds, with and without prompts, one by one and together, until so many codes are compared. `speed`: one pass, of one
clip and of three together, and a whole clip of ten seconds with a prompt of three, beside the way in which the original
computes them. `memory`: of the loaded model, beside its weights. `--small` takes a network of a hundredth of the size,
to try the script, and needs `--out`. What is measured goes into benchmarks/results/soundstorm.json at once, beside what
is there: a part by itself, of `speed` passes and clips, of `batch` each dtype. Exits 1 if codes of batches differ, or
choices do that are no near ties.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "soundstorm.json"
PARTS = ("exact", "batch", "speed", "memory")
SMALL = {"width": 128, "depth": 4, "heads": 4, "head_width": 32}
STD = 3.0  # of the logits, as surely as trained ones choose
NEAR = 1e-4  # of a choice's score or a doubt: below, float32 cannot tell
ORIGINAL = "original's way"
Row = dict[str, Any]


def write_checkpoint(folder: Path, seed: int, **sizes: int) -> int:
    """A seeded network in the published form; returns its number of heads."""
    import torch

    from anytok.checkpoints.soundstorm import published_state
    from anytok.models.soundstorm import SoundStorm

    torch.manual_seed(seed)
    network = SoundStorm(**sizes)
    for name, tensor in network.named_parameters():
        if tensor.dim() == 1:
            tensor.data += 0.05 * torch.randn_like(tensor)
        if name.startswith("to_logits") and tensor.dim() == 2:  # of a normed input
            tensor.data.normal_(0, STD / tensor.shape[1] ** 0.5)
    torch.save(published_state(network.state_dict()), folder / "speechtokenizer_soundstorm_mls.pt")
    heads = network.blocks[0].attention.heads
    (folder / "config.json").write_text(json.dumps({"conformer": {"heads": heads}}), "utf-8")
    return int(heads)


def codes(frames: int, layers: int, seed: int) -> Any:
    from anytok.registry import find
    from anytok.spec import Codes

    spec = find("speechtokenizer-snake").spec
    return Codes(np.random.default_rng(seed).integers(0, spec.codebook_size, (layers, frames)), spec)


class _Recording:
    """Draws numbers as `fill` does, and keeps the last."""

    def __init__(self, shape: tuple[int, int], seed: int) -> None:
        import torch

        self._shape, self._generator = shape, torch.Generator().manual_seed(seed)
        self.calls, self.last = 0, torch.empty(0)

    def __call__(self) -> Any:
        import torch

        self.calls, self.last = self.calls + 1, torch.rand(self._shape, generator=self._generator)
        return self.last


def exact(voice: Any, plain: Any, clips: list[tuple[int, int]], steps: int) -> Row:
    """Choices of our network and of the twin on the same inputs; a difference is allowed at near ties only."""
    import torch

    from anytok.models.filling import draw, filling, likeliest

    far, total, differing, margins = 0.0, 0, 0, []
    for seed, (frames, prompt) in enumerate(clips):
        content, before = codes(frames, 1, seed), codes(max(1, prompt), 8, 1000 + seed).values[:, :prompt]
        content_n = torch.tensor(np.concatenate([before[0], content.values[0]]))
        levels = torch.full((7, frames), plain.codes)
        loop_codes = torch.cat([torch.tensor(before[1:]), levels], dim=1).T
        uniform = _Recording((7 * (frames + prompt), plain.codes), seed)
        loop, step = filling(loop_codes, plain.codes, uniform, steps=steps, greedy=True), 0
        given_nq = next(loop)
        while True:
            ours = voice._engine._logits([given_nq], content_n)[0]
            twin = plain.logits(given_nq, content_n)
            far = max(far, (ours - twin).abs().max().item())
            count = uniform.calls
            try:
                given_nq = loop.send(ours)
            except StopIteration:
                given_nq = None
            pair = (ours, twin.float())
            is_drawn = uniform.calls > count
            if is_drawn:
                pair = tuple(likeliest(each, 308) for each in pair)  # type: ignore[assignment]
                chosen = [draw(each, uniform.last, step / steps) for each in pair]
                scores = pair[1].double() / max(step / steps, 1e-10) + _noise(uniform.last).view_as(pair[1])
            else:
                chosen, scores = [each.argmax(-1) for each in pair], twin
            wrong = chosen[0] != chosen[1]
            total, differing = total + wrong.numel(), differing + int(wrong.sum())
            margins += _margins(scores, chosen, wrong, max(step / steps, 1e-10) if is_drawn else 1.0)
            step += 1
            if given_nq is None:
                break
    row = {"clips": clips, "steps": steps, "choices": total, "differing": differing, "margins": margins}
    return {"part": "exact", **row, "logits_apart": far}


def _noise(uniform: Any) -> Any:
    import torch

    return -torch.log(-torch.log(uniform.double() + 1e-10) + 1e-10)


def _margins(scores: Any, chosen: list[Any], wrong: Any, temperature: float) -> list[float]:
    """By how much the twin prefers its choice to ours, in units of a logit."""
    if not bool(wrong.any()):
        return []
    both = [scores.gather(-1, each[..., None])[..., 0][wrong] for each in chosen]
    return [float(gap) * temperature for gap in both[1] - both[0]]


def batch(voice: Any, wanted: int, longest: int, steps: int) -> Row:
    """Codes of clips together, and of each alone."""
    rng, clips, prompts, count = np.random.default_rng(0), [], [], 0
    while count < wanted:
        frames = 1 if not clips else longest if len(clips) == 1 else int(rng.integers(1, longest + 1))
        clips.append(codes(frames, 1, len(clips)))
        prompts.append(codes(int(rng.integers(1, 151)), 8, 5000 + len(clips)) if len(clips) % 2 else None)
        count += 7 * frames
    seeds = list(range(len(clips)))
    together = voice.fill_batch(clips, prompts=prompts, seeds=seeds, steps=steps)
    pairs = zip(clips, prompts, seeds, together, strict=True)
    different = sum(
        int((voice.fill(clip, prompt, seed=seed, steps=steps).values != made.values).sum())
        for clip, prompt, seed, made in pairs
    )
    return {"part": "batch", "clips": len(clips), "codes": count, "different": different, "longest": longest}


def speed(voices: dict[str, Any], plain: Any, frames: int, prompt: int, rounds: int, whole: bool) -> Iterator[Row]:
    """Seconds of one pass, of one clip and of three together, and, if `whole`, of all passes of a clip."""
    import torch
    from clock import side_by_side

    length = frames + prompt
    given_nq = torch.randint(0, plain.codes, (length, 7))
    content_n = torch.randint(0, plain.codes, (length,))

    def one_pass(voice: Any, clips: int) -> Any:
        return voice._engine._logits([given_nq.to(voice._engine._device)] * clips, content_n.repeat(clips))

    runs: dict[tuple[str, int], Any] = {(ORIGINAL, 1): lambda: plain.logits(given_nq, content_n)}
    for dtype, voice in voices.items():
        for clips in (1, 3):
            runs[dtype, clips] = partial(one_pass, voice, clips)
    yield from _rows("pass", side_by_side(runs, rounds), length, rounds)
    if whole:
        content, before = codes(frames, 1, 0), codes(prompt, 8, 1)
        runs = {(dtype, 1): partial(voice.fill, content, before) for dtype, voice in voices.items()}
        runs[ORIGINAL, 1] = lambda: _filled(plain, content, before)
        yield from _rows("clip", side_by_side(runs, rounds), length, rounds)


def _filled(plain: Any, content: Any, prompt: Any) -> Any:
    """A clip by the loop that both share, the network asked the original's way."""
    import torch

    from anytok.models.filling import filling

    levels = torch.full((7, content.num_frames), plain.codes)
    loop_codes = torch.cat([torch.tensor(prompt.values[1:]), levels], dim=1).T
    content_n = torch.tensor(np.concatenate([prompt.values[0], content.values[0]]))
    generator = torch.Generator().manual_seed(0)
    loop = filling(
        loop_codes, plain.codes, lambda: torch.rand(loop_codes.numel(), plain.codes, generator=generator), steps=3,
        greedy=True,
    )  # fmt: skip
    given_nq = next(loop)
    while True:
        try:
            given_nq = loop.send(plain.logits(given_nq, content_n))
        except StopIteration as end:
            return end.value


def _rows(what: str, times: dict[tuple[str, int], Row], frames: int, rounds: int) -> Iterator[Row]:
    """A row a way; `ratio` is the original's time to that of one clip."""
    base = times[ORIGINAL, 1]["median_s"]
    for (way, clips), found in times.items():
        row = {"part": "speed", "what": what, "way": way, "frames": frames, "clips": clips, "rounds": rounds}
        yield {**row, **found, "ratio": clips * base / found["median_s"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--small", action="store_true", help="a small network, to try the script")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], help="bfloat16 and others, where there are such")
    parser.add_argument("--codes", type=int, default=100_000, help="so many are compared in batches")
    parser.add_argument("--longest", type=int, default=1000, help="frames of a clip in them")
    parser.add_argument("--clips", type=int, nargs=2, action="append", help="frames and prompt, for exact")
    parser.add_argument("--frames", type=int, nargs=2, default=[500, 150], help="frames and prompt, for speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes-only", action="store_true", help="for speed: one pass, not whole clips")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.small and options.out == RESULT:
        parser.error("--small is for trying the script: give --out")

    import torch
    from clock import status
    from machine import machine, rows_before, write_record
    from plain_soundstorm import PlainSoundStorm

    import anytok

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        folder = Path(place)
        heads = write_checkpoint(folder, 0, **(SMALL if options.small else {}))
        before = status("VmRSS")
        given = {"checkpoint": folder, "device": options.device}
        voices = {dtype: anytok.load_voice("soundstorm", dtype=dtype, **given) for dtype in options.dtypes}
        loaded = (status("VmRSS") - before) / 1024
        state = torch.load(folder / "speechtokenizer_soundstorm_mls.pt", weights_only=True, mmap=True)
        voice = next(iter(voices.values()))
        rows: list[Row] = []

        def measured(found: Iterable[Row]) -> None:
            for row in found:
                rows.append(row | {"threads": options.threads})
                print(json.dumps(rows[-1]), flush=True)
            done = {_measurement(row) for row in rows}
            kept = rows_before(options.out, lambda row: _measurement(row) not in done)
            write_record(options.out, {"machine": machine(), "rows": [*kept, *rows]})

        if "memory" in options.parts:
            measured([{"part": "memory", "loaded_mb": loaded, "weights_mb": _megabytes(state)}])
        if "exact" in options.parts:
            twin = PlainSoundStorm({key: tensor.double() for key, tensor in state.items()}, heads)
            measured([exact(voice, twin, options.clips or [(40, 0), (60, 30)], 3)])
            del twin
        if "speed" in options.parts:
            plain = PlainSoundStorm(state, heads)
            measured(speed(voices, plain, *options.frames, options.rounds, not options.passes_only))
            del plain
        if "batch" in options.parts:
            measured(
                {**batch(each, options.codes, options.longest, 3), "dtype": dtype} for dtype, each in voices.items()
            )
    wrong = [margin for row in rows for margin in row.get("margins", []) if margin > NEAR]
    if wrong or any(row.get("different") for row in rows):
        sys.exit(1)


def _measurement(row: Row) -> tuple[str | None, ...]:
    """What is measured anew as a whole: a part; of speed, passes or clips; of batches, a dtype."""
    return row["part"], row.get("what"), row.get("dtype")


def _megabytes(state: Any) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values()) / 1024**2


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
