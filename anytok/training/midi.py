"""Standard MIDI files, the few bytes of them that music to train on needs.

Source: Standard MIDI Files 1.0: a header chunk, one track of (delta time, event), times in ticks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DRUMS", "Score"]

_TICKS = 480  # per beat
DRUMS = 9  # the channel that General MIDI keeps for percussion


@dataclass
class Score:
    """Notes on sixteen channels; times and lengths in beats, tempo in beats per minute."""

    tempo: float
    _events: list[tuple[int, int, bytes]] = field(default_factory=list)

    def program(self, channel: int, program: int) -> None:
        """Give a channel one of General MIDI's 128 instruments, from the start on."""
        self._events.append((0, 0, bytes((0xC0 | channel, program))))

    def note(self, channel: int, start: float, length: float, pitch: int, velocity: int) -> None:
        """One note; pitch 60 is middle C."""
        on, off = round(start * _TICKS), round((start + length) * _TICKS)
        self._events.append((on, 2, bytes((0x90 | channel, pitch, velocity))))
        self._events.append((max(off, on + 1), 1, bytes((0x80 | channel, pitch, 0))))

    def save(self, path: Path) -> None:
        """Write the file. At equal times programs come first, and notes end before others begin."""
        microseconds = round(60e6 / self.tempo)
        track = bytearray(b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big"))
        now = 0
        for tick, _, message in sorted(self._events):
            track += _variable_length(tick - now) + message
            now = tick
        track += b"\x00\xff\x2f\x00"
        header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS)
        path.write_bytes(header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track))


def _variable_length(number: int) -> bytes:
    """Seven bits a byte, the high bit set on all but the last."""
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(0x80 | number & 0x7F)
    return bytes(reversed(out))
