"""The original `speechtokenizer` package behind our interface. No mathematics of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from ...checkpoints import published
from ...checkpoints.codec_card import codec_card
from ...checkpoints.read import read_config, read_tensors
from ...checkpoints.seanet import read_codec
from ...media import Audio, Decoded
from ...spec import Codes, Spec
from ...tokenizer import Tokenizer
from .packages import original

__all__ = ["ReferenceSpeechTokenizer"]


class ReferenceSpeechTokenizer(Tokenizer):
    """`speechtokenizer.model.SpeechTokenizer`, one clip at a time."""

    dtypes = ("float32", "float64")

    def __init__(self, spec: Spec, model: Any, device: str, dtype: str) -> None:
        self.spec, self._model, self._device = spec, model.eval().to(device, getattr(torch, dtype)), device
        self.total_codebooks = model.n_q

    @classmethod
    def load(
        cls,
        spec: Spec,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        num_codebooks: int | None = None,
        resampler: str | None = None,
        channels: str | None = None,
    ) -> ReferenceSpeechTokenizer:
        """Load the published files as the package itself does; options as in the native engine."""
        files = read_codec(published(spec.name, checkpoint))
        model = original("speechtokenizer.model").SpeechTokenizer(read_config(files.source.with_name("config.json")))
        model.load_state_dict(read_tensors(files.source))
        card = codec_card(spec, files, num_codebooks=num_codebooks, resampler=resampler, channels=channels, dtype=dtype)
        return cls(cls.identified(card, files.state, dtype), model, device, dtype)

    def _encode(self, prepared: Iterable[Decoded]) -> list[Codes]:
        result = []
        for audio in cast(Iterable[Audio], prepared):
            wave_bcs = torch.tensor(audio.wave)[None].to(self._device)
            codes_kbt = self._model.encode(wave_bcs, n_q=self.spec.num_codebooks)
            result.append(Codes(codes_kbt[:, 0].cpu().numpy(), self.spec, audio.num_samples))
        return result

    def _decode(self, codes: Sequence[Codes]) -> list[Decoded]:
        result: list[Decoded] = []
        for item in codes:
            codes_kbt = torch.tensor(item.values)[:, None].to(self._device)
            wave_bcs = self._model.decode(codes_kbt, st=item.first_codebook).cpu()
            result.append(Audio(wave_bcs[0].numpy(), self._model.sample_rate))
        return result
