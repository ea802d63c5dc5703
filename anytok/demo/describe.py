"""What a picture or a sound is like, in words: the page's alternative texts."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ..media import Audio, Decoded
from ..metrics.image import lab, thumbnail

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["describe", "pitch"]

# sRGB; the nearest in Lab gives an average colour its name.
_NAMES = {
    "black": (12, 12, 12), "dark grey": (70, 70, 70), "grey": (128, 128, 128), "light grey": (190, 190, 190),
    "white": (245, 245, 245), "red": (200, 40, 40), "orange": (240, 140, 50), "brown": (115, 75, 45),
    "beige": (225, 200, 165), "yellow": (240, 220, 70), "green": (60, 150, 70), "dark green": (30, 75, 40),
    "light green": (150, 205, 130), "turquoise": (70, 180, 175), "light blue": (140, 185, 230), "blue": (50, 90, 190),
    "dark blue": (25, 35, 90), "violet": (125, 70, 165), "pink": (240, 160, 185),
}  # fmt: skip
_PLACES = ("at the top", "in the middle", "at the bottom")


def describe(medium: Decoded) -> str:
    """A picture's colours from top to bottom; a sound's length and strongest frequency."""
    return _sound(medium) if isinstance(medium, Audio) else _colours(medium)


def _colours(picture: Image) -> str:
    """ "light blue at the top, green in the middle and at the bottom"."""
    rows = thumbnail(picture)  # [8, 8, 3]
    averages = [rows[part].mean((0, 1)) for part in (slice(0, 3), slice(3, 5), slice(5, 8))]
    anchors = lab(np.array(list(_NAMES.values())))
    names = [list(_NAMES)[np.square(anchors - average).sum(1).argmin()] for average in averages]
    named = [(name, [place for _, place in group]) for name, group in groupby(zip(names, _PLACES, strict=True), _first)]
    return f"all {names[0]}" if len(named) == 1 else ", ".join(f"{name} {' and '.join(at)}" for name, at in named)


def pitch(sound: Audio) -> float | None:
    """The median pitch of a voice in Hz, from 60 to 400, by the autocorrelation of windows of 64 ms where it is voiced;
    None where it is nowhere."""
    wave, rate = sound.wave.mean(0), sound.sample_rate
    window, shortest, longest = round(0.064 * rate), rate // 400, rate // 60
    starts = np.arange(0, len(wave) - window + 1, round(0.02 * rate))
    spectra = np.fft.rfft(wave[starts[:, None] + np.arange(window)], 2 * window)
    lags = np.fft.irfft(np.abs(spectra) ** 2)  # [windows, lags]
    if not len(lags) or not lags[:, 0].any():
        return None
    periods = shortest + lags[:, shortest:longest].argmax(1)
    voiced = lags[np.arange(len(lags)), periods] > 0.4 * lags[:, 0]
    voiced &= lags[:, 0] > 0.01 * lags[:, 0].max()
    return float(np.median(rate / periods[voiced])) if voiced.any() else None


def _first(pair: tuple[str, str]) -> str:
    return pair[0]


def _sound(sound: Audio) -> str:
    """ "4.0 seconds, strongest near 190 hertz"."""
    wave = sound.wave.mean(0)
    strengths = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    bands = np.round(np.fft.rfftfreq(len(wave), 1 / sound.sample_rate) / 10).astype(int)  # of ten hertz
    strengths = np.bincount(bands, np.square(strengths))[1:]
    strongest = f"strongest near {10 * (int(strengths.argmax()) + 1)} hertz" if strengths.any() else "silent"
    return f"{sound.duration:.1f} seconds, {strongest}"
