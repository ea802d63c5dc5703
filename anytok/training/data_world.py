"""A contact sheet of the small world, to be looked at.

    python -m anytok.training.data_world sheet.png [--font FILE] [--aside] [--seed 0]

Rows are groups of kinds: what training sees, or with --aside what is kept from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..errors import AnytokError
from .world import KINDS, World

__all__ = ["sheet"]

_SIDE, _GAP = 96, 4


def sheet(world: World, *, aside: bool, seed: int) -> np.ndarray:
    """uint8 [h, w, 3]: a row for each group, of ten scenes."""
    rng, rows = np.random.default_rng(seed), []
    for group in dict.fromkeys(kind.group for kind in KINDS):
        kinds = [index for index in (world.kinds_aside if aside else world.kinds) if KINDS[index].group == group]
        scenes = [world.scene(rng, aside=aside, kinds=[kinds[i % len(kinds)]]) for i in range(10)]
        tiles = [np.pad(world.draw(scene, _SIDE)[0], ((0, _GAP), (0, _GAP), (0, 0))) for scene in scenes]
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


if __name__ == "__main__":
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--font", default="")
    parser.add_argument("--aside", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        drawn = sheet(World(arguments.font), aside=arguments.aside, seed=arguments.seed)
        Image.fromarray(drawn).save(arguments.out)
    except AnytokError as error:
        raise SystemExit(f"{parser.prog}: {error}") from None
