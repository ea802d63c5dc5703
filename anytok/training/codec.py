"""Recipe for SEANet codecs: SpeechTokenizer (with a semantic first layer) and EnCodec.

First the wave itself, through a network rescaled to unit outputs: asked for spectra from the start, the decoder learns
to make noise of the right loudness, the encoder falls silent, and no later step wakes it. After some hundred steps the
codebooks are fitted to the latents, the quantizer comes in, and spectra count in full. For speech the first layer must
also tell phones apart: SpeechTokenizer (arXiv 2308.16692, section 3.3) distils HuBERT there, we take the synthesiser's
own phone labels.

Legend: b batch, s samples, k codebooks, t frames, p phones.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..models.seanet import SeanetDecoder, SeanetEncoder
from ..registry import find
from .calibrate import unit_outputs
from .clips import Clips
from .config import CodecConfig, TrainConfig
from .finished import begin_with, finished_files, load_codec
from .losses import MelSpectra, relative_error
from .phones import PHONES
from .quantizer import LearnedQuantizer
from .recordings import read_clips

__all__ = ["CodecRecipe"]

_READERS = {"speech": ("speechtokenizer",), "music": ("encodec-24khz", "encodec-32khz")}  # what loads the weights


class CodecRecipe:
    """A codec in training."""

    def __init__(self, config: TrainConfig) -> None:
        model: CodecConfig = config.model
        self.model, self.batch_size = model, config.run.batch_size
        self.quantize_from = 0 if model.start else model.quantize_from
        self.clips = read_clips(config.data, config.kind, math.prod(model.ratios))
        self.data_files = self.clips.files + (finished_files(config.kind, model.start) if model.start else [])
        _check_data(self.clips, config)
        sizes = {
            "dimension": model.dimension, "num_filters": model.num_filters, "ratios": model.ratios,
            "num_lstm_layers": model.num_lstm_layers, "shortcut": model.shortcut,
        }  # fmt: skip
        torch.manual_seed(config.run.seed)
        self.encoder = SeanetEncoder(bidirectional=model.bidirectional, **sizes)  # type: ignore[arg-type]
        self.decoder = SeanetDecoder(**sizes)  # type: ignore[arg-type]
        self.quantizer = LearnedQuantizer(model.num_codebooks, model.codebook_size, model.dimension)
        self.spectra = MelSpectra(self.clips.sample_rate, model.windows)
        self.phone_head = nn.Conv1d(model.dimension, len(PHONES), 1) if model.semantic_weight else None
        parts = {"encoder": self.encoder, "decoder": self.decoder, "quantizer": self.quantizer}
        self.state = nn.ModuleDict(parts | ({"phone_head": self.phone_head} if self.phone_head else {}))
        if not model.learn_codes:
            self.state.requires_grad_(False)
            self.decoder.requires_grad_(True)

    def prepare(self, rng: np.random.Generator) -> None:
        if self.model.start:
            self._begin(self.model.start)
            return
        wave_bs, _ = self._batch(rng)
        unit_outputs(self.state, lambda: self.decoder(self.encoder(wave_bs[:, None])))
        with torch.no_grad():  # as loud as the waves it is to make
            self.decoder[-1].weight.mul_(wave_bs.std())  # type: ignore[operator]

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        if step == self.quantize_from and not self.model.start:
            self._start_quantizer(rng)
        wave_bs, labels_bt = self._batch(rng)
        if not self.model.learn_codes:
            with torch.no_grad():
                latents_bdt = self.quantizer.eval()(self.encoder(wave_bs[:, None]), self._depths(rng)).latents_bdt
            return self._made(latents_bdt, wave_bs, 1.0, self.model.time_weight)
        latents_bdt = self.encoder(wave_bs[:, None])
        if step < self.quantize_from:
            losses, first_bdt = self._made(latents_bdt, wave_bs, 0.1, 10.0), latents_bdt
        else:
            quantized = self.quantizer(latents_bdt, self._depths(rng))
            losses = self._made(quantized.latents_bdt, wave_bs, 1.0, self.model.time_weight)
            first_bdt = quantized.first_bdt
            losses["commitment"] = self.model.commitment_weight * quantized.commitment
        if self.phone_head is not None and bool((labels_bt >= 0).any()):
            scores_bpt = self.phone_head(first_bdt)
            losses["phones"] = self.model.semantic_weight * F.cross_entropy(scores_bpt, labels_bt, ignore_index=-1)
        return losses

    def _made(self, latents_bdt: Tensor, wave_bs: Tensor, mel_weight: float, time_weight: float) -> dict[str, Tensor]:
        """The losses of the wave that the decoder makes of latents."""
        made_bs = self.decoder(latents_bdt)[:, 0]
        return {
            "mel": mel_weight * self.spectra(made_bs, wave_bs),
            "time": time_weight * relative_error(made_bs, wave_bs),
        }

    @torch.no_grad()
    def _begin(self, start: str) -> None:
        """With the weights, codebooks and phone head of a finished run."""
        codec, others = load_codec(start)
        for mine, state in ((self.encoder, codec.encoder), (self.decoder, codec.decoder)):
            begin_with(start, mine, state.state_dict())
        books: dict[str, Tensor] = {}
        for layer, codes_nd in enumerate(codec.quantizer.codebooks_knd):
            stem, counts_n = f"books.{layer}.", torch.ones(len(codes_nd))
            books |= {f"{stem}codes_nd": codes_nd, f"{stem}sums_nd": codes_nd, f"{stem}counts_n": counts_n}
        begin_with(start, self.quantizer, books)
        if self.phone_head is not None:
            if "transform.weight" not in others:
                raise UsageError(
                    f"[model] start={start}: a codec that has learned no phones: set semantic_weight = 0.0, or begin "
                    "with one that has"
                )
            head = {"weight": others["transform.weight"][..., None], "bias": others["transform.bias"]}
            begin_with(start, self.phone_head, head)

    @torch.no_grad()
    def _start_quantizer(self, rng: np.random.Generator) -> None:
        # enough latents for ten a code
        batches = math.ceil(10 * self.model.codebook_size / (self.batch_size * self.model.frames))
        latents = [self.encoder(self._batch(rng)[0][:, None]) for _ in range(batches)]
        self.quantizer.start(torch.cat(latents))

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        waves, labels = self.clips.batch(rng, self.batch_size, self.model.frames, self.model.sources)
        # any loudness: peaks between 0.05 and 0.95
        peaks = np.abs(waves).max(axis=1, keepdims=True) + 1e-3
        gains = 10 ** rng.uniform(-1.3, -0.02, peaks.shape) / peaks
        return torch.from_numpy((waves * gains).astype(np.float32)), torch.from_numpy(labels.astype(np.int64))

    def _depths(self, rng: np.random.Generator) -> Tensor:
        depths = np.full(self.batch_size, self.model.num_codebooks)
        shallow = rng.random(self.batch_size) < self.model.shallow
        depths[shallow] = rng.integers(1, self.model.num_codebooks + 1, int(shallow.sum()))
        return torch.from_numpy(depths)


def _check_data(clips: Clips, config: TrainConfig) -> None:
    """Raise UsageError for clips that this model cannot learn from, or learns from in vain."""
    model: CodecConfig = config.model
    where, hop = f"{config.data}/train", math.prod(model.ratios)
    rates = {find(name).spec.sample_rate: name for name in _READERS[config.kind]}
    if clips.sample_rate not in rates:
        offers = " or ".join(f"{rate} Hz ({name})" for rate, name in rates.items())
        raise UsageError(
            f"{where}: is of {clips.sample_rate} Hz, and nothing would load the weights; the kind {config.kind!r} is "
            f"read at {offers}: set `kind` or `data` to what goes together, or make the data anew at that rate"
        )
    if clips.hop % hop or (model.semantic_weight and clips.hop != hop):  # there are labels for each frame, or none
        raise UsageError(
            f"{where}: has frames of {clips.hop} samples, and ratios={list(model.ratios)} multiply to {hop}: expected "
            f"ratios of {clips.hop} in all, or data of that hop"
        )
    if max(model.windows) // 2 >= (samples := model.frames * clips.hop):
        raise UsageError(
            f"{where}: frames={model.frames} of {clips.hop} samples are {samples}, too few for windows="
            f"{list(model.windows)}: expected windows below {2 * samples}; raise frames, or leave the longest out"
        )
    if model.semantic_weight:
        _check_labels(clips, model, where)


def _check_labels(clips: Clips, model: CodecConfig, where: str) -> None:
    drawn = [item for item in clips.items if not model.sources or model.sources.get(item["source"])]
    labels = [clips.labels[item["start"] : item["start"] + item["frames"]] for item in drawn if item["frames"]]
    low, high = min((each.min() for each in labels), default=0), max((each.max() for each in labels), default=0)
    if not (low >= -1 and 0 <= high < len(PHONES)):
        raise UsageError(
            f"{where}: the clips of `sources` have labels from {low} to {high}; semantic_weight="
            f"{model.semantic_weight} needs phones, 0 to {len(PHONES) - 1}, or -1 where none is known: leave it out, "
            "or make the data by data_speech"
        )
