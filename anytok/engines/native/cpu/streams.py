"""SEANet's layers (EnCodec, arXiv 2210.13438, section 3.1) as streams over signals that arrive in pieces; the pieces of
the output, joined, are the output of the whole signal, exactly.

Each stream keeps the few samples that its next window still needs, so nothing is computed twice, memory does not grow
with length, and padding is the clip's own: left when the first samples arrive, right when the last do. A clip that
comes in one piece is a special case. A stream serves one clip.

Legend: t time, c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ....kernels.layers import Conv
from ....models.seanet import pad

__all__ = ["Activate", "Chain", "ConvStream", "ResidualStream", "Stream", "UpConvStream", "identity"]

# Writes act(x) into `out` and returns it; `out` may be `x` itself.
Activate = Callable[[Tensor, Tensor], Tensor]


def identity(signal_tc: Tensor, out_tc: Tensor) -> Tensor:
    """The activation of a convolution that has none before it."""
    return out_tc.copy_(signal_tc)


class Stream(Protocol):
    def push(self, signal_tc: Tensor, last: bool) -> Tensor:
        """Take the next samples [t, c] and return all that can be computed now [t', c'], maybe nothing; `last` says
        that they end the clip."""
        ...


class Chain:
    """Streams in series."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams

    def push(self, signal_tc: Tensor, last: bool) -> Tensor:
        for stream in self._streams:
            signal_tc = stream.push(signal_tc, last)
        return signal_tc


class ConvStream:
    """An activation and a padded convolution: t in, ceil(t / stride) out.

    `_kept` holds past samples, the first `_used` of which only serve to be mirrored at the right edge.
    """

    def __init__(self, conv: Conv, activate: Activate, left: int, right: int, pad_mode: str) -> None:
        """`left` and `right` are the padding of a clip whose length is a multiple of the stride."""
        self._conv, self._activate, self._mode = conv, activate, pad_mode
        self._left, self._right = left, right
        self._kept: Tensor | None = None
        self._used = 0
        self._seen = 0
        self._padded = False

    def push(self, signal_tc: Tensor, last: bool) -> Tensor:
        self._seen += len(signal_tc)
        right = self._right + -self._seen % self._conv.stride if last else 0
        if last and self._seen <= max(self._left, right):  # a clip this short has given nothing yet: it is whole
            whole_tc = self._known(signal_tc, 0, 0)[self._left if self._padded else 0 :]
            return self._conv(pad(whole_tc.T[None], self._left, right, self._mode)[0].T.contiguous())
        starts = not self._padded and (self._seen > self._left or last)
        self._padded |= starts
        return self._emit(self._known(signal_tc, self._left if starts else 0, right))

    def _known(self, signal_tc: Tensor, left: int, right: int) -> Tensor:
        """Padding, kept samples, the activated new ones, padding, in one piece of memory."""
        count = left if self._kept is None else left + len(self._kept)
        end = count + len(signal_tc)
        known_tc = signal_tc.new_empty(end + right, signal_tc.shape[1])
        if self._kept is not None:
            known_tc[left:count] = self._kept
        self._activate(signal_tc, known_tc[count:end])
        # the clip's own samples, mirrored about its edge sample, or zeros
        mirrored = self._mode == "reflect"
        if left:
            known_tc[:left] = known_tc[left + 1 : 2 * left + 1].flip(0) if mirrored else 0
        if right:
            known_tc[end:] = known_tc[end - 1 - right : end - 1].flip(0) if mirrored else 0
        return known_tc

    def _emit(self, known_tc: Tensor) -> Tensor:
        stride, span = self._conv.stride, self._conv.span
        windows = (len(known_tc) - self._used - span) // stride + 1 if self._padded else 0
        if windows <= 0:
            self._kept = known_tc.clone()
            return known_tc.new_empty(0, self._conv.channels)
        begin, end = self._used, self._used + windows * stride
        out_tc = self._conv(known_tc[begin : end - stride + span])
        back = min(end, span + stride)  # enough to mirror: right padding is less than span + stride
        self._kept, self._used = known_tc[end - back :].clone(), back
        return out_tc


class UpConvStream:
    """An activation and a transposed convolution, trimmed: t in, t * stride out."""

    def __init__(self, conv: Conv, activate: Activate, stride: int, causal: bool) -> None:
        self._conv, self._activate, self._stride = conv, activate, stride
        self._trim = 0 if causal else stride - stride // 2
        self._before: Tensor | None = None
        self._due = 0  # samples still owed for the frames that have come

    def push(self, signal_tc: Tensor, last: bool) -> Tensor:
        frames, channels = signal_tc.shape
        self._due += frames * self._stride
        # A zero row stands before the clip, and behind it one for the tail of the last frame.
        known_tc = signal_tc.new_zeros(1 + frames + last, channels)
        if self._before is not None:
            known_tc[0] = self._before
        self._activate(signal_tc, known_tc[1 : 1 + frames])
        first = self._before is None
        if frames:
            self._before = known_tc[frames].clone()
        if len(known_tc) < 2 or (first and not frames):
            return signal_tc.new_empty(0, self._conv.channels // self._stride)
        out_tc = self._conv(known_tc).reshape((frames + last) * self._stride, -1)
        out_tc = out_tc[self._trim if first else 0 :][: self._due]
        self._due -= len(out_tc)
        return out_tc


class ResidualStream:
    """Activation, convolution, activation, convolution of kernel 1; plus the input, or a convolution of kernel 1 of it,
    which waits for the convolutions' output of the same time."""

    def __init__(
        self, start_inner: Callable[[], ConvStream], activate: Activate, outer: Conv, shortcut: Conv | None
    ) -> None:
        self._inner, self._activate, self._outer, self._shortcut = start_inner(), activate, outer, shortcut
        self._waiting: Tensor | None = None

    def push(self, signal_tc: Tensor, last: bool) -> Tensor:
        side_tc = self._shortcut(signal_tc) if self._shortcut and len(signal_tc) else signal_tc
        hidden_tc = self._inner.push(signal_tc, last)
        out_tc = hidden_tc.new_empty(0, signal_tc.shape[1])
        if len(hidden_tc):
            out_tc = self._outer(self._activate(hidden_tc, hidden_tc))
        waited = 0 if self._waiting is None else len(self._waiting)
        if self._waiting is not None:
            waited = min(waited, len(out_tc))
            out_tc[:waited] += self._waiting[:waited]
        rest = len(out_tc) - waited
        out_tc[waited:] += side_tc[:rest]
        late_tc = side_tc[rest:]
        if self._waiting is not None and waited < len(self._waiting):
            late_tc = torch.cat([self._waiting[waited:], late_tc])
        self._waiting = late_tc.clone()
        return out_tc
