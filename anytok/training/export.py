"""Trained recipes → folders in the published file formats, which every engine loads like the published weights.

Weights are stored in float16, but for a few: they are rounded once, here, and computed with in float32.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.around_torchaudio import around_torchaudio
from ..checkpoints.seed import published_name
from ..checkpoints.soundstorm import published_state
from ..checkpoints.unclip import SCHEDULERS
from ..errors import UsageError
from .codec import CodecRecipe
from .config import CodecConfig
from .finished import load_vae
from .image import ImageRecipe
from .phones import PHONES
from .quantizer import LearnedQuantizer
from .unclip import NOISING, SAMPLING, UnclipRecipe
from .vae import VaeRecipe
from .voice import VoiceRecipe, cut

__all__ = ["export_encodec", "export_seed", "export_speech", "export_unclip", "export_vae", "export_voice"]

State = dict[str, Tensor]

# What stays exact: weight norm's factors, with which a weight is its float16 direction, and what `centred` has moved.
_WIDE = (
    "weight_g", "original0", "quantize.embedding.weight", "encode_task_layer.2.bias", "decode_task_layer.0.bias",
)  # fmt: skip


def export_speech(recipe: CodecRecipe, folder: Path) -> None:
    """SpeechTokenizer's form: config.json and its tensors, in safetensors. The phone head is its `transform`."""
    model, sample_rate = recipe.model, recipe.clips.sample_rate
    state = _codec_state(recipe, "{}.model.{}.", ("conv.conv", "convtr.convtr"), ("weight_g", "weight_v"))
    state |= _codebooks(recipe.quantizer, "quantizer.vq.layers.{}._codebook.")
    if recipe.phone_head is not None:
        head = recipe.phone_head.state_dict()
        state |= {"transform.weight": head["weight"][:, :, 0], "transform.bias": head["bias"]}
    config = {
        "n_filters": model.num_filters, "strides": model.ratios, "dimension": model.dimension,
        "semantic_dimension": len(PHONES), "bidirectional": model.bidirectional, "dilation_base": 2,
        "residual_kernel_size": 3, "n_residual_layers": 1, "lstm_layers": model.num_lstm_layers, "activation": "ELU",
        "codebook_size": model.codebook_size, "n_q": model.num_codebooks, "sample_rate": sample_rate,
    }  # fmt: skip
    _write(folder, "model.safetensors", state, config)


def export_encodec(recipe: CodecRecipe, folder: Path) -> None:
    """EnCodec's form, as transformers writes it: config.json and model.safetensors."""
    model, sample_rate = recipe.model, recipe.clips.sample_rate
    names = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    state = _codec_state(recipe, "{}.layers.{}.", ("conv", "conv"), names)
    state |= _codebooks(recipe.quantizer, "quantizer.layers.{}.codebook.")
    _write(folder, "model.safetensors", state, _encodec_config(model, sample_rate))


def _encodec_config(model: CodecConfig, sample_rate: int) -> dict[str, Any]:
    frame_rate = math.ceil(sample_rate / math.prod(model.ratios))
    bits = (model.codebook_size - 1).bit_length()
    rate = model.num_codebooks * frame_rate * bits
    if 1000 * (bandwidth := rate / 1000) < rate:  # readers round down, and would find a codebook less
        bandwidth = math.nextafter(bandwidth, math.inf)
    return {
        "architectures": ["EncodecModel"], "model_type": "encodec", "audio_channels": 1, "chunk_length_s": None,
        "overlap": None, "codebook_dim": model.dimension, "codebook_size": model.codebook_size, "compress": 2,
        "dilation_growth_rate": 2, "hidden_size": model.dimension, "kernel_size": 7, "last_kernel_size": 7,
        "norm_type": "weight_norm", "normalize": False, "num_filters": model.num_filters,
        "num_lstm_layers": model.num_lstm_layers, "num_residual_layers": 1, "pad_mode": "reflect",
        "residual_kernel_size": 3, "sampling_rate": sample_rate,
        "target_bandwidths": [bandwidth], "trim_right_ratio": 1.0,
        "upsampling_ratios": model.ratios, "use_causal_conv": False, "use_conv_shortcut": model.shortcut,
    }  # fmt: skip


