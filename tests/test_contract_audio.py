"""The contract, for the codecs of speech and music, in both engines, on the golden checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from anytok.testing import AudioContract

GOLDEN = Path(__file__).parent / "golden"


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
    # Around the stride and the length of a segment; and those whose last segment ends before the one it overlaps.
    lengths = (47520, 47521, 48000, 48001, 47520 + 161, 47520 + 320)


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
    lengths = TestEncodec48.lengths[:4]  # the package cannot decode the others


@pytest.mark.reference
class TestEncodec24OriginalPackage(TestEncodec24):
    engine = "reference"
    options: ClassVar = {"package": "encodec"}
