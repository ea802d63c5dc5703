"""The promises that every tokenizer keeps, whatever its engine. A new tokenizer inherits a class and is tested.

    class TestMine(AudioContract):
        name, checkpoint = "mine", "path/to/its/folder"

Legend: K codebooks, T frames.
"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import anytok
from anytok import Codes, CodesError, MediaError, Spec, Tokenizer, UsageError

GOLDEN = Path(__file__).parent / "golden"


class Contract:
    """What pictures and sound have in common. Subclasses say how to load, and give `media` to encode."""

    name: ClassVar[str]
    engine: ClassVar[str] = "native"
    checkpoint: ClassVar[Path | None] = None
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def tokenizer(cls) -> Tokenizer:
        return anytok.load_tokenizer(cls.name, engine=cls.engine, checkpoint=cls.checkpoint, **cls.options)

    @pytest.fixture(scope="class")
    @classmethod
    def media(cls, tokenizer: Tokenizer) -> list[Any]:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def singles(cls, tokenizer: Tokenizer, media: list[Any]) -> list[Codes]:
        """Each item encoded on its own: what everything else is measured by."""
        return [tokenizer.encode(item) for item in media]

    def check_decoded(self, decoded: Any, codes: Codes) -> None:
        """The promised type, shape and rate."""
        raise NotImplementedError

    def check_same(self, decoded: Any, single: Any) -> None:
        """As equal as the modality promises."""
        raise NotImplementedError

    # Arguments

    def test_batches_are_lists_or_what_can_be_listed(
        self, tokenizer: Tokenizer, media: list[Any], singles: list[Codes]
    ) -> None:
        assert tokenizer.encode_batch(iter(media[:2])) == singles[:2]
        one: Any
        for one in (media[0], None, "a.wav", Path("a.wav"), b"RIFF", io.BytesIO(b"RIFF")):
            with pytest.raises(UsageError, match="expected a list; for one item there is `encode`"):
                tokenizer.encode_batch(one)
        for one in (singles[0], None):
            with pytest.raises(UsageError, match="expected a list; for one item there is `decode`"):
                tokenizer.decode_batch(one)

    def test_decode_options_that_do_not_exist(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        with pytest.raises(UsageError, match="no_such_option"):
            tokenizer.decode(singles[0], no_such_option=1)

    # Identity

    def test_spec_says_who_it_is_and_survives_json(self, tokenizer: Tokenizer) -> None:
        spec = tokenizer.spec
        assert spec.name == self.name
        name, _, weights = spec.id.partition("@")
        assert name == self.name and len(weights) == 12
        assert Spec(**json.loads(json.dumps(spec.to_dict()))) == spec

    def test_codes_survive_json(self, singles: list[Codes]) -> None:
        for codes in singles:
            assert Codes.from_dict(json.loads(json.dumps(codes.to_dict()))) == codes

    # Encoding

    def test_codes_are_integers_in_range(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        for codes in singles:
            assert codes.spec == tokenizer.spec
            assert codes.values.dtype == np.int64 and codes.values.ndim == 2
            assert len(codes.values) == tokenizer.spec.num_codebooks
            assert codes.values.min() >= 0 and codes.values.max() < tokenizer.spec.codebook_size

    def test_codes_depend_on_the_media(self, singles: list[Codes]) -> None:
        assert len({codes.values.tobytes() for codes in singles}) > len(singles) // 2

    def test_a_batch_equals_its_items_in_order(
        self, tokenizer: Tokenizer, media: list[Any], singles: list[Codes]
    ) -> None:
        assert tokenizer.encode_batch(media) == singles
        assert tokenizer.encode_batch(media[5::-1]) == singles[5::-1]
        assert tokenizer.encode_batch([media[2], media[0], media[2]]) == [singles[2], singles[0], singles[2]]

    def test_an_empty_batch_is_empty(self, tokenizer: Tokenizer) -> None:
        assert tokenizer.encode_batch([]) == [] and tokenizer.decode_batch([]) == []

    def test_encoding_repeats_whatever_the_threads(
        self, tokenizer: Tokenizer, media: list[Any], singles: list[Codes]
    ) -> None:
        threads = torch.get_num_threads()
        try:
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                assert tokenizer.encode_batch(media[:6]) == singles[:6]
        finally:
            torch.set_num_threads(threads)

    def test_encoding_repeats_within_a_training_loops_autocast(
        self, tokenizer: Tokenizer, media: list[Any], singles: list[Codes]
    ) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert tokenizer.encode_batch(media[:3]) == singles[:3]

    def test_bad_input_is_refused_by_name(self, tokenizer: Tokenizer, media: list[Any], tmp_path: Path) -> None:
        broken = tmp_path / "broken.bin"
        broken.write_bytes(b"neither a picture nor a sound " * 50)
        hollow = tmp_path / "hollow.bin"
        hollow.touch()
        for bad, key in [
            (broken, str(broken)),
            (hollow, str(hollow)),
            (tmp_path / "absent.bin", "absent.bin"),
            (tmp_path, tmp_path.name),
            (b"", "item 1"),
            (b"junk" * 100, "item 1"),
            (io.BytesIO(b"junk" * 100), "item 1"),
            (None, "item 1"),
            (3.5, "item 1"),
            ([1, 2, 3], "item 1"),
            (object(), "item 1"),
        ]:
            with pytest.raises(MediaError) as caught:
                tokenizer.encode_batch([media[0], bad])
            assert caught.value.kind and key in str(caught.value)

    # Decoding

    def test_decoding_gives_the_promised_form(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        for codes in singles[:4]:
            self.check_decoded(tokenizer.decode(codes), codes)

    def test_decoding_a_batch_equals_its_items(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        alone = [tokenizer.decode(codes) for codes in singles[:3]]
        for decoded, single in zip(tokenizer.decode_batch(singles[:3]), alone, strict=True):
            self.check_same(decoded, single)

    def test_codes_from_elsewhere_are_refused(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        spec = singles[0].spec
        for stranger in (
            dataclasses.replace(spec, name="other", id="other@0123456789ab"),
            dataclasses.replace(spec, id=f"{spec.name}@0123456789ab"),
        ):
            with pytest.raises(CodesError, match=stranger.id):
                tokenizer.decode_batch([singles[0], dataclasses.replace(singles[0], spec=stranger)])

    def test_forged_codes_are_refused(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        """A record from disk can claim larger or more codebooks than the model has, under the right id."""
        spec, values = tokenizer.spec, singles[0].values
        larger = values.copy()
        larger[0, -1] = spec.codebook_size
        for forged, claim in [
            (larger, dataclasses.replace(spec, codebook_size=2 * spec.codebook_size)),
            (np.concatenate([values] * 64), dataclasses.replace(spec, num_codebooks=64 * len(values))),
        ]:
            with pytest.raises(CodesError):
                tokenizer.decode(dataclasses.replace(singles[0], values=forged, spec=claim))

    def test_what_are_no_codes_is_refused(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        for bad in (None, singles[0].values, singles[0].values.tolist(), "codes", singles[0].to_dict()):
            with pytest.raises(CodesError):
                tokenizer.decode(bad)  # type: ignore[arg-type]

    def test_values_that_cannot_be_codes_are_refused(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        spec, good = tokenizer.spec, singles[0].values
        high, low = good.copy(), good.copy()
        high[-1, 0], low[0, -1] = spec.codebook_size, -1
        more = np.concatenate([good] * (spec.num_codebooks + 1))
        for bad in (high, low, more, good.astype(np.float32), good[0], good[None], good[:, :0], good.astype(str)):
            with pytest.raises(CodesError):
                Codes(bad, spec)

    def test_unknown_options_are_refused(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        with pytest.raises((UsageError, TypeError)):
            tokenizer.decode(singles[0], no_such_option=1)
        for wrong in ({"no_such_option": 1}, {"device": "no-such-device"}, {"dtype": "float99"}):
            with pytest.raises(UsageError):
                anytok.load_tokenizer(
                    self.name, engine=self.engine, checkpoint=self.checkpoint, **{**self.options, **wrong}
                )


class AudioContract(Contract):
    """Speech and music."""

    lengths: ClassVar[tuple[int, ...]] = ()  # further lengths in samples that matter to this tokenizer

    @pytest.fixture(scope="class")
    @classmethod
    def media(cls, tokenizer: Tokenizer) -> list[Any]:
        spec = tokenizer.spec
        rate, hop = spec.sample_rate or 0, spec.hop_length
        lengths = [rate * 13 // 10, rate // 3, 5 * hop, 5 * hop + 1, 1, hop - 1, *cls.lengths]
        waves = [sounds(length, rate, spec.channels or 1, seed) for seed, length in enumerate(lengths)]
        others = [(44100, 2), (8000, 1), (11025, 2), (48000, 1)]
        return [
            *(anytok.Audio(wave, rate) for wave in waves),
            *(anytok.Audio(sounds(odd // 2, odd, channels, odd), odd) for odd, channels in others),
        ]

    def check_decoded(self, decoded: Any, codes: Codes) -> None:
        assert isinstance(decoded, anytok.Audio)
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
        codes = tokenizer.encode(anytok.Audio(np.array([0.5], np.float32), tokenizer.spec.sample_rate))
        assert codes.num_frames == 1 and codes.num_samples == 1
        assert tokenizer.decode(codes).num_samples == 1

    def test_without_a_length_all_frames_sound(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        codes = singles[2]  # five whole frames
        audio = tokenizer.decode(dataclasses.replace(codes, num_samples=None))
        assert audio.num_samples == codes.num_frames * tokenizer.spec.hop_length

    def test_a_file_its_bytes_and_its_samples_are_one(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        audio = anytok.Audio(sounds(9000, 22050, 2, 7), 22050)
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
        assert tokenizer.encode(anytok.Audio(wave[0], rate)) == tokenizer.encode(anytok.Audio(wave, rate))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_samples_that_are_no_numbers_are_refused(
        self, tokenizer: Tokenizer, media: list[Any], value: float
    ) -> None:
        wave = sounds(4000, 16000, 1, 4)
        wave[0, 1234] = value
        with pytest.raises(MediaError, match="item 2") as caught:
            tokenizer.encode_batch([media[0], media[1], anytok.Audio(wave, 16000)])
        assert caught.value.kind == "not_finite"

    def test_sound_that_is_none_is_refused(self, tokenizer: Tokenizer) -> None:
        with pytest.raises(MediaError):
            tokenizer.encode(anytok.Audio(np.zeros((1, 0), np.float32), 16000))
        with pytest.raises(MediaError):
            tokenizer.encode(np.zeros(16000, np.float32))  # at which rate?
        with pytest.raises(MediaError):
            tokenizer.encode(picture(64, 64, 0))

    def test_loud_and_silent_sound_works(self, tokenizer: Tokenizer) -> None:
        rate = tokenizer.spec.sample_rate
        for wave in (np.zeros(2000, np.float32), np.full(2000, 1e-30, np.float32), 100 * sounds(2000, 8000, 1, 5)):
            assert np.isfinite(tokenizer.decode(tokenizer.encode(anytok.Audio(wave, rate))).wave).all()

    def test_sound_louder_than_any_recording_is_refused(self, tokenizer: Tokenizer) -> None:
        """Models overflow in silence: codes would be 0 throughout."""
        rate = tokenizer.spec.sample_rate
        assert tokenizer.encode(anytok.Audio(2.0**31 * sounds(2000, 8000, 1, 5) / 2, rate)).num_frames
        for peak in (1e10, 1e19, 3e38):
            with pytest.raises(MediaError, match="expected") as caught:
                tokenizer.encode(anytok.Audio(np.array([0, -peak, 0], np.float32), rate))
            assert caught.value.kind == "too_loud"


class ImageContract(Contract):
    """Pictures."""

    @pytest.fixture(scope="class")
    @classmethod
    def media(cls, tokenizer: Tokenizer) -> list[Any]:
        sizes = [(320, 200), (224, 224), (97, 301), (1, 1), (1, 400)]
        pictures = [picture(width, height, seed) for seed, (width, height) in enumerate(sizes)]
        return [*pictures, *(pictures[0].convert(mode) for mode in ("L", "RGBA", "P"))]

    def check_decoded(self, decoded: Any, codes: Codes) -> None:
        assert isinstance(decoded, Image.Image) and decoded.mode == "RGB"
        assert decoded.width == decoded.height > 0

    def check_same(self, decoded: Any, single: Any) -> None:
        assert np.array_equal(np.asarray(decoded), np.asarray(single))

    def test_frames_are_as_many_as_stated(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        for codes in singles:
            assert codes.num_frames == tokenizer.spec.num_frames and codes.num_samples is None

    def test_a_picture_has_many_forms(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        image = picture(120, 90, 5)
        path = tmp_path / "picture.png"
        image.save(path)
        forms: list[Any] = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), np.asarray(image)]
        assert tokenizer.encode_batch(forms) == [tokenizer.encode(image)] * 5

    def test_what_is_no_picture_is_refused(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        whole = io.BytesIO()
        picture(300, 300, 6).save(whole, "png")
        bad: list[Any] = [
            np.zeros((8, 8, 3), np.float32),
            np.zeros((8, 8), np.uint8),
            np.zeros((0, 8, 3), np.uint8),
            whole.getvalue()[: len(whole.getvalue()) // 2],
            anytok.Audio(np.zeros(100, np.float32), 16000),
        ]
        for item in bad:
            with pytest.raises(MediaError):
                tokenizer.encode(item)

    def test_pictures_repeat(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        self.check_same(tokenizer.decode(singles[0]), tokenizer.decode(singles[0]))


def sounds(num_samples: int, rate: int, channels: int, seed: int) -> np.ndarray:
    """A rising tone, an echo of it in the other channel, and noise: float32 `[channels, samples]` in [-1, 1]."""
    time = np.arange(num_samples) / rate
    tone = 0.5 * np.sin(2 * np.pi * (110 * (1 + seed % 7) + 300 * time) * time)
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, (channels, num_samples))
    return (np.stack([np.roll(tone, 40 * channel) for channel in range(channels)]) + noise).astype(np.float32)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """A slope of colour with two shapes on it."""
    rows, columns = np.mgrid[0:height, 0:width]
    slope = np.stack([rows * 255 / height, columns * 255 / width, (rows + columns + 40 * seed) % 256], axis=-1)
    image = Image.fromarray(slope.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse([width // 5, height // 5, width // 2, height // 2], fill=(250, 40 * seed % 256, 30))
    draw.rectangle([width // 2, height // 2, width * 4 // 5, height * 3 // 4], fill=(20, 90, 40 * seed % 256))
    return image
