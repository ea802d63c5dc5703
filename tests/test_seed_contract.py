"""The contract, for SEED in both engines, on the golden checkpoint with a tiny painter."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from tiny_unclip import tiny_pipeline

import anytok
from anytok import Tokenizer
from anytok.testing import ImageContract

GOLDEN = Path(__file__).parent / "golden"


class TestSeed(ImageContract):
    name, checkpoint = "seed-2", GOLDEN / "seed"
    options: ClassVar = {"num_inference_steps": 2}

    @pytest.fixture(scope="class")
    @classmethod
    def tokenizer(cls, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
        folder = tmp_path_factory.mktemp("painter") / "unclip"
        tiny_pipeline(folder)
        return anytok.load_tokenizer(
            cls.name, engine=cls.engine, checkpoint=cls.checkpoint, unclip=folder, **cls.options
        )


class TestSeedInBatches(TestSeed):
    options: ClassVar = {"batch_size": 3, "num_inference_steps": 2}


@pytest.mark.reference
class TestSeedReference(TestSeed):
    engine, options = "reference", {}
