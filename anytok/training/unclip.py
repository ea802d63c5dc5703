"""Recipe for the painter: diffusers' UNet, told by a picture's embedding what to draw.

It learns on the embeddings that the finished tokenizer gives back from its codes, so what it is told in training
is what it is told in use.

Sources: unCLIP (arXiv 2204.06125, section 2), velocity targets (arXiv 2202.00512, section 4),
classifier-free guidance (arXiv 2207.12598).
Legend: b batch, c channels, h height, w width, t codes, e embedding width.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.around_torchaudio import around_torchaudio
from ..checkpoints.unclip import Sampling
from ..errors import UsageError
from ..models.unclip import waves
from ..records import AT_LEAST_ONE, Layers, Share, Size, Text, Within, multiple, same_length
from .config import Bits, TrainConfig
from .finished import begin_with, finished_files, load_unet
from .pairs import files_of, read_or_make_pairs
from .pictures import WorldConfig

__all__ = ["NOISING", "SAMPLING", "UnclipConfig", "UnclipRecipe", "UnetSizes"]

# The published pipeline's schedules.
SAMPLING = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction",
    "steps_offset": 1, "set_alpha_to_one": False, "skip_prk_steps": True,
}  # fmt: skip
NOISING = {"beta_schedule": "squaredcos_cap_v2"}

_Down = Literal["DownBlock2D", "CrossAttnDownBlock2D", "AttnDownBlock2D"]
_Up = Literal["UpBlock2D", "CrossAttnUpBlock2D", "AttnUpBlock2D"]


@dataclass(frozen=True)
class UnetSizes:
    """Those keywords of UNet2DConditionModel that change a painter's size, not what it is told."""

    sample_size: Size
    block_out_channels: Annotated[tuple[Size, ...], AT_LEAST_ONE]
    down_block_types: Annotated[tuple[_Down, ...], AT_LEAST_ONE]
    up_block_types: Annotated[tuple[_Up, ...], AT_LEAST_ONE]
    cross_attention_dim: Size
    in_channels: Size = 4
    out_channels: Size = 4
    layers_per_block: Layers = 2
    attention_head_dim: Size = 8
    norm_num_groups: Size = 32
    time_embedding_dim: Size | None = None  # all that it is told passes through it; None: four times the first channels
    use_linear_projection: bool = False
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"

    def __post_init__(self) -> None:
        same_length(self, "block_out_channels", "down_block_types", "up_block_types")
        multiple("sample_size", self.sample_size, "its halvings", 2 ** (len(self.block_out_channels) - 1))
        for channels in self.block_out_channels:
            multiple("block_out_channels", channels, "norm_num_groups", self.norm_num_groups)
            multiple("block_out_channels", channels, "attention_head_dim", self.attention_head_dim)


@dataclass(frozen=True)
class UnclipConfig:
    """`tokenizer` and `vae` are the folders of finished runs; so is `start`, of a painter of the same sizes with whose
    weights this one begins ("": with random ones)."""

    tokenizer: Text
    vae: Text
    sizes: UnetSizes
    start: str = ""
    num_pairs: Annotated[int, Within(2, 10**8)] = 8000  # embeddings and latents, made once
    drawn: Share = 0.05
    world: WorldConfig | None = None
    unconditional: Share = 0.1  # share of items that are told nothing, for guidance
    lowest_time: Annotated[int, Within(0, 999)] = 0  # of 1000: for samplers of few steps, which go no lower
    sampling: Sampling = field(default_factory=Sampling)  # in use; few steps keep to what the embedding says
    bits: Bits = 11

    def __post_init__(self) -> None:
        steps = self.sampling.num_inference_steps
        lowest = 0 if self.sampling.scheduler == "pndm" else 1000 // steps - 1  # the last of `steps` trailing ones
        if self.lowest_time > lowest:
            raise UsageError(
                f"[model] lowest_time={self.lowest_time}: {self.sampling.scheduler} in {steps} steps goes down to "
                f"{lowest}: expected that at most"
            )


