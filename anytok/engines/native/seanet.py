"""SpeechTokenizer and EnCodec: one SEANet, one RVQ, one engine.

Legend: c channels, s samples, k codebooks, t frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from ...arguments import whole
from ...checkpoints import published
from ...checkpoints.codec_card import codec_card
from ...checkpoints.codec_sizes import CodecSizes
from ...checkpoints.report import LoadReport, load_state
from ...checkpoints.seanet import CodecFiles, model_state, read_codec
from ...errors import CheckpointError, UsageError
from ...media import Audio, Decoded, Media, prepare
from ...models.codec import Codec
from ...models.quantize import Quantized, joined
from ...models.segments import normalize, overlap_add
from ...spec import Codes, Spec
from ...tokenizer import Tokenizer
from ...torch_settings import skeleton
from .audio_stream import AudioStream
from .cpu.codec import DecoderStream, FastCodec
from .cpu.spill import malloc_trim
from .precision import codec_dtypes, products_of

if TYPE_CHECKING:
    from .gpu.codec import TiledCodec
    from .gpu.segments import SegmentCodec

__all__ = ["SeanetCodec"]

Fast: TypeAlias = "FastCodec | SegmentCodec | TiledCodec"


class SeanetCodec(Tokenizer):
    """The native engine for SpeechTokenizer and EnCodec checkpoints in any published form."""

    dtypes = ("float32", "float64", "mixed", "bfloat16", "tf32", "float16")

    def __init__(self, spec: Spec, codec: Fast, sizes: CodecSizes, load_report: LoadReport, precision: str) -> None:
        self.spec, self.load_report, self.float32_precision = spec, load_report, precision
        self.total_codebooks, self.normalizes_loudness = sizes.num_codebooks, sizes.normalize
        self._codec, self._sizes = codec, sizes

    @classmethod
    def load(
        cls,
        spec: Spec,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        compile: bool = False,
        batch_size: int | None = None,
        num_codebooks: int | None = None,
        bandwidth: float | None = None,
        resampler: str | None = None,
        channels: str | None = None,
    ) -> SeanetCodec:
        """Load the published files in `checkpoint` (fetched once if None).

        `dtype` "float32" gives the originals' codes; "float64" the same on every machine; "mixed" (LSTMs in bfloat16),
        "bfloat16" and, on GPUs, "tf32" (products of inputs rounded to 11 bits) and "float16" are faster and change
        some. `compile` (GPUs) compiles the convolutions on first use. But for float64, on a GPU all that is computed
        has one shape: `batch_size` tiles of two seconds (default 32), and twice as many clips in the LSTMs; of EnCodec
        at 48 kHz, segments of one second (default 16). So a lone clip takes as long as many; with a smaller batch_size
        less is computed for it. In less than float32 any number of tiles but 32 is for lone clips: it takes products
        for convolutions, which at 32 had 0.6 to 0.95 of their speed, so as to get the same bits in any company.
        `num_codebooks` keeps the first n layers only and computes no others; `bandwidth` (kbit/s, EnCodec) says the
        same in the field's other unit; by default all layers are there. `resampler` "soxr" replaces the published
        pipelines' own ("functional" or "transform"), and `channels` "mean" the first channel, which AnyGPT takes of
        speech; both change codes, too.
        """
        on_cpu = torch.device(device).type == "cpu"
        for_gpus = _for_gpus(on_cpu, dtype, compile, batch_size)
        dtypes, files = codec_dtypes(dtype, device), read_codec(published(spec.name, checkpoint))
        recipe = {"resampler": resampler, "channels": channels}
        card = codec_card(spec, files, num_codebooks=num_codebooks, bandwidth=bandwidth, dtype=dtype, **recipe)
        is_whole = files.sizes.norm and not files.sizes.segment_samples
        if (files.sizes.norm and compile) or (is_whole and batch_size is not None):
            raise UsageError(f"{spec.name} has norms over what is of any length: there is no {for_gpus} for it")
        if batch_size is not None:
            batch_size = whole("batch_size", batch_size, 1)
        plain, report = _plain(files, device, dtype == "float64")
        if on_cpu or is_whole or dtype == "float64":
            fast: Fast = FastCodec(plain, files.sizes.hop_length, *dtypes)
        else:
            fast = _in_one_shape(plain, files.sizes, dtypes, dtype not in ("float32", "mixed"), compile, batch_size)
        del plain
        malloc_trim()  # packing leaves up to 170 MB of holes between the weights
        kind = SeanetCodec if files.sizes.norm else StreamingCodec
        return kind(cls.identified(card, files.state, dtype), fast, files.sizes, report, products_of(dtype))

    @classmethod
    def read_codebooks(cls, spec: Spec, checkpoint: str | Path | None = None) -> np.ndarray:
        """The rows of the residual quantizer's codebooks, float32 `[K, N, D]`; see `Tokenizer.read_codebooks`."""
        state = model_state(read_codec(published(spec.name, checkpoint)).state)
        if "quantizer.codebooks_knd" not in state:
            raise CheckpointError(f"{checkpoint or spec.name}: its codebooks differ in size, or are not there")
        return state["quantizer.codebooks_knd"].float().numpy()

    def _encode(self, prepared: Iterable[Decoded], *, margins: bool = False) -> list[Codes]:
        """`margins`: give each code's margin, too (`models.quantize.margins_of`)."""
        sounds = cast(list[Audio], list(prepared))
        scales: list[list[float | None]] = [[] for _ in sounds]

        def segments() -> Iterator[Tensor]:  # made as they are asked for: hours of them would be there twice
            for audio, scales_of_it in zip(sounds, scales, strict=True):
                for segment_cs, scale in self._segments(audio.wave):
                    scales_of_it.append(scale)
                    yield segment_cs

        encoded = iter(self._codec.encode(segments(), self.spec.num_codebooks, margins))
        return [
            self._codes([next(encoded) for _ in scales_of_it], scales_of_it, audio.wave.shape[1])
            for audio, scales_of_it in zip(sounds, scales, strict=True)
        ]

    def _decode(self, codes: Sequence[Codes]) -> list[Decoded]:
        segments = [torch.tensor(item.values).split(item.segment_frames(), dim=1) for item in codes]
        firsts = [item.first_codebook for item in codes]
        asked = [(one_kt, first) for item, first in zip(segments, firsts, strict=True) for one_kt in item]
        decoded = (wave_cs.cpu() for wave_cs in self._codec.decode(asked))
        return [self._sound(islice(decoded, len(of)), item) for of, item in zip(segments, codes, strict=True)]

    def latents(self, media: Media) -> np.ndarray:
        """The encoder's continuous output before quantization, float32 or float64 [dimension, frames]."""
        sound = cast(Audio, prepare(media, self.spec))
        with self._shielded():
            segments = [self._codec.latents(segment_cs) for segment_cs, _ in self._segments(sound.wave)]
            return torch.cat(segments).T.cpu().numpy()

    def _segments(self, wave_cs: np.ndarray) -> Iterator[tuple[Tensor, float | None]]:
        """The stretches that are encoded on their own, and the loudness each was divided by, if any."""
        for start, end in self.spec.segments(wave_cs.shape[1]):
            segment_cs = torch.from_numpy(wave_cs[:, start:end])  # no copy of what may be hours: nothing writes to it
            yield normalize(segment_cs) if self._sizes.normalize else (segment_cs, None)

    def _codes(self, pieces: list[Quantized], scales: list[float | None], num_samples: int) -> Codes:
        codes_kt, margins_kt = joined(pieces)
        margins = None if margins_kt is None else margins_kt.cpu().numpy()
        loudness = np.array(scales) if self._sizes.normalize else None
        return Codes(codes_kt.cpu().numpy(), self.spec, num_samples, scales=loudness, margins=margins)

    def _sound(self, waves: Iterator[Tensor], codes: Codes) -> Audio:
        if codes.scales is not None:
            waves = (wave_cs * float(scale) for wave_cs, scale in zip(waves, codes.scales, strict=True))
        frames = codes.segment_frames()
        if len(frames) == 1:
            wave_cs = next(waves)
        else:
            stride = self.spec.segment_stride or 0
            # A last segment of one frame ends before the one that it overlaps.
            ends = [stride * place + count * self.spec.hop_length for place, count in enumerate(frames)]
            wave_cs = overlap_add(waves, stride, max(ends))
        return Audio(wave_cs.numpy(), self._sizes.sample_rate)


