"""What one would rather look at than read: spectrograms and codes as small pictures."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


class Sound(Protocol):
    """What is read of `anytok.Audio`."""

    @property
    def wave(self) -> np.ndarray: ...

    @property
    def sample_rate(self) -> int: ...


__all__ = ["audio_uri", "draw_codes", "draw_spectrogram", "image_uri"]

# Dark to light through violet and orange; each further colour is a fifth of the way.
_COLOURS = np.array([(6, 5, 20), (60, 18, 100), (140, 40, 110), (215, 75, 75), (250, 155, 60), (252, 245, 180)], float)


def colour(levels: np.ndarray) -> np.ndarray:
    """Levels in [0, 1], any shape → uint8 colours with a last axis of 3."""
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(levels, places, _COLOURS[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def draw_spectrogram(audio: Sound, width: int = 560, height: int = 120, floor_db: float = -75.0) -> Image:
    """Loudness over time (across) and pitch (upwards, from 50 Hz to half the rate, an octave always as high)."""
    from PIL import Image

    window = 1024
    mono = np.pad(audio.wave.mean(axis=0), window // 2)
    starts = np.linspace(0, len(mono) - window, width).astype(int)
    frames = mono[starts[:, None] + np.arange(window)] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2
    pitches = np.geomspace(audio.sample_rate / 2, 50, height)
    bins = np.clip((pitches / audio.sample_rate * window).round().astype(int), 1, window // 2)
    decibels = 10 * np.log10(power[:, bins].T / max(float(power.max()), 1e-12) + 1e-12)
    # 32 colours, since pictures of sound do not compress: a fifth of the bytes of all.
    image = Image.fromarray((31 * np.clip(1 - decibels / floor_db, 0, 1)).round().astype(np.uint8))
    image.putpalette(colour(np.linspace(0, 1, 32)).tobytes())
    return image


def draw_codes(values: np.ndarray, width: int = 640) -> Image:
    """Codes `[K, T]`: a row a codebook, a column a frame, a colour a code (which colour means nothing)."""
    from PIL import Image

    num_codebooks, num_frames = values.shape
    # Neighbouring numbers are unrelated codes, so they are spread over the colours by the golden ratio.
    image = Image.fromarray(colour((values * 0.6180339887) % 1.0))
    row = max(12, 72 // num_codebooks) if num_codebooks > 1 else 40
    return image.resize((max(width, num_frames), row * num_codebooks), Image.Resampling.NEAREST)


def image_uri(image: Image) -> str:
    """A picture as a data URI, png."""
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def audio_uri(audio: Sound, kind: str = "wav") -> str:
    """Sound as a data URI of 16-bit samples. Browsers play both kinds: "wav" has every rate, "flac" half the bytes."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, audio.wave.clip(-1, 1).T, audio.sample_rate, "PCM_16", format=kind.upper())
    return f"data:audio/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