def export_seed(recipe: ImageRecipe, folder: Path) -> None:
    """SEED's form: seed_quantizer.safetensors with the ViT inside, and config.json with the sizes."""
    state: State = {}
    book: Any = recipe.quantizer.books[0]
    learned = rounded(recipe.seed.state_dict(), recipe.model.bits)
    for key, tensor in centred(learned | {"codebook_nd": book.codes_nd}).items():
        if key.startswith("visual_encoder.") and key.endswith(".attn.qkv.bias"):
            # EVA has no key bias, and none is missed: it adds the same to all scores of a query
            query, _, value = tensor.chunk(3)
            stem = key.removesuffix("qkv.bias")
            state |= {f"{stem}q_bias": query, f"{stem}v_bias": value}
        elif key == "visual_encoder.patch_embed.weight":
            side = recipe.sizes["patch_size"]
            state[published_name(key)] = tensor.view(len(tensor), 3, side, side)
        else:
            state[published_name(key)] = tensor
    _write(folder, "seed_quantizer.safetensors", state, recipe.sizes)


def centred(state: Mapping[str, Tensor]) -> State:
    """The same SEED with its codebook's mean moved into the layers on both sides of it.

    Training leaves the latents wherever they began, far from zero, and engines that compute distances as
    |z|^2 + |e|^2 - 2 z.e lose in the sums what tells close rows apart.
    """
    mean_d = state["codebook_nd"].mean(0)
    weight = state["decode_task_layer.0.weight"].half().float()  # what will be read back
    return {
        **state,
        "codebook_nd": state["codebook_nd"] - mean_d,
        "encode_task_layer.2.bias": state["encode_task_layer.2.bias"] - mean_d,
        "decode_task_layer.0.bias": state["decode_task_layer.0.bias"] + weight @ mean_d,
    }


def export_vae(recipe: VaeRecipe, folder: Path) -> None:
    """diffusers' form."""
    recipe.vae.save_pretrained(folder)


def export_voice(recipe: VoiceRecipe, folder: Path) -> None:
    """SoundStorm's form: its tensors under the published names, and a config.json of its original classes."""
    model, network = recipe.model, recipe.state
    levels = model.kept_levels or model.num_levels
    state = cut(network.state_dict(), levels, network.codebook_size)
    config = {
        "tokenizer": model.tokenizer, "codebook_size": network.codebook_size, "num_quantizers": levels,
        "conformer": {
            "dim": model.width, "depth": model.depth, "heads": model.heads, "dim_head": model.width // model.heads,
        },
    }  # fmt: skip
    _write(folder, "model.safetensors", published_state(rounded(state, model.bits)), config)


def rounded(state: Mapping[str, Tensor], bits: int) -> State:
    """The same tensors, matrices and those of more axes by `to_bits`."""
    return {key: to_bits(tensor, bits) if tensor.dim() > 1 else tensor for key, tensor in state.items()}


def to_bits(tensor: Tensor, bits: int) -> Tensor:
    """Rounded to so many significant bits, in its own type: zeros behind them take no room in a compressed file."""
    fraction, exponent = torch.frexp(tensor)
    return torch.ldexp((fraction * 2**bits).round() / 2**bits, exponent)


