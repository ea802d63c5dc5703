"""An old name, until its importers have moved."""

from __future__ import annotations

from .weights import Weights

__all__ = ["Weights"]
