"""The part of an embedding that says what is in a scene: where the object is, what is behind it, what it is.

Where SEED's embedding is CLIP's, whose meaning was learned from captions, this one is taught by the world's own truth.
The last two parts are logits: of the kinds that training sees, and of the backgrounds, with one more for a picture that
is no scene.

Legend: b batch, e width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .world import Scene, kinds_of
from .world.backgrounds import BACKGROUNDS
from .world.scenes import MAX_TURN, SIZES

__all__ = ["Truth"]


class Truth:
    """Reads and teaches `width` entries: pose (x, y, size, turn, each of about unit size), background, kind."""

    def __init__(self) -> None:
        self.kinds = kinds_of(aside=False)
        self._place = {kind: place for place, kind in enumerate(self.kinds)}
        self.widths = (4, len(BACKGROUNDS) + 1, len(self.kinds))

    @property
    def width(self) -> int:
        return sum(self.widths)

    def losses(self, truth_be: Tensor, scenes: Sequence[Scene | None]) -> dict[str, Tensor]:
        """Each a mean over the batch; of pictures that are no scenes only the background counts."""
        pose_b4, background_bn, kind_bk = truth_be.split(self.widths, dim=1)
        known = [place for place, scene in enumerate(scenes) if scene is not None]
        there = [scene for scene in scenes if scene is not None]
        photograph = len(BACKGROUNDS)
        behind_b = torch.tensor([photograph if scene is None else scene.background for scene in scenes])
        losses = {"background": 0.1 * F.cross_entropy(background_bn, behind_b)}
        if there:
            kinds_b = torch.tensor([self._place[scene.kind] for scene in there])
            poses_b4 = torch.tensor([pose(scene) for scene in there])
            losses["kind"] = 0.2 * F.cross_entropy(kind_bk[known], kinds_b) * len(there) / len(scenes)
            losses["pose"] = F.mse_loss(pose_b4[known], poses_b4) * len(there) / len(scenes)
        return losses

    def read(self, truth_be: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pose [b, 4] (x, y, size of the picture's side, turn in degrees), the likeliest background [b] and kind [b],
        as places in BACKGROUNDS (or one more, no scene) and KINDS."""
        pose_b4, background_bn, kind_bk = truth_be.split(self.widths, dim=1)
        middle, half = sum(SIZES) / 2, (SIZES[1] - SIZES[0]) / 2
        x_b, y_b, size_b, turn_b = (pose_b4 * torch.tensor([0.25, 0.25, half, MAX_TURN])).unbind(1)
        poses_b4 = torch.stack([x_b + 0.5, y_b + 0.5, size_b + middle, turn_b], dim=1)
        return poses_b4, background_bn.argmax(1), torch.tensor(self.kinds)[kind_bk.argmax(1)]


def pose(scene: Scene) -> tuple[float, float, float, float]:
    """x, y, size and turn, from -1 to 1 or somewhat more."""
    middle, half = sum(SIZES) / 2, (SIZES[1] - SIZES[0]) / 2
    return (scene.x - 0.5) * 4, (scene.y - 0.5) * 4, (scene.size - middle) / half, scene.turn / MAX_TURN
