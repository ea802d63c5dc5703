"""The original EnCodec, from transformers or from the `encodec` package. No mathematics of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...checkpoints import published
from ...checkpoints.codec_card import codec_card
from ...checkpoints.codec_sizes import CodecSizes
from ...checkpoints.read import read_config, read_tensors
from ...checkpoints.seanet import CodecFiles, canonical_name, read_codec
from ...errors import UsageError
from ...media import Audio, Decoded
from ...spec import Codes, Spec
from ...tokenizer import Tokenizer
from .packages import original

__all__ = ["ReferenceEncodec"]

# (codes [k, t], scale or None); the originals call it a frame.
Segment = tuple[Tensor, Tensor | None]


class ReferenceEncodec(Tokenizer):
    """transformers' `EncodecModel` or the `encodec` package's, one clip at a time."""

    dtypes = ("float32", "float64")

    def __init__(self, spec: Spec, model: Any, package: str, device: str, dtype: str) -> None:
        self.spec, self._package, self._device = spec, package, device
        self._model = model.eval().to(device, getattr(torch, dtype))
        quantizer = model.quantizer
        self.total_codebooks = quantizer.n_q if package == "encodec" else len(quantizer.layers)
        self.normalizes_loudness = bool(model.normalize if package == "encodec" else model.config.normalize)

    @classmethod
    def load(
        cls,
        spec: Spec,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        num_codebooks: int | None = None,
        bandwidth: float | None = None,
        resampler: str | None = None,
        channels: str | None = None,
        package: str | None = None,
    ) -> ReferenceEncodec:
        """Load through `package` "transformers" (the default for Hugging Face folders) or "encodec"."""
        files = read_codec(published(spec.name, checkpoint))
        package = package or ("transformers" if files.form == "transformers" else "encodec")
        if package == "transformers" and files.form == "transformers":
            model = _transformers_model(files)
        elif package == "encodec":
            model = _encodec_model(files)
        else:
            raise UsageError(f"package {package!r} cannot load {files.source.name}: use 'encodec'")
        options: dict[str, Any] = {"num_codebooks": num_codebooks, "bandwidth": bandwidth}
        card = codec_card(spec, files, **options, dtype=dtype, resampler=resampler, channels=channels)
        return cls(cls.identified(card, files.state, dtype), model, package, device, dtype)

    def check(self, codes: Codes) -> None:
        """As every tokenizer's; besides, codes must begin with the first codebook."""
        super().check(codes)
        if codes.first_codebook:
            raise UsageError("the original EnCodec decodes from the first codebook on; these codes begin later")

    def _encode(self, prepared: Iterable[Decoded]) -> list[Codes]:
        result = []
        for audio in cast(Iterable[Audio], prepared):
            segments = self._segments(torch.tensor(audio.wave)[None].to(self._device))
            values = torch.cat([codes_kt for codes_kt, _ in segments], dim=1)[: self.spec.num_codebooks]
            scales = [float(scale) for _, scale in segments if scale is not None]
            loudness = np.array(scales) if scales else None
            result.append(Codes(values.cpu().numpy(), self.spec, audio.num_samples, scales=loudness))
        return result

    def _decode(self, codes: Sequence[Codes]) -> list[Decoded]:
        result: list[Decoded] = []
        for item in codes:
            pieces = torch.tensor(item.values).to(self._device).split(item.segment_frames(), dim=1)
            loudness = None if item.scales is None else torch.tensor(item.scales)[:, None, None].to(self._device)
            scales = [None] * len(pieces) if loudness is None else list(loudness)
            wave_bcs = self._joined(list(zip(pieces, scales, strict=True))).cpu()
            result.append(Audio(wave_bcs[0].numpy(), self.spec.sample_rate or 0))
        return result

    def _segments(self, wave_bcs: Tensor) -> list[Segment]:
        if self._package == "encodec":
            return [(codes_bkt[0], scale) for codes_bkt, scale in self._model.encode(wave_bcs)]
        coded = self._model.encode(wave_bcs, bandwidth=self._model.config.target_bandwidths[-1])
        pieces = [codes_bkt[0] for codes_bkt in coded.audio_codes]
        if coded.last_frame_pad_length:
            pieces[-1] = pieces[-1][:, : -coded.last_frame_pad_length]
        return list(zip(pieces, coded.audio_scales, strict=True))

    def _joined(self, segments: list[Segment]) -> Tensor:
        if self._package == "encodec":
            return self._model.decode([(codes_kt[None], scale) for codes_kt, scale in segments])
        longest = max(codes_kt.shape[1] for codes_kt, _ in segments)
        missing = longest - segments[-1][0].shape[1]
        padded = [torch.nn.functional.pad(codes_kt, (0, longest - codes_kt.shape[1])) for codes_kt, _ in segments]
        scales = [scale for _, scale in segments]
        return self._model.decode(torch.stack(padded)[:, None], scales, last_frame_pad_length=missing)[0]


def _transformers_model(files: CodecFiles) -> Any:
    from transformers import EncodecConfig, EncodecModel

    model = EncodecModel(EncodecConfig(**read_config(files.source.with_name("config.json"))))
    # transformers writes and reads two generations of weight-norm names; its own loader would rename them.
    state = {
        re.sub(r"weight_(g|v)$", lambda end: f"parametrizations.weight.original{'gv'.index(end[1])}", key): tensor
        for key, tensor in read_tensors(files.source).items()
    }
    model.load_state_dict(state, strict=True)
    return model


def _encodec_model(files: CodecFiles) -> Any:
    sizes = files.sizes
    modules, package = original("encodec.modules"), original("encodec.model")
    shape: dict[str, Any] = {
        "channels": sizes.channels, "dimension": sizes.dimension, "n_filters": sizes.num_filters,
        "n_residual_layers": sizes.num_residual_layers, "ratios": list(sizes.ratios),
        "norm": "time_group_norm" if sizes.norm else "weight_norm", "kernel_size": sizes.kernel,
        "last_kernel_size": sizes.last_kernel, "residual_kernel_size": sizes.residual_kernel,
        "dilation_base": sizes.dilation_base, "causal": sizes.causal, "pad_mode": sizes.pad_mode,
        "true_skip": not sizes.shortcut, "compress": sizes.compress, "lstm": sizes.num_lstm_layers,
    }  # fmt: skip
    quantizer = original("encodec.quantization").ResidualVectorQuantizer(
        dimension=sizes.dimension, n_q=sizes.num_codebooks, bins=sizes.codebook_size
    )
    segment = sizes.segment_samples and sizes.segment_samples / sizes.sample_rate
    model = package.EncodecModel(
        modules.SEANetEncoder(**shape), modules.SEANetDecoder(**shape), quantizer, list(sizes.bandwidths),
        sizes.sample_rate, sizes.channels, normalize=sizes.normalize, segment=segment,
        overlap=_overlap(sizes),
    )  # fmt: skip
    for key, tensor in model.state_dict().items():
        name = canonical_name(key)
        if name is not None:
            tensor.copy_(files.state[name])
        elif key.endswith("inited"):
            tensor.fill_(1)
    return model


def _overlap(sizes: CodecSizes) -> float:
    """The overlap as a share of a segment, rounded: the package truncates (1 - overlap) * samples to a stride."""
    if not sizes.segment_samples or not sizes.segment_stride:
        return 0.01
    return round(1 - sizes.segment_stride / sizes.segment_samples, 6)
