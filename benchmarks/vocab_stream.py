"""Sound from ids as they come, against the same ids decoded at once: every chunking, and when the first sound is there.

    python benchmarks/vocab_stream.py [--frames 24]

Random codes of AnyGPT's speech and music at the published sizes (seeded weights) and of the small models go through
MediaStream in pieces of 1, 2, … frames up to all of them. `first_sound_after_frames` is how many frames are in when the
first sample comes out; it does not depend on the weights. Numbers go to results/vocab_stream.json. Two minutes on two
cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from seeded_anygpt import seeded_anygpt

from anytok import Audio, Codes, load_multimodal
from anytok.generation import MediaStream
from anytok.multimodal import Multimodal
from anytok.vocab import Segment

RESULT = Path(__file__).parent / "results" / "vocab_stream.json"
LIMIT = 1e-4  # of difference, on waves within [-1, 1]


def streamed(any2any: Multimodal, segment: Segment, num_frames: int) -> dict[str, Any]:
    """All chunkings of one sound."""
    layers = segment.num_codebooks
    values = np.random.default_rng(0).integers(0, segment.codebook_size, (layers, num_frames))
    ids = any2any.vocabulary.to_ids(Codes(values, segment.spec))
    [whole] = any2any.decode(ids)
    scale = max(1.0, float(np.abs(whole.wave).max()))
    differences = []
    for frames in range(1, num_frames + 1):
        cuts = [0, *range(1 + layers * frames, len(ids), layers * frames), len(ids)]
        stream = MediaStream(any2any)
        pieces = [piece for start, end in pairwise(cuts) for piece in stream.push(ids[start:end])] + stream.finish()
        wave = np.concatenate([piece.wave for piece in pieces], axis=1)
        assert wave.shape == whole.wave.shape, f"{frames} frames a piece give {wave.shape}, not {whole.wave.shape}"
        differences.append(float(np.abs(wave - whole.wave).max()) / scale)
    return {
        "tokenizer": segment.tokenizer,
        "frames": num_frames,
        "chunkings": len(differences),
        "max_difference": float(np.max(differences)),  # NaN if one is
        "first_sound_after_frames": first_sound(any2any, ids, layers),
        "frame_rate": segment.frame_rate,
    }


def first_sound(any2any: Multimodal, ids: np.ndarray, layers: int) -> int:
    stream = MediaStream(any2any)
    for place, number in enumerate(ids):
        if any(isinstance(piece, Audio) for piece in stream.push([number])):
            return place // layers
    raise AssertionError("no sound before the end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    num_frames = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as place:
        suites = seeded_anygpt(Path(place)), load_multimodal("mini")
        rows = [
            streamed(any2any, segment, num_frames)
            for any2any in suites
            for segment in any2any.vocabulary.layout.segments
            if segment.modality != "image"
        ]
    record = {"machine": machine(), "rows": rows}
    RESULT.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))
    raise SystemExit(not all(row["max_difference"] <= LIMIT for row in rows))


if __name__ == "__main__":
    main()
