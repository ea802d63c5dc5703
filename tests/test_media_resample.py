"""Resampling: equal to torchaudio's, at any length, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from anytok import UsageError
from anytok.media import resample as module
from anytok.media.resample import resample

GOLDEN = load_file(Path(__file__).parent / "golden" / "resample.safetensors")


def _noise(channels: int, num_samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((channels, num_samples)).astype(np.float32) * np.float32(0.2)


@pytest.mark.parametrize("method", ["functional", "transform"])
@pytest.mark.parametrize("rate", [16000, 24000, 32000])
def test_equals_torchaudio(method: str, rate: int) -> None:
    """0.0 apart where the golden file was made; another processor's convolution may add in another order, which
    moves the last bit or two (6e-8). The two methods are at least 5e-7 apart, so neither passes for the other."""
    expected = GOLDEN[f"{method}.{rate}"]
    other = GOLDEN[f"{'transform' if method == 'functional' else 'functional'}.{rate}"]
    found = resample(GOLDEN["in.44100"], 44100, rate, method)
    assert found.shape == expected.shape and found.dtype == np.float32
    assert np.abs(found - expected).max() <= 6e-8 < 5e-7 <= np.abs(found - other).max()


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (48000, 32000), (16000, 48000), (22050, 24000)])
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_equal_the_whole(old: int, new: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = _noise(channels, 300_017)
    monkeypatch.setattr(module, "_BLOCK", 1 << 40)
    whole = resample(wave, old, new, "functional")
    monkeypatch.setattr(module, "_BLOCK", 1 << 16)
    assert np.array_equal(resample(wave, old, new, "functional"), whole)


@pytest.mark.parametrize(
    ("old", "new", "method"), [(44100, 16000, "functional"), (44100, 24000, "transform"), (22050, 24000, "functional")]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_threads_change_nothing(old: int, new: int, method: str, channels: int) -> None:
    """Short clips, too, whose sums MKL was seen to split: those of one frame among three threads of an AVX-512 CPU, and
    those of most lengths among two, three or five by its AVX2 kernels."""
    waves = [_noise(channels, num_samples) for num_samples in (old // 110, 3001, 9999, 19_404, 30_001)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [resample(wave, old, new, method) for wave in waves]
        for threads in (2, 3, 5):
            torch.set_num_threads(threads)
            assert all(map(np.array_equal, [resample(wave, old, new, method) for wave in waves], alone))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@settings(max_examples=150, deadline=None)
@given(
    num_samples=st.integers(1, 3000),
    old=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 44101, 383_999]),
    new=st.sampled_from([16000, 24000, 32000, 48000]),
    method=st.sampled_from(["functional", "transform", "soxr"]),
)
def test_length(num_samples: int, old: int, new: int, method: str) -> None:
    out = resample(_noise(1, num_samples), old, new, method)
    assert out.dtype == np.float32 and out.flags.c_contiguous
    assert out.shape[1] == -(-num_samples * new // old)


@pytest.mark.parametrize("method", ["functional", "transform", "soxr"])
@pytest.mark.parametrize("old", [8000, 44100, 44101, 96000])
def test_keeps_a_sine(method: str, old: int) -> None:
    """An oracle that shares no code: a 440 Hz tone is the same tone at the new rate (edges aside)."""
    wave = np.sin(2 * np.pi * 440 * np.arange(old) / old).astype(np.float32)[None]
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    out = resample(wave, old, 16000, method)
    assert np.abs(out[0, 500:-500] - expected[500:-500]).max() < 2e-3


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (16000, 44100), (3, 2)])
@pytest.mark.parametrize("method", ["functional", "transform"])
def test_sparse_equals_dense(old: int, new: int, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = _noise(2, 20_011)
    dense = resample(wave, old, new, method)
    monkeypatch.setattr(module, "_MAX_DENSE", 0)
    monkeypatch.setattr(module, "_BLOCK", 1 << 14)
    sparse = resample(wave, old, new, method)
    assert np.abs(sparse - dense).max() < 5e-7


def test_same_rate_changes_nothing() -> None:
    wave = _noise(2, 100)
    assert resample(wave, 16000, 16000, "functional") is wave


def test_unknown_method() -> None:
    with pytest.raises(UsageError, match="functional, transform, soxr"):
        resample(_noise(1, 10), 44100, 16000, "linear")
