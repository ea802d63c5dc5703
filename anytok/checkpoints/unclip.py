"""The folder of a diffusers unCLIP pipeline → the parts that painting needs, of the right variant."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from ..atomic import replacing
from ..errors import CheckpointError, MissingExtraError, first_line
from ..records import Within
from .around_torchaudio import around_torchaudio

__all__ = ["SCHEDULERS", "Sampling", "read_unclip"]

# Our name → diffusers class and what it is told beyond the pipeline's own scheduler config. Left alone, DDIM
# clips its guesses to [-1, 1]: right for pixels, wrong for latents.
SCHEDULERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "pndm": ("PNDMScheduler", {}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
}


@dataclass(frozen=True)
class Sampling:
    """How hard a painter is steered, by which of SCHEDULERS, in how many steps: by default as SEED's paints."""

    guidance_scale: Annotated[float, Within(0, 1000)] = 10.0
    scheduler: Literal["pndm", "ddim", "dpm++"] = "pndm"
    num_inference_steps: Annotated[int, Within(1, 1000)] = 20


_PROMPT_FILE = "empty_prompt.safetensors"


def read_unclip(folder: Path, embedding_dim: int, scheduler: str, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """UNet, VAE, schedulers, normaliser, empty prompt's embedding: the keywords of `models.unclip.Unclip`.

    Only safetensors are read. The text encoder runs once; its output is kept in the folder, in
    `empty_prompt.safetensors`. Raises CheckpointError if the folder is missing, damaged, or takes other
    embeddings.
    """
    if not (folder / "unet" / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: no unCLIP pipeline here (no unet/config.json). Codes become pictures through Stable "
            "Diffusion 2.1 unCLIP: fetch it (see checkpoints.md) or pass its folder as unclip=; encoding "
            "and embed() work without"
        )
    with around_torchaudio():
        import diffusers

        # By its file: the package around it hides the class where transformers is not installed.
        from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

        classes = {
            "unet": diffusers.UNet2DConditionModel,
            "vae": diffusers.AutoencoderKL,
            "image_normalizer": StableUnCLIPImageNormalizer,
        }
    lean = diffusers.utils.is_accelerate_available()  # asked for without it, as by default, diffusers only grumbles
    reading = {"dtype": dtype, "use_safetensors": True, "low_cpu_mem_usage": lean}
    try:
        unet, vae, normalizer = (
            kind.from_pretrained(folder, subfolder=place, **reading).to(device) for place, kind in classes.items()
        )
        noising = diffusers.DDPMScheduler.from_pretrained(folder, subfolder="image_noising_scheduler")
        class_name, told = SCHEDULERS[scheduler]
        sampler_class = getattr(diffusers, class_name)
        config = sampler_class.load_config(folder, subfolder="scheduler")
        sampler = sampler_class.from_config(config, **told)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: not a complete unCLIP pipeline ({first_line(error)})") from error
    _check_variant(folder, unet.config, normalizer.config.embedding_dim, embedding_dim)
    vae.encoder = vae.quant_conv = None  # two fifths of the VAE, which decoding never touches
    return {
        "unet": unet,
        "vae": vae,
        "scheduler": sampler,
        "normalizer": normalizer,
        "noising_scheduler": noising,
        "prompt_1ld": _empty_prompt(folder),
    }


def _check_variant(folder: Path, unet: Any, found: int, embedding_dim: int) -> None:
    condition = unet.projection_class_embeddings_input_dim
    if found != embedding_dim or unet.class_embed_type != "projection" or condition != 2 * embedding_dim:
        raise CheckpointError(
            f"{folder}: this unCLIP takes embeddings of width {found} (UNet: {unet.class_embed_type} "
            f"{condition}); SEED's have {embedding_dim} (projection {2 * embedding_dim}). "
            "The variants ending in -small or -l belong to another CLIP: take stable-diffusion-2-1-unclip"
        )


def _empty_prompt(folder: Path) -> Tensor:
    """The text encoder's output for "", float32 [1, length, width], from the file or made now."""
    from safetensors.torch import save_file

    from .read import read_tensors

    path = folder / _PROMPT_FILE
    if path.is_file():
        tensors = read_tensors(path)
        if set(tensors) != {"prompt_1ld"} or tensors["prompt_1ld"].ndim != 3:
            raise CheckpointError(f"{path}: not the embedding of an empty prompt; delete it to have it made anew")
        return tensors["prompt_1ld"]
    prompt_1ld = _encode_nothing(folder)
    # In a read-only folder the next load pays for the text encoder again.
    with suppress(OSError), replacing(path) as aside:
        save_file({"prompt_1ld": prompt_1ld}, aside)
    return prompt_1ld


def _encode_nothing(folder: Path) -> Tensor:
    try:
        with around_torchaudio():
            from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", "hf", "the embedding of the empty prompt, once") from error
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        place = folder / "text_encoder"
        encoder = CLIPTextModel.from_pretrained(place, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: cannot read its text encoder ({first_line(error)})") from error
    text = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
    # The published text encoder takes no mask, padding is part of its input; a config may say otherwise.
    mask = text.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    with torch.inference_mode():
        return encoder(text.input_ids, attention_mask=mask)[0].clone()
