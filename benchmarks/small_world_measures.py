"""Measures of decoded scenes that training never uses: oriented gradients, colours under a mask, displacements, and a
linear probe.

Legend: h height, w width, c red, green, blue; n scenes, e embedding width.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from anytok.metrics.image import lab
from anytok.training.truth import Truth, pose
from anytok.training.world import Scene
from anytok.training.world.backgrounds import BACKGROUNDS

SIDE = 96
_LUMA = np.array([0.299, 0.587, 0.114])
_ANGLES = 9
_SHIFTS = range(-16, 17, 2)  # pixels
_SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)


def _gradients(levels_hwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of luma, down and to the right, each [h - 2, w - 2]."""
    luma_hw = levels_hwc.astype(np.float64) @ _LUMA
    return luma_hw[2:, 1:-1] - luma_hw[:-2, 1:-1], luma_hw[1:-1, 2:] - luma_hw[1:-1, :-2]


def gradient_energy(levels_hwc: np.ndarray) -> float:
    """Sum of squared luma gradients."""
    down_hw, right_hw = _gradients(levels_hwc)
    return float((down_hw**2 + right_hw**2).sum())


def hog(levels_hwc: np.ndarray, cells: int = 12) -> np.ndarray:
    """Histograms of oriented gradients of a square picture: cells x cells of them, 9 unsigned angles, normalised over
    blocks of 2 x 2 cells (Dalal and Triggs, CVPR 2005, without their interpolation)."""
    down_hw, right_hw = (np.pad(part, 1) for part in _gradients(levels_hwc))
    angles_hw = np.minimum((np.arctan2(down_hw, right_hw) % np.pi / np.pi * _ANGLES).astype(int), _ANGLES - 1)
    places = np.minimum(np.arange(len(levels_hwc)) // (len(levels_hwc) // cells), cells - 1)
    bins_hw = (places[:, None] * cells + places[None]) * _ANGLES + angles_hw
    counts = np.bincount(bins_hw.ravel(), np.hypot(down_hw, right_hw).ravel(), cells * cells * _ANGLES)
    grid = counts.reshape(cells, cells, _ANGLES)
    blocks = np.concatenate([grid[i : i + cells - 1, j : j + cells - 1] for i in (0, 1) for j in (0, 1)], axis=-1)
    return (blocks / (np.linalg.norm(blocks, axis=-1, keepdims=True) + 100)).ravel()


def colour_errors(made: list[np.ndarray], originals: list[np.ndarray], masks: list[np.ndarray]) -> dict[str, float]:
    """Mean CIE76 differences of mean colours: of the object, and of what is behind it in each of 3 x 3 fields."""
    inside, outside = [], []
    for back, original, mask in zip(made, originals, masks, strict=True):
        colours, free, third = np.stack([lab(back), lab(original)]), 1 - mask / 255, len(mask) // 3
        inside.append(_difference(colours, mask / 255))
        fields = [np.s_[i * third : (i + 1) * third, j * third : (j + 1) * third] for i in range(3) for j in range(3)]
        parts = [_difference(colours[:, *field], free[field]) for field in fields if free[field].mean() > 0.2]
        outside += [np.mean(parts)] if parts else []
    return {
        "object_colour": round(float(np.mean(inside)), 1),
        "background_colour": round(float(np.mean(outside)), 1),
    }


def _difference(colours_2hwc: np.ndarray, weight_hw: np.ndarray) -> float:
    means = (colours_2hwc * weight_hw[..., None]).sum((1, 2)) / weight_hw.sum()
    return float(np.linalg.norm(means[0] - means[1]))


def displacement(made: np.ndarray, original: np.ndarray, mask: np.ndarray, scene: Scene) -> tuple[float, float]:
    """How far the object has moved, as a share of the picture's side, and by how much its size has changed, as a share
    of it: where the original's object, with a rim of what is behind it, correlates best with the decoded picture."""
    around = np.asarray(Image.fromarray(mask).filter(ImageFilter.MaxFilter(9)))
    best, found = -2.0, (0.0, 0.0)
    padded = np.pad(made.astype(np.float64), ((16, 16), (16, 16), (0, 0)), mode="edge")
    for scale in _SCALES:
        template, weight_hw = (_scaled(each, scene, scale).astype(np.float64) for each in (original, around))
        rows, columns = (np.flatnonzero(weight_hw.max(axis) > 128) for axis in (1, 0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside, pattern = weight_hw[box] > 128, template[box]
        wanted = pattern[inside] - pattern[inside].mean(0)
        for down in _SHIFTS:
            for right in _SHIFTS:
                top, left = rows[0] + 16 + down, columns[0] + 16 + right
                seen = padded[top : top + inside.shape[0], left : left + inside.shape[1]][inside]
                seen = seen - seen.mean(0)
                likeness = (seen * wanted).sum() / (np.linalg.norm(seen) * np.linalg.norm(wanted) + 1e-9)
                if likeness > best + 1e-9:
                    best, found = likeness, (float(np.hypot(down, right)) / SIDE, abs(scale - 1))
    return found


def _scaled(levels: np.ndarray, scene: Scene, scale: float) -> np.ndarray:
    """The picture, or mask, larger or smaller around the middle of the object."""
    x, y = scene.x * SIDE, scene.y * SIDE
    back = (1 / scale, 0, x - x / scale, 0, 1 / scale, y - y / scale)
    picture, affine = Image.fromarray(levels), Image.Transform.AFFINE
    return np.asarray(picture.transform((SIDE, SIDE), affine, back, Image.Resampling.BILINEAR))  # type: ignore[arg-type]


def linear_probe(
    known_ne: np.ndarray, scenes: list[Scene], asked_ne: np.ndarray, ridge: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses [n, 4], backgrounds [n] and kinds [n] of the embeddings asked for, as `Truth.read` gives them."""
    import torch

    truth = Truth()
    told = np.zeros((len(scenes), truth.width))
    for row, scene in zip(told, scenes, strict=True):
        row[:4] = pose(scene)
        row[4 + scene.background] = 1
        row[4 + len(BACKGROUNDS) + 1 + truth.kinds.index(scene.kind)] = 1
    mean, deviation = known_ne.mean(0), known_ne.std(0) + 1e-6
    known, asked = (np.c_[(each - mean) / deviation, np.ones(len(each))] for each in (known_ne, asked_ne))
    weights = np.linalg.solve(known.T @ known + ridge * np.eye(known.shape[1]), known.T @ told)
    poses, backgrounds, kinds = truth.read(torch.from_numpy(asked @ weights).float())
    return poses.numpy(), backgrounds.numpy(), kinds.numpy()
