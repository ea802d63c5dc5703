"""What a shard of composed sequences holds before it is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..compose import Document, Sequence, pack
from ..spec import Spec
from ..vocab import Vocabulary
from ..vocab.grammar import Grammar
from .config import ComposeConfig
from .items import Item
from .shard import provenance

__all__ = ["DocumentRow", "SequenceShard"]


@dataclass(frozen=True)
class DocumentRow:
    """What one item has become: a document, cut to the length of sequences."""

    item: Item
    pieces: tuple[Document, ...]
    seconds: float | None = None

    @cached_property
    def digest(self) -> int:
        """64 bits of SHA-256 over ids, what is learned of them, and where the document is cut."""
        found = hashlib.sha256()
        for piece in self.pieces:
            found.update(len(piece).to_bytes(8, "big") + piece.ids.astype("<i4").tobytes() + piece.learned.tobytes())
        return int.from_bytes(found.digest()[:8], "big")


@dataclass(frozen=True)
class SequenceShard:
    """The documents of one shard, and the sequences that they make, for the sinks to write."""

    number: int
    rows: list[DocumentRow]
    specs: Mapping[str, Spec]
    plan_hash: str
    vocabulary: Vocabulary
    config: ComposeConfig

    @cached_property
    def sequences(self) -> list[Sequence]:
        pieces = (piece for row in self.rows for piece in row.pieces)
        if not self.config.length:
            return [Sequence((piece,)) for piece in pieces]
        return list(pack(pieces, self.config.length, self.config.window))

    def ids(self, sink: str = "") -> list[np.ndarray]:
        """Ids of each sequence, the same for every kind of sink."""
        return [one.input_ids for one in self.sequences]

    @cached_property
    def provenance(self) -> str:
        """JSON for the head of every output, as of a Shard, with what was composed and how."""
        return json.dumps(provenance(self) | {"compose": asdict(self.config)})

    @property
    def num_rows(self) -> int:
        """Rows in each sink."""
        return len(self.sequences)

    def write_tally(self, path: Path) -> None:
        """`digests`, uint64, and `documents`, int32, ids of each, of the documents; `sequences`, int32, ids of each;
        `cut` documents, `learned` ids, and ids of `text` and, by modality, `ids_M`: int64 `[1]`."""
        grammar = Grammar(self.vocabulary.layout)
        arrays: dict[str, Any] = {"digests": np.array([row.digest for row in self.rows], np.uint64)}
        arrays["documents"] = np.array([sum(map(len, row.pieces)) for row in self.rows], np.int32)
        arrays["sequences"] = np.array([len(one) for one in self.sequences], np.int32)
        arrays["cut"] = np.array([sum(len(row.pieces) > 1 for row in self.rows)])
        arrays["learned"] = np.array([sum(int(piece.learned.sum()) for row in self.rows for piece in row.pieces)])
        families = np.zeros(len(grammar.layout.segments) + 1, np.int64)
        for ids in self.ids():
            families += np.bincount(grammar.family[ids] + 1, minlength=len(families))
        arrays["text"] = families[:1]
        for segment, count in zip(grammar.layout.segments, families[1:], strict=True):
            arrays[f"ids_{segment.modality}"] = arrays.get(f"ids_{segment.modality}", 0) + np.array([count])
        np.savez_compressed(path, **arrays)
