"""Speech with phone labels from eSpeak NG's shared library, through ctypes.

Its command line gives phones but not their times; the library reports both, as events beside the samples.
Source: speak_lib.h of eSpeak NG 1.51.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache

import numpy as np

from ..errors import UsageError

__all__ = ["Phone", "speak"]

Phone = tuple[float, str]  # start in seconds, IPA symbol

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_NAMES = 2, 0x0001, 0x0002
_UTF8, _PHONEME = 1, 7
_RATE, _PITCH, _RANGE = 1, 3, 4


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    path = ctypes.util.find_library("espeak-ng")
    if path is None:
        raise UsageError("eSpeak NG is not installed: apt-get install espeak-ng, then run this again")
    library = ctypes.CDLL(path)
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS | _IPA_NAMES)
    return library, rate


def speak(
    text: str, voice: str, rate: int = 170, pitch: int = 50, pitch_range: int = 50
) -> tuple[np.ndarray, int, list[Phone]]:
    """Read `text`: float32 samples in [-1, 1], their rate in Hz, and the phones in order.

    `voice` is a language with an optional variant, such as "en-us+f3"; `rate` is words per minute, `pitch` and
    `pitch_range` are 0 to 100. Raises UsageError where eSpeak NG or the voice is missing.
    """
    library, sample_rate = _library()
    if library.espeak_SetVoiceByName(voice.encode()):
        raise UsageError(f"eSpeak NG has no voice {voice!r}; `espeak-ng --voices` lists them")
    for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
        library.espeak_SetParameter(parameter, value, 0)
    pieces: list[np.ndarray] = []
    phones: list[Phone] = []

    def receive(samples, num_samples, events) -> int:  # type: ignore[no-untyped-def]
        if samples and num_samples:
            pieces.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _PHONEME:
                phones.append((events[i].audio_position / 1000, events[i].id.string.decode("utf-8", "ignore")))
            i += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(pieces).astype(np.float32) / 32768 if pieces else np.zeros(0, np.float32)
    return wave, sample_rate, phones
