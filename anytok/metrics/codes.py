"""Statistics of codes: how much of a codebook is used, how evenly, and how far two engines agree.

Legend: k codebooks, t frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UsageError
from ..spec import Codes

__all__ = ["agreement", "counts", "label_accuracy", "perplexity", "usage"]


def counts(codes: Sequence[Codes]) -> np.ndarray:
    """How often each code occurs, int64 [k, codebook_size], over all items."""
    if not codes:
        raise UsageError("no codes to count")
    rows = np.concatenate([item.values for item in codes], axis=1)
    return np.stack([np.bincount(row, minlength=codes[0].spec.codebook_size) for row in rows])


def usage(codes: Sequence[Codes]) -> np.ndarray:
    """Share of each codebook's codes that occur at all, float64 [k]."""
    return (counts(codes) > 0).mean(axis=1)


def perplexity(codes: Sequence[Codes]) -> np.ndarray:
    """exp(entropy) per codebook, float64 [k]: the number of evenly used codes that would be as surprising."""
    shares = counts(codes) / counts(codes).sum(axis=1, keepdims=True)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.exp(-(shares * logs).sum(axis=1))


def agreement(codes: Sequence[Codes], others: Sequence[Codes]) -> np.ndarray:
    """Share of equal codes per codebook, float64 [k], between two codings of the same items."""
    if [item.values.shape for item in codes] != [item.values.shape for item in others]:
        raise UsageError("the two lists hold codes of different shapes: they are not of the same items")
    equal = [a.values == b.values for a, b in zip(codes, others, strict=True)]
    return np.concatenate(equal, axis=1).mean(axis=1)


def label_accuracy(
    codes: np.ndarray, labels: np.ndarray, held_codes: np.ndarray, held_labels: np.ndarray, codebook_size: int
) -> float:
    """How well a code tells a frame's label: each code says the label it meets most often in `codes` and
    `labels` (int [t]), and the share of held-out frames for which that is right is returned.

    Negative labels are unknown and do not count. A code never met says the most frequent label of all.
    """
    known, held_known = labels >= 0, held_labels >= 0
    table = np.zeros((codebook_size, int(max(labels.max(), held_labels.max())) + 1), np.int64)
    np.add.at(table, (codes[known], labels[known]), 1)
    said = np.where(table.any(axis=1), table.argmax(axis=1), table.sum(axis=0).argmax())
    return float((said[held_codes[held_known]] == held_labels[held_known]).mean())
