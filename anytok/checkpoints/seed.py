"""SEED's published files → tensors, sizes and identity, alike for every engine.

`seed_quantizer.pt` holds the Q-Former, the codebook and both heads; the ViT is inside it, or beside it in
`eva_vit_g.pth`, or absent, which still allows decoding. Both may also be `.safetensors`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from ..errors import CheckpointError, UsageError
from ..records import Layers, Positive, Size, Within, build, multiple
from ..spec import Spec
from .fetch import fetch, published
from .read import read_config, read_tensors
from .unclip import Sampling

__all__ = ["SIZES", "SeedFiles", "read_seed"]

# The published model. A config.json beside the weights gives all of these for another one.
SIZES: Mapping[str, int | float] = {
    "image_size": 224,
    "patch_size": 14,
    "vision_width": 1408,
    "vision_layers": 39,
    "vision_heads": 16,
    "vision_mlp_ratio": 4.3637,
    "qformer_width": 768,
    "qformer_layers": 12,
    "qformer_heads": 12,
    "cross_attention_frequency": 2,
    "queries": 32,
    "codebook_size": 8192,
    "codebook_dim": 32,
    "decoder_layers": 4,
    "decoder_heads": 12,
    "embedding_dim": 1024,
}

@dataclass(frozen=True)
class SeedSizes:
    """The sizes in SEED's config.json but for the embedding's width, which is not its own choice in training."""

    image_size: Size
    patch_size: Size
    vision_width: Size
    vision_layers: Layers
    vision_heads: Size
    vision_mlp_ratio: Positive
    qformer_width: Size
    qformer_layers: Layers
    qformer_heads: Size
    cross_attention_frequency: Size
    queries: Size
    codebook_size: Annotated[int, Within(2, 1 << 20)]
    codebook_dim: Size
    decoder_layers: Layers
    decoder_heads: Size

    def __post_init__(self) -> None:
        multiple("image_size", self.image_size, "patch_size", self.patch_size)
        multiple("vision_width", self.vision_width, "vision_heads", self.vision_heads)
        multiple("qformer_width", self.qformer_width, "qformer_heads", self.qformer_heads)
        multiple("qformer_width", self.qformer_width, "decoder_heads", self.decoder_heads)
        if self.vision_width * self.vision_mlp_ratio < 1:
            raise UsageError(f"vision_mlp_ratio={self.vision_mlp_ratio}: leaves nothing of vision_width: raise it")


@dataclass(frozen=True)
class _AllSizes(SeedSizes):
    embedding_dim: Size


_VISION = "visual_encoder."

# What codes and embeddings depend on, in seed_quantizer.pt; the rest (`blocks`, …) served training.
_MEANING = re.compile(
    r"query_tokens|pos_embed_image|quantize\.embedding\.weight|(ln_vision|distill_image_proj)\.\w+"
    r"|(encode|decode)_task_layer\.[02]\.\w+|image_down\.[024]\.weight|blocks_image\..+"
    r"|Qformer\.bert\.embeddings\.LayerNorm\.\w+"
    r"|Qformer\.bert\.encoder\.layer\.\d+\.(attention|crossattention|intermediate_query|output_query)\..+"
)


@dataclass(frozen=True)
class SeedFiles:
    """What a folder gave: `state` under the published names (the ViT's under `visual_encoder.`)."""

    folder: Path
    source: str  # the files, for reports and errors
    state: dict[str, Tensor]
    sizes: dict[str, Any]  # keywords of the model, as in SIZES
    has_vision: bool
    sampling: Sampling  # the published painter's, unless config.json says otherwise
    fetched_as: str = ""  # the tokenizer's name, where the files were not given

    def unclip(self) -> Path:
        """The folder of the pipeline that paints; fetched now, where the others were and it is not there yet."""
        folder = self.folder / "unclip"
        if self.fetched_as and not folder.is_dir():
            fetch(self.fetched_as)
        return folder

    def card(self, spec: Spec, *, interpolation: str) -> Spec:
        """`spec` with the sizes of this model, but for the id."""
        return dataclasses.replace(
            spec,
            codebook_size=self.sizes["codebook_size"],
            num_frames=self.sizes["queries"],
            image_size=self.sizes["image_size"],
            preprocessing=interpolation,
        )

    def identity(self) -> dict[str, Tensor]:
        """The weights that the id names: all that codes and embeddings depend on, but for the ViT.

        So codes made with it can be decoded where it is absent. It is frozen in training: a Q-Former belongs to exactly
        one.
        """
        return {key: value.float() for key, value in self.state.items() if _MEANING.fullmatch(key)}


def read_seed(name: str, checkpoint: str | Path | None) -> SeedFiles:
    """Read the files in the folder `checkpoint`, or beside the one of them that it names (fetched if None).

    Raises CheckpointError where a file is missing, damaged or not SEED's.
    """
    place = published(name, checkpoint)
    folder = place if place.is_dir() else place.parent
    quantizer = _find(folder, "seed_quantizer", ".pt")
    if quantizer is None:
        raise CheckpointError(
            f"{folder}: no seed_quantizer.pt here; expected SEED's published files (see checkpoints.md)"
        )
    state, source = read_tensors(quantizer), quantizer.name
    vision = _find(folder, "eva_vit_g", ".pth")
    if place not in (folder, quantizer, vision, folder / "config.json"):
        raise CheckpointError(f"{place}: of this folder, {quantizer.name} would be read: give the files their names")
    has_vision = any(key.startswith(_VISION) for key in state)
    if not has_vision and vision is not None:
        state |= {_VISION + key: value for key, value in read_tensors(vision).items()}
        source, has_vision = f"{source} + {vision.name}", True
    config = folder / "config.json"
    return SeedFiles(
        folder, f"{folder}: {source}", state, _sizes(config), has_vision, _sampling(config),
        fetched_as=name if checkpoint is None else "",
    )  # fmt: skip


def _find(folder: Path, stem: str, suffix: str) -> Path | None:
    for path in (folder / f"{stem}{suffix}", folder / f"{stem}.safetensors"):
        if path.is_file():
            return path
    return None


def _sizes(path: Path) -> dict[str, Any]:
    if not path.exists():
        return dict(SIZES)
    config = read_config(path)
    found = {key: config[key] for key in SIZES if key in config}
    where = f"{path}, which beside SEED's weights gives all their sizes"  # without one they are the published model's
    return dataclasses.asdict(build(_AllSizes, found, where, CheckpointError))


def _sampling(path: Path) -> Sampling:
    config = read_config(path) if path.exists() else {}
    found = {field.name: config[field.name] for field in dataclasses.fields(Sampling) if field.name in config}
    return build(Sampling, found, f"{path}, which may say how the painter paints", CheckpointError)


# Our module's names → the published ones, first match of each group.
_RENAMES = (
    ("codebook_nd", "quantize.embedding.weight"),
    ("visual_encoder.patch_embed.", "visual_encoder.patch_embed.proj."),
    ("qformer.norm.", "Qformer.bert.embeddings.LayerNorm."),
    ("qformer.layers.", "Qformer.bert.encoder.layer."),
    (".self_attention.norm.", ".attention.output.LayerNorm."),
    (".self_attention.output.", ".attention.output.dense."),
    (".self_attention.", ".attention.self."),
    (".cross_attention.norm.", ".crossattention.output.LayerNorm."),
    (".cross_attention.output.", ".crossattention.output.dense."),
    (".cross_attention.", ".crossattention.self."),
    (".feed_in.", ".intermediate_query.dense."),
    (".feed_out.", ".output_query.dense."),
    (".feed_norm.", ".output_query.LayerNorm."),
)


def published_name(key: str) -> str:
    """The published name of a tensor of `anytok.models.seed.Seed`."""
    for ours, theirs in _RENAMES:
        key = key.replace(ours, theirs)
    return key


def fuse(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ViT's tensors in the form our model computes with: one bias for query, key (zero) and value; the
    patch convolution as a matrix. Everything else as it is."""
    fused = dict(state)
    for key in [key for key in state if key.startswith(_VISION) and key.endswith(".attn.q_bias")]:
        attention = key.removesuffix("q_bias")
        query, value = fused.pop(key), fused.pop(attention + "v_bias", None)
        if value is None:
            raise CheckpointError(f"{attention}v_bias is missing, but {key} is there: the ViT is incomplete")
        fused[attention + "qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    patch = _VISION + "patch_embed.proj.weight"
    if patch in fused:
        fused[patch] = fused[patch].flatten(1)
    return fused
