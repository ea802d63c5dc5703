"""Lines of ids as language models write them: legal ones, and legal ones with something gone wrong."""

from __future__ import annotations

import numpy as np

from anytok import Codes, Spec, Vocabulary
from anytok.vocab import TextIds, build_layout, segment_of

SPECS = [
    Spec("pic", "image", 1, 16, num_frames=4),
    Spec("voice", "speech", 3, 8, frame_rate=50),
    Spec("song", "music", 2, 8, frame_rate=50),
]
TOY = Vocabulary(
    build_layout(
        "toy",
        20,
        ["<human>", segment_of(SPECS[0]), segment_of(SPECS[1], pattern="layer-major"), "<bot>", segment_of(SPECS[2])],
    )
)
DELAYED = TOY.with_runs("speech", pattern="flat-delay")


def legal_line(rng: np.random.Generator, vocab: Vocabulary = TOY, num_parts: int = 5) -> np.ndarray:
    """Text ids and runs of 1 to 5 frames, at random."""
    parts: list[TextIds | Codes] = []
    for _ in range(rng.integers(0, num_parts + 1)):
        place = rng.integers(-1, len(vocab.layout.segments))
        if place < 0:
            parts.append(TextIds(rng.integers(0, vocab.layout.text_size, rng.integers(1, 4))))
            continue
        spec = vocab.layout.segments[place].spec
        shape = spec.num_codebooks, spec.num_frames or int(rng.integers(1, 6))
        parts.append(Codes(rng.integers(0, spec.codebook_size, shape), spec))
    return vocab.to_ids(parts).astype(np.int64)


def mutated(line: np.ndarray, rng: np.random.Generator, vocab: Vocabulary = TOY) -> np.ndarray:
    """One to four ids replaced, removed, inserted or doubled, or the line cut; some ids beyond the vocabulary."""
    ids = line.tolist()
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, len(ids) + 1))
        strange = int(rng.integers(-1, vocab.layout.total + 3))
        match rng.integers(0, 5):
            case 0:
                ids[at : at + 1] = [strange]
            case 1:
                ids[at : at + 1] = []
            case 2:
                ids[at:at] = [strange]
            case 3:
                ids[at:at] = ids[at : at + int(rng.integers(1, 5))]
            case _:
                ids = ids[:at] if rng.random() < 0.5 else ids[at:]
    return np.array(ids, np.int64)
