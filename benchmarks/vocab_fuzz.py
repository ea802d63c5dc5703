"""Random and mutated lines of ids and texts through every policy: no crash, no hang, valid output or a clear error.

    python benchmarks/vocab_fuzz.py [--count 100000]

`--count` lines of ids and as many texts, by turns over AnyGPT's layout and a small one of every kind of segment (fixed
length, layer-major, frame-major). Half are legal lines with something replaced, removed, inserted, doubled or cut; half
are random from end to end. Counts go to results/vocab_fuzz.json. About five minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from anytok import Codes, VocabularyError, load_vocabulary
from anytok.vocab import Parts, Vocabulary

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from lines import TOY, legal_line, mutated

RESULT = Path(__file__).parent / "results" / "vocab_fuzz.json"
REPAIRS = ("truncate", "pad", "drop")
VOCABULARIES = (TOY, load_vocabulary("anygpt"))
TOKENS = {vocab.name: vocab.layout.tokens() for vocab in VOCABULARIES}
SLOW = 5.0  # seconds: a line of some hundred ids that takes longer hangs
# What a text may break into: parts of tokens, numbers that fit nowhere, letters of every width, a lone surrogate.
SCRAPS = [*"<>/_0123456789 \n\0", "image", "speech", "\ufe0f", "🗣", "👀", "é", "你", "\ud800", "9" * 5000, "-1", "<👀"]


def mutated_ids(vocab: Vocabulary, rng: np.random.Generator) -> np.ndarray:
    return mutated(legal_line(rng, vocab), rng, vocab)


def random_ids(vocab: Vocabulary, rng: np.random.Generator) -> np.ndarray:
    """Ids from anywhere, some beyond the vocabulary; every second one a marker, so that runs begin."""
    ids = rng.integers(-2, vocab.layout.total + 2, rng.integers(0, 40))
    markers = [number for segment in vocab.layout.segments for number in (segment.start_id, segment.end_id)]
    return np.where(rng.random(len(ids)) < 0.5, rng.choice(markers, len(ids)), ids)


def mutated_text(vocab: Vocabulary, rng: np.random.Generator) -> str:
    codes = [part for part in vocab.from_ids(legal_line(rng, vocab)) if isinstance(part, Codes)]
    text = list(vocab.to_text([piece for item in codes for piece in ("so ", item)]))
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, len(text) + 1))
        text[at : at + int(rng.integers(0, 3))] = [SCRAPS[rng.integers(len(SCRAPS))]]
    return "".join(text)


def random_text(vocab: Vocabulary, rng: np.random.Generator) -> str:
    """Tokens of the vocabulary and scraps in any order."""
    tokens = TOKENS[vocab.name]
    return "".join(
        str(tokens[rng.integers(len(tokens))]) if rng.random() < 0.5 else SCRAPS[rng.integers(len(SCRAPS))]
        for _ in range(rng.integers(0, 30))
    )


def read_ids(vocab: Vocabulary, ids: np.ndarray, policy: str) -> Parts:
    parts = vocab.from_ids(ids, policy)
    assert vocab.from_ids(vocab.to_ids(parts)).report.ok, "what a policy gives is legal"
    return parts


def read_text(vocab: Vocabulary, text: str, policy: str) -> Parts:
    parts = vocab.from_text(text, policy)
    media = [part for part in parts if isinstance(part, Codes)]
    assert vocab.from_text(vocab.to_text(media)) == media, "what a policy gives is legal"
    return parts


KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Parts]]] = {
    "mutated ids": (mutated_ids, read_ids),
    "mutated text": (mutated_text, read_text),
    "random ids": (random_ids, read_ids),
    "random text": (random_text, read_text),
}


def tried(kind: str, vocab: Vocabulary, rng: np.random.Generator) -> Counter[str]:
    """One line through every policy; raises on anything but valid output, or a VocabularyError from strict."""
    make, read = KINDS[kind]
    line, counts = make(vocab, rng), Counter[str]()
    try:
        read(vocab, line, "strict")
        legal = True
    except VocabularyError:
        legal = False
    counts[f"{kind}: {'legal' if legal else 'refused by strict'}"] += 1
    for policy in REPAIRS:
        report = read(vocab, line, policy).report
        assert report.ok == legal, "a policy reports what strict refuses, and nothing else"
        counts[f"{kind}: runs repaired by {policy}"] += report.num_repaired
        counts[f"{kind}: runs dropped by {policy}"] += report.num_dropped
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="lines of ids, and as many texts")
    count = parser.parse_args().count
    rng, counts, slowest, begun = np.random.default_rng(0), Counter[str](), 0.0, time.perf_counter()
    kinds = list(KINDS)
    for place in range(2 * count):
        vocab = VOCABULARIES[place // len(kinds) % len(VOCABULARIES)]
        start = time.perf_counter()
        counts += tried(kinds[place % len(kinds)], vocab, rng)
        slowest = max(slowest, time.perf_counter() - start)
        assert slowest < SLOW, f"line {place} took {slowest:.1f} s"
    record = {
        "machine": machine(),
        "id_lines": count,
        "texts": count,
        "vocabularies": [vocab.name for vocab in VOCABULARIES],
        "policies": ["strict", *REPAIRS],
        "crashes": 0,  # one would have ended this
        "counts": dict(sorted(counts.items())),
        "slowest_line_s": round(slowest, 4),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
