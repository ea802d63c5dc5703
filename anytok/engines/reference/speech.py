"""The original `speechtokenizer` package behind our interface. No mathematics of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from ...arguments import several
from ...checkpoints import published
from ...checkpoints.codec_card import codec_card
from ...checkpoints.read import fingerprint, read_config, read_tensors, with_id
from ...checkpoints.seanet import read_codec
from ...errors import CodesError, UsageError
from ...media import Audio, Decoded, Media, prepare_batch
from ...spec import Codes, Spec
from ...tokenizer import Tokenizer
from ...torch_settings import shielded
from .packages import original

__all__ = ["ReferenceSpeechTokenizer"]


class ReferenceSpeechTokenizer(Tokenizer):
    """`speechtokenizer.model.SpeechTokenizer`, one clip at a time, in float32."""

    def __init__(self, spec: Spec, model: Any, device: str) -> None:
        self.spec, self._model, self._device = spec, model.eval().to(device), device

    @classmethod
    @shielded()
    def load(
        cls,
        spec: Spec,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        num_codebooks: int | None = None,
        resampler: str | None = None,
    ) -> ReferenceSpeechTokenizer:
        """Load the published files as the package itself does; options as in the native engine."""
        if dtype != "float32":
            raise UsageError(f"the reference engine runs in float32; got dtype {dtype!r}")
        files = read_codec(published(spec.name, checkpoint))
        model = original("speechtokenizer.model").SpeechTokenizer(read_config(files.source.with_name("config.json")))
        model.load_state_dict(read_tensors(files.source))
        card = codec_card(spec, files, num_codebooks=num_codebooks, resampler=resampler)
        return cls(with_id(card, fingerprint(files.state)), model, device)

    def check(self, codes: Codes) -> None:
        """Besides the identity: the layers must exist."""
        super().check(codes)
        last = codes.first_codebook + codes.num_codebooks
        if last > self._model.n_q:
            raise CodesError(f"codes hold layers up to {last}; {self.spec.name} has {self._model.n_q}")

    @torch.inference_mode()
    @shielded()
    def encode_batch(self, media: Sequence[Media]) -> list[Codes]:
        result = []
        for audio in cast(list[Audio], prepare_batch(media, self.spec)):
            wave_bcs = torch.tensor(audio.wave)[None].to(self._device)
            codes_kbt = self._model.encode(wave_bcs, n_q=self.spec.num_codebooks)
            result.append(Codes(codes_kbt[:, 0].cpu().numpy(), self.spec, audio.num_samples))
        return result

    @torch.inference_mode()
    @shielded()
    def decode_batch(self, codes: Sequence[Codes], **options: Any) -> list[Decoded]:
        if options:
            raise UsageError(f"{self.spec.name} has no decode options; got {', '.join(options)}")
        result: list[Decoded] = []
        for item in several(codes, "decode"):
            self.check(item)
            codes_kbt = torch.tensor(item.values)[:, None].to(self._device)
            wave_bcs = self._model.decode(codes_kbt, st=item.first_codebook).cpu()
            result.append(Audio(wave_bcs[0, :, : item.num_samples].numpy(), self._model.sample_rate))
        return result
