"""The promises that pictures and sound have in common.

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

from ..errors import CodesError, MediaError, UsageError
from ..media import prepare
from ..registry import load_tokenizer
from ..spec import Codes, Spec
from ..tokenizer import Tokenizer

__all__ = ["Contract"]


class Contract:
    """What pictures and sound have in common. Subclasses say how to load, and give `media` to encode."""

    name: ClassVar[str]
    engine: ClassVar[str] = "native"
    checkpoint: ClassVar[Path | None] = None
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def tokenizer(cls) -> Tokenizer:
        return load_tokenizer(cls.name, engine=cls.engine, checkpoint=cls.checkpoint, **cls.options)

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
        assert tokenizer.encode_batch(iter(media[:2])) == singles[:2]  # type: ignore[call-overload]
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

    def test_prepared_media_are_taken_as_they_are(
        self, tokenizer: Tokenizer, media: list[Any], singles: list[Codes]
    ) -> None:
        """As a job's workers get them from its readers."""
        assert tokenizer.encode_prepared([prepare(item, tokenizer.spec) for item in media[:4]]) == singles[:4]

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
                tokenizer.encode_batch([media[0], bad])  # type: ignore[list-item]
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

    def test_load_options_that_do_not_exist(self) -> None:
        for wrong in ({"no_such_option": 1}, {"device": "no-such-device"}, {"dtype": "float99"}):
            with pytest.raises(UsageError):
                load_tokenizer(
                    self.name, engine=self.engine, checkpoint=self.checkpoint, **{**self.options, **wrong}
                )
