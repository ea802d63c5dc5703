"""A long signal in pieces that wait on disk once they are many."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["Pieces"]

SPILL_BYTES = 128 << 20  # pieces beyond this wait on disk


class Pieces:
    """Tensors [t, c] in order, in memory while they are few and in a temporary folder once they are many."""

    def __init__(self) -> None:
        self._held: list[Tensor | Path] = []
        self._bytes = 0
        self._device = torch.device("cpu")
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def append(self, piece_tc: Tensor) -> None:
        self._held.append(piece_tc)
        self[len(self._held) - 1] = piece_tc

    def __setitem__(self, place: int, piece_tc: Tensor) -> None:
        self._device = piece_tc.device
        self._bytes += piece_tc.numel() * piece_tc.element_size()
        if self._bytes <= SPILL_BYTES:
            self._held[place] = piece_tc
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="anytok-")
        path = Path(self._folder.name) / f"{place}.safetensors"
        save_file({"piece": piece_tc.contiguous()}, path)
        self._held[place] = path

    def __getitem__(self, place: int) -> Tensor:
        held = self._held[place]
        return load_file(held, device=str(self._device))["piece"] if isinstance(held, Path) else held

    @classmethod
    def like(cls, other: Pieces) -> Pieces:
        """As many places as `other` has, to be filled in any order."""
        pieces = cls()
        pieces._held = [torch.empty(0)] * len(other)
        return pieces
