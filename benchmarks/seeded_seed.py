"""A seeded SEED that behaves, in the published file formats: `seed_quantizer.pt` and `eva_vit_g.pth`.

Plain random weights prove nothing: the constant part of what they compute drowns the picture, one code wins
everywhere, and a wrong port still scores high. So every layer that writes into the stream of features is rescaled on
real pictures, to a set deviation *over pictures* and no mean, and the codebook is drawn from the latents that it will
meet. In the Q-Former that deviation is small and attention to the picture is sharp: otherwise what its queries share
outgrows what they differ in, and all of a picture's codes are one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anytok.checkpoints.seed import SIZES, published_name
from anytok.engines.native.seed import SeedTokenizer
from anytok.media import Media, prepare_each
from anytok.models.seed import Seed, normalize
from anytok.registry import find

SPEC = find("seed-2").spec
QFORMER_DEVIATION, SHARPNESS = 0.3, 3.0

# Layers that add to the features; what is inside the branches follows from them.
_WRITERS = ("attn.proj", "mlp.fc2", "attention.output", "feed_out", "patch_embed", "encode_task_layer.2")


def write_seed_checkpoint(
    folder: Path, calibration: Sequence[Media], pictures: Sequence[Media], *, seed: int = 0, **sizes: Any
) -> Path:
    """Write both files into `folder`: float32 and float16 as published, with the extras that they come with.

    `calibration` pictures set the scales, `pictures` give the codebook; `sizes` override the published ones and go
    into a config.json (tests use small ones).
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    if sizes:
        (folder / "config.json").write_text(json.dumps({**SIZES, **sizes}))
    with torch.device("meta"):
        model = Seed(**sizes)
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    model.attended_1td = None
    _fill(model)
    _calibrate(model, levels(calibration))
    state = {published_name(key): value for key, value in model.state_dict().items()}
    vision = {key: state.pop(key) for key in list(state) if key.startswith("visual_encoder.")}
    torch.save(_published_vision(vision), folder / "eva_vit_g.pth")
    del model, vision
    state |= _published_extras(state)
    torch.save(state, folder / "seed_quantizer.pt")
    state["quantize.embedding.weight"] = _codebook(folder, pictures, len(state["quantize.embedding.weight"]))
    torch.save(state, folder / "seed_quantizer.pt")
    return folder


def levels(pictures: Sequence[Media]) -> Tensor:
    """Pictures as the model takes them, uint8 [b, 224, 224, 3]."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in prepare_each(pictures, SPEC)]))


def _fill(model: Seed) -> None:
    for name, tensor in model.named_parameters():
        if tensor.ndim == 1:
            tensor.fill_(1.0 if "norm" in name or "ln_vision" in name else 0.0)
            if name.endswith("bias"):
                tensor.normal_(0, 0.02)
        else:
            tensor.normal_(0, 1 / math.sqrt(tensor.shape[-1]) if name.endswith("weight") else 0.5)
        if name.endswith(("cross_attention.query.weight", "cross_attention.key.weight")):
            tensor.mul_(SHARPNESS)
    model.query_tokens.normal_()
    model.codebook_nd.normal_()


@torch.inference_mode()
def _calibrate(model: Seed, levels_bhwc: Tensor) -> None:
    """Take out each writer's mean over everything, and set its deviation over pictures, token by token."""
    small = set(model.qformer.modules())

    def centred(layer: nn.Linear, _: Any, out_btd: Tensor) -> Tensor | None:
        if len(out_btd) == 1:  # what the Q-Former does before the picture comes
            return None
        mean_d = out_btd.mean((0, 1))
        deviation = QFORMER_DEVIATION if layer in small else 1.0
        scale = deviation / out_btd.std(dim=0).mean().clamp(min=1e-6)
        layer.weight.mul_(scale)
        layer.bias.sub_(mean_d).mul_(scale)
        return (out_btd - mean_d) * scale

    writers = [layer for name, layer in model.named_modules() if name.endswith(_WRITERS) and "_image" not in name]
    hooks = [layer.register_forward_hook(centred) for layer in writers]
    model.latents(normalize(levels_bhwc))
    for hook in hooks:
        hook.remove()


def _published_vision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The ViT's tensors as eva_vit_g.pth has them: no prefix, float16, the biases apart, and a 40th block."""
    published = {}
    for key, value in state.items():
        name, half = key.removeprefix("visual_encoder."), value.half()
        if name.endswith("attn.qkv.bias"):
            query, _, value_bias = half.chunk(3)
            published[name.replace("qkv.bias", "q_bias")] = query.clone()
            published[name.replace("qkv.bias", "v_bias")] = value_bias.clone()
        elif name == "patch_embed.proj.weight":
            side = math.isqrt(half.shape[1] // 3)
            published[name] = half.unflatten(1, (3, side, side))
        else:
            published[name] = half
    last = 1 + max(int(name.split(".")[1]) for name in published if name.startswith("blocks."))
    spare = {name.replace("blocks.0.", f"blocks.{last}."): value for name, value in published.items()}
    return {**spare, **published, "norm.weight": torch.ones(1), "head.weight": torch.zeros(1, 1)}


def _published_extras(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the published file holds beside what codes need."""
    training = {key.replace("blocks_image.", "blocks."): state[key] for key in state if "blocks_image." in key}
    return {
        **training,
        "pos_embed": state["pos_embed_image"],
        "Qformer.bert.embeddings.position_ids": torch.arange(512)[None],
        "Qformer.bert.encoder.layer.0.output.dense.weight": torch.zeros(4, 4),
    }


@torch.inference_mode()
def _codebook(folder: Path, pictures: Sequence[Media], size: int) -> Tensor:
    """`size` rows: the pictures' latents, and where these are too few, points between two of one query.

    bfloat16 will do here: the rows only have to lie where latents lie.
    """
    tokenizer = SeedTokenizer.load(SPEC, folder, dtype="bfloat16")
    latents_ptd = torch.cat([tokenizer._model.latents(normalize(each[None])) for each in levels(pictures)])
    real_nd = latents_ptd.flatten(0, 1)
    real_nd = real_nd[torch.randperm(len(real_nd))][:size]
    missing = size - len(real_nd)
    first = torch.randint(len(latents_ptd), (missing,))
    # Never the same picture twice: that would repeat a row, and nothing decides between two equal ones.
    second = (first + torch.randint(1, len(latents_ptd), (missing,))) % len(latents_ptd)
    query, share = torch.randint(latents_ptd.shape[1], (missing,)), torch.rand(missing, 1)
    between_nd = share * latents_ptd[first, query] + (1 - share) * latents_ptd[second, query]
    return torch.cat([real_nd, between_nd])
