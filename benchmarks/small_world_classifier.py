"""A small classifier of what scenes of the small world show, fitted to originals alone, never to what comes back.

Kernel ridge regression with a Gaussian kernel, in closed form: of the object's kind, on the square that the truth says
it is in, and of the background's kind, on the whole picture. Features are histograms of oriented gradients and 6 x 6
Lab thumbnails. A decoded object that is elsewhere, or of another size, is in the square only in part.

Legend: n pictures, f features, k kinds, h height, w width, c channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from small_world_measures import SIDE, hog

from anytok.metrics.image import lab
from anytok.training.world import KINDS, Scene, World
from anytok.training.world.backgrounds import BACKGROUNDS

_BOX = 48  # pixels a side to which an object's square is resized
_RIDGE, _WIDTH = 0.01, 0.5  # of the kernel, in medians of the distances


class Classifier:
    """`num_known`: how many scenes that training may see, drawn from a seed of its own, it is fitted to."""

    def __init__(self, world: World, num_known: int) -> None:
        rng = np.random.default_rng(40_000)
        scenes = [world.scene(rng) for _ in range(num_known)]
        pictures = [world.draw(scene, SIDE)[0] for scene in scenes]
        kinds, behind = [scene.kind for scene in scenes], [scene.background for scene in scenes]
        self._kinds = _KernelRidge(_objects(pictures, scenes), np.eye(len(KINDS))[kinds])
        self._backgrounds = _KernelRidge(_wholes(pictures), np.eye(len(BACKGROUNDS))[behind])

    def kinds(self, pictures: Sequence[np.ndarray], scenes: Sequence[Scene]) -> np.ndarray:
        """The likeliest kinds [n] of the objects in pictures uint8 [96, 96, 3], which were made from these scenes."""
        return self._kinds(_objects(pictures, scenes)).argmax(1)

    def backgrounds(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """The likeliest backgrounds [n]."""
        return self._backgrounds(_wholes(pictures)).argmax(1)


class _KernelRidge:
    def __init__(self, known_nf: np.ndarray, wanted_nk: np.ndarray) -> None:
        self.known_nf = known_nf
        distances_nn = _squared_distances(known_nf, known_nf)
        self.width = _WIDTH * np.median(distances_nn)
        kernel_nn = np.exp(-distances_nn / self.width)
        self.weights_nk = np.linalg.solve(kernel_nn + _RIDGE * np.eye(len(known_nf)), wanted_nk)

    def __call__(self, asked_nf: np.ndarray) -> np.ndarray:
        return np.exp(-_squared_distances(asked_nf, self.known_nf) / self.width) @ self.weights_nk


def _squared_distances(a_nf: np.ndarray, b_mf: np.ndarray) -> np.ndarray:
    return (a_nf**2).sum(1)[:, None] + (b_mf**2).sum(1)[None] - 2 * a_nf @ b_mf.T


def _objects(pictures: Sequence[np.ndarray], scenes: Sequence[Scene]) -> np.ndarray:
    """Features [n, f] of the squares that objects stand in."""
    return np.stack([_features(_square(each, scene)) for each, scene in zip(pictures, scenes, strict=True)])


def _wholes(pictures: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([_features(Image.fromarray(each)) for each in pictures])


def _square(levels_hwc: np.ndarray, scene: Scene) -> Image.Image:
    side, half = len(levels_hwc), scene.size / 2 * 1.05
    box = tuple(side * edge for edge in (scene.x - half, scene.y - half, scene.x + half, scene.y + half))
    extent, way = Image.Transform.EXTENT, Image.Resampling.BICUBIC
    return Image.fromarray(levels_hwc).transform((_BOX, _BOX), extent, box, way)  # type: ignore[arg-type]


def _features(picture: Image.Image) -> np.ndarray:
    thumbnail = lab(np.asarray(picture.resize((6, 6), Image.Resampling.BOX))).ravel() / 100
    return np.concatenate([hog(np.asarray(picture), cells=6) / 5, thumbnail / 4])
