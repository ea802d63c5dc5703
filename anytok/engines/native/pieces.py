"""A long signal in pieces that wait on disk once they are many."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .heap import trim

__all__ = ["Pieces"]

SPILL_BYTES = 256 << 20  # of all signals together; what is beyond waits on disk


class Pieces:
    """Tensors [t, c] in order, in memory while there is room and else in a temporary folder."""

    in_memory = 0  # bytes, of all signals together

    def __init__(self) -> None:
        self._held: list[Tensor | Path] = []
        self._device = torch.device("cpu")
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def __del__(self) -> None:
        for place in range(len(self)):
            self._forget(place)

    def append(self, piece_tc: Tensor) -> None:
        self._held.append(torch.empty(0))
        self[len(self) - 1] = piece_tc

    def __setitem__(self, place: int, piece_tc: Tensor) -> None:
        self._forget(place)
        self._device = piece_tc.device
        if Pieces.in_memory + piece_tc.nbytes <= SPILL_BYTES:
            Pieces.in_memory += piece_tc.nbytes
            self._held[place] = piece_tc
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="anytok-")
        path = Path(self._folder.name) / f"{place}.safetensors"
        save_file({"piece": piece_tc.contiguous()}, path)
        self._held[place] = path
        trim()  # pieces come and go: an hour of sound would leave as much again in holes

    def __getitem__(self, place: int) -> Tensor:
        held = self._held[place]
        return load_file(held, device=str(self._device))["piece"] if isinstance(held, Path) else held

    @classmethod
    def like(cls, other: Pieces) -> Pieces:
        """As many places as `other` has, to be filled in any order."""
        pieces = cls()
        pieces._held = [torch.empty(0)] * len(other)
        return pieces

    def _forget(self, place: int) -> None:
        held = self._held[place]
        if isinstance(held, Tensor):
            Pieces.in_memory -= held.nbytes
            self._held[place] = torch.empty(0)
