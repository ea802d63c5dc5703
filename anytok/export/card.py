"""What lies beside exported files for whoever runs them: sizes, preprocessing, places in vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..recipes import described
from ..spec import Spec
from ..vocab.layouts import LAYOUTS
from .runtime import Agreement

__all__ = ["card", "facts_of"]


def facts_of(spec: Spec, dtype: str) -> dict[str, str]:
    """The metadata of an ONNX file."""
    return {"anytok.id": spec.id, "anytok.name": spec.name, "anytok.dtype": dtype}


def card(spec: Spec, dtype: str, found: Sequence[Agreement]) -> dict[str, Any]:
    """The record that becomes `card.json`."""
    return {
        "id": spec.id,
        "dtype": dtype,
        "spec": {key: value for key, value in asdict(spec).items() if value is not None},
        "preprocessing": described(spec.preprocessing),
        "encoder": _encoder(spec),
        "decoder": _decoder(spec),
        "vocabularies": {name: place for name in LAYOUTS if (place := _place(name, spec))},
        "tried": [asdict(one) for one in found],
    }


def _encoder(spec: Spec) -> str:
    if spec.image_size is not None:
        return f"levels: uint8 RGB [batch, {spec.image_size}, {spec.image_size}, 3] → codes: int64 [batch, 1, frames]"
    wave = f"wave: float32 [batch, {spec.channels}, samples] at {spec.sample_rate} Hz, within [-1, 1]"
    if spec.segment_samples:
        wave += f", segments of {spec.segment_samples} samples, one every {spec.segment_stride}, the last ones shorter"
    scale = ", scale: float32 [batch], with which each is to be decoded" if spec.segment_samples else ""
    return f"{wave} → codes: int64 [batch, {spec.num_codebooks}, frames]{scale}"


def _decoder(spec: Spec) -> str:
    if spec.image_size is not None:
        return "codes → embedding: float32 [batch, width], CLIP ViT-H/14's, from which an unCLIP pipeline paints"
    joined = "; segments overlap, and are blended with triangular weights" if spec.segment_samples else ""
    return f"codes → wave: float32 [batch, {spec.channels}, frames * {spec.hop_length}]{joined}"


def _place(vocabulary: str, spec: Spec) -> dict[str, Any] | None:
    """Where a published vocabulary has this tokenizer's codes: code c of layer k is `first_id + k * codebook_size + c`,
    frame by frame."""
    for segment in LAYOUTS[vocabulary]().segments:
        if segment.tokenizer == spec.name:
            return {
                "first_id": segment.first_id, "num_codebooks": segment.num_codebooks, "start": segment.start,
                "end": segment.end, "spelling": segment.code, "pattern": segment.pattern,
            }  # fmt: skip
    return None
