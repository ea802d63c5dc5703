"""An old name, until its importers have moved."""

from __future__ import annotations

from .weights import up_weights

__all__ = ["up_weights"]
