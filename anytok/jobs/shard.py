"""What a shard holds before it is written: its rows, what every output says about where they come from, and the counts
kept beside them, so that statistics and audits need no sink in particular."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..compose import Document
from ..metrics.codes import count
from ..spec import Codes, Spec
from .items import Item

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["TALLY", "Row", "Shard", "digest"]

TALLY = "tally.npz"


class Row:
    """One item and its codes, kept as narrow as the codebook allows; the warnings that reading it gave, and the
    `content_hash` of its medium, 0 where that is not known. `documents` has what the sinks write that have documents,
    by kind."""

    def __init__(self, item: Item, codes: Codes, warnings: tuple[str, ...] = (), content: int = 0) -> None:
        self.item, self.spec, self.warnings, self.content = item, codes.spec, warnings, content
        self.values = codes.values.astype(np.min_scalar_type(codes.spec.codebook_size - 1))
        self._more = (codes.num_samples, codes.first_codebook, codes.scales)
        self.documents: dict[str, Document] = {}
        self.least_margin = None if codes.margins is None else float(codes.margins.min())
        self.known_digest: int | None = None  # of rows read back from ids, which may have fewer layers

    @property
    def codes(self) -> Codes:
        return Codes(self.values, self.spec, *self._more)

    @property
    def digest(self) -> int:
        return digest(self.values) if self.known_digest is None else self.known_digest

    @property
    def seconds(self) -> float | None:
        """Length of the sound; None for pictures."""
        samples, rate = self._more[0], self.spec.sample_rate
        return None if samples is None or not rate else samples / rate


def provenance(shard: Any) -> dict[str, Any]:
    """Who made an output, by which plan, of which tokenizers, for which vocabulary: of a Shard or SequenceShard."""
    record: dict[str, Any] = {
        "anytok": __version__,
        "plan": shard.plan_hash,
        "specs": {name: spec.to_dict() for name, spec in sorted(shard.specs.items())},
    }
    if shard.vocabulary:
        record["vocabulary"] = {"name": shard.vocabulary.name, "hash": shard.vocabulary.hash}
    return record


@dataclass(frozen=True)
class Shard:
    """The rows of one shard, in the order of the plan, for the sinks to write."""

    number: int
    rows: list[Row]
    specs: Mapping[str, Spec]
    plan_hash: str
    vocabulary: Vocabulary | None

    @cached_property
    def provenance(self) -> str:
        """JSON for the head of every output."""
        return json.dumps(provenance(self))

    @property
    def code_dtype(self) -> np.dtype:
        """The narrowest type that holds every code of this job."""
        return np.min_scalar_type(max(spec.codebook_size for spec in self.specs.values()) - 1)

    def ids(self, sink: str) -> list[np.ndarray] | None:
        """Ids of each row in the vocabulary's own integer type, markers included, as a kind of sink writes them: of its
        documents, or of the media; None without a vocabulary."""
        documents = self.documents(sink)
        return [document.ids for document in documents] if documents else self._ids

    def documents(self, sink: str) -> list[Document]:
        """The documents of each row, where that kind of sink has some; a row without its own is a KeyError."""
        return [row.documents[sink] for row in self.rows] if any(sink in row.documents for row in self.rows) else []

    @cached_property
    def _ids(self) -> list[np.ndarray] | None:
        return [self.vocabulary.to_ids(row.codes) for row in self.rows] if self.vocabulary else None

    @property
    def num_rows(self) -> int:
        """Rows in each sink."""
        return len(self.rows)

    def write_tally(self, path: Path) -> None:
        """Per modality: `frames_M` int32 and `seconds_M` float64 of each row, `usage_M` int64 [K, codebook_size], how
        often each code occurs, in the layers that a row has. For all rows in order: `digests` and `contents`, uint64;
        `margins`, float32, where the job keeps them; `warnings`, JSON in uint8, of those rows that have some."""
        arrays: dict[str, Any] = {"digests": np.array([row.digest for row in self.rows], np.uint64)}
        arrays["contents"] = np.array([row.content for row in self.rows], np.uint64)
        if margins := [row.least_margin for row in self.rows if row.least_margin is not None]:
            arrays["margins"] = np.array(margins, np.float32)
        if warned := {number: row.warnings for number, row in enumerate(self.rows) if row.warnings}:
            arrays["warnings"] = np.frombuffer(json.dumps(warned).encode(), np.uint8)
        for modality in sorted({row.item.modality for row in self.rows}):
            of_one = [row for row in self.rows if row.item.modality == modality]
            arrays[f"frames_{modality}"] = np.array([row.values.shape[1] for row in of_one], np.int32)
            arrays[f"seconds_{modality}"] = np.array([row.seconds or 0.0 for row in of_one])
            arrays[f"usage_{modality}"] = _usage(of_one, self.specs[modality])
        np.savez_compressed(path, **arrays)


def _usage(rows: list[Row], spec: Spec) -> np.ndarray:
    """How often each code occurs: int64 `[K, codebook_size]`. Rows that were read back from ids may have fewer layers,
    and count in these."""
    usage = np.zeros((spec.num_codebooks, spec.codebook_size), np.int64)
    for num_layers in {len(row.values) for row in rows}:
        values = np.concatenate([row.values for row in rows if len(row.values) == num_layers], axis=1)
        usage[:num_layers] += count(values, spec.codebook_size)
    return usage


def digest(values: np.ndarray) -> int:
    """64 bits of SHA-256 over codes [K, T]: enough to tell whether an item encodes to the same again."""
    plain = np.ascontiguousarray(values, np.int64)
    return int.from_bytes(hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).digest()[:8], "big")
