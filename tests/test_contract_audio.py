"""The contract, for the codecs of speech and music, in both engines, on the golden checkpoints."""

from __future__ import annotations

from typing import ClassVar

import pytest
from contract import GOLDEN, AudioContract


class TestSpeechTokenizer(AudioContract):
    name, checkpoint = "speechtokenizer", GOLDEN / "speechtokenizer"


class TestSpeechTokenizerFirstLayer(TestSpeechTokenizer):
    options: ClassVar = {"num_codebooks": 1}


class TestSpeechTokenizerSnake(AudioContract):
    name, checkpoint = "speechtokenizer-snake", GOLDEN / "speechtokenizer-snake"


class TestEncodec32(AudioContract):
    name, checkpoint = "encodec-32khz", GOLDEN / "encodec_32khz"


class TestEncodec24(AudioContract):
    name, checkpoint = "encodec-24khz", GOLDEN / "encodec_24khz"


class TestEncodec48(AudioContract):
    name, checkpoint = "encodec-48khz", GOLDEN / "encodec_48khz"
    lengths = (47520, 47521, 48000, 48001)  # around the stride and the length of a segment


@pytest.mark.reference
class TestSpeechTokenizerReference(TestSpeechTokenizer):
    engine = "reference"


@pytest.mark.reference
class TestSpeechTokenizerSnakeReference(TestSpeechTokenizerSnake):
    engine = "reference"


@pytest.mark.reference
class TestEncodec32Reference(TestEncodec32):
    engine = "reference"


@pytest.mark.reference
class TestEncodec24Reference(TestEncodec24):
    engine = "reference"


@pytest.mark.reference
class TestEncodec48Reference(TestEncodec48):
    engine = "reference"


@pytest.mark.reference
class TestEncodec24OriginalPackage(TestEncodec24):
    engine = "reference"
    options: ClassVar = {"package": "encodec"}