def export_unclip(recipe: UnclipRecipe, folder: Path) -> None:
    """The finished image tokenizer: SEED's files, and in `unclip` the parts of a diffusers pipeline that painting
    needs and the empty prompt that it is told."""
    from safetensors.torch import save_file

    _refuse_wild({key: tensor.half() for key, tensor in recipe.unet.state_dict().items()}, folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Path(recipe.model.tokenizer)
    shutil.copyfile(tokenizer / "seed_quantizer.safetensors", folder / "seed_quantizer.safetensors")
    config = json.loads((tokenizer / "config.json").read_text("utf-8"))
    config |= asdict(recipe.model.sampling)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    folder = folder / "unclip"
    with around_torchaudio():
        import diffusers
        from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    vae: Any = load_vae(recipe.model.vae)
    vae.register_to_config(scaling_factor=recipe.scaling, _name_or_path="")  # no path of this machine
    normalizer = StableUnCLIPImageNormalizer(len(recipe.mean_e))
    normalizer.mean.data.copy_(recipe.mean_e[None])
    normalizer.std.data.copy_(recipe.std_e[None])
    unet: Any = diffusers.UNet2DConditionModel.from_config(recipe.unet.config)
    # a copy, so that training can go on in float32
    unet.load_state_dict(rounded(recipe.unet.state_dict(), recipe.model.bits))
    vae.load_state_dict(rounded(vae.state_dict(), recipe.model.bits))
    with torch.no_grad():  # painting needs none of these, and zeros take no room in a compressed file
        for parameter in (*vae.encoder.parameters(), *vae.quant_conv.parameters()):
            parameter.zero_()
    unet.half().save_pretrained(folder / "unet")
    vae.half().save_pretrained(folder / "vae")
    normalizer.save_pretrained(folder / "image_normalizer")
    class_name, told = SCHEDULERS[recipe.model.sampling.scheduler]
    # Beyond the published pipeline's: that few steps, too, begin at noise alone.
    told = told if class_name == "PNDMScheduler" else told | {"timestep_spacing": "trailing"}
    sampler = getattr(diffusers, class_name).from_config(SAMPLING, **told)
    schedules: Any = diffusers.DDPMScheduler(**NOISING), sampler
    for schedule, name in zip(schedules, ("image_noising_scheduler", "scheduler"), strict=True):
        schedule.save_pretrained(folder / name)
    save_file({"prompt_1ld": recipe.prompt_1ld}, folder / "empty_prompt.safetensors")


def _codec_state(recipe: CodecRecipe, place: str, kinds: tuple[str, str], norm: tuple[str, str]) -> State:
    """Both networks' tensors under published names. `place` is the path to layer N, `kinds` what a convolution
    and a transposed one are called inside it, `norm` the names of weight norm's two factors."""
    state: State = {}
    for half, network in (("encoder", recipe.encoder), ("decoder", recipe.decoder)):
        for key, tensor in network.state_dict().items():
            layer, *inner, name = key.split(".")
            stem = place.format(half, layer)
            if "lstm" in inner:
                state[f"{stem}lstm.{name}"] = tensor
                continue
            transposed = isinstance(network[int(layer)], torch.nn.ConvTranspose1d)
            stem += "".join(f"{word}." for word in inner) + kinds[transposed] + "."
            if name == "weight":
                direction = tensor.half().float()  # what will be read back, so that its norm fits
                state[stem + norm[0]] = torch.norm_except_dim(direction, 2, 0)
                state[stem + norm[1]] = tensor
            else:
                state[stem + name] = tensor
    return state


def _codebooks(quantizer: LearnedQuantizer, place: str) -> State:
    """The codebooks under the published names. `embed_avg`, the running sums of training, is zero: nothing reads it but
    training in the original packages, and zeros take no room in the wheel."""
    state: State = {}
    for layer, book in enumerate(quantizer.books):
        stem = place.format(layer)
        state[stem + "inited"] = torch.ones(1)
        state[stem + "cluster_size"] = book.counts_n  # type: ignore[assignment]
        state[stem + "embed"] = book.codes_nd  # type: ignore[assignment]
        state[stem + "embed_avg"] = torch.zeros_like(book.sums_nd)  # type: ignore[arg-type]
    return state


def _write(folder: Path, name: str, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    kinds = {key: torch.float32 if key.endswith(_WIDE) else torch.float16 for key in state}
    stored = {key: tensor.detach().to(kinds[key]).contiguous() for key, tensor in state.items()}
    _refuse_wild(stored, folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(stored, folder / name, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _refuse_wild(stored: Mapping[str, Tensor], folder: Path) -> None:
    wild = [key for key, tensor in stored.items() if not bool(tensor.isfinite().all())]
    if wild:
        raise UsageError(
            f"{folder}: {wild[0]} has grown beyond what float16 holds, and nothing would load it: training has run "
            f"away. Lower learning_rate, delete checkpoint.pt in {folder.parent}, and begin anew"
        )
