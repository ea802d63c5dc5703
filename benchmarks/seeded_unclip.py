"""A seeded unCLIP pipeline that paints, complete, in the published form: stable-diffusion-2-1-unclip's folder.

Left as torch draws them, such weights paint a flat grey, whatever the embedding. So the embedding and the time are
given as much weight in the UNet as its features have, what guidance makes of its predictions gets the deviation that
real ones have, and the VAE's colours fill their range.
Legend: b batch, c channels, h height, w width, e embedding width, l text length, d text width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anytok.checkpoints.around_torchaudio import around_torchaudio

with around_torchaudio():
    import diffusers
    import transformers
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

EMBEDDING_DIM, GUIDANCE = 1024, 10.0
UNET = {
    "sample_size": 96, "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024, "use_linear_projection": True,
    "class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * EMBEDDING_DIM,
}  # fmt: skip
VAE = {
    "sample_size": 768, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
TEXT = {
    "hidden_size": 1024, "num_hidden_layers": 23, "num_attention_heads": 16, "intermediate_size": 4096,
    "projection_dim": 512, "hidden_act": "gelu", "vocab_size": 49408, "max_position_embeddings": 77,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
# The stock pipeline has a ViT-H/14 here, but never runs it when it is given embeddings: a tiny one will do.
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16, "projection_dim": EMBEDDING_DIM,
}  # fmt: skip
WORDS = ["<|startoftext|>", "<|endoftext|>", "a", "a</w>"]  # the empty prompt needs the first two


def write_unclip(
    folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float16, *, seed: int = 0, **sizes: Any
) -> Path:
    """Write the pipeline into `folder`, in `dtype`; weights are drawn on `device`, since a CPU needs minutes for them.

    `sizes`: keywords of unet=, vae= and text= that override the published ones (tests use small ones).
    """
    torch.manual_seed(seed)
    with torch.device(device):
        unet = diffusers.UNet2DConditionModel(**UNET | sizes.get("unet", {})).eval()
        vae = diffusers.AutoencoderKL(**VAE | sizes.get("vae", {})).eval()
        text = transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT | sizes.get("text", {}))).eval()
        vision = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VISION)).eval()
        normalizer = StableUnCLIPImageNormalizer(EMBEDDING_DIM)
    normalizer.mean.data.normal_(0, 0.1)
    normalizer.std.data.uniform_(0.5, 2.0)
    _calibrate_unet(unet)
    _calibrate_vae(vae, unet.config.sample_size)
    unet, vae, text, vision, normalizer = (part.to("cpu", dtype) for part in (unet, vae, text, vision, normalizer))
    diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=transformers.CLIPImageProcessor(), image_encoder=vision, image_normalizer=normalizer,
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=_tokenizer(folder / "words"), text_encoder=text, unet=unet,
        scheduler=diffusers.PNDMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
            skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False,
        ),
        vae=vae,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def embeddings(count: int, seed: int = 1) -> Tensor:
    """As CLIP's, not normalised: float32 [count, 1024]."""
    return torch.randn(count, EMBEDDING_DIM, generator=torch.Generator().manual_seed(seed))


def _tokenizer(folder: Path) -> Any:
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=77)


@torch.no_grad()
def _calibrate_unet(unet: Any) -> None:
    """Time and embedding: a deviation of 1 over channels each. What guidance makes of two predictions: the same, as
    velocities have."""
    count, device = 4, unet.device
    told_be = torch.cat([embeddings(count), torch.zeros(count, EMBEDDING_DIM)], dim=1).to(device)
    told_be[:, EMBEDDING_DIM:].uniform_(-1, 1)
    labels_be = torch.cat([torch.zeros_like(told_be), told_be])
    shape = (count, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    seen_bchw = torch.randn(shape, device=device).repeat(2, 1, 1, 1)
    prompts_bld = torch.randn(1, 77, unet.config.cross_attention_dim, device=device).expand(2 * count, -1, -1)

    def unit(layer: nn.Linear, _: Any, out_be: Tensor) -> Tensor:
        scale = 1 / out_be[count:].std()
        layer.weight.mul_(scale)
        layer.bias.mul_(scale)
        return out_be * scale

    writers = (unet.time_embedding.linear_2, unet.class_embedding.linear_2)
    hooks = [layer.register_forward_hook(unit) for layer in writers]
    away_bchw, towards_bchw = unet(seen_bchw, 500, encoder_hidden_states=prompts_bld, class_labels=labels_be)[0].chunk(
        2
    )
    for hook in hooks:
        hook.remove()
    guided_bchw = away_bchw + GUIDANCE * (towards_bchw - away_bchw)
    for tensor in unet.conv_out.parameters():
        tensor.div_(guided_bchw.std())


@torch.no_grad()
def _calibrate_vae(vae: Any, size: int) -> None:
    """Colours with no mean and a deviation of 0.4, where -1 is black and 1 is white."""
    latents_bchw = torch.randn(1, vae.config.latent_channels, size, size, device=vae.device)
    image_bchw = vae.decode(latents_bchw / vae.config.scaling_factor).sample
    mean_c, scale = image_bchw.mean((0, 2, 3)), 0.4 / image_bchw.std()
    vae.decoder.conv_out.bias.sub_(mean_c)
    for tensor in vae.decoder.conv_out.parameters():
        tensor.mul_(scale)
