"""A process that remembers numbered recordings until it is killed, and acknowledges each on a line of its own.

    python memory_child.py FOLDER FIRST
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import numpy as np
from memories import any2any

import anytok


def numbered(number: int) -> anytok.Codes:
    """Codes of their own for each number, made without a tokenizer's work."""
    spec = any2any().tokenizer("speech").spec
    values = np.random.default_rng(number).integers(0, spec.codebook_size, (spec.num_codebooks, 20))
    return anytok.Codes(values, spec, num_samples=20 * 320)


if __name__ == "__main__":
    with anytok.load_memory(Path(sys.argv[1]), any2any(), user="alice") as memory:
        for number in count(int(sys.argv[2])):
            id = memory.add([numbered(number), f"number {number}"])
            print(f"{number} {id}", flush=True)
