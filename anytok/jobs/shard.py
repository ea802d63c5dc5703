"""What a shard holds before it is written: its rows, and what every output says about where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..spec import Codes, Spec
from .items import Item

if TYPE_CHECKING:
    from ..vocab import Vocabulary

__all__ = ["Row", "Shard"]


class Row:
    """One item and its codes, kept as narrow as the codebook allows."""

    def __init__(self, item: Item, codes: Codes) -> None:
        self.item, self.spec = item, codes.spec
        self.values = codes.values.astype(np.min_scalar_type(codes.spec.codebook_size - 1))
        self._more = (codes.num_samples, codes.first_codebook, codes.scales)

    @property
    def codes(self) -> Codes:
        return Codes(self.values, self.spec, *self._more)

    @property
    def seconds(self) -> float | None:
        """Length of the sound; None for pictures."""
        samples, rate = self._more[0], self.spec.sample_rate
        return None if samples is None or not rate else samples / rate


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
        """JSON for the head of every output: who made these codes, by which plan, for which vocabulary."""
        record: dict[str, Any] = {
            "anytok": __version__,
            "plan": self.plan_hash,
            "specs": {modality: spec.to_dict() for modality, spec in sorted(self.specs.items())},
        }
        if self.vocabulary:
            record["vocabulary"] = {"name": self.vocabulary.name, "hash": self.vocabulary.hash}
        return json.dumps(record)

    @property
    def code_dtype(self) -> np.dtype:
        """The narrowest type that holds every code of this job."""
        return np.min_scalar_type(max(spec.codebook_size for spec in self.specs.values()) - 1)

    @cached_property
    def ids(self) -> list[np.ndarray] | None:
        """Ids of each row in the vocabulary's own integer type, markers included; None without a vocabulary."""
        return [self.vocabulary.to_ids(row.codes) for row in self.rows] if self.vocabulary else None