class StreamingCodec(SeanetCodec):
    """A codec without norm layers: it can also decode codes as they come."""

    def decoder_stream(self, first_codebook: int = 0) -> AudioStream:
        """Start decoding one item piece by piece; row 0 of its codes belongs to layer `first_codebook`."""
        spec = replace(self.spec, num_codebooks=self._sizes.num_codebooks)
        first = whole("first_codebook", first_codebook, 0, spec.num_codebooks - 1)
        return AudioStream(DecoderStream(self._streaming, first), spec, first)

    @cached_property
    def _streaming(self) -> FastCodec:
        """The layers that keep state between pieces. A GPU's codec has none: at its first stream they are made of its
        weights, on its device."""
        if isinstance(self._codec, FastCodec):
            return self._codec
        codec = cast("TiledCodec", self._codec)
        return FastCodec(codec.plain, *codec.form)


def _in_one_shape(
    plain: Codec,
    sizes: CodecSizes,
    dtypes: tuple[torch.dtype, torch.dtype],
    tensor_cores: bool,
    compile: bool,
    batch_size: int | None,
) -> SegmentCodec | TiledCodec:
    """The codec for GPUs, imported here because a CPU does without."""
    from .gpu.codec import TiledCodec
    from .gpu.segments import SEGMENTS, SegmentCodec
    from .gpu.tiles import BATCH_SIZE

    if sizes.segment_samples and sizes.norm:
        return SegmentCodec(plain, sizes.hop_length, *dtypes, sizes.segment_samples, batch_size or SEGMENTS)
    return TiledCodec(plain, sizes.hop_length, *dtypes, tensor_cores, compile, batch_size or BATCH_SIZE)


def _for_gpus(on_cpu: bool, dtype: str, compile: bool, batch_size: int | None) -> str:
    """The option for GPUs that was given, to name it; raises UsageError where there is none."""
    name = "compile" if compile else "batch_size"
    if (on_cpu or dtype == "float64") and (compile or batch_size is not None):
        why = "on a CPU products are packed already" if on_cpu else "float64 has no kernels of one shape"
        raise UsageError(f"{name} is for GPUs, in other precisions than float64: {why}, and shapes vary")
    return name


def _plain(files: CodecFiles, device: str, double: bool) -> tuple[Codec, LoadReport]:
    """The model as plain modules, float32 or float64."""
    with skeleton():
        plain = Codec(**files.sizes.architecture())
    state = {name: tensor.to(device) for name, tensor in model_state(files.state).items()}
    report = load_state(plain, state, str(files.source), files.ignored)
    plain = plain.eval().requires_grad_(False)
    return plain.double() if double else plain, report
