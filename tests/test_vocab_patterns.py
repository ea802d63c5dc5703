"""Every pattern, every shape: inverted at once and piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytok import CodesError, UsageError
from anytok.vocab.patterns import PATTERNS, Inverse, apply, invert


def codes(num_codebooks: int, num_frames: int) -> np.ndarray:
    return np.random.default_rng(num_codebooks * 100 + num_frames).integers(0, 1000, (num_codebooks, num_frames))


shapes = st.tuples(st.integers(1, 9), st.integers(1, 40))


def test_by_hand() -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]])
    assert apply("frame-major", values).tolist() == [[1, 4, 2, 5, 3, 6]]
    assert apply("layer-major", values).tolist() == [[1, 2, 3, 4, 5, 6]]
    assert apply("flat-delay", values).tolist() == [[1, 2, 4, 3, 5, 6]]
    assert apply("parallel", values).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert apply("delay", values, empty=9).tolist() == [[1, 2, 3, 9], [9, 4, 5, 6]]


@settings(deadline=None)
@given(st.sampled_from(list(PATTERNS)), shapes)
def test_invert_is_the_inverse(name: str, shape: tuple[int, int]) -> None:
    values = codes(*shape)
    assert np.array_equal(invert(name, apply(name, values), shape[0]), values)
    assert np.array_equal(invert(name, apply(name, values[:1]), 1), values[:1])  # the first layer alone


@settings(deadline=None)
@given(st.sampled_from(list(PATTERNS)), shapes, st.data())
def test_streaming_inverse(name: str, shape: tuple[int, int], data: st.DataObject) -> None:
    values = codes(*shape)
    steps = apply(name, values)
    inverse, pieces, at = Inverse(name, shape[0]), [], 0
    while at < steps.shape[1]:
        size = data.draw(st.integers(1, steps.shape[1]))
        pieces.append(inverse.push(steps[:, at : at + size]))
        at += size
    pieces.append(inverse.finish())
    assert np.array_equal(np.concatenate(pieces, axis=1), values)


def test_frames_come_as_soon_as_they_are_sure() -> None:
    steps = {name: apply(name, codes(3, 5)) for name in PATTERNS}
    first = {}
    for name, array in steps.items():
        inverse = Inverse(name, 3)
        given_out = [inverse.push(array[:, s : s + 1]).shape[1] for s in range(array.shape[1])]
        first[name] = given_out.index(1) if 1 in given_out else None
    assert first == {"frame-major": 2, "layer-major": None, "parallel": 0, "delay": 2, "flat-delay": None}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("frame-major", (1, 7)), ("layer-major", (1, 7)), ("flat-delay", (1, 7)), ("delay", (3, 2)), ("delay", (2, 5)),
        ("parallel", (3, 0)),
    ],
)  # fmt: skip
def test_no_whole_item(name: str, shape: tuple[int, int]) -> None:
    with pytest.raises(CodesError, match="no whole item"):
        invert(name, np.zeros(shape, int), 3)


def test_unknown_pattern() -> None:
    with pytest.raises(UsageError, match="frame-major, layer-major"):
        apply("zigzag", codes(2, 2))


@settings(deadline=None)
@given(shapes)
def test_flat_delay_is_delay_without_its_gaps(shape: tuple[int, int]) -> None:
    values = codes(*shape)
    steps = apply("delay", values).T.reshape(-1)
    assert apply("flat-delay", values)[0].tolist() == steps[steps >= 0].tolist()
