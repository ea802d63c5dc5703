"""SEED as two ONNX graphs: pictures → codes, and codes → the image embedding that an unCLIP pipeline paints from.

Written by torch's exporter: no length varies here but the batch's. Legend: b batch, h height, w width, c channels,
t queries, d dimension of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.report import load_state
from ..checkpoints.seed import SeedFiles, fuse, published_name
from ..models.seed import Seed, normalize
from ..torch_settings import skeleton
from .graph import OPSET

__all__ = ["write_seed"]


class _Encoder(nn.Module):
    """Levels, uint8 RGB [b, h, w, c], → codes, int64 [b, 1, t]."""

    def __init__(self, seed: Seed) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, levels_bhwc: Tensor) -> Tensor:
        return self.seed.quantize(self.seed.latents(normalize(levels_bhwc))).unsqueeze(1)


class _Decoder(nn.Module):
    """Codes, int64 [b, 1, t], → CLIP ViT-H/14 image embedding, float32 [b, d], not normalised."""

    def __init__(self, seed: Seed) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, codes_b1t: Tensor) -> Tensor:
        return self.seed.embed(codes_b1t[:, 0])


def write_seed(files: SeedFiles, image_size: int, dtype: torch.dtype, folder: Path, facts: Mapping[str, str]) -> None:
    """Write `encoder.onnx`, if the files hold the ViT, and `decoder.onnx`. `dtype` is that of ViT and Q-Former; the
    rest is float32, as in the native engine. More than 1 GB of weights lie beside the graph, in `encoder.onnx.data`."""
    with skeleton():
        model = Seed(**files.sizes, vision=files.has_vision, vision_dtype=dtype)
    load_state(model, fuse(files.state), files.source, published_name=published_name)
    model = model.freeze()
    queries = model.query_tokens.shape[1]
    if files.has_vision:
        levels = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)
        _write(_Encoder(model), levels, ("levels", "codes"), folder / "encoder.onnx", facts)
    codes = torch.zeros(2, 1, queries, dtype=torch.int64)
    _write(_Decoder(model), codes, ("codes", "embedding"), folder / "decoder.onnx", facts)


def _write(module: nn.Module, example: Tensor, names: tuple[str, str], path: Path, facts: Mapping[str, str]) -> None:
    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    program = torch.onnx.export(
        module.eval(), (example,), input_names=[names[0]], output_names=[names[1]], opset_version=OPSET,
        dynamic_shapes=(batch,), dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    program.model.metadata_props.update(facts)
    program.save(path, external_data=sum(one.numel() * one.element_size() for one in module.parameters()) > 2**30)
