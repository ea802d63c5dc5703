"""diffusers' stock unCLIP pipeline, with the one argument that SEED's copy of it had: negative embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...checkpoints.around_torchaudio import around_torchaudio
from ...errors import CheckpointError

with around_torchaudio():
    import diffusers

StableUnCLIPImg2ImgPipeline: Any = diffusers.StableUnCLIPImg2ImgPipeline

__all__ = ["StockUnclip", "load_stock"]


class StockUnclip(StableUnCLIPImg2ImgPipeline):
    """Set `negative_image_embeds` to steer away from an embedding; it is noised like the positive one."""

    negative_image_embeds: Tensor | None = None

    def _encode_image(self, **inputs: Any) -> Tensor:
        labels_bE = super()._encode_image(**inputs)
        if self.negative_image_embeds is None or not inputs["do_classifier_free_guidance"]:
            return labels_bE
        negative_bE = self.noise_image_embeddings(
            self.negative_image_embeds, inputs["noise_level"], generator=inputs["generator"]
        )
        return torch.cat([negative_bE, labels_bE[len(labels_bE) // 2 :]])


def load_stock(source: Any, device: torch.device, dtype: torch.dtype) -> StockUnclip:
    """The pipeline in the folder `source`, all of its parts; or `source`, a stock pipeline, as it is."""
    if isinstance(source, StableUnCLIPImg2ImgPipeline):
        return StockUnclip(**source.components)
    if not (Path(source) / "model_index.json").is_file():
        raise CheckpointError(
            f"{source}: no diffusers pipeline here (no model_index.json); pass unclip= the folder of a complete one"
        )
    return StockUnclip.from_pretrained(Path(source), dtype=dtype, use_safetensors=True).to(device)
