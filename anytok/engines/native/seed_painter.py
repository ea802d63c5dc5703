"""Embeddings to pictures: which unCLIP pipeline, which sampler, loaded when the first picture is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...arguments import whole
from ...checkpoints.unclip import SCHEDULERS, Sampling, read_unclip
from ...errors import UsageError
from ...media import Decoded
from ...models.unclip import Unclip

__all__ = ["Painter"]

_PRESETS = ("faithful", "fast")
_FAST_STEPS = 10  # as many UNet calls, where SEED's own sampling takes 21; other, equally valid, pictures


class Painter:
    """`source`: what to call, with the first picture, for the folder of a diffusers unCLIP pipeline; or an `Unclip`,
    which brings its own scheduler.

    `sampling` is the checkpoint's; `preset` "faithful" leaves it, "fast" makes it DPM-Solver++ in 10 steps where it has
    more, and `scheduler` ("pndm", "ddim", "dpm++"), `num_inference_steps` and `guidance_scale` come before both.
    `guidance_scale` up to 1 means none, at half the cost; `noise_level` 0 to 999 blurs the embedding.
    `batch_size` pictures are painted at once. One at a time, as on a CPU, a picture is the same in any batch
    to the last bit; more at once may move a level by a rounding error. `compile` compiles the transformers of the UNet
    that it reads on first use, once for each number of pictures; a ready `Unclip` stays as it is.
    """

    def __init__(
        self,
        source: Callable[[], Path] | Unclip,
        *,
        embedding_dim: int,
        device: str,
        dtype: torch.dtype,
        sampling: Sampling,
        preset: str = "faithful",
        scheduler: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        noise_level: int = 0,
        batch_size: int = 1,
        compile: bool = False,
    ) -> None:
        if preset not in _PRESETS:
            raise UsageError(f"preset {preset!r}; expected one of {', '.join(_PRESETS)}")
        if scheduler is not None and isinstance(source, Unclip):
            raise UsageError(f"scheduler {scheduler!r} with a ready Unclip, which has one: give it to the Unclip")
        if preset == "fast" and sampling.num_inference_steps > _FAST_STEPS:
            sampling = replace(sampling, scheduler="dpm++", num_inference_steps=_FAST_STEPS)
        self._scheduler = scheduler or sampling.scheduler
        if self._scheduler not in SCHEDULERS:
            raise UsageError(f"scheduler {self._scheduler!r}; expected one of {', '.join(SCHEDULERS)}")
        guidance_scale = sampling.guidance_scale if guidance_scale is None else guidance_scale
        if not isinstance(guidance_scale, int | float) or not math.isfinite(guidance_scale):
            raise UsageError(f"guidance_scale={guidance_scale!r}: expected a finite number")
        self._source, self._embedding_dim, self._device, self._dtype = source, embedding_dim, device, dtype
        self._batch_size, self._compile = whole("decode_batch_size", batch_size, 1), compile
        steps = sampling.num_inference_steps if num_inference_steps is None else num_inference_steps
        self._sampling: dict[str, Any] = {
            "num_inference_steps": whole("num_inference_steps", steps, 1, 1000),  # as many as it was trained with
            "guidance_scale": guidance_scale,
            "noise_level": whole("noise_level", noise_level, 0, 999),
        }

    @cached_property
    @torch.inference_mode(False)  # weights that are loaded within it could not be used outside of it
    def _unclip(self) -> Unclip:
        if isinstance(self._source, Unclip):
            return self._source
        parts = read_unclip(self._source(), self._embedding_dim, self._scheduler, self._device, self._dtype)
        if self._compile:
            parts["unet"].compile_repeated_blocks()
        return Unclip(**parts)

    def paint(
        self, embeddings_be: np.ndarray, seeds: Sequence[int], negatives_be: np.ndarray | None = None
    ) -> list[Decoded]:
        """One PIL RGB picture per embedding; picture i depends on row i and seed i alone."""
        from PIL import Image

        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        pictures: list[Decoded] = []
        for start in range(0, len(embeddings_be), self._batch_size):
            some = slice(start, start + self._batch_size)
            levels_bhwc = self._unclip(
                torch.from_numpy(embeddings_be[some]),
                generators[some],
                negatives_be=None if negatives_be is None else torch.from_numpy(negatives_be[some]),
                **self._sampling,
            )
            pictures += [Image.fromarray(levels_hwc) for levels_hwc in levels_bhwc.cpu().numpy()]
        return pictures