class UnclipRecipe:
    """A UNet in training; `pairs` holds what it is told and what it should draw."""

    def __init__(self, config: TrainConfig) -> None:
        with around_torchaudio():
            import diffusers
        model: UnclipConfig = config.model
        self.model, self.batch_size = model, config.run.batch_size
        self.data_files = files_of(config) + (finished_files("painter", model.start) if model.start else [])
        pairs = read_or_make_pairs(config)
        self.embeddings_ne, latents_nchw = pairs["embeddings"], pairs["latents"]
        self.scaling = 1 / float(latents_nchw.std())
        self.latents_nchw = latents_nchw * self.scaling
        self.mean_e, self.std_e = self.embeddings_ne.mean(0), self.embeddings_ne.std(0)
        self._check_pairs()
        torch.manual_seed(config.run.seed)
        width = self.embeddings_ne.shape[1]
        self.unet: Any = diffusers.UNet2DConditionModel(
            class_embed_type="projection", projection_class_embeddings_input_dim=2 * width, **asdict(model.sizes)
        )
        self.prompt_1ld = torch.zeros(1, 1, model.sizes.cross_attention_dim)
        sampling = {key: SAMPLING[key] for key in ("beta_schedule", "beta_start", "beta_end", "prediction_type")}
        self.schedule: Any = diffusers.DDPMScheduler(**sampling)
        self.noising: Any = diffusers.DDPMScheduler(**NOISING)
        self.state: nn.Module = nn.ModuleDict({"unet": self.unet})

    @torch.no_grad()
    def prepare(self, rng: np.random.Generator) -> None:
        """Give the picture's embedding and the place in the picture an influence from the first step on.

        By default the embedding's small numbers vanish beside the time, and layout is learned last. The first layer
        sees the embedding along the directions that predict latents (`_regression_directions`). Strong biases in the
        first convolution meet the zero padding of all later ones, which is all a UNet knows about places.
        """
        if self.model.start:
            begin_with(self.model.start, self.unet, load_unet(self.model.start).state_dict())
            return
        width = len(self.std_e)
        embedding = self.unet.class_embedding
        nn.init.normal_(embedding.linear_1.weight, std=2 / math.sqrt(width))
        embedding.linear_1.weight[:, :width] = embedding.linear_1.weight[:, :width] @ self._regression_directions()
        embedding.linear_1.bias.copy_(-embedding.linear_1.weight[:, :width] @ self.mean_e)
        embedding.linear_1.weight[:, width:] = 0  # the noise level, always the same
        embedding.linear_2.weight *= 2
        nn.init.normal_(self.unet.conv_in.bias)
        for name, parameter in self.unet.named_parameters():
            if name.endswith("time_emb_proj.weight"):
                parameter *= 2

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        chosen = torch.from_numpy(rng.integers(0, len(self.latents_nchw), self.batch_size))
        latents_bchw = self.latents_nchw[chosen]
        # antithetic times: every batch covers the whole schedule
        num_times = self.schedule.config.num_train_timesteps
        offsets, lowest = (np.arange(self.batch_size) + rng.random()) / self.batch_size, self.model.lowest_time
        times_b = torch.from_numpy((lowest + offsets * (num_times - lowest)).astype(np.int64))
        noise_bchw = torch.randn_like(latents_bchw)
        seen_bchw = self.schedule.add_noise(latents_bchw, noise_bchw, times_b)
        labels_bE = self._labels(self.embeddings_ne[chosen])
        labels_bE[torch.from_numpy(rng.random(self.batch_size) < self.model.unconditional)] = 0
        prompts_bld = self.prompt_1ld.expand(self.batch_size, -1, -1)
        predicted_bchw = self.unet(seen_bchw, times_b, encoder_hidden_states=prompts_bld, class_labels=labels_bE).sample
        return {"velocity": F.mse_loss(predicted_bchw, self.schedule.get_velocity(latents_bchw, noise_bchw, times_b))}

    def _regression_directions(self) -> Tensor:
        """The map [e, e] of embeddings to the directions of a linear regression of latents on them (reduced-rank
        regression), each scaled by the part of the latents that it explains; of unit size all together."""
        latents_nd = self.latents_nchw.flatten(1)
        scaled_ne = (self.embeddings_ne - self.mean_e) / self.std_e
        covariance_ee = torch.cov(scaled_ne.T) + 1e-4 * torch.eye(len(self.std_e))
        whitening_ee = torch.linalg.inv(torch.linalg.cholesky(covariance_ee))
        told_ed = whitening_ee @ scaled_ne.T @ (latents_nd - latents_nd.mean(0)) / len(latents_nd)
        squares_e, directions_ee = torch.linalg.eigh(told_ed @ told_ed.T)
        sizes_e = squares_e.clamp(min=0).sqrt()
        sizes_e = sizes_e / sizes_e.square().mean().sqrt()
        return sizes_e[:, None] * directions_ee.T @ whitening_ee / self.std_e

    def _labels(self, embeddings_be: Tensor) -> Tensor:
        """The class labels of `anytok.models.unclip.Unclip` at noise level 0."""
        levels_b = torch.zeros(len(embeddings_be), dtype=torch.int64)
        scaled_be = (embeddings_be - self.mean_e) / self.std_e
        noised_be = self.noising.add_noise(scaled_be, torch.randn_like(scaled_be), levels_b)
        return torch.cat([noised_be * self.std_e + self.mean_e, waves(levels_b, embeddings_be.shape[1])], dim=1)

    def _check_pairs(self) -> None:
        """Raise UsageError for a UNet of another shape than the latents, and for embeddings that say nothing."""
        sizes, shape = self.model.sizes, self.latents_nchw.shape[1:]
        if (sizes.in_channels, sizes.out_channels, sizes.sample_size) != (shape[0], shape[0], shape[1]):
            raise UsageError(
                f"[model.sizes] in_channels={sizes.in_channels}, out_channels={sizes.out_channels}, sample_size="
                f"{sizes.sample_size}: the latents of the VAE {self.model.vae} have {shape[0]} channels and a side of "
                f"{shape[1]}: expected these"
            )
        if not bool((self.std_e > 1e-6).all()):  # NaN is not either
            raise UsageError(
                f"{self.model.tokenizer}: gives every picture the same embedding, or none that is finite, and a "
                "painter would learn nothing: train it for longer, or on more pictures"
            )
