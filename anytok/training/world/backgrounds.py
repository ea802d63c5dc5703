"""What stands behind an object: patterns and landscapes, from two to four colours and a seed, at any size.

Legend: h height, w width, c red, green, blue (0 to 255); x and y run from 0 to 1, to the right and down.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np

__all__ = ["BACKGROUNDS", "draw_background", "draw_colours"]

Array = np.ndarray
Drawer = Callable[[Array, Array, Array, np.random.Generator], Array]


def draw_colours(rng: np.random.Generator, background: int) -> Array:
    """Four colours [4, 3] that suit a background; the first two can be told apart."""
    name = BACKGROUNDS[background]
    while True:
        colours = np.array([_colour(rng, *_HUES[name][i]) for i in range(4)]) if name in _HUES else _any(rng)
        if np.linalg.norm(colours[0] - colours[1]) > 70:
            return colours.round()


def draw_background(background: int, colours_nc: Array, seed: int, side: int) -> Array:
    """float32 [side, side, 3], 0 to 255; the same scene at every side."""
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    x_hw, y_hw = np.meshgrid(centres, centres)
    drawn = _DRAWERS[BACKGROUNDS[background]](x_hw, y_hw, colours_nc, np.random.default_rng(seed))
    return drawn.astype(np.float32)


def _any(rng: np.random.Generator) -> Array:
    return np.array([_colour(rng, (0, 1), (0.1, 0.7), (0.35, 1.0)) for _ in range(4)])


def _colour(rng: np.random.Generator, hue: tuple, saturation: tuple, value: tuple) -> list[float]:
    parts = [rng.uniform(*bounds) for bounds in (hue, saturation, value)]
    return [255 * part for part in colorsys.hsv_to_rgb(parts[0] % 1, parts[1], parts[2])]


# (hue, saturation, value) of the four colours of landscapes: two of the sky, two of what lies below.
_SKY = [((0.5, 0.64), (0.35, 0.8), (0.75, 1.0)), ((-0.05, 0.16), (0.1, 0.5), (0.85, 1.0))]
_HUES = {
    "hills": [*_SKY, ((0.2, 0.4), (0.4, 0.8), (0.5, 0.85)), ((0.22, 0.42), (0.4, 0.8), (0.3, 0.6))],
    "sea": [*_SKY, ((0.5, 0.62), (0.5, 0.9), (0.4, 0.8)), ((0.5, 0.62), (0.5, 0.9), (0.2, 0.5))],
    "desert": [*_SKY, ((0.07, 0.13), (0.35, 0.7), (0.75, 1.0)), ((0.03, 0.1), (0.5, 0.8), (0.45, 0.75))],
}


def _mix(below: Array, above: Array, share_hw: Array) -> Array:
    return below + (above - below) * share_hw[..., None]


def _step(distance_hw: Array) -> Array:
    """0 outside, 1 inside, with an edge of one pixel: distances are in units of the picture."""
    return np.clip(distance_hw * distance_hw.shape[0] + 0.5, 0, 1)


def _along(x_hw: Array, y_hw: Array, angle: float) -> Array:
    return (x_hw - 0.5) * math.cos(angle) + (y_hw - 0.5) * math.sin(angle)


def _plain(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    return np.broadcast_to(colours_nc[0], (*x_hw.shape, 3))


def _gradient(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    return _mix(colours_nc[0], colours_nc[1], np.clip(0.5 + _along(x_hw, y_hw, rng.uniform(0, 2 * math.pi)), 0, 1))


def _stripes(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    turns, phase = 2 * math.pi * rng.uniform(1.5, 4), rng.uniform(0, 2 * math.pi)
    wave_hw = np.sin(turns * _along(x_hw, y_hw, rng.choice([0, 0.25, 0.5, 0.75]) * math.pi) + phase)
    return _mix(colours_nc[0], colours_nc[1], _step(wave_hw / turns))


def _checks(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    turns, angle = 2 * math.pi * rng.uniform(1.2, 2.6), rng.choice([0, 0.25]) * math.pi
    waves = [np.sin(turns * _along(x_hw, y_hw, a) + rng.uniform(0, 2 * math.pi)) for a in (angle, angle + math.pi / 2)]
    return _mix(colours_nc[0], colours_nc[1], _step(waves[0] * waves[1] / turns))


def _dots(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    cell, radius = 1 / rng.uniform(2.5, 4.5), rng.uniform(0.25, 0.36)
    offsets = rng.uniform(0, 1, 2)
    column_hw, row_hw = x_hw / cell + offsets[0], y_hw / cell + offsets[1]
    gap_hw = np.hypot(column_hw - np.round(column_hw), row_hw - np.round(row_hw))
    return _mix(colours_nc[0], colours_nc[1], _step((radius - gap_hw) * cell))


def _clouds(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    share_hw = np.zeros_like(x_hw)
    for frequency in (1, 1, 2, 2, 3):
        angle, phase = rng.uniform(0, 2 * math.pi, 2)
        share_hw += np.sin(2 * math.pi * frequency * _along(x_hw, y_hw, angle) + phase) / frequency
    return _mix(colours_nc[0], colours_nc[1], np.clip(0.5 + share_hw / 4, 0, 1))


def _sky(y_hw: Array, colours_nc: Array, horizon: float) -> Array:
    return _mix(colours_nc[0], colours_nc[1], np.clip(y_hw / horizon, 0, 1))


def _hills(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    horizon = rng.uniform(0.45, 0.65)
    drawn = _sky(y_hw, colours_nc, horizon)
    for layer in range(2):
        waves = 2 * math.pi * rng.uniform(0.5, 1.3) * x_hw + rng.uniform(0, 2 * math.pi)
        line_hw = horizon + 0.17 * layer + rng.uniform(0.04, 0.1) * np.sin(waves)
        drawn = _mix(drawn, colours_nc[2 + layer], _step(y_hw - line_hw))
    return drawn


def _sea(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    horizon = rng.uniform(0.4, 0.65)
    water = _mix(colours_nc[2], colours_nc[3], np.clip((y_hw - horizon) / (1 - horizon), 0, 1))
    sun = _mix(_sky(y_hw, colours_nc, horizon), np.array([255.0, 244, 200]), _sun(x_hw, y_hw, horizon, rng))
    return _mix(sun, water, _step(y_hw - horizon))


def _desert(x_hw: Array, y_hw: Array, colours_nc: Array, rng: np.random.Generator) -> Array:
    horizon, peak, width = rng.uniform(0.5, 0.7), rng.uniform(0.15, 0.85), rng.uniform(0.35, 0.6)
    height = rng.uniform(0.25, 0.45)
    drawn = _sky(y_hw, colours_nc, horizon)
    mountain_hw = y_hw - horizon + height - np.abs(x_hw - peak) * height / width
    drawn = _mix(drawn, colours_nc[3], _step(mountain_hw))
    return _mix(drawn, colours_nc[2], _step(y_hw - horizon))


def _sun(x_hw: Array, y_hw: Array, horizon: float, rng: np.random.Generator) -> Array:
    x, radius = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.14)
    return _step(radius - np.hypot(x_hw - x, y_hw - horizon))


_DRAWERS: dict[str, Drawer] = {
    "plain": _plain, "gradient": _gradient, "stripes": _stripes, "checks": _checks, "dots": _dots, "clouds": _clouds,
    "hills": _hills, "sea": _sea, "desert": _desert,
}  # fmt: skip
BACKGROUNDS = tuple(_DRAWERS)
