"""unCLIP: one image embedding → a picture, by a diffusion model that is guided towards the embedding.

The parts (UNet, VAE decoder, schedulers, normaliser) are diffusers'; the loop is ours, because the stock
pipeline also wants a text and an image encoder that never matter here, and takes no negative embeddings. With
equal generators the pictures are the stock pipeline's, bit for bit.

Sources: unCLIP (arXiv 2204.06125, section 2), classifier-free guidance (arXiv 2207.12598),
diffusers.StableUnCLIPImg2ImgPipeline.
Legend: b batch, e embedding width, l text length, d text width, c channels, h height, w width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

__all__ = ["Unclip"]


class Unclip:
    """Embeddings to pictures, in several threads at once if need be. `prompt_1ld` is the text encoder's output for the
    empty prompt."""

    def __init__(
        self, unet: Any, vae: Any, scheduler: Any, normalizer: Any, noising_scheduler: Any, prompt_1ld: Tensor
    ) -> None:
        self.unet, self.vae, self.scheduler = unet, vae, scheduler
        self.normalizer, self.noising_scheduler = normalizer, noising_scheduler
        self.prompt_1ld = prompt_1ld.to(unet.device, unet.dtype)

    @torch.inference_mode()
    def __call__(
        self,
        embeddings_be: Tensor,
        generators: Sequence[Generator],
        *,
        negatives_be: Tensor | None = None,
        guidance_scale: float = 10.0,
        num_inference_steps: int = 20,
        noise_level: int = 0,
    ) -> Tensor:
        """Pictures, uint8 [b, h, w, 3], of `embeddings_be`; picture i draws from `generators[i]` alone.

        `negatives_be` says what to steer away from (default: nothing in particular, a zero condition).
        `guidance_scale` up to 1 switches guidance off, at half the cost. `noise_level` 0 to 999 blurs the
        embedding; 0 still adds the schedule's first, very small, step.
        """
        guided = guidance_scale > 1
        labels_bE = self._condition(embeddings_be, generators, noise_level)
        if guided and negatives_be is not None:
            labels_bE = torch.cat([self._condition(negatives_be, generators, noise_level), labels_bE])
        elif guided:
            labels_bE = torch.cat([torch.zeros_like(labels_bE), labels_bE])
        prompts_bld = self.prompt_1ld.expand(len(labels_bE), -1, -1)

        scheduler = copy.deepcopy(self.scheduler)  # which keeps the state of a run
        scheduler.set_timesteps(num_inference_steps, device=self.unet.device)
        shape = (self.unet.config.in_channels, self.unet.config.sample_size, self.unet.config.sample_size)
        latents_bchw = draw(generators, shape).to(self.prompt_1ld) * scheduler.init_noise_sigma
        for step in scheduler.timesteps:
            input_bchw = scheduler.scale_model_input(torch.cat([latents_bchw] * (1 + guided)), step)
            predicted_bchw = self.unet(
                input_bchw, step, encoder_hidden_states=prompts_bld, class_labels=labels_bE, return_dict=False
            )[0]
            if guided:
                away_bchw, towards_bchw = predicted_bchw.chunk(2)
                predicted_bchw = away_bchw + guidance_scale * (towards_bchw - away_bchw)
            latents_bchw = scheduler.step(predicted_bchw, step, latents_bchw, return_dict=False)[0]
        return self._paint(latents_bchw)

    def _condition(self, embeddings_be: Tensor, generators: Sequence[Generator], level: int) -> Tensor:
        """The UNet's class label [b, 2e]: the embedding, noised in normalised space, then the noise level."""
        embeddings_be = embeddings_be.to(self.unet.device, self.unet.dtype)
        levels_b = torch.full((len(embeddings_be),), level, device=embeddings_be.device)
        noise_be = draw(generators, embeddings_be.shape[1:]).to(embeddings_be)
        noised_be = self.noising_scheduler.add_noise(self.normalizer.scale(embeddings_be), noise_be, levels_b)
        level_be = waves(levels_b, embeddings_be.shape[1]).to(embeddings_be)
        return torch.cat([self.normalizer.unscale(noised_be), level_be], dim=1)

    def _paint(self, latents_bchw: Tensor) -> Tensor:
        image_bchw = self.vae.decode(latents_bchw / self.vae.config.scaling_factor, return_dict=False)[0]
        levels_bhwc = (image_bchw * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float() * 255
        return levels_bhwc.round().to(torch.uint8)


def draw(generators: Sequence[Generator], shape: Sequence[int]) -> Tensor:
    """Gaussian noise [len(generators), *shape], float32; row i comes from generator i, wherever that lives."""
    noise = [torch.randn(*shape, dtype=torch.float32, generator=each, device=each.device) for each in generators]
    return torch.stack(noise)


def waves(levels_b: Tensor, width: int) -> Tensor:
    """Levels as cosines and sines [b, width] of falling frequency (arXiv 1706.03762, section 3.5)."""
    half = width // 2
    frequencies_f = torch.exp(
        -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=levels_b.device) / half
    )
    angles_bf = levels_b[:, None].float() * frequencies_f
    return torch.cat([angles_bf.cos(), angles_bf.sin()], dim=1)
