"""The promises of tokenizers of sound."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ..errors import MediaError
from ..media import Audio
from ..spec import Codes
from ..tokenizer import Tokenizer
from .contract import Contract
from .samples import picture, sounds

__all__ = ["AudioContract"]


class AudioContract(Contract):
    """Speech and music."""

    lengths: ClassVar[tuple[int, ...]] = ()  # further lengths in samples that matter to this tokenizer

    @pytest.fixture(scope="class")
    @classmethod
    def media(cls, tokenizer: Tokenizer) -> list[Any]:
        spec = tokenizer.spec
        rate, hop = spec.sample_rate or 0, spec.hop_length
        lengths = [rate * 13 // 10, rate // 3, 5 * hop, 5 * hop + 1, 1, max(1, hop - 1), *cls.lengths]
        waves = [sounds(length, rate, spec.channels or 1, seed) for seed, length in enumerate(lengths)]
        others = [(44100, 2), (8000, 1), (11025, 2), (48000, 1)]
        return [
            *(Audio(wave, rate) for wave in waves),
            *(Audio(sounds(odd // 2, odd, channels, odd), odd) for odd, channels in others),
        ]

    def check_decoded(self, decoded: Any, codes: Codes) -> None:
        assert isinstance(decoded, Audio)
        assert decoded.wave.dtype == np.float32 and np.isfinite(decoded.wave).all()
        assert decoded.sample_rate == codes.spec.sample_rate
        assert decoded.wave.shape == (codes.spec.channels, codes.num_samples)

    def check_same(self, decoded: Any, single: Any) -> None:
        assert decoded.wave.shape == single.wave.shape
        assert np.abs(decoded.wave - single.wave).max() <= 1e-5 * np.abs(single.wave).max()

    def test_frames_follow_the_formula(self, tokenizer: Tokenizer, media: list[Any], singles: list[Codes]) -> None:
        for audio, codes in zip(media, singles, strict=True):
            seconds = audio.num_samples / audio.sample_rate
            assert codes.num_samples is not None
            assert abs(codes.num_samples - seconds * tokenizer.spec.sample_rate) < 1.0  # resampling rounds up
            assert codes.num_frames == tokenizer.spec.frames_of(codes.num_samples)
            if tokenizer.spec.segment_samples is None:
                assert codes.num_frames == -(-codes.num_samples // tokenizer.spec.hop_length)

    def test_a_sound_of_any_length_comes_back(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        for codes in singles:
            self.check_decoded(tokenizer.decode(codes), codes)

    def test_one_sample_is_one_frame(self, tokenizer: Tokenizer) -> None:
        codes = tokenizer.encode(Audio(np.array([0.5], np.float32), tokenizer.spec.sample_rate or 0))
        assert codes.num_frames == 1 and codes.num_samples == 1
        self.check_decoded(tokenizer.decode(codes), codes)

    def test_without_a_length_all_frames_sound(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        codes = singles[2]  # five whole frames
        audio = tokenizer.decode(dataclasses.replace(codes, num_samples=None))
        assert isinstance(audio, Audio)
        assert audio.num_samples == codes.num_frames * tokenizer.spec.hop_length

    def test_a_file_its_bytes_and_its_samples_are_one(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        audio = Audio(sounds(9000, 22050, 2, 7), 22050)
        path = tmp_path / "sound.wav"
        audio.save(path, subtype="FLOAT")
        codes = tokenizer.encode(audio)
        forms: list[Any] = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())]
        assert tokenizer.encode_batch(forms) == [codes] * 4

    def test_encoding_leaves_the_wave_as_it_was(self, tokenizer: Tokenizer, media: list[Any]) -> None:
        before = [audio.wave.copy() for audio in media]
        tokenizer.encode_batch(media)
        assert all(np.array_equal(audio.wave, wave) for audio, wave in zip(media, before, strict=True))

    def test_a_mono_wave_may_be_flat(self, tokenizer: Tokenizer) -> None:
        wave, rate = sounds(4000, 16000, 1, 3), 16000
        assert tokenizer.encode(Audio(wave[0], rate)) == tokenizer.encode(Audio(wave, rate))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_samples_that_are_no_numbers_are_refused(
        self, tokenizer: Tokenizer, media: list[Any], value: float
    ) -> None:
        wave = sounds(4000, 16000, 1, 4)
        wave[0, 1234] = value
        with pytest.raises(MediaError, match="item 2") as caught:
            tokenizer.encode_batch([media[0], media[1], Audio(wave, 16000)])
        assert caught.value.kind == "not_finite"

    def test_sound_that_is_none_is_refused(self, tokenizer: Tokenizer) -> None:
        with pytest.raises(MediaError):
            tokenizer.encode(Audio(np.zeros((1, 0), np.float32), 16000))
        with pytest.raises(MediaError):
            tokenizer.encode(np.zeros(16000, np.float32))  # at which rate?
        with pytest.raises(MediaError):
            tokenizer.encode(picture(64, 64, 0))

    def test_loud_and_silent_sound_works(self, tokenizer: Tokenizer) -> None:
        rate = tokenizer.spec.sample_rate or 0
        for wave in (np.zeros(2000, np.float32), np.full(2000, 1e-30, np.float32), 8 * sounds(2000, 8000, 1, 5)):
            decoded: Any = tokenizer.decode(tokenizer.encode(Audio(wave, rate)))
            assert np.isfinite(decoded.wave).all()

    def test_sound_louder_than_any_recording_is_refused(self, tokenizer: Tokenizer) -> None:
        """Such samples have another scale, that of int16 for example; and models overflow in silence."""
        rate = tokenizer.spec.sample_rate or 0
        for peak in (40, 20000.5, 1e10, 3e38):
            with pytest.raises(MediaError, match="expected") as caught:
                tokenizer.encode(Audio(np.array([0.5, -peak, 0.5], np.float32), rate))
            assert caught.value.kind == "too_loud"
