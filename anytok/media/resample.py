"""Change of sample rate, bit for bit as the original pipelines compute it, and without torchaudio; but for short clips
of one channel (_FEW), whose last bits change with the number of threads there, and do not here.

Band-limited interpolation (Smith, "Digital Audio Resampling", CCRMA) with torchaudio's defaults: Hann window,
six zero crossings a side, roll-off 0.99.
Legend: C channels, T samples; o, n the old and the new rate divided by their greatest common divisor. A frame
is o old samples, or the n new ones in their place; each of these n has its own filter, its phase.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["RESAMPLERS", "resample"]

RESAMPLERS = ("functional", "transform", "soxr")
_CROSSINGS = 6
_ROLLOFF = 0.99
_BLOCK = 1 << 20  # old samples computed at a time: bounded memory, the same values
_FEW = 20_480  # samples of a lone channel, which torch convolves without oneDNN
_MAX_DENSE = 1 << 22  # filter values; ordinary pairs of rates need up to some 300,000


def resample(wave_ct: np.ndarray, from_rate: int, to_rate: int, method: str) -> np.ndarray:
    """`wave_ct` `[C, T]` at `from_rate` Hz → `[C, ceil(T * to_rate / from_rate)]`, float32 as it is published. A
    float64 wave stays float64, and its filters are, in which "functional" and "transform" are one.

    `method` is "functional" (torchaudio.functional.resample: AnyGPT's speech) or "transform"
    (torchaudio.transforms.Resample: AnyGPT's music, EnCodec), which round their filters differently; or
    "soxr" (libsoxr's HQ, the `media` extra), another filter, which gives other codes. The channels of a call
    are computed together, as there, and in blocks: hours of sound need little memory beside themselves.
    Raises UsageError.
    """
    if method not in RESAMPLERS:
        raise UsageError(f"no resampler is called {method!r}; known: {', '.join(RESAMPLERS)}")
    if from_rate == to_rate:
        return wave_ct
    if method == "soxr":
        return _soxr(wave_ct, from_rate, to_rate)
    divisor = math.gcd(from_rate, to_rate)
    o, n = from_rate // divisor, to_rate // divisor
    is_dense = n * (o + 2 * _reach(o, n)) <= _MAX_DENSE
    from ..torch_settings import full_float32  # needs torch, which others do without

    with full_float32():
        return (_dense if is_dense else _sparse)(wave_ct, o, n, method)


def _reach(o: int, n: int) -> int:
    """Old samples that a filter sees on each side of its centre."""
    return math.ceil(_CROSSINGS * o / (min(o, n) * _ROLLOFF))


def _filters(offsets: torch.Tensor, phases: torch.Tensor, o: int, n: int, dtype: torch.dtype) -> torch.Tensor:
    """Filter values of the wave's `dtype` at `offsets` old samples from the frame's start, for each of `phases`."""
    import torch

    # torchaudio's two roundings: "functional" passes float32 offsets and works in float32 throughout,
    # "transform" float64 ones, so that only the quotient of the phases is rounded to float32.
    base = min(o, n) * _ROLLOFF
    t = ((-phases.to(dtype) / n + offsets / o) * base).clamp(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(t * math.pi / _CROSSINGS / 2) ** 2
    t = t * math.pi
    sinc = torch.where(t == 0, torch.ones_like(t), t.sin() / t)
    return (sinc * (window * (base / o))).to(dtype)


def _precision(method: str, dtype: torch.dtype) -> torch.dtype:
    """Of the filters' offsets."""
    import torch

    return dtype if method == "functional" else torch.float64


def _dense(wave_ct: np.ndarray, o: int, n: int, method: str) -> np.ndarray:
    """All phases of all frames as one strided convolution, which is torchaudio's way."""
    import torch

    channels, num_old = wave_ct.shape
    reach, dtype = _reach(o, n), torch.from_numpy(wave_ct[:, :0]).dtype
    offsets = torch.arange(-reach, reach + o, dtype=_precision(method, dtype))
    filters = _filters(offsets[None, None], torch.arange(n)[:, None, None], o, n, dtype)
    num_frames = num_old // o + 1
    out = np.empty((channels, -(-n * num_old // o)), wave_ct.dtype)
    # Blocks of one size only, the last one moved back over its neighbour: for another size the convolution
    # may add in another order, which would show in the last bit.
    step = min(num_frames, max(1, _BLOCK // o))
    for start in [*range(0, num_frames - step, step), num_frames - step]:
        old = _window(wave_ct, start * o - reach, (start + step) * o + reach)
        new = _convolved(torch.from_numpy(old)[:, None], filters, o)
        target = out[:, start * n : (start + step) * n]  # the last frame ends beyond the last sample
        target[:] = new.transpose(1, 2).reshape(channels, -1)[:, : target.shape[1]].numpy()
    return out


def _convolved(old_c1t: torch.Tensor, filters: torch.Tensor, o: int) -> torch.Tensor:
    """By oneDNN, whose sums are the same on any number of threads.

    torch leaves a lone channel of few samples to a plain product, which may split long sums among threads, unless it
    has company.
    """
    import torch

    is_left = len(old_c1t) == 1 and old_c1t.numel() <= _FEW
    heard_c1t = old_c1t.expand(2, -1, -1) if is_left else old_c1t
    return torch.nn.functional.conv1d(heard_c1t, filters, stride=o)[: len(old_c1t)]


def _sparse(wave_ct: np.ndarray, o: int, n: int, method: str) -> np.ndarray:
    """The same for rates with hardly a common divisor, whose dense filters, nearly all zero, fill gigabytes.

    It adds in another order, and so differs from torchaudio in the last bit.
    """
    import torch

    channels, num_old = wave_ct.shape
    dtype = torch.from_numpy(wave_ct[:, :0]).dtype
    num_new = -(-n * num_old // o)
    num_taps = 2 * _reach(o, n) + 1
    phases = torch.arange(min(n, num_new))
    centres = phases * o // n
    offsets = (centres[:, None] + torch.arange(num_taps) - num_taps // 2).to(_precision(method, dtype))
    filters = _filters(offsets, phases[:, None], o, n, dtype).numpy()
    out = np.empty((channels, num_new), wave_ct.dtype)
    for start in range(0, num_new, step := max(1, _BLOCK // num_taps)):
        new = np.arange(start, min(num_new, start + step))
        first = new * o // n - num_taps // 2
        old = _window(wave_ct, first[0], first[-1] + num_taps)
        seen = np.lib.stride_tricks.sliding_window_view(old, num_taps, axis=1)[:, first - first[0]]
        out[:, new] = np.einsum("cmk,mk->cm", seen, filters[new % n])
    return out


def _window(wave_ct: np.ndarray, start: int, end: int) -> np.ndarray:
    """Samples [start, end) of the wave, zeros where it is not."""
    inside = wave_ct[:, max(0, start) : max(0, end)]
    return np.pad(inside, ((0, 0), (max(0, -start), end - max(0, start) - inside.shape[1])))


def _soxr(wave_ct: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    try:
        import soxr
    except ModuleNotFoundError as error:
        raise MissingExtraError("soxr", "media", "the resampler 'soxr'") from error
    out = np.zeros((len(wave_ct), -(-wave_ct.shape[1] * to_rate // from_rate)), np.float32)
    new = soxr.resample(wave_ct.T, from_rate, to_rate, quality="HQ").T[:, : out.shape[1]]
    out[:, : new.shape[1]] = new  # soxr rounds the length, the others go up: all are to be equally long
    return out
