"""AnyGPT's three tokenizers with seeded weights, so that every run of its vocabulary decodes to media."""

from __future__ import annotations

import sys
from pathlib import Path

from pictures import crops, synthetic_pictures
from seeded import write_checkpoint
from seeded_seed import write_seed_checkpoint
from sounds import synthetic_waves

from anytok import load_multimodal
from anytok.multimodal import Multimodal
from anytok.registry import find

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from tiny_unclip import tiny_pipeline

WEIGHTS = {
    "speechtokenizer-snake": "seeded, published sizes, published file format",
    "encodec-32khz": "seeded, published sizes, published file format",
    "seed-2": "seeded, published file format; codebook, Q-Former and head of published sizes; a small ViT, which "
    "decoding does not use; in place of the published unCLIP a tiny one, which paints 64 x 64 pixels",
}


def seeded_anygpt(folder: Path) -> Multimodal:
    """Writes about 1 GB of checkpoints into `folder`; half a minute."""
    for name in ("speechtokenizer-snake", "encodec-32khz"):
        write_checkpoint(name, folder / name, synthetic_waves(find(name).spec, 2, 6.0).values())
    cut = crops(synthetic_pictures(8), 64)
    write_seed_checkpoint(folder / "seed-2", cut[:8], cut, vision_width=88, vision_layers=2, vision_heads=1)
    tiny_pipeline(folder / "unclip", embedding_dim=1024)
    return load_multimodal(
        "anygpt",
        checkpoints={name: folder / name for name in WEIGHTS},
        options={"seed-2": {"unclip": folder / "unclip"}},
    )
