"""Write the golden codes of the shipped weights, as the original packages compute them.

PYTHONPATH=.:tests python tests/golden/mini/write.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from test_weights import golden_media

import anytok
from anytok.catalogue import SUITES

for name in SUITES["mini"]:
    tokenizer = anytok.load_tokenizer(name, engine="reference")
    items = tokenizer.encode_batch(golden_media(name))
    np.save(Path(__file__).parent / f"{name}.npy", np.concatenate([item.values for item in items], axis=1))
