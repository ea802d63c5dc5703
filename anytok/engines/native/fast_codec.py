"""An old name, until its importers have moved."""

from __future__ import annotations

from .cpu.codec import DecoderStream, FastCodec

__all__ = ["DecoderStream", "FastCodec"]
