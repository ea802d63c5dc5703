"""A language model over AnyGPT's 49,418 ids: legal sampling, what it costs, and extending a tokenizer.

    python benchmarks/vocab_llm.py [--generations 1000] [--only generations|overhead|extend]

A tiny LLaMA with random weights samples lines of words, pictures, speech and music. Start and end markers are made
likely, as training would. With LegalRuns every line must parse under strict and every run decode to media, else this
exits 1; without, on the same model and seeds, the report counts what is wrong. `overhead` is the time of sampling with
LegalRuns over that without, for a model of next to no size and for a small one. Numbers go to results/vocab_llm.json,
where a part that was not asked for stays. About ten minutes on two cores; `--only overhead` takes one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import side_by_side
from machine import machine
from seeded_anygpt import WEIGHTS, seeded_anygpt

from anytok import Audio, Codes, VocabularyError, load_vocabulary
from anytok.generation import LegalRuns, resize_embeddings
from anytok.registry import find

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from llama import llama_tokenizer, tiny_llama

RESULT = Path(__file__).parent / "results" / "vocab_llm.json"
VOCAB = load_vocabulary("anygpt")
PROMPT, LENGTH, BATCH = 4, 128, 50
OPEN, CLOSE = 8.0, 5.0  # what markers gain, so that a run of speech or music lasts some frames
SMALL = {"hidden": 512, "layers": 8}


def eager(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """A taste for media: start and end markers become likely."""
    scores = scores.clone()
    scores[:, [segment.start_id for segment in VOCAB.layout.segments]] += OPEN
    scores[:, [segment.end_id for segment in VOCAB.layout.segments]] += CLOSE
    return scores


def anygpt_llama(**sizes: int) -> Any:
    model = tiny_llama(VOCAB.layout.text_size, **sizes)
    resize_embeddings(model, VOCAB)
    model.generation_config.eos_token_id = None  # all lines go to full length
    return model


def sample(model: Any, processors: list[Any], seed: int, length: int = LENGTH) -> np.ndarray:
    torch.manual_seed(seed)
    prompt = torch.randint(3, VOCAB.layout.text_size, (BATCH, PROMPT))
    lines = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_length=length,
        do_sample=True,
        top_k=0,
        logits_processor=processors,
    )
    return lines.numpy()


def generations(count: int) -> dict[str, Any]:
    """`count` sampled lines with LegalRuns, decoded to the last run, and as many without."""
    model, batches = anygpt_llama(), range(-(-count // BATCH))
    legal = LegalRuns(VOCAB, max_length=LENGTH)
    lines = {
        "with": (line for seed in batches for line in sample(model, [eager, legal], seed)),
        "without": (line for seed in batches for line in sample(model, [eager], seed)),
    }
    with tempfile.TemporaryDirectory() as place:
        any2any = seeded_anygpt(Path(place))
        found = {name: judged(some, any2any) for name, some in lines.items()}
    return {"length": LENGTH, "prompt": PROMPT, "weights": WEIGHTS, **found}


def judged(lines: Iterator[np.ndarray], any2any: Any) -> dict[str, Any]:
    """How many lines parse under strict, what their runs decode to, and what is wrong with the others."""
    count, parsed, faults, seen = 0, 0, 0, Counter[str]()
    runs: dict[str, Counter[str]] = {segment.modality: Counter() for segment in VOCAB.layout.segments}
    for line in lines:
        count += 1
        try:
            parts = VOCAB.from_ids(line)
            parsed += 1
        except VocabularyError:
            parts = VOCAB.from_ids(line, "drop")
            faults += len(parts.report.faults)
            seen += Counter(runs=parts.report.num_runs, whole=parts.report.num_whole)
            continue
        codes = [part for part in parts if isinstance(part, Codes)]
        for item, medium in zip(codes, any2any.to_media(codes), strict=True):
            of = runs[item.spec.modality]
            of += Counter(runs=1, decoded=is_media(item, medium), frames=item.num_frames)
            of["longest"] = max(of["longest"], item.num_frames)
    found = {"generations": count, "parsed": parsed, "not_parsed": count - parsed, "runs_of_parsed": runs}
    return {**found, "faults": faults, "runs_of_not_parsed": seen}


def is_media(codes: Codes, medium: Any) -> bool:
    """A picture, or finite sound of exactly as many samples as the frames make."""
    spec = find(codes.spec.name).spec
    if spec.modality == "image":
        return medium.mode == "RGB" and medium.size == (64, 64)
    whole = isinstance(medium, Audio) and medium.num_samples == codes.num_frames * spec.hop_length
    return whole and bool(np.isfinite(medium.wave).all() and medium.wave.any())


def overhead(rounds: int = 5, length: int = 36) -> dict[str, Any]:
    """Sampling a batch with LegalRuns over sampling it without, and LegalRuns alone, per step."""
    legal = LegalRuns(VOCAB, max_length=length)
    ids, scores = torch.randint(3, 32000, (BATCH, length)), torch.randn(BATCH, VOCAB.layout.total)
    legal(ids, scores)
    begun = time.perf_counter()
    for _ in range(20):
        legal(ids, scores)
    found: dict[str, Any] = {"batch": BATCH, "steps": length - PROMPT}
    found["processor_step_ms"] = round((time.perf_counter() - begun) / 20 * 1e3, 3)
    for name, model in {"tiny": anygpt_llama(), "small": anygpt_llama(**SMALL)}.items():
        runs = {
            "without": lambda model=model: sample(model, [], 0, length),
            "with": lambda model=model: sample(model, [legal], 0, length),
        }
        times = side_by_side(runs, rounds)
        ratio = times["with"]["median_s"] / times["without"]["median_s"]
        found[name] = {"parameters": model.num_parameters(), "ratio": round(ratio, 3), **times}
    return found


def extend() -> dict[str, float]:
    """Seconds to add AnyGPT's 17,418 tokens at once; the first 2,000 one by one (the time grows with the square)."""
    tokenizer, start = llama_tokenizer(), time.perf_counter()
    VOCAB.extend(tokenizer)
    seconds = {"all_at_once_s": round(time.perf_counter() - start, 3)}
    tokens = VOCAB.layout.tokens()[:2000]
    tokenizer, start = llama_tokenizer(), time.perf_counter()
    tokenizer.add_tokens(tokens, special_tokens=True)
    seconds["2000_at_once_s"] = round(time.perf_counter() - start, 3)
    tokenizer, start = llama_tokenizer(), time.perf_counter()
    for token in tokens:
        tokenizer.add_tokens([token], special_tokens=True)
    seconds["2000_one_by_one_s"] = round(time.perf_counter() - start, 3)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=1000)
    parser.add_argument("--only", choices=("generations", "overhead", "extend"), help="measure this part alone")
    args = parser.parse_args()
    parts = {"extend": extend, "generations": lambda: generations(args.generations), "overhead": overhead}
    record = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    for name, measure in parts.items():
        if args.only in (None, name):
            record[name] = {"machine": machine(), **measure()}
            print(json.dumps({name: record[name]}, indent=1), flush=True)
            RESULT.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    legal = record.get("generations", {}).get("with")
    if args.only in (None, "generations") and legal:
        runs = legal["runs_of_parsed"].values()
        raise SystemExit(bool(legal["not_parsed"]) or any(of["decoded"] != of["runs"] for of in runs))


if __name__ == "__main__":
    main()
