"""SEED through other people's modules: transformers' BLIP-2 parts encode, diffusers' stock pipeline paints.

SEED's own code runs only on libraries of 2023. Its ViT and its Q-Former are BLIP-2's, which transformers has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...checkpoints.around_torchaudio import around_torchaudio
from ...checkpoints.seed import SeedFiles, read_seed
from ...errors import CheckpointError
from ...media import Decoded
from ...spec import Codes, Spec
from ...tokenizer import Tokenizer
from ...torch_settings import shielded
from .seed_heads import SeedHeads

with around_torchaudio():
    from transformers import Blip2QFormerConfig, Blip2QFormerModel, Blip2VisionConfig, Blip2VisionModel
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

__all__ = ["ReferenceSeed"]


class ReferenceSeed(Tokenizer):
    """One picture at a time, attention spelled out ("eager"), as SEED's own code works."""

    dtypes = ("float32", "float64", "bfloat16", "float16")

    def __init__(self, spec: Spec, files: SeedFiles, device: str, dtype: torch.dtype, unclip: Any) -> None:
        self.spec, self._source, self._sampling = spec, files.source, files.sampling
        self._device, self._dtype = torch.device(device), dtype
        self._unclip = files.unclip if unclip is None else lambda: unclip
        self._vision = _vision(files).to(self._device, dtype) if files.has_vision else None
        self._qformer = _qformer(files).to(self._device, dtype)
        rest = {key: value for key, value in files.state.items() if not key.startswith(("visual_", "Qformer."))}
        heads = torch.float64 if dtype == torch.float64 else torch.float32
        rest = {key: value.to(self._device, heads) for key, value in rest.items()}
        self._heads = SeedHeads(rest, files.sizes)
        self._query_tokens_1td = rest["query_tokens"].to(dtype)

    @classmethod
    def load(
        cls,
        spec: Spec,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        interpolation: str = "bicubic",
        unclip: Any = None,
    ) -> ReferenceSeed:
        """`unclip`: the folder of a complete unCLIP pipeline (default: `unclip` in the checkpoint's folder), or
        a `StableUnCLIPImg2ImgPipeline`."""
        files = read_seed(spec.name, checkpoint)
        spec = cls.identified(files.card(spec, interpolation=interpolation), files.identity(), dtype)
        return cls(spec, files, device, getattr(torch, dtype), unclip)

    def _encode(self, prepared: Iterable[Decoded]) -> list[Codes]:
        return [self.quantized(self.latents(np.asarray(image))[0]) for image in prepared]

    @property
    def codebook_nd(self) -> Tensor:
        """The vectors that codes stand for [codes, codebook_dim]."""
        return self._heads.codebook_nd

    def quantized(self, latents_td: Tensor) -> Codes:
        """Codes of one picture's latents."""
        return Codes(self._heads.quantize(latents_td)[None].cpu().numpy(), self.spec)

    @torch.inference_mode()
    @shielded()
    def latents(self, levels_hwc: np.ndarray) -> Tensor:
        """What is quantized, [1, queries, codebook_dim], for one prepared uint8 picture."""
        if self._vision is None:
            raise CheckpointError(f"{self._source}: encoding needs eva_vit_g.pth beside seed_quantizer.pt")
        heads = self.codebook_nd.dtype
        mean_c, std_c = (torch.tensor(values, dtype=heads) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        pixels_hwc = (torch.from_numpy(levels_hwc).to(heads) / 255 - mean_c) / std_c
        features_1me = self._vision(pixels_hwc.permute(2, 0, 1)[None].to(self._device, self._dtype))
        # A float mask: eager attention would misread a boolean one, in silence.
        count = self._query_tokens_1td.shape[1]
        later_tt = torch.full((count, count), torch.finfo(self._dtype).min, dtype=self._dtype).triu(1)
        queries_1td = self._qformer(
            query_embeds=self._query_tokens_1td,
            attention_mask=later_tt[None, None].to(self._device),
            encoder_hidden_states=features_1me.last_hidden_state,
        )
        return self._heads.latents(queries_1td.last_hidden_state.to(heads))

    def embed(self, codes: Sequence[Codes]) -> np.ndarray:
        """One embedding per item, float32 [items, embedding_dim]."""
        for item in codes:
            self.check(item)
        with self._shielded():
            return np.concatenate([self._embed(item).cpu().numpy() for item in codes])

    def _decode(
        self,
        codes: Sequence[Codes],
        *,
        seeds: int | Sequence[int] = 0,
        negative: Codes | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> list[Decoded]:
        """Pictures by the stock pipeline, one at a time, with its own scheduler; steps and guidance are the
        checkpoint's, unless they are given."""
        steps = self._sampling.num_inference_steps if num_inference_steps is None else num_inference_steps
        guidance_scale = self._sampling.guidance_scale if guidance_scale is None else guidance_scale
        each_seed = [seeds] * len(codes) if isinstance(seeds, int) else seeds
        self._stock.negative_image_embeds = None if negative is None else self._embed(negative).to(self._dtype)
        return [
            self._stock(
                prompt=[""],
                image_embeds=self._embed(item).to(self._dtype),
                generator=[torch.Generator("cpu").manual_seed(seed)],
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
            ).images[0]
            for item, seed in zip(codes, each_seed, strict=True)
        ]

    @cached_property
    @torch.inference_mode(False)  # weights that are loaded within it could not be used outside of it
    def _stock(self) -> Any:
        from .stock_unclip import load_stock

        pipeline = load_stock(self._unclip(), self._device, self._dtype)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _embed(self, codes: Codes) -> Tensor:
        return self._heads.embed(torch.tensor(codes.values).to(self._device))


def _vision(files: SeedFiles) -> nn.Module:
    sizes = files.sizes
    config = Blip2VisionConfig(
        hidden_size=sizes["vision_width"],
        intermediate_size=int(sizes["vision_width"] * sizes["vision_mlp_ratio"]),
        num_hidden_layers=sizes["vision_layers"],
        num_attention_heads=sizes["vision_heads"],
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
    )
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = Blip2VisionModel(config)
    state = _renamed(files.state, _VISION_NAMES)
    for key in [key for key in state if key.endswith(".q_bias")]:
        query, value = state.pop(key), state.pop(key.replace("q_bias", "v_bias"), None)
        if value is not None:  # else _fill will miss the joint bias
            state[key.replace("q_bias", "qkv.bias")] = torch.cat([query, torch.zeros_like(query), value])
    _fill(model, state, files.source)
    model.post_layernorm.eps = 1e-5  # ln_vision's, unlike the blocks'
    return model


def _qformer(files: SeedFiles) -> nn.Module:
    sizes = files.sizes
    config = Blip2QFormerConfig(
        hidden_size=sizes["qformer_width"],
        intermediate_size=4 * sizes["qformer_width"],
        num_hidden_layers=sizes["qformer_layers"],
        num_attention_heads=sizes["qformer_heads"],
        encoder_hidden_size=sizes["vision_width"],
        cross_attention_frequency=sizes["cross_attention_frequency"],
    )
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = Blip2QFormerModel(config)
    _fill(model, _renamed(files.state, _QFORMER_NAMES), files.source)
    return model


# Published names → transformers' names; what begins with none of them belongs elsewhere.
_VISION_NAMES = {
    r"visual_encoder\.cls_token$": "embeddings.class_embedding",
    r"visual_encoder\.pos_embed$": "embeddings.position_embedding",
    r"visual_encoder\.patch_embed\.proj\.": "embeddings.patch_embedding.",
    r"visual_encoder\.blocks\.(\d+)\.norm([12])\.": r"encoder.layers.\1.layer_norm\2.",
    r"visual_encoder\.blocks\.(\d+)\.attn\.proj\.": r"encoder.layers.\1.self_attn.projection.",
    r"visual_encoder\.blocks\.(\d+)\.attn\.": r"encoder.layers.\1.self_attn.",
    r"visual_encoder\.blocks\.(\d+)\.mlp\.": r"encoder.layers.\1.mlp.",
    r"ln_vision\.": "post_layernorm.",
}
_QFORMER_NAMES = {
    r"Qformer\.bert\.embeddings\.LayerNorm\.": "layernorm.",
    r"Qformer\.bert\.encoder\.layer\.(\d+)\.(attention|crossattention)\.self\.": r"encoder.layer.\1.\2.attention.",
    r"Qformer\.bert\.encoder\.layer\.(\d+)\.": r"encoder.layer.\1.",
}


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        for pattern, name in names.items():
            if re.match(pattern, key):
                renamed[re.sub(pattern, name, key)] = tensor.float()
                break
    return renamed


def _fill(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Give `model` its tensors, in the file's own type; extras, such as a 40th block, are left out."""
    wanted = model.state_dict().keys()
    missing = sorted(wanted - state.keys())
    if missing:
        raise CheckpointError(f"{source}: {len(missing)} tensors are missing, the first {missing[0]}")
    try:
        model.load_state_dict({key: state[key] for key in wanted}, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{source}: {str(error).splitlines()[-1].strip()}") from error
    model.eval()
