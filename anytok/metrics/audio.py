"""How close a decoded sound is to the original.

Legend: s samples, m mel bands, t frames.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import MediaError, MissingExtraError, UsageError

__all__ = ["log_mel_distance", "require_stoi", "si_sdr", "spectrum_distance", "stoi"]

_WINDOW_SECONDS, _NUM_MELS, _FLOOR = 0.064, 64, 1e-4  # the floor, on mel magnitudes, is about -80 dB of full scale
# STOI compares waves of 10 kHz, in windows of 256 samples with half a hop. Pauses cut, it compares 30 windows at least.
_STOI_RATE, _STOI_SAMPLES = 10_000, 4096


def log_mel_distance(made: np.ndarray, wanted: np.ndarray, sample_rate: int) -> float:
    """Mean absolute difference of the log-mel spectra, in nepers (1 is a factor of e, 8.7 dB): 0 is equal.

    Both are mono waves [s] of the same length and rate; windows of 64 ms with a quarter's hop, 64 bands,
    magnitudes below 1e-4 count as 1e-4.
    """
    made, wanted = _pair(made, wanted)
    return float(np.abs(_log_mel(made, sample_rate) - _log_mel(wanted, sample_rate)).mean())


def spectrum_distance(one: np.ndarray, other: np.ndarray, sample_rate: int) -> float:
    """Mean absolute difference, in dB, of the long-term average spectra of two mono waves [s] of any lengths, loudness
    left out: how unlike two voices are, whatever they say. 0 is equal; symmetric.

    The average is of power over windows of 64 ms with a quarter's hop, in 64 mel bands. Raises MediaError where a wave
    is silent or has values that are not finite.
    """
    levels_m = [_average_spectrum(wave, sample_rate) for wave in (one, other)]
    return float(np.abs(levels_m[0] - levels_m[1]).mean())


def _average_spectrum(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Long-term average spectrum [m] in dB, with a mean of 0."""
    wave, _ = _pair(wave, wave)
    _refuse_silence(wave, "an average spectrum")
    power_m = np.exp(2 * _log_mel(_centred(wave), sample_rate)).mean(1)
    decibels_m: np.ndarray = 10 * np.log10(power_m)
    return decibels_m - decibels_m.mean()


def si_sdr(made: np.ndarray, wanted: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv 1811.02508): what of `made` is a multiple of
    `wanted`, over what is not; computed in float64, the same at any loudness of either.

    Waves [s] of the same length. Infinite where they are equal, minus infinity where `made` is silent (one level
    throughout). Raises MediaError where `wanted` is silent, since everything and nothing is a multiple of it, or has
    fewer than 3 samples: without their means, any two waves of 2 are multiples of each other.
    """
    made, wanted = _pair(made, wanted)
    _refuse_silence(wanted, "SI-SDR")
    if len(wanted) < 3:
        raise MediaError("too_short", f"SI-SDR of {len(wanted)} samples: expected at least 3; leave this recording out")
    if _is_silent(made):
        return -math.inf
    made, wanted = (_centred(wave) for wave in (made, wanted))
    target = (made @ wanted) / (wanted @ wanted) * wanted
    rest = made - target
    with np.errstate(divide="ignore"):  # of equal waves nothing rests
        return float(10 * np.log10((target @ target) / (rest @ rest)))


def stoi(made: np.ndarray, wanted: np.ndarray, sample_rate: int) -> float:
    """Short-time objective intelligibility of speech, 0 to 1 (Taal et al. 2011), by the package pystoi.

    Waves [s] of the same length. Needs the extra `eval`. Raises MediaError where `wanted` is silent or has, without
    its pauses, 0.41 s of sound or less: that is too short to be judged.
    """
    pystoi = require_stoi()
    made, wanted = _pair(made, wanted)
    _refuse_silence(wanted, "STOI")
    too_short = MediaError(
        "too_short",
        f"STOI of {len(wanted) / sample_rate:.2f} s of sound, pauses included: expected more than "
        f"{_STOI_SAMPLES / _STOI_RATE:.2f} s without them; leave this recording out",
    )
    if len(wanted) * _STOI_RATE <= _STOI_SAMPLES * sample_rate:
        raise too_short
    with warnings.catch_warnings():  # where only pauses make it long enough, pystoi warns and returns 1e-5
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi(wanted, made, sample_rate, extended=False))
        except RuntimeWarning as warning:
            raise too_short from warning


def require_stoi() -> Callable[..., Any]:
    """pystoi's function; raises MissingExtraError where the package is absent. To be called before long work, too."""
    try:
        from pystoi import stoi
    except ModuleNotFoundError as error:
        raise MissingExtraError("pystoi", "eval", "STOI") from error
    found: Callable[..., Any] = stoi
    return found


def _refuse_silence(wanted: np.ndarray, metric: str) -> None:
    if _is_silent(wanted):
        raise MediaError("silent", f"{metric} against {len(wanted)} samples of silence: leave this recording out")


def _is_silent(wave: np.ndarray) -> bool:
    return bool((wave == wave[:1]).all())


def _centred(wave: np.ndarray) -> np.ndarray:
    """Without its mean, and with a peak of 1: squares of the quietest wave are numbers, too."""
    wave = wave - wave.mean()
    return wave / np.abs(wave).max()


def _pair(made: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if made.ndim != 1 or made.shape != wanted.shape:
        raise UsageError(f"waves of shapes {made.shape} and {wanted.shape}: expected two mono waves of one length")
    for wave, whose in ((made, "made"), (wanted, "original")):
        if bad := int((~np.isfinite(wave)).sum()):  # one would make every metric NaN
            raise MediaError("not_finite", f"the {whose} wave has {bad} samples that are NaN or infinite: repair it")
    return made.astype(np.float64), wanted.astype(np.float64)


def _log_mel(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Natural log of mel magnitudes [m, t]; a full-scale sine has magnitude about 1/2."""
    window = 2 ** round(np.log2(_WINDOW_SECONDS * sample_rate))
    taper = np.hanning(window + 1)[:-1]
    padded = np.pad(wave, window // 2)
    starts = np.arange(0, len(padded) - window + 1, window // 4)
    spectrum = np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(window)] * taper)) / taper.sum()
    return np.log(np.maximum(_mel_filters(window // 2 + 1, sample_rate) @ spectrum.T, _FLOOR))


def _mel_filters(num_bins: int, sample_rate: int) -> np.ndarray:
    """Triangles [m, bins] that overlap by half, even on the mel scale, each with its peak at 1."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _NUM_MELS + 2) / 2595) - 1)
    # narrow low bands still take in their nearest bins
    width = np.maximum(np.diff(edges), sample_rate / 2 / (num_bins - 1))
    bins = np.linspace(0, sample_rate / 2, num_bins)
    rise = 1 - (edges[1:-1, None] - bins) / width[:-1, None]
    fall = 1 - (bins - edges[1:-1, None]) / width[1:, None]
    return np.clip(np.minimum(rise, fall), 0, None)
