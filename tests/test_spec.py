"""Codes and Specs from anywhere: what does not fit together is refused by name, and all of it survives JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import anytok
from anytok import Codes, CodesError, Spec, load_tokenizer
from anytok.vocab import build_vocabulary
from anytok.vocab.layout import Layout

GOLDEN = Path(__file__).parent / "golden"
SPEC = Spec("a", "music", 4, 16, frame_rate=50, sample_rate=16000, channels=1)
SEGMENTED = replace(SPEC, segment_samples=16000, segment_stride=15840)
PICTURE = Spec("p", "image", 1, 16, num_frames=4, image_size=224)


def values(frames: int, rows: int = 4) -> np.ndarray:
    return np.arange(rows * frames).reshape(rows, frames) % 16


def record(**changes: Any) -> dict[str, Any]:
    return {**Codes(values(5), SPEC, 1600).to_dict(), **changes}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_codebooks": "4"}, "num_codebooks='4': expected a whole number"),
        ({"num_codebooks": 4.0}, "num_codebooks=4.0"),
        ({"codebook_size": True}, "codebook_size=True"),
        ({"frame_rate": 0}, "frame_rate=0: expected a number, above 0"),
        ({"sample_rate": -16000}, "sample_rate=-16000"),
        ({"segment_stride": 0}, "segment_stride=0"),
        ({"frame_rate": float("nan")}, "frame_rate=nan: expected a number, above 0"),
        ({"frame_rate": -12.5}, "frame_rate=-12.5: expected a number, above 0"),
        ({"frame_rate": 1e-306}, "1e-306 frames a second of 16000 samples"),
        ({"sample_rate": 10**400}, "sample_rate=1000"),
        ({"name": 3}, "name=3: expected text"),
        ({"name": None}, "name=None: expected text"),
        ({"codebook_size": None}, "codebook_size=None"),
        ({"sample_rate": 40}, "50 frames a second of 40 samples"),
    ],
)
def test_a_spec_holds_whole_numbers_and_text(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CodesError, match=said):
        replace(SPEC, **change)
    with pytest.raises(CodesError, match=said):
        Codes.from_dict(record(spec={**SPEC.to_dict(), **change}))


@pytest.mark.parametrize(
    ("rate", "frames", "hop"), [(24000, 12.5, 1920), (44100, 44100 / 512, 512), (16000, 50.0, 320)]
)
def test_frames_may_come_at_broken_rates(rate: int, frames: float, hop: int) -> None:
    """As from Mimi and DAC; through JSON and through a vocabulary, too."""
    spec = replace(SPEC, sample_rate=rate, frame_rate=frames, id="")
    codes = Codes(values(5), spec, 5 * hop - 1)
    assert spec.hop_length == hop and Codes.from_dict(json.loads(json.dumps(codes.to_dict()))) == codes
    vocabulary = build_vocabulary("mine", 100, [spec])
    read = Layout.from_dict(json.loads(json.dumps(vocabulary.layout.to_dict())))
    assert read == vocabulary.layout and read.segments[0].spec.frame_rate == frames
    with pytest.raises(CodesError, match="does not make the 5 frames"):
        Codes(values(5), spec, 5 * hop + 1)


def test_numbers_of_numpy_become_pythons() -> None:
    spec = replace(SPEC, num_codebooks=np.int64(4), sample_rate=np.int32(16000))
    codes = Codes(values(5, 2), spec, np.int64(1599), np.int8(1))
    assert Codes.from_dict(json.loads(json.dumps(codes.to_dict()))) == codes
    assert (codes.num_samples, codes.first_codebook) == (1599, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_samples": "1600"}, "num_samples='1600'"),
        ({"num_samples": 1600.0}, "num_samples=1600.0"),
        ({"num_samples": True}, "num_samples=True"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"num_samples": 1601}, "num_samples=1601 does not make the 5 frames"),
        ({"num_samples": 1280}, "num_samples=1280 does not make the 5 frames"),
        ({"first_codebook": "0"}, "first_codebook='0'"),
        ({"first_codebook": -1}, "first_codebook=-1"),
        ({"first_codebook": 1}, "4 codebooks from layer 1 on"),
        ({"scales": [10**400]}, "no numbers"),
        ({"scales": "loud"}, "scales that are no numbers"),
        ({"scales": [None]}, "finite loudness"),
        ({"scales": [float("inf")]}, "finite loudness"),
        ({"scales": [-1.0]}, "finite loudness"),
        ({"scales": [[1.0]]}, "one finite loudness, 0 or more, of each segment"),
        ({"scales": [{}]}, "no numbers"),
        ({"spec": "a"}, "not a codes record"),
        ({"codes": [[1, 2], [3]]}, "not a codes record"),
        ({"codes": [[1.5]]}, "integer array"),
    ],
)
def test_a_record_that_does_not_fit_together_is_refused(change: dict[str, Any], said: str) -> None:
    Codes.from_dict(record())
    with pytest.raises(CodesError, match=said):
        Codes.from_dict(record(**change))


@pytest.mark.parametrize("place", ["0", 1.0, None, -1])
def test_layers_are_counted_in_whole_numbers(place: Any) -> None:
    for wrong in ((place, 2), (0, place)):
        with pytest.raises(CodesError, match=r"layers=.*expected a whole number"):
            Codes(values(5), SPEC).layers(*wrong)


@pytest.mark.parametrize("nothing", [None, [], "codes", 3])
def test_what_is_no_record_is_refused(nothing: Any) -> None:
    with pytest.raises(CodesError, match="not a codes record"):
        Codes.from_dict(nothing)


def test_fields_of_any_type_are_named() -> None:
    with pytest.raises(CodesError, match=r"unknown fields \['3', 'more'\]"):
        Codes.from_dict({**record(), 3: 4, "more": 5})  # type: ignore[dict-item]


def test_a_length_beyond_all_bounds_is_refused_at_once() -> None:
    with pytest.raises(CodesError, match="does not make the 5 frames"):
        Codes(values(5), SEGMENTED, 10**15)


def test_a_length_needs_a_rate() -> None:
    for spec, rows in ((PICTURE, 1), (replace(SPEC, sample_rate=None), 4)):
        with pytest.raises(CodesError, match=r"this spec of .* has no sample rate"):
            Codes(values(4, rows), spec, 100)


@pytest.mark.parametrize(
    "name", ["modality", "segment_samples", "segment_stride", "frame_rate", "sample_rate", "codebook_size"]
)
def test_codes_with_a_forged_spec_are_not_decoded(name: str) -> None:
    """Under the right id it would still cut the sound in other places."""
    tokenizer = load_tokenizer("encodec-48khz", checkpoint=GOLDEN / "encodec_48khz")
    codes = tokenizer.encode(anytok.Audio(np.random.default_rng(0).normal(0, 0.1, (2, 60_000)), 48000))
    forged = replace(codes.spec, **{name: 2 * getattr(codes.spec, name)})
    with pytest.raises(CodesError, match=f"claim a {name}"):
        tokenizer.decode(Codes(codes.values, forged, scales=codes.scales))
    dropped = replace(codes.spec, segment_samples=None, segment_stride=None)
    with pytest.raises(CodesError, match="claim a segment_samples of None"):
        tokenizer.decode(Codes(codes.values, dropped, scales=codes.scales))


def test_codes_that_fit_are_kept_as_they_are() -> None:
    codes = Codes(values(5), SPEC, 1600)
    assert np.array_equal(codes.values, values(5)) and codes.values.dtype == np.int64
    scaled = replace(codes, scales=[0.0, 1.5])
    assert scaled.scales is not None and scaled.scales.dtype == np.float32 and scaled != codes


def test_many_segments_beyond_all_bounds_are_refused_at_once() -> None:
    spec = replace(SPEC, num_codebooks=1, frame_rate=1, sample_rate=10**9, segment_samples=1, segment_stride=1)
    with pytest.raises(CodesError, match="does not make the 1 frames"):
        Codes(values(1, 1), spec, 10**9)


@pytest.mark.parametrize("ragged", [[[1, 2], [3]], torch.zeros(4, 2, dtype=torch.int64, device="meta")])
def test_what_makes_no_array_makes_no_codes(ragged: Any) -> None:
    with pytest.raises(CodesError, match="codes that are no array"):
        Codes(ragged, SPEC)


@pytest.mark.parametrize("rate", [np.float32(12.5), np.float64(12.5), Fraction(25, 2)])
def test_rates_of_any_kind_become_pythons(rate: Any) -> None:
    spec = replace(SPEC, frame_rate=rate)
    assert spec.frame_rate == 12.5 and type(spec.frame_rate) is float


def test_the_original_refuses_codes_that_lost_their_segments_too() -> None:
    tokenizer = load_tokenizer("encodec-48khz", checkpoint=GOLDEN / "encodec_48khz", engine="reference")
    codes = tokenizer.encode(anytok.Audio(np.random.default_rng(0).normal(0, 0.1, (2, 60_000)), 48000))
    dropped = replace(codes.spec, segment_samples=None, segment_stride=None)
    with pytest.raises(CodesError, match="claim a segment_samples of None"):
        tokenizer.decode(Codes(codes.values, dropped, scales=codes.scales))


def test_what_is_no_spec_and_no_sound_is_said() -> None:
    with pytest.raises(CodesError, match=r"spec of NoneType: expected an anytok\.Spec"):
        Codes(values(5), None)  # type: ignore[arg-type]
    with pytest.raises(CodesError, match="p is for image: samples and frames of sound mean nothing to it"):
        PICTURE.frames_of(3)
