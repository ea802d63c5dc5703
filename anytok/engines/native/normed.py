"""An old name, until its importers have moved."""

from __future__ import annotations

from ...kernels.portable import moments_of_batch as moments

__all__ = ["moments"]
