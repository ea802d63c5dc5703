"""The contract, for the small trained models that ship inside the package, in both engines."""

from __future__ import annotations

from typing import ClassVar

import pytest

from anytok.testing import AudioContract, ImageContract


class TestSpeechMini(AudioContract):
    name = "speech-mini"


class TestMusicMini(AudioContract):
    name = "music-mini"


class TestSeedMini(ImageContract):  # native alone: its painter has no text encoder, which the stock pipeline wants
    name = "seed-mini"
    options: ClassVar = {"num_inference_steps": 2}


@pytest.mark.reference
class TestSpeechMiniReference(TestSpeechMini):
    engine = "reference"


@pytest.mark.reference
class TestMusicMiniReference(TestMusicMini):
    engine = "reference"
