"""Rows of different lengths → one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..arguments import whole
from ..compose import IGNORED
from ..errors import UsageError
from .sharded import Row

__all__ = ["Collator"]


@dataclass(frozen=True)
class Collator:
    """Rows → int64 tensors `[B, N]`, padded on the right to the longest row and on to a multiple of `multiple`: ids by
    `pad_id`, `labels` by -100, and `position_ids` from 0 on, as a document more.

    There is no attention mask: where positions begin anew, transformers keep documents apart, unless a mask is given
    (or a cache of keys is on: `use_cache=False`, as Trainer sets it).
    """

    pad_id: int = 0
    multiple: int = 1

    def __post_init__(self) -> None:
        whole("pad_id", self.pad_id, 0)
        whole("multiple", self.multiple, 1)

    def __call__(self, rows: Sequence[Row]) -> Row:
        if "cu_seqlens" in rows[0]:
            raise UsageError("cu_seqlens of several rows make no tensor: leave them out of the dataset's columns")
        longest = max(len(line) for row in rows for line in row.values())
        length = -(-longest // self.multiple) * self.multiple
        return {name: torch.stack([self._padded(name, row[name], length) for row in rows]) for name in rows[0]}

    def _padded(self, name: str, line: torch.Tensor, length: int) -> torch.Tensor:
        room = length - len(line)
        if name == "position_ids":
            return torch.cat([line, torch.arange(room)])
        return torch.nn.functional.pad(line, (0, room), value={"input_ids": self.pad_id, "labels": IGNORED}[name])
