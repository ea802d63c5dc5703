"""A small world that can be drawn without end: one object on a background, and the truth about each scene."""

from __future__ import annotations

from .glyphs import Glyphs, find_font
from .kinds import KINDS, Kind, kinds_of
from .scenes import Scene, World, is_aside

__all__ = ["KINDS", "Glyphs", "Kind", "Scene", "World", "find_font", "is_aside", "kinds_of"]
