"""SpeechTokenizer and EnCodec: one SEANet, one RVQ, one engine.

Legend: c channels, s samples, k codebooks, t frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from ...arguments import several, whole
from ...checkpoints import published
from ...checkpoints.codec_card import codec_card
from ...checkpoints.codec_sizes import CodecSizes
from ...checkpoints.read import fingerprint, with_id
from ...checkpoints.report import LoadReport, load_state
from ...checkpoints.seanet import CodecFiles, model_state, read_codec
from ...errors import CodesError, UsageError
from ...media import Audio, Decoded, Media, prepare_batch
from ...models.codec import Codec
from ...models.segments import normalize, overlap_add
from ...spec import Codes, Spec
from ...tokenizer import Tokenizer
from ...torch_settings import full_float32, own_products, shielded, skeleton
from .cpu.codec import DecoderStream, FastCodec
from .cpu.spill import malloc_trim
from .precision import codec_dtypes, products_of
from .segment_codec import SEGMENTS, SegmentCodec
from .tiled_codec import TiledCodec
from .tiles import BATCH_SIZE as TILES

__all__ = ["SeanetCodec"]

Fast: TypeAlias = FastCodec | SegmentCodec | TiledCodec


class SeanetCodec(Tokenizer):
    """The native engine for SpeechTokenizer and EnCodec checkpoints in any published form."""

    def __init__(self, spec: Spec, codec: Fast, sizes: CodecSizes, load_report: LoadReport, products: str) -> None:
        self.spec, self.load_report, self.products = spec, load_report, products
        self._codec, self._sizes = codec, sizes

    @classmethod
    @full_float32()  # oneDNN may pack weights for the products that it is told to make
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
    ) -> SeanetCodec:
        """Load the published files in `checkpoint` (fetched once if None).

        `dtype` "float32" gives the originals' codes; "mixed" (LSTMs in bfloat16), "bfloat16" and, on GPUs, "tf32"
        (products of inputs rounded to 11 bits) and "float16" are faster and change some. `compile` (GPUs) compiles the
        convolutions on first use. On a GPU all that is computed has one shape: `batch_size` tiles of two seconds
        (default 32), and twice as many clips in the LSTMs; of EnCodec at 48 kHz, segments of one second (default 16).
        So a lone clip takes as long as many; with a smaller batch_size less is computed for it. In less than float32
        any number of tiles but 32 is for lone clips: it takes products for convolutions, which at 32 had 0.6 to 0.95
        of their speed, so as to get the same bits in any company. `num_codebooks` keeps the first n layers only and
        computes no others; `bandwidth` (kbit/s, EnCodec) says the same in the field's other unit; by default all layers
        are there. `resampler` "soxr" replaces the published pipelines' own ("functional" or "transform"), which changes
        codes, too.
        """
        dtypes = codec_dtypes(dtype, device)
        on_cpu, for_gpus = torch.device(device).type == "cpu", "compile" if compile else "batch_size"
        if on_cpu and (compile or batch_size is not None):
            raise UsageError(f"{for_gpus} is for GPUs; on a CPU products are packed already, and shapes vary")
        files = read_codec(published(spec.name, checkpoint))
        card = codec_card(spec, files, num_codebooks=num_codebooks, bandwidth=bandwidth, resampler=resampler)
        is_whole = files.sizes.norm and not files.sizes.segment_samples
        if (files.sizes.norm and compile) or (is_whole and batch_size is not None):
            raise UsageError(f"{spec.name} has norms over what is of any length: there is no {for_gpus} for it")
        usual = SEGMENTS if files.sizes.norm else TILES
        batch_size = whole("batch_size", usual if batch_size is None else batch_size, 1)
        card = with_id(card, fingerprint(files.state), dtype)
        plain, report = _plain(files, device)
        if on_cpu or is_whole:
            fast: Fast = FastCodec(plain, files.sizes.hop_length, *dtypes)
        elif files.sizes.norm and files.sizes.segment_samples:
            fast = SegmentCodec(plain, files.sizes.hop_length, *dtypes, files.sizes.segment_samples, batch_size)
        else:
            tensor_cores = dtype not in ("float32", "mixed")
            fast = TiledCodec(plain, files.sizes.hop_length, *dtypes, tensor_cores, compile, batch_size)
        del plain
        malloc_trim()  # packing leaves up to 170 MB of holes between the weights
        kind = SeanetCodec if files.sizes.norm else StreamingCodec
        return kind(card, fast, files.sizes, report, products_of(dtype))

    @torch.inference_mode()
    @own_products
    def encode_batch(self, media: Sequence[Media]) -> list[Codes]:
        sounds = cast(list[Audio], prepare_batch(media, self.spec))
        scales: list[list[float | None]] = [[] for _ in sounds]

        def segments() -> Iterator[Tensor]:  # made as they are wanted: hours of them would be there twice
            for audio, scales_of_it in zip(sounds, scales, strict=True):
                for segment_cs, scale in self._segments(audio.wave):
                    scales_of_it.append(scale)
                    yield segment_cs

        encoded = iter(self._codec.encode(segments(), self.spec.num_codebooks))
        return [
            self._codes([next(encoded) for _ in scales_of_it], scales_of_it, audio.wave.shape[1])
            for audio, scales_of_it in zip(sounds, scales, strict=True)
        ]

    @torch.inference_mode()
    @own_products
    def decode_batch(self, codes: Sequence[Codes], **options: Any) -> list[Decoded]:
        if options:
            raise UsageError(f"{self.spec.name} has no decode options; got {', '.join(options)}")
        codes = several(codes, "decode")
        for item in codes:
            self.check(item)
        segments = [torch.tensor(item.values).split(item.segment_frames(), dim=1) for item in codes]
        firsts = [item.first_codebook for item in codes]
        asked = [(one_kt, first) for item, first in zip(segments, firsts, strict=True) for one_kt in item]
        decoded = (wave_cs.cpu() for wave_cs in self._codec.decode(asked))
        return [self._sound(islice(decoded, len(of)), item) for of, item in zip(segments, codes, strict=True)]

    @torch.inference_mode()
    @own_products
    def latents(self, media: Media) -> np.ndarray:
        """The encoder's continuous output before quantization, float32 [dimension, frames]."""
        sound = cast(Audio, prepare_batch([media], self.spec)[0])
        pieces = [self._codec.latents(segment_cs) for segment_cs, _ in self._segments(sound.wave)]
        return torch.cat(pieces).T.cpu().numpy()

    def check(self, codes: Codes) -> None:
        """Besides the identity: the layers must exist, and a model that normalises needs one scale a segment."""
        super().check(codes)
        last = codes.first_codebook + codes.num_codebooks
        if last > self._sizes.num_codebooks:
            raise CodesError(f"codes hold layers up to {last}; {self.spec.name} has {self._sizes.num_codebooks}")
        if self._sizes.normalize:
            wanted = len(codes.segment_frames())
            given = "none" if codes.scales is None else len(codes.scales)
            if given != wanted:
                raise CodesError(
                    f"{self.spec.name} needs {wanted} loudness scales, one a segment, and the codes have {given}: "
                    "keep codes.scales with the codes (scales of 1.0 give every segment unit loudness)"
                )

    def _segments(self, wave_cs: np.ndarray) -> Iterator[tuple[Tensor, float | None]]:
        """The stretches that are encoded on their own, and the loudness each was divided by, if any."""
        for start, end in self.spec.segments(wave_cs.shape[1]):
            segment_cs = torch.from_numpy(wave_cs[:, start:end])  # no copy of what may be hours: nothing writes to it
            yield normalize(segment_cs) if self._sizes.normalize else (segment_cs, None)

    def _codes(self, pieces: list[Tensor], scales: list[float | None], num_samples: int) -> Codes:
        values = torch.cat(pieces, dim=1).cpu().numpy()
        return Codes(values, self.spec, num_samples, scales=np.array(scales) if self._sizes.normalize else None)

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
        return Audio(wave_cs[:, : codes.num_samples].numpy(), self._sizes.sample_rate)


