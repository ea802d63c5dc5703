"""Recipe for SEED's tokenizer: ViT, causal Q-Former, 32 quantized codes, and the head that turns them back into
one embedding, trained to give a picture's Descriptor and, of scenes of the small world, the truth about them.
Everything learns together, the ViT included.

Source: SEED-LLaMA (arXiv 2310.01218, section 3.1): there the embedding is CLIP's and the ViT is given.
Legend: b batch, c channels, h height, w width, t queries, d latent width, e embedding width.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.seed import SeedSizes
from ..models.seed import Seed, normalize
from ..records import Count, Share, Within, multiple
from .calibrate import unit_outputs
from .config import Bits, TrainConfig, Weight
from .descriptor import NUM_FREQUENCIES, Descriptor
from .finished import begin_with, finished_files, load_seed
from .pictures import Pictures, WorldConfig
from .quantizer import LearnedQuantizer
from .truth import Truth

__all__ = ["ImageConfig", "ImageRecipe"]


@dataclass(frozen=True)
class ImageConfig:
    """Sizes, and the losses' weights. `start` is the folder of a finished run of the same sizes, with whose weights and
    codebook this one begins, and quantizes from the first step on ("": with random ones)."""

    sizes: SeedSizes
    start: str = ""
    num_luma: Annotated[int, Within(1, NUM_FREQUENCIES)] = 144
    num_colour: Annotated[int, Within(0, NUM_FREQUENCIES)] = 40
    drawn: Share = 0.25  # share of drawn pictures
    world: WorldConfig | None = None
    truth_weight: Weight = 1.0
    quantize_from: Count = 500
    commitment_weight: Weight = 0.25
    bits: Bits = 11

    def __post_init__(self) -> None:
        multiple("num_luma", self.num_luma, "two", 2)  # the painter takes embeddings of even width


class ImageRecipe:
    """An image tokenizer in training."""

    def __init__(self, config: TrainConfig) -> None:
        model: ImageConfig = config.model
        self.model, self.batch_size = model, config.run.batch_size
        self.descriptor = Descriptor(model.num_luma, model.num_colour)
        self.quantize_from = 0 if model.start else model.quantize_from
        self.truth = Truth() if model.world else None
        width = self.descriptor.width + (self.truth.width if self.truth else 0)
        self.sizes = {**asdict(model.sizes), "embedding_dim": width}
        self.pictures = Pictures(config.data, self.sizes["image_size"], model.drawn, model.world)
        self.data_files = self.pictures.files + (finished_files("tokenizer", model.start) if model.start else [])
        torch.manual_seed(config.run.seed)
        self.seed = Seed(**self.sizes)
        self.quantizer = LearnedQuantizer(1, self.sizes["codebook_size"], self.sizes["codebook_dim"])
        self.state = nn.ModuleDict({"seed": self.seed, "quantizer": self.quantizer})
        if self.truth:  # asks the ViT alone: it learns what there is long before the codes can say so
            self.auxiliary = nn.Linear(model.sizes.vision_width, self.truth.width)
            self.state["auxiliary"] = self.auxiliary

    @torch.no_grad()
    def prepare(self, rng: np.random.Generator) -> None:
        """Start with queries that look at different places.

        With torch's defaults attention is even, every query sees the picture's mean, and training stays stuck there.
        """
        if self.model.start:
            begin_with(self.model.start, self.seed, load_seed(self.model.start)[0].state_dict())
            self.quantizer.books[0].place(self.seed.codebook_nd)  # type: ignore[operator]
            return
        vision = self.seed.visual_encoder
        assert vision is not None
        vision.pos_embed.copy_(_waves_over_grid(vision.pos_embed.shape[1] - 1, vision.pos_embed.shape[2]))
        nn.init.normal_(vision.patch_embed.weight, std=0.5 / math.sqrt(vision.patch_embed.in_features))
        nn.init.normal_(self.seed.query_tokens)
        nn.init.normal_(self.seed.pos_embed_image, std=0.3)
        for layer in self.seed.qformer.layers:
            _listen(layer)
        pixels_bchw = normalize(self._batch(rng))
        parts = (self.seed.encode_task_layer, self.seed.decode_task_layer, self.seed.image_down)
        for part in (*parts, self.seed.distill_image_proj):
            unit_outputs(part, lambda: self._embed(self.seed.latents(pixels_bchw)))
        self.seed.distill_image_proj.weight.mul_(0.2)

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        if step == self.quantize_from and not self.model.start:
            self._start_quantizer(rng)
        levels, scenes = self.pictures.labelled(rng, self.batch_size)
        levels_bhwc = torch.from_numpy(levels)
        image_bme = self.seed.encode_image(normalize(levels_bhwc))
        latents_btd, losses = self.seed.encode_task_layer(self.seed.query(image_bme)), {}
        if step >= self.quantize_from:
            quantized = self.quantizer(latents_btd.transpose(1, 2))
            latents_btd = quantized.latents_bdt.transpose(1, 2)
            losses["commitment"] = self.model.commitment_weight * quantized.commitment
        wanted_be = self.descriptor(levels_bhwc.permute(0, 3, 1, 2).float() / 255)
        made_be, truth_be = self._embed(latents_btd).tensor_split([self.descriptor.width], dim=1)
        # half way between all frequencies alike and pixels alike
        errors_be = (made_be - wanted_be) * self.descriptor.importance_e.sqrt()
        losses["embedding"] = 10 * errors_be.square().mean()
        if self.truth:
            weight = self.model.truth_weight
            losses |= {name: weight * loss for name, loss in self.truth.losses(truth_be, scenes).items()}
            early = self.truth.losses(self.auxiliary(image_bme.mean(1)), scenes)
            losses["auxiliary"] = weight * torch.stack(list(early.values())).sum()
        return losses

    def _embed(self, latents_btd: Tensor) -> Tensor:
        """Seed.embed from latents instead of codes, so that gradients can pass."""
        seed = self.seed
        tokens_btd = seed.decode_task_layer(latents_btd) + seed.pos_embed_image
        return seed.distill_image_proj(seed.image_down(seed.blocks_image(tokens_btd)).flatten(1))

    def _batch(self, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(self.pictures.batch(rng, self.batch_size))

    @torch.no_grad()
    def _start_quantizer(self, rng: np.random.Generator) -> None:
        batches = math.ceil(10 * self.sizes["codebook_size"] / (self.batch_size * self.sizes["queries"]))
        latents = [self.seed.latents(normalize(self._batch(rng))) for _ in range(batches)]
        self.quantizer.start(torch.cat(latents).transpose(1, 2))


def _listen(layer: Any) -> None:
    """What a query takes from the picture comes through whole; what it takes from its neighbours, hardly at first."""
    for quiet in (layer.self_attention.output, layer.feed_out):
        quiet.weight.mul_(0.3)
    if layer.cross_attention is not None:
        for pointing in (layer.cross_attention.query, layer.cross_attention.key):
            nn.init.normal_(pointing.weight, std=1.5 / math.sqrt(pointing.in_features))
        for carrying in (layer.cross_attention.value, layer.cross_attention.output):
            nn.init.orthogonal_(carrying.weight, gain=1.5)


def _waves_over_grid(num_patches: int, width: int) -> Tensor:
    """Position vectors [1, 1 + patches, width]: cosines and sines of a few low frequencies along both axes,
    larger than what is seen there; nothing for the class token."""
    side = math.isqrt(num_patches)
    places = (torch.arange(side) + 0.5) / side
    frequencies = math.pi * torch.arange(1, width // 4 + 1) / 2
    waves = torch.cat([torch.cos(places[:, None] * frequencies), torch.sin(places[:, None] * frequencies)], dim=1)
    waves = waves / torch.arange(1, width // 4 + 1).repeat(2).sqrt()
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    grid = torch.cat([rows, columns], dim=2).flatten(0, 1)
    return F.pad(grid, (0, width - grid.shape[1], 1, 0))[None] * 2
