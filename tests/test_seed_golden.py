"""Both SEED engines against what SEED's own modules gave: codes equal, values within 1e-4 of the largest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from anytok.engines.native.seed import SeedTokenizer
from anytok.models.seed import normalize
from anytok.registry import load_tokenizer

GOLDEN = Path(__file__).parent / "golden" / "seed"
EXPECTED = load_file(GOLDEN / "golden.safetensors")


def picture(index: int) -> Image.Image:
    return Image.fromarray(EXPECTED[f"image.{index}.rgb224"].permute(1, 2, 0).numpy())


@pytest.fixture(scope="module", params=["native", pytest.param("reference", marks=pytest.mark.reference)])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return load_tokenizer("seed-2", checkpoint=GOLDEN, engine=request.param)


@pytest.mark.parametrize("index", range(4))
def test_codes_are_the_originals(tokenizer: Any, index: int) -> None:
    codes = tokenizer.encode(picture(index))
    assert codes.values.shape == (1, 32)
    np.testing.assert_array_equal(codes.values[0], EXPECTED[f"image.{index}.codes"].numpy())


@pytest.mark.parametrize("index", range(4))
def test_embeddings_are_the_originals(tokenizer: Any, index: int) -> None:
    embedding = tokenizer.embed([tokenizer.encode(picture(index))])[0]
    assert embedding.dtype == np.float32
    assert_close(torch.from_numpy(embedding), EXPECTED[f"image.{index}.embedding"])


def test_stages_are_the_originals() -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=GOLDEN)
    assert isinstance(tokenizer, SeedTokenizer)
    with torch.inference_mode():
        vision_bme = tokenizer._model.encode_image(normalize(EXPECTED["image.0.rgb224"].permute(1, 2, 0)[None]))
        query_btd = tokenizer._model.query(vision_bme)
    assert_close(vision_bme[0], EXPECTED["image.0.vision"])
    assert_close(query_btd[0], EXPECTED["image.0.query"])


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
