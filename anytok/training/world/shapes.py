"""Shapes as plain data: layers from the lowest up, each of parts in the unit square (x to the right, y down).

A part of two points is an ellipse in the box between them; of more, a polygon.
"""

from __future__ import annotations

import math

__all__ = ["SHAPES"]

Part = list[tuple[float, float]]


def _regular(corners: int, radius: float = 0.5, inner: float | None = None) -> Part:
    """A regular polygon around the middle, its first corner on top; with `inner` a star."""
    radii = [radius] if inner is None else [radius, inner]
    count = corners * len(radii)
    angles = [2 * math.pi * i / count - math.pi / 2 for i in range(count)]
    return [
        (0.5 + radii[i % len(radii)] * math.cos(angle), 0.5 + radii[i % len(radii)] * math.sin(angle))
        for i, angle in enumerate(angles)
    ]


def _box(left: float, top: float, right: float, bottom: float) -> Part:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _disc(x: float, y: float, radius: float) -> Part:
    return [(x - radius, y - radius), (x + radius, y + radius)]


SHAPES: dict[str, list[list[Part]]] = {
    "circle": [[[(0, 0), (1, 1)]]],
    "square": [[_box(0.06, 0.06, 0.94, 0.94)]],
    "triangle": [[[(0.5, 0.04), (1, 0.93), (0, 0.93)]]],
    "star": [[_regular(5, 0.52, 0.21)]],
    "hexagon": [[_regular(6)]],
    "house": [
        [_box(0.12, 0.45, 0.88, 1)],
        [[(0.5, 0.02), (1, 0.47), (0, 0.47)], _box(0.42, 0.68, 0.62, 1)],
        [_box(0.2, 0.58, 0.36, 0.76), _box(0.68, 0.58, 0.82, 0.76)],
    ],
    "tree": [
        [_box(0.42, 0.7, 0.58, 1)],
        [[(0.5, 0), (0.8, 0.36), (0.2, 0.36)], [(0.5, 0.14), (0.9, 0.58), (0.1, 0.58)],
         [(0.5, 0.3), (1, 0.82), (0, 0.82)]],
    ],
    "mushroom": [
        [_box(0.36, 0.5, 0.64, 1)],
        [[(0, 0.58), (0.04, 0.34), (0.2, 0.12), (0.5, 0.02), (0.8, 0.12), (0.96, 0.34), (1, 0.58)]],
        [_disc(0.3, 0.34, 0.08), _disc(0.55, 0.22, 0.08), _disc(0.75, 0.42, 0.08)],
    ],
}  # fmt: skip
