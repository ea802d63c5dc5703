"""Statistics of codes: how much of a codebook is used, how evenly, and how far two engines agree.

Legend: k codebooks, t frames, n codes of a codebook.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UsageError
from ..spec import Codes

__all__ = ["agreement", "count", "counts", "label_accuracy", "perplexity", "perplexity_of", "usage", "used"]


def counts(codes: Sequence[Codes]) -> np.ndarray:
    """How often each code occurs, int64 [k, codebook_size], over all items.

    Raises UsageError, as `usage` and `perplexity` do, for no items, or items with different codebooks.
    """
    return count(_rows(codes), codes[0].spec.codebook_size)


def usage(codes: Sequence[Codes]) -> np.ndarray:
    """Share of each codebook's codes that occur at all, float64 [k]."""
    return used(counts(codes))


def perplexity(codes: Sequence[Codes]) -> np.ndarray:
    """exp(entropy) per codebook, float64 [k]: the number of evenly used codes that would be as surprising."""
    return perplexity_of(counts(codes))


def count(values_kt: np.ndarray, codebook_size: int) -> np.ndarray:
    """How often each code occurs in `values_kt`, int64 [k, t]: int64 [k, codebook_size]."""
    return np.stack([np.bincount(row, minlength=codebook_size) for row in values_kt]).astype(np.int64)


def used(counts_kn: np.ndarray) -> np.ndarray:
    """Share of each codebook's n codes that occur at all, by how often each does: float64 [k]."""
    return (counts_kn > 0).mean(axis=1)


def perplexity_of(counts_kn: np.ndarray) -> np.ndarray:
    """`perplexity`, by how often each code occurs; 0 where none does.

    >>> perplexity_of(np.array([[5, 5, 5, 5, 0], [3, 0, 0, 0, 0], [0, 0, 0, 0, 0]])).round(9).tolist()
    [4.0, 1.0, 0.0]
    """
    totals = counts_kn.sum(axis=1, keepdims=True)
    shares = counts_kn / np.maximum(totals, 1)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.exp(-(shares * logs).sum(axis=1)) * (totals[:, 0] > 0)


def agreement(codes: Sequence[Codes], others: Sequence[Codes]) -> np.ndarray:
    """Share of equal codes per codebook, float64 [k], between two codings of the same items.

    Raises UsageError for lists that are empty, differ in shape, or hold items with different codebooks.
    """
    if [item.values.shape for item in codes] != [item.values.shape for item in others]:
        raise UsageError("the two lists hold codes of different shapes: they are not of the same items")
    return (_rows(codes) == _rows(others)).mean(axis=1)


def label_accuracy(
    codes: np.ndarray, labels: np.ndarray, held_codes: np.ndarray, held_labels: np.ndarray, codebook_size: int
) -> float:
    """How well a code tells a frame's label: each code says the label it meets most often in `codes` and
    `labels` (int [t]), and the share of held-out frames for which that is right is returned.

    Negative labels are unknown and do not count. A code never met says the most frequent label of all.
    Raises UsageError where either half has no known label, or codes and labels do not go together.
    """
    for half, theirs in ((codes, labels), (held_codes, held_labels)):
        if half.shape != theirs.shape or half.ndim != 1:
            raise UsageError(f"codes {list(half.shape)}, labels {list(theirs.shape)}: expected a label for each code")
        if half.size and not 0 <= half.min() <= half.max() < codebook_size:
            raise UsageError(f"codes from {half.min()} to {half.max()}: expected 0 to {codebook_size - 1}")
    known, held_known = labels >= 0, held_labels >= 0
    if not (known.any() and held_known.any()):
        raise UsageError(
            f"{known.sum()} known labels to learn from and {held_known.sum()} held out: expected at least one of each"
        )
    table = np.zeros((codebook_size, int(max(labels.max(), held_labels.max())) + 1), np.int64)
    np.add.at(table, (codes[known], labels[known]), 1)
    said = np.where(table.any(axis=1), table.argmax(axis=1), table.sum(axis=0).argmax())
    return float((said[held_codes[held_known]] == held_labels[held_known]).mean())


def _rows(codes: Sequence[Codes]) -> np.ndarray:
    """The codes of all items end to end, int64 [k, t]."""
    kinds = sorted({(item.num_codebooks, item.spec.codebook_size) for item in codes})
    if len(kinds) != 1:
        found = " and ".join(f"{books} codebooks of {size}" for books, size in kinds) or "no items"
        raise UsageError(f"codes of {found}: expected items of one tokenizer, with the same layers, and at least one")
    return np.concatenate([item.values for item in codes], axis=1)
