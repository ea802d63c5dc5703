"""Exported files in ONNX Runtime, compared with the tokenizer that they are of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..media import Audio, Decoded
from ..models.segments import overlap_add
from ..spec import Codes, Spec
from ..tokenizer import Tokenizer

__all__ = ["Agreement", "Exported", "agreement"]


@dataclass(frozen=True)
class Agreement:
    """How exported files do on one item: `equal` of `codes` are the tokenizer's own. `margins` (see `Codes.margins`)
    are those of the codes that differ first in each frame. `decode_error` is the largest difference of what both decode
    from the tokenizer's codes, as a share of its largest value."""

    item: str
    codes: int
    equal: int
    margins: tuple[float, ...]
    decode_error: float


class Exported:
    """A folder of exported files, run on a CPU."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.spec = spec
        self._encoder, self._decoder = (_session(folder / f"{part}.onnx") for part in ("encoder", "decoder"))

    def encode(self, prepared: Decoded) -> Codes:
        """Codes of one prepared item, as `Tokenizer.encode` gives them."""
        assert self._encoder is not None, "exported without the ViT"
        if not isinstance(prepared, Audio):
            (codes_b1t,) = self._encoder.run(None, {"levels": np.asarray(prepared)[None]})
            return Codes(codes_b1t[0], self.spec)
        pieces = [
            self._encoder.run(None, {"wave": prepared.wave[None, :, start:end]})
            for start, end in self.spec.segments(prepared.num_samples)
        ]
        values = np.concatenate([piece[0][0] for piece in pieces], axis=1)
        scales = np.array([piece[1][0] for piece in pieces]) if len(pieces[0]) > 1 else None
        return Codes(values, self.spec, prepared.num_samples, scales=scales)

    def decode(self, codes: Codes) -> np.ndarray:
        """The wave [channels, samples], cut to its length; of a picture the embedding [width]."""
        lengths = codes.segment_frames()
        segments = np.split(codes.values, np.cumsum(lengths)[:-1], axis=1)
        inputs = [{"codes": segment[None]} for segment in segments]
        if codes.scales is not None:
            for one, scale in zip(inputs, codes.scales, strict=True):
                one["scale"] = np.array([scale], np.float32)
        decoded = [cast(Any, self._decoder).run(None, one)[0][0] for one in inputs]
        if len(decoded) == 1:
            return decoded[0][..., : codes.num_samples]
        stride = self.spec.segment_stride or 0
        total = max(stride * place + piece.shape[1] for place, piece in enumerate(decoded))
        wave_cs = overlap_add((torch.from_numpy(piece) for piece in decoded), stride, total).numpy()
        return wave_cs[:, : codes.num_samples]


def agreement(tokenizer: Tokenizer, folder: Path, prepared: Decoded) -> Agreement:
    """Encode and decode one prepared item with the files in `folder` and with the tokenizer."""
    exported = Exported(folder, tokenizer.spec)
    (ours,), theirs = tokenizer.encode_prepared([prepared], margins=True), exported.encode(prepared)
    differing = ours.values != theirs.values
    wanted, made = _decoded(tokenizer, ours), exported.decode(ours)
    error = float(np.abs(made - wanted).max() / max(np.abs(wanted).max(), 1e-9))
    item = f"{prepared.num_samples} samples" if isinstance(prepared, Audio) else "a picture"
    return Agreement(item, ours.values.size, int((~differing).sum()), _margins(ours, differing), error)


def _decoded(tokenizer: Tokenizer, codes: Codes) -> np.ndarray:
    if tokenizer.spec.image_size is not None:
        return cast(Any, tokenizer).embed([codes])[0]
    return cast(Audio, tokenizer.decode(codes)).wave


def _margins(codes: Codes, differing_kt: np.ndarray) -> tuple[float, ...]:
    """Of the first layer that differs in each frame, since later ones follow from it; the smallest first."""
    assert codes.margins is not None
    frames = np.flatnonzero(differing_kt.any(axis=0))
    return tuple(sorted(codes.margins[differing_kt[:, frames].argmax(axis=0), frames].tolist()))


def _session(path: Path) -> Any:
    import onnxruntime

    if not path.exists():
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of constants that it has folded
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
