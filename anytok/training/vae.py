"""Recipe for the painter's first half: diffusers' AutoencoderKL, pictures ⇄ latents of a fraction of the side.

The encoder is set to block averages; unless `learn_encoder` it stays as it began, and the decoder learns to make
pictures of what it gives.

Source: latent diffusion (arXiv 2112.10752, section 3.1), without its perceptual and adversarial losses.
Legend: b batch, c channels, h height, w width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.around_torchaudio import around_torchaudio
from ..records import AT_LEAST_ONE, Layers, Share, Size, Within, multiple, same_length
from .config import TrainConfig, Weight
from .finished import begin_with, finished_files, load_vae
from .pictures import Pictures, WorldConfig

__all__ = ["VaeConfig", "VaeRecipe", "VaeSizes"]


@dataclass(frozen=True)
class VaeSizes:
    """Those keywords of AutoencoderKL that average_pyramid knows what to do with."""

    sample_size: Size
    latent_channels: Annotated[int, Within(3, 1 << 10)]  # red, green, blue, and more
    block_out_channels: Annotated[tuple[Annotated[int, Within(6, 1 << 14)], ...], AT_LEAST_ONE]
    down_block_types: Annotated[tuple[Literal["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], ...], AT_LEAST_ONE]
    up_block_types: Annotated[tuple[Literal["UpDecoderBlock2D", "AttnUpDecoderBlock2D"], ...], AT_LEAST_ONE]
    layers_per_block: Layers = 1
    norm_num_groups: Size = 32

    def __post_init__(self) -> None:
        same_length(self, "block_out_channels", "down_block_types", "up_block_types")
        multiple("sample_size", self.sample_size, "its halvings", 2 ** (len(self.block_out_channels) - 1))
        for channels in self.block_out_channels:
            multiple("block_out_channels", channels, "norm_num_groups", self.norm_num_groups)


@dataclass(frozen=True)
class VaeConfig:
    """Sizes, and the losses' weights. `start` is the folder of a finished run of the same sizes, with whose weights
    this one begins ("": with block averages); without `learn_encoder` its latents stay as they are."""

    sizes: VaeSizes
    start: str = ""
    drawn: Share = 0.1
    world: WorldConfig | None = None
    edge_weight: Weight = 1.0  # of differences between neighbours: without it edges stay soft
    learn_encoder: bool = False
    kl_weight: Weight = 0.0  # of the divergence of the latents from unit Gaussians, a latent's mean


class VaeRecipe:
    """A VAE in training."""

    def __init__(self, config: TrainConfig) -> None:
        with around_torchaudio():
            from diffusers import AutoencoderKL
        model: VaeConfig = config.model
        self.model, self.batch_size = model, config.run.batch_size
        self.pictures = Pictures(config.data, model.sizes.sample_size, model.drawn, model.world)
        self.data_files = self.pictures.files + (finished_files("vae", model.start) if model.start else [])
        torch.manual_seed(config.run.seed)
        self.vae: Any = AutoencoderKL(**asdict(model.sizes))
        average_pyramid(self.vae)
        self.vae.encoder.requires_grad_(model.learn_encoder)
        self.vae.quant_conv.requires_grad_(model.learn_encoder)
        self.state: nn.Module = nn.ModuleDict({"vae": self.vae})

    def prepare(self, rng: np.random.Generator) -> None:
        """It begins as block averages already, or with a finished one's weights."""
        if self.model.start:
            begin_with(self.model.start, self.vae, load_vae(self.model.start).state_dict())

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        levels_bhwc = torch.from_numpy(self.pictures.batch(rng, self.batch_size))
        wanted_bchw = levels_bhwc.permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.set_grad_enabled(self.model.learn_encoder):
            posterior = self.vae.encode(wanted_bchw).latent_dist
            latents_bchw = posterior.sample()
        error_bchw = self.vae.decode(latents_bchw).sample - wanted_bchw
        edges = [error_bchw.diff(dim=axis).abs().mean() for axis in (2, 3)]
        losses = {"kl": self.model.kl_weight * posterior.kl().mean() / latents_bchw[0].numel()}
        return (losses if self.model.learn_encoder else {}) | {
            "pixels": error_bchw.abs().mean() + F.mse_loss(error_bchw, torch.zeros_like(error_bchw)),
            "edges": self.model.edge_weight * (edges[0] + edges[1]) / 2,
        }


@torch.no_grad()
def average_pyramid(vae: Any) -> None:
    """Let a fresh VAE begin as block averages: latents 0 to 2 are red, green and blue of their block, and decoding
    spreads them again. From torch's defaults colours take many thousand steps to come through.

    Residual branches are silent at first. Group normalisation would divide away brightness and contrast, so half of
    the channels before it stand at +4 and half at -4: measured by those, the picture is a small, unharmed ripple.
    """
    for name, parameter in vae.named_parameters():
        if ".conv2." in name or ".to_out." in name:
            parameter.zero_()
    for half in (vae.encoder, vae.decoder):
        for module in half.modules():
            if type(module).__name__ == "Downsample2D":  # its window reaches right and down
                _carry(module.conv, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4)
            elif type(module).__name__ == "Upsample2D":
                _carry(module.conv, torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)
            elif getattr(module, "conv_shortcut", None) is not None:
                _carry(module.conv_shortcut, torch.ones(1, 1))
        _carry(half.conv_in, _CENTRE)
    for last, half in ((vae.encoder.mid_block, vae.encoder), (vae.decoder.up_blocks[-1], vae.decoder)):
        bias = last.resnets[-1].conv2.bias
        bias.fill_(4.0)
        bias[1::2] = -4.0
        bias[:6] = torch.tensor([4.0, 4, 4, -4, -4, -4])
        # after normalisation the picture is 1 + wave / 4; SiLU has value 0.731 and slope 0.928 at 1
        _carry(half.conv_out, _CENTRE * 4 / 0.928)
        half.conv_out.bias[:3] = -0.731 * 4 / 0.928
    channels = vae.config.latent_channels
    nn.init.eye_(vae.post_quant_conv.weight[:, :, 0, 0])
    nn.init.eye_(vae.quant_conv.weight[:, :, 0, 0])
    for linear in (vae.quant_conv, vae.post_quant_conv):
        linear.bias.zero_()
    vae.quant_conv.weight[channels:] = 0
    vae.quant_conv.bias[channels:] = -6.0  # nearly no noise


_CENTRE = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])


def _carry(convolution: nn.Conv2d, kernel: Tensor) -> None:
    """Channels 0 to 2 go through `kernel` each on its own; the others stay as they were drawn."""
    convolution.weight[:3] = 0
    convolution.bias[:3] = 0  # type: ignore[index]
    for channel in range(3):
        convolution.weight[channel, channel] = kernel
