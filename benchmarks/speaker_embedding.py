"""Who speaks, as a vector: the GE2E encoder that the package resemblyzer ships (Apache-2.0), of which nothing is used
in training. Its weights are read, its code is not needed: a spectrogram, three LSTMs and a linear layer.

    pip download --no-deps resemblyzer==0.1.4, and unpack resemblyzer/pretrained.pt

Source: GE2E (arXiv 1710.10467); the mel filters are Slaney's, as librosa's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

RATE, WINDOW, HOP, MELS, FRAMES = 16000, 400, 160, 40, 160


class SpeakerEncoder(nn.Module):
    """Waves of 16 kHz → unit vectors [256]."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({key: state[key] for key in self.state_dict()})
        self.filters = mel_filters()

    @torch.inference_mode()
    def embed(self, wave: np.ndarray) -> np.ndarray:
        """Of a wave [s]: the mean over stretches of 1.6 s, half of each in the next."""
        loudness = 10 * np.log10((wave.astype(np.float64) ** 2).mean() + 1e-12)
        wave = np.pad(wave * 10 ** (max(0.0, -30 - loudness) / 20), WINDOW // 2, mode="reflect")
        taper = np.hanning(WINDOW + 1)[:-1]
        starts = np.arange(0, len(wave) - WINDOW + 1, HOP)
        power = np.abs(np.fft.rfft(wave[starts[:, None] + np.arange(WINDOW)] * taper)) ** 2
        mels = power @ self.filters.T
        mels = np.pad(mels, ((0, max(0, FRAMES - len(mels))), (0, 0)))
        firsts = [*range(0, len(mels) - FRAMES + 1, FRAMES // 2)]
        stretches = torch.from_numpy(np.stack([mels[first : first + FRAMES] for first in firsts])).float()
        hidden = self.linear(self.lstm(stretches)[1][0][-1]).relu()
        mean = nn.functional.normalize(hidden, dim=1).mean(0).numpy()
        return mean / np.linalg.norm(mean)


def mel_filters() -> np.ndarray:
    """Slaney's triangles [mels, bins], each of unit area."""
    step = np.log(6.4) / 27

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        return np.where(hertz < 1000, hertz * 3 / 200, 15 + np.log(np.maximum(hertz, 1e-9) / 1000) / step)

    mels = np.linspace(0, to_mel(np.array(RATE / 2)), MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * step))
    bins = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]
