"""How far one wave is from another: in time, and in log-mel spectra at several resolutions.

Source: EnCodec (arXiv 2210.13438, section 3.4, reconstruction loss).
Legend: b batch, s samples, m mel bands, t frames.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MelSpectra", "mel_filters", "relative_error"]


def relative_error(made_bs: Tensor, wanted_bs: Tensor, floor: float = 1e-5) -> Tensor:
    """Energy of the difference over that of the wanted wave, so that soft waves count as much as loud ones."""
    error_b = (made_bs - wanted_bs).square().mean(dim=1)
    return (error_b / (wanted_bs.square().mean(dim=1) + floor)).mean()


def mel_filters(num_mels: int, num_bins: int, sample_rate: int, lowest: float = 0.0) -> Tensor:
    """Triangular filters [m, bins], evenly spaced on the mel scale (2595 log10(1 + f / 700)) up to half the rate."""

    def to_mel(frequency: float) -> float:
        return 2595 * math.log10(1 + frequency / 700)

    edges = torch.linspace(to_mel(lowest), to_mel(sample_rate / 2), num_mels + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, num_bins)
    rise = (bins - hertz[:-2, None]) / (hertz[1:-1] - hertz[:-2])[:, None]
    fall = (hertz[2:, None] - bins) / (hertz[2:] - hertz[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0)


class MelSpectra(nn.Module):
    """Log-mel spectra with windows of several lengths, hop a quarter of the window; the distance between two waves
    is the mean absolute difference of logs plus the root mean square difference of magnitudes."""

    def __init__(self, sample_rate: int, windows: tuple[int, ...], num_mels: int = 64) -> None:
        super().__init__()
        self.windows = windows
        for window in windows:
            # short windows have few bins: no more filters than they can fill
            filters = mel_filters(min(num_mels, window // 8), window // 2 + 1, sample_rate)
            self.register_buffer(f"filters_{window}", filters, persistent=False)
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)

    def spectrum(self, wave_bs: Tensor, window: int) -> Tensor:
        """Mel magnitudes [b, m, t]."""
        taper = getattr(self, f"window_{window}")
        spectrum = torch.stft(wave_bs, window, window // 4, window=taper, center=True, return_complex=True)
        magnitudes = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9) / math.sqrt(window)
        return getattr(self, f"filters_{window}") @ magnitudes

    def forward(self, made_bs: Tensor, wanted_bs: Tensor) -> Tensor:
        losses = []
        for window in self.windows:
            made, wanted = self.spectrum(made_bs, window), self.spectrum(wanted_bs, window)
            losses.append(F.l1_loss(torch.log(made + 1e-3), torch.log(wanted + 1e-3)))
            losses.append(torch.sqrt(F.mse_loss(made, wanted) + 1e-9))
        return torch.stack(losses).sum() / len(self.windows)
