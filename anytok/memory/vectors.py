"""Vectors of words and of codes, for search without a downloaded model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import UsageError
from ..spec import Codes
from ..tokenizer import Tokenizer
from .item import split_mark

__all__ = ["MEDIUM_WIDTH", "Embedder", "hashed_words", "of_codes"]

MEDIUM_WIDTH = 1024
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def hashed_words(text: str) -> np.ndarray:
    """float64 `[512]` of length 1, or zeros: words and their groups of three letters (in Chinese, Japanese and Korean,
    of one and two). Finds the same words, also inflected or misspelled, and knows nothing of meaning."""
    features: list[str] = []
    for word in re.findall(r"\w+", text.lower()):
        edged, sizes = (word, (1, 2)) if _CJK.search(word) else (f"^{word}$", (3,))
        features += [word, *(edged[i : i + size] for size in sizes for i in range(len(edged) - size + 1))]
    return _hashed(features, 512)


def of_codes(codes: Codes, tokenizer: Tokenizer) -> np.ndarray:
    """float64 `[1024]` of length 1: the tokenizer's own `embed` of codes where it has one, which SEED's have; else the
    roots of how often each code of the first two layers occurs, hashed."""
    if hasattr(tokenizer, "embed"):
        embedded = np.asarray(tokenizer.embed([codes])[0], np.float64)
        return _unit(np.bincount(np.arange(len(embedded)) % MEDIUM_WIDTH, embedded, MEDIUM_WIDTH))
    layers = enumerate(codes.values[:2], codes.first_codebook)
    return _hashed((f"{layer}:{code}" for layer, row in layers for code in row), MEDIUM_WIDTH)


def _hashed(features: Iterable[str], width: int) -> np.ndarray:
    places = [zlib.crc32(feature.encode()) % width for feature in features]
    return _unit(np.sqrt(np.bincount(np.asarray(places, int), minlength=width)))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / (np.linalg.norm(vector) or 1.0)


class Embedder:
    """What mem0 embeds its texts by: `[words | medium | rest]`, the medium being what the text's mark stands for.

    The rest gives each memory the length √2, so that a sentence alone and one beside a picture score alike; a query
    has none. Cosine × √2 is then that of the words, or of the media, alone.
    """

    def __init__(self, words: Any) -> None:
        self.words = words
        self.name = getattr(words, "name", "") or f"{words.__module__}.{getattr(words, '__qualname__', type(words))}"
        self.width = getattr(words, "width", 0) or len(words("a word"))
        self.medium = np.zeros(MEDIUM_WIDTH)  # of the text that mem0 is about to embed
        self.failure: Exception | None = None  # mem0's deduction passes over texts that cannot be embedded

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        mark, words = split_mark(text)
        try:
            vector = np.asarray(self.words(words) if words else np.zeros(self.width), np.float64)
            if vector.shape != (self.width,) or not np.isfinite(vector).all():
                raise UsageError(f"{self.name} gave {vector.shape}: expected {self.width} finite numbers for each text")
        except Exception as error:
            self.failure = error
            raise
        parts = [_unit(vector), self.medium if mark else np.zeros(MEDIUM_WIDTH)]
        rest = 0.0 if memory_action == "search" else max(0.0, 2 - sum(float(part @ part) for part in parts)) ** 0.5
        return np.concatenate([*parts, [rest]]).tolist()

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:
        return [self.embed(text, memory_action) for text in texts]
