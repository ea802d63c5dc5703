"""The promises of tokenizers of pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ..errors import MediaError
from ..media import Audio
from ..spec import Codes
from ..tokenizer import Tokenizer
from .contract import Contract
from .samples import picture

__all__ = ["ImageContract"]


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
            Audio(np.zeros(100, np.float32), 16000),
        ]
        for item in bad:
            with pytest.raises(MediaError):
                tokenizer.encode(item)

    def test_pictures_repeat(self, tokenizer: Tokenizer, singles: list[Codes]) -> None:
        self.check_same(tokenizer.decode(singles[0]), tokenizer.decode(singles[0]))
