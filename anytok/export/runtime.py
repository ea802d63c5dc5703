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
    """How exported files do on one item: `equal` of `codes` are the tokenizer's own, and where the others differ first
    in a frame, the relative margins there, (second - best) / best of the squared distances, the smallest first; the
    largest difference of what is decoded, as a share of its largest value."""

    item: str
    codes: int
    equal: int
    margins: tuple[float, ...]
    decode_error: float | None


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
            inputs = [one | {"scale": np.float32([scale])} for one, scale in zip(inputs, codes.scales, strict=True)]
        decoded = [cast(Any, self._decoder).run(None, one)[0][0] for one in inputs]
        if len(decoded) == 1:
            return decoded[0][..., : codes.num_samples]
        stride = self.spec.segment_stride or 0
        total = max(stride * place + piece.shape[1] for place, piece in enumerate(decoded))
        return overlap_add((torch.from_numpy(piece) for piece in decoded), stride, total).numpy()[:, : codes.num_samples]


def agreement(tokenizer: Tokenizer, folder: Path, prepared: Decoded) -> Agreement:
    """Encode and decode one prepared item with the files in `folder` and with the tokenizer."""
    exported = Exported(folder, tokenizer.spec)
    (ours,), theirs = tokenizer.encode_prepared([prepared]), exported.encode(prepared)
    differing = ours.values != theirs.values
    margins = _margins(tokenizer, prepared, ours, differing) if differing.any() else ()
    wanted, made = _decoded(tokenizer, ours), exported.decode(ours)
    error = float(np.abs(made - wanted).max() / max(np.abs(wanted).max(), 1e-9))
    item = f"{prepared.num_samples} samples" if isinstance(prepared, Audio) else "a picture"
    return Agreement(item, ours.values.size, int((~differing).sum()), margins, error)


def _decoded(tokenizer: Tokenizer, codes: Codes) -> np.ndarray:
    if tokenizer.spec.image_size is not None:
        return cast(Any, tokenizer).embed([codes])[0]
    return cast(Audio, tokenizer.decode(codes)).wave


def _margins(tokenizer: Any, prepared: Decoded, codes: Codes, differing_kt: np.ndarray) -> tuple[float, ...]:
    """At the first layer that differs in each frame; later layers follow from it."""
    books_knd = type(tokenizer).read_codebooks(tokenizer.spec, tokenizer.checkpoint).astype(np.float64)
    latents_td = tokenizer.latents(prepared).T.astype(np.float64)
    margins = []
    for frame in np.flatnonzero(differing_kt.any(axis=0)):
        layer, residual_d = int(differing_kt[:, frame].argmax()), latents_td[frame]
        for earlier in range(layer):
            residual_d = residual_d - books_knd[earlier][codes.values[earlier, frame]]
        best, second = np.sort(np.square(books_knd[layer] - residual_d).sum(1))[:2]
        margins.append(float((second - best) / best))
    return tuple(sorted(margins))


def _session(path: Path) -> Any:
    import onnxruntime

    if not path.exists():
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of constants that it has folded
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
