"""Where our own kernels are, and how they are called; kernels.py says what they compute."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["call", "constant", "missing"]


def missing() -> str | None:
    """Why there are no kernels on this machine; None where there are."""
    found = _library()
    return found if isinstance(found, str) else None


@cache
def constant(name: str) -> int:
    """What a function without arguments says."""
    return call(name)


def call(name: str, *arguments: Tensor | int) -> int:
    """What the kernel called `name` returns: tensors go as where their numbers lie, and numbers as 64 bits."""
    library = _library()
    assert isinstance(library, ctypes.CDLL), library
    assert all(one.is_cpu and one.is_contiguous() for one in arguments if isinstance(one, Tensor))
    passed = (ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else ctypes.c_int64(one) for one in arguments)
    return getattr(library, name)(*passed)


@cache
def _library() -> ctypes.CDLL | str:
    has_half = torch.cpu._is_avx512_bf16_supported()
    kinds = {
        "amx": has_half and torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx(),  # the system must give leave
        "avx512bf16": has_half,
        "avx512": torch.cpu._is_avx512_supported(),
        "avx2": torch.cpu._is_avx2_supported(),
    }
    usable = [Path(__file__).with_name(f"kernels-{kind}.so") for kind, is_supported in kinds.items() if is_supported]
    if not usable:
        return "this CPU has no AVX2"
    path = next((path for path in usable if path.exists()), None)
    if path is None:
        return "not compiled when anytok was installed, which takes Linux on x86-64 and gcc 9 or newer"
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
