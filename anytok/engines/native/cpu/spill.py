"""A long signal in pieces, of which the later ones wait in a temporary file."""

from __future__ import annotations

import ctypes
import sys
import tempfile
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["SpillBuffer", "malloc_trim"]

MEMORY_BYTES = 8 << 20  # of each signal that stays in memory: forty seconds at 50 Hz and 1024 channels


class _Place(NamedTuple):
    offset: int  # in the file
    shape: torch.Size
    dtype: torch.dtype


class SpillBuffer:
    """Pieces [t, c] by their number, in any order, each written once. An hour of sound takes about 1 GB in all
    (benchmarks/long.py)."""

    def __init__(self) -> None:
        self._pieces: dict[int, Tensor | _Place] = {}
        self._bytes = 0  # in memory
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._pieces)

    def __setitem__(self, number: int, piece_tc: Tensor) -> None:
        assert number not in self._pieces
        if self._bytes + piece_tc.nbytes <= MEMORY_BYTES or not piece_tc.is_cpu:
            self._bytes += piece_tc.nbytes
            self._pieces[number] = piece_tc
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="anytok-", buffering=0)  # noqa: SIM115
        offset = self._file.seek(0, 2)
        piece_tc.contiguous().view(torch.uint8).numpy().tofile(self._file)
        self._pieces[number] = _Place(offset, piece_tc.shape, piece_tc.dtype)
        malloc_trim()  # or freed pieces would leave as much memory again in holes

    def __getitem__(self, number: int) -> Tensor:
        held = self._pieces[number]
        if isinstance(held, Tensor):
            return held
        assert self._file is not None
        self._file.seek(held.offset)
        data = np.fromfile(self._file, np.uint8, held.shape.numel() * held.dtype.itemsize)
        return torch.from_numpy(data).view(held.dtype).view(held.shape)


def malloc_trim() -> None:
    """Give memory that was freed between blocks still in use back to the system: glibc keeps hundreds of megabytes."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
