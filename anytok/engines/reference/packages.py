"""Import the original audio packages without torchaudio.

Both import torchaudio at their top and use it only for reading files and for training, and its last release does
not load beside today's torch. So a stand-in takes its place while they are imported. `speechtokenizer`'s own
`__init__` also imports its trainer, with packages it does not declare; its folder is entered past that file.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ...errors import MissingExtraError

__all__ = ["original"]

_STAND_INS = ("torchaudio", "torchaudio.functional", "torchaudio.transforms")


def original(module: str) -> Any:
    """The module `module` of an original package, for example "encodec.modules" or "speechtokenizer.model".

    Raises MissingExtraError where the package is not installed.
    """
    if module in sys.modules:
        return sys.modules[module]
    package = module.partition(".")[0]
    found = importlib.util.find_spec(package) if package not in sys.modules else sys.modules[package].__spec__
    if found is None:
        raise MissingExtraError(package, "reference", f"engine='reference' ({package})")
    with _without_torchaudio():
        if package == "speechtokenizer" and package not in sys.modules:
            shell = ModuleType(package)
            shell.__path__ = list(found.submodule_search_locations or [])
            shell.__spec__ = found
            sys.modules[package] = shell
        return importlib.import_module(module)


@contextmanager
def _without_torchaudio() -> Any:
    """Stand-ins for torchaudio in sys.modules, gone again afterwards."""
    before = {name: sys.modules.get(name) for name in _STAND_INS}
    sys.modules.update({name: ModuleType(name) for name in _STAND_INS})
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