def _plain(files: CodecFiles, device: str) -> tuple[Codec, LoadReport]:
    """The model as plain modules."""
    with skeleton():
        plain = Codec(**files.sizes.architecture())
    state = {name: tensor.to(device) for name, tensor in model_state(files.state).items()}
    report = load_state(plain, state, str(files.source), files.ignored)
    return plain.eval().requires_grad_(False), report


class StreamingCodec(SeanetCodec):
    """A codec without norm layers: it can also decode codes as they come."""

    def decoder_stream(self, first_codebook: int = 0) -> AudioStream:
        """Start decoding one item piece by piece; row 0 of its codes belongs to layer `first_codebook`."""
        spec = replace(self.spec, num_codebooks=self._sizes.num_codebooks)
        first = whole("first_codebook", first_codebook, 0, spec.num_codebooks - 1)
        assert not isinstance(self._codec, SegmentCodec)
        return AudioStream(DecoderStream(self._codec.streaming(), first), spec, first)


class AudioStream:
    """Codes in by `push`, sound out as soon as it is settled; all pieces joined are what `decode` returns."""

    def __init__(self, stream: DecoderStream, spec: Spec, first_codebook: int) -> None:
        self._stream, self._spec, self._first_codebook = stream, spec, first_codebook
        self._rows = 0  # of what was pushed
        self._ended = False

    def push(self, codes: np.ndarray) -> Audio:
        """Take codes `[K, t]`; return the sound that they settle, up to a few frames behind (maybe no sample).

        Raises CodesError on codes that `decode` would refuse, or of another K than before; UsageError after the end.
        """
        values = Codes(codes, self._spec, first_codebook=self._first_codebook).values
        if self._rows not in (0, len(values)):
            raise CodesError(f"codes of {len(values)} codebooks in a stream of {self._rows}")
        self._rows = len(values)
        return self._piece(values, last=False)

    def finish(self) -> Audio:
        """The item ends here: return the sound that was held back for what might have followed.

        Raises UsageError where nothing was pushed, and after the end.
        """
        if not self._rows:
            raise UsageError("nothing was pushed into this stream: an item has at least one frame")
        wave = self._piece(np.empty((1, 0), np.int64), last=True)
        self._ended = True
        return wave

    @shielded()
    def _piece(self, values: np.ndarray, last: bool) -> Audio:
        if self._ended:
            raise UsageError("this stream has ended: take a new decoder_stream() for the next item")
        wave_cs = self._stream.push(torch.tensor(values), last)
        return Audio(wave_cs.cpu().numpy(), self._spec.sample_rate or 0)
