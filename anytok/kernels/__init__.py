"""A small library of CPU kernels: products, convolutions, LSTM steps, codebook search, activations, norms.

Tensors in, tensors out; nothing here knows a codec. There are several implementations of the same functions: builds of
csrc/ for kinds of CPUs (`Compiled`), and plain torch (`Portable`, and `Double` for float64). Which one serves is
decided here and nowhere else: the best build that was compiled and that this CPU executes, or what the environment
variable ANYTOK_KERNELS names. layers.py keeps weights packed for the implementation that served when a layer was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import torch

from ..errors import UsageError
from .compiled import Compiled
from .double import Double
from .portable import Portable

__all__ = ["BUILDS", "Kernels", "current", "load", "serving", "using", "why_not"]

Kernels: TypeAlias = Compiled | Portable | Double

BUILDS = ("amx", "avx512bf16", "avx512", "avx2", "portable")  # the best first
VARIABLE = "ANYTOK_KERNELS"
_forced: list[Kernels] = []  # by `using`, the innermost last


def current() -> Kernels:
    """What serves on CPUs now. Raises UsageError if ANYTOK_KERNELS names no build, or one that cannot serve here."""
    return _forced[-1] if _forced else load(os.environ.get(VARIABLE) or _best())


def serving(device: torch.device, dtype: torch.dtype = torch.float32) -> Kernels:
    """What serves for tensors on that device, of that type: compiled kernels are for CPUs, and none is for float64."""
    if dtype == torch.float64:
        return Double()
    return current() if device.type == "cpu" else load("portable")


@contextmanager
def using(build: str) -> Iterator[Kernels]:
    """Within, layers are made for that build, in all threads; they keep it. Raises UsageError as `current`."""
    _forced.append(load(build))
    try:
        yield _forced[-1]
    finally:
        _forced.pop()


@cache
def load(build: str) -> Kernels:
    """The build of that name, one of BUILDS. Raises UsageError if there is no such, or it cannot serve here."""
    if build not in BUILDS:
        raise UsageError(f"{VARIABLE}={build!r}: expected one of {', '.join(BUILDS)}")
    if why := why_not(build):
        raise UsageError(f"{VARIABLE}={build}: {why}")
    return Portable() if build == "portable" else Compiled(build, _path(build))


def why_not(build: str) -> str | None:
    """Why a build cannot serve on this machine; None if it can."""
    if build == "portable":
        return None
    if not _executes(build):
        return f"this CPU has no {build}"
    if not _path(build).exists():
        return "not compiled when anytok was installed, which takes Linux on x86-64 and gcc 9 or newer"
    return None


def _best() -> str:
    return next(build for build in BUILDS if why_not(build) is None)


def _path(build: str) -> Path:
    """In this package, or, of an editable install, in the one that hatch_build.py adds beside it."""
    here = Path(__file__).with_name(f"kernels-{build}.so")
    beside = None if here.exists() else find_spec("anytok_kernels")
    folders = beside.submodule_search_locations or () if beside else ()  # several, where several paths have the package
    return next((path for folder in folders if (path := Path(folder, here.name)).exists()), here)


def _executes(build: str) -> bool:
    """Whether this CPU has the instructions of a build, and the system lets them be used."""
    if build == "amx":
        return _executes("avx512bf16") and torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx()
    feature = {"avx512bf16": "avx512_bf16"}.get(build, build)
    return bool(getattr(torch.cpu, f"_is_{feature}_supported")())
