"""Vectors of words and of codes, for search without a downloaded model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

import numpy as np

from ..spec import Codes
from ..tokenizer import Tokenizer

__all__ = ["MEDIUM_WIDTH", "HashedWords", "join", "of_codes"]

MEDIUM_WIDTH = 1024
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class HashedWords:
    """Words and their groups of three letters, hashed into `width` counts: finds the same words, also when inflected
    or misspelled, and knows nothing of meaning. In Chinese, Japanese and Korean, groups of one and two letters."""

    name, width = "hashed-words-1", 512

    def __call__(self, text: str) -> np.ndarray:
        """float64 `[width]`, of length 1, or zeros where there is no word."""
        words = re.findall(r"\w+", text.lower())
        return _hashed((feature for word in words for feature in _features(word)), self.width)


def _features(word: str) -> list[str]:
    if _CJK.search(word):
        return [word[i : i + size] for size in (1, 2) for i in range(len(word) - size + 1)]
    edged = f"^{word}$"
    return [word, *(edged[i : i + 3] for i in range(len(edged) - 2))]


def of_codes(codes: Codes, tokenizer: Tokenizer) -> np.ndarray:
    """float64 `[1024]`, of length 1: the tokenizer's own `embed` of codes where it has one, which SEED's have; else the
    roots of how often each code of the first two layers occurs, hashed."""
    if hasattr(tokenizer, "embed"):
        embedded = np.asarray(tokenizer.embed([codes])[0], np.float64)
        places = np.arange(len(embedded)) % MEDIUM_WIDTH
        return unit(np.bincount(places, embedded, MEDIUM_WIDTH))
    layers = enumerate(codes.values[:2], codes.first_codebook)
    return _hashed((f"{layer}:{code}" for layer, row in layers for code in row), MEDIUM_WIDTH)


def join(words: np.ndarray, medium: np.ndarray | None, *, query: bool = False) -> np.ndarray:
    """[words | medium | rest]: the vector that is kept. The rest gives each the length √2, so that a sentence alone and
    one beside a picture score alike; a query has none. Cosine × √2 is then that of the words or media alone."""
    parts = [words, np.zeros(MEDIUM_WIDTH) if medium is None else medium]
    rest = 0.0 if query else max(0.0, 2 - sum(float(part @ part) for part in parts)) ** 0.5
    return np.concatenate([*parts, [rest]])


def unit(vector: np.ndarray) -> np.ndarray:
    """`vector` with length 1; zeros stay."""
    return vector / (np.linalg.norm(vector) or 1.0)


def _hashed(features: Iterable[str], width: int) -> np.ndarray:
    places = [zlib.crc32(feature.encode()) % width for feature in features]
    return unit(np.sqrt(np.bincount(np.asarray(places, int), minlength=width)))
