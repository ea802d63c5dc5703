"""Write the golden codes of the shipped weights, as the original packages compute them; those of the voice, whose
original is no package, as a plain float64 twin does.

PYTHONPATH=.:tests:benchmarks python tests/golden/mini/write.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from plain_soundstorm import PlainSoundStorm
from safetensors.torch import load_file
from test_weights import WEIGHTS, golden_media

import anytok
from anytok.catalogue import SUITES
from anytok.models.filling import filling

for name in SUITES["mini"]:
    tokenizer = anytok.load_tokenizer(name, engine="reference")
    items = tokenizer.encode_batch(golden_media(name))
    np.save(Path(__file__).parent / f"{name}.npy", np.concatenate([item.values for item in items], axis=1))

# A recording's content, with the recording itself for a voice prompt; seed 0, steps 3, greedy.
(codes,) = anytok.load_tokenizer("speech-mini").encode_batch(golden_media("speech-mini"))
state = load_file(WEIGHTS / "voice-mini" / "model.safetensors")
plain, frames = PlainSoundStorm({key: tensor.double() for key, tensor in state.items()}, heads=4), codes.num_frames
prompt = torch.tensor(codes.values[: 1 + plain.levels])
start = torch.cat([prompt[1:], torch.full((plain.levels, frames), plain.codes)], dim=1).T
generator = torch.Generator().manual_seed(0)
loop = filling(
    start, plain.codes, lambda: torch.rand(start.numel(), plain.codes, generator=generator), steps=3, greedy=True
)
given = next(loop)
try:
    while True:
        given = loop.send(plain.logits(given, prompt[0].repeat(2)))
except StopIteration as end:
    filled = end.value[frames:].T.numpy()
    np.save(Path(__file__).parent / "voice-mini.npy", np.concatenate([codes.values[:1], filled]).astype(np.int16))
