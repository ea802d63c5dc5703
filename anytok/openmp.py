"""How threads of OpenMP wait for one another.

Where several threads share a product, the first to finish spins: it keeps its core busy until the last is there, for
up to some milliseconds with GNU's OpenMP, which torch brings, and 200 with Intel's. On cores that other programs use
as well, the last one waits for a core meanwhile, and every product takes a time slice. Told to spin for a short while
and then to sleep, they do not (benchmarks/busy.py). OpenMP reads this from the environment once, when torch is loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

__all__ = ["SETTINGS", "described", "share_cores"]

# GNU's (turns of a loop) and Intel's (milliseconds).
SETTINGS = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "0"}
_POLICY = "OMP_WAIT_POLICY"  # either's, and so the user's word


def share_cores(environment: MutableMapping[str, str] | None = None) -> None:
    """Have threads of OpenMP sleep soon, in this process, if torch is not loaded yet, and in those that it starts; what
    the user has set stays. `environment` is another process's."""
    environment = os.environ if environment is None else environment
    if _POLICY not in environment:
        for name, value in SETTINGS.items():
            environment.setdefault(name, value)


def described() -> str:
    """What is set, and by whom, in words."""
    if policy := os.environ.get(_POLICY):
        return f"wait as {_POLICY}={policy} says"
    library = "KMP_BLOCKTIME" if sys.platform == "darwin" else "GOMP_SPINCOUNT"
    value = os.environ.get(library)
    if value is None:
        return f"spin while they wait, which is slow on cores that others use, too: set {library}={SETTINGS[library]}"
    return f"soon sleep while they wait, so cores can be shared ({library}={value})"
