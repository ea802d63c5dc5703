"""The phone classes that the semantic objective learns, and how two synthesisers' symbols map onto them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .espeak import Phone

__all__ = ["PHONES", "UNKNOWN", "frame_labels"]

_SILENCE = "_"
_SOUNDS = "p b t d k ɡ f v θ ð s z ʃ ʒ h tʃ dʒ m n ŋ l ɹ j w i ɪ ɛ æ ʌ ə ɜ ɑ ɒ ɔ ʊ u e o y a aɪ eɪ ɔɪ aʊ oʊ r x ʔ ɲ"
PHONES = (_SILENCE, *_SOUNDS.split())
UNKNOWN = -1

_MARKS = str.maketrans("", "", "ˈˌːˑʲʰ̩̯̃͡ᵻ-")
_SAME = {
    "": _SILENCE, "g": "ɡ", "əʊ": "oʊ", "ɐ": "ʌ", "ɚ": "ɜ", "ɝ": "ɜ", "ᵻ": "ɪ", "ɫ": "l", "ɾ": "t", "ʁ": "r", "ç": "x",
}  # fmt: skip
_FLITE = (
    "pau:_ aa:ɑ ae:æ ah:ʌ ao:ɔ aw:aʊ ax:ə ay:aɪ b:b ch:tʃ d:d dh:ð eh:ɛ er:ɜ ey:eɪ f:f g:ɡ hh:h ih:ɪ iy:i jh:dʒ "
    "k:k l:l m:m n:n ng:ŋ ow:oʊ oy:ɔɪ p:p r:ɹ s:s sh:ʃ t:t th:θ uh:ʊ uw:u v:v w:w y:j z:z zh:ʒ"
)
_ARPABET = {name: symbol for name, symbol in (pair.split(":") for pair in _FLITE.split())}


def phone_class(symbol: str) -> int:
    """Index into PHONES of an IPA or ARPAbet symbol, UNKNOWN where neither it nor its first letter is there."""
    plain = _ARPABET.get(symbol) or _SAME.get(symbol, symbol).translate(_MARKS)
    plain = _SAME.get(plain, plain)
    for candidate in (plain, plain[:1]):
        if candidate in PHONES:
            return PHONES.index(candidate)
    return UNKNOWN


def frame_labels(phones: Sequence[Phone], num_frames: int, frame_rate: float) -> np.ndarray:
    """The phone class at the middle of each frame, int8 [num_frames]; silence before the first phone."""
    starts = np.array([start for start, _ in phones])
    classes = np.array([phone_class(symbol) for _, symbol in phones] + [PHONES.index(_SILENCE)], np.int8)
    middles = (np.arange(num_frames) + 0.5) / frame_rate
    return classes[np.searchsorted(starts, middles, side="right") - 1]
