"""The frames of an MP3 file, found and counted: its own header may announce fewer, and then decoders stop there.

ISO 11172-3 and 13818-3, section 2.4 (fields of a frame header); Xing, Info and VBRI are headers that encoders put into
the first frame, LAME's part of them tells how many samples to trim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from .source import joined
from .tags import tag_at

__all__ = ["MpegSound", "find_frames", "frame_size"]

_BIT_RATES = {  # kbit/s by (is version 1, layer), index 1 … 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version 1, 2, 2.5
_BLOCK = 1 << 16


@dataclass(frozen=True)
class MpegSound:
    """The frames of a file, and nothing between them: `stream`, which `is_contiguous` if nothing was left out.

    frames: whole frames of sound; frame_length: samples a channel of one; trimmed: samples of all frames that decoders
    leave out, as the file's own header says; announced: frames by that header, None without one.
    """

    stream: IO[bytes]
    is_contiguous: bool
    frames: int
    frame_length: int
    trimmed: int
    announced: int | None

    @property
    def num_samples(self) -> int:
        return max(0, self.frames * self.frame_length - self.trimmed)


def frame_size(head: bytes) -> tuple[int, int]:
    """Bytes of the frame that begins with these 4 bytes, and its samples a channel; (0, 0) if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bit_rate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < bit_rate < 15 or rate == 3:
        return 0, 0
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    bits_a_second = 1000 * _BIT_RATES[version == 3, layer][bit_rate - 1]
    slot = 4 if layer == 1 else 1
    return slot * (samples * bits_a_second // (8 * slot * _RATES[version][rate]) + padding), samples


def find_frames(stream: IO[bytes], end: int) -> MpegSound:
    """The frames of a stream that begins with one, up to byte `end`; between them may be tags and anything else."""
    stream.seek(0)
    frame_length, is_header, announced, trimmed = _first_frame(stream.read(512))
    frames, position, runs = -is_header, 0, [(0, 0)]
    while position < end:
        stream.seek(position)
        size, _ = frame_size(stream.read(4))
        if 0 < size <= end - position:
            frames += 1
            start = runs.pop()[0] if runs[-1][1] == position else position
            runs.append((start, position + size))
        position += size or _to_next_frame(stream, position, end)
    return MpegSound(joined(stream, runs), len(runs) == 1, frames, frame_length, trimmed, announced)


def _first_frame(head: bytes) -> tuple[int, bool, int | None, int]:
    """Samples of a frame, whether the first holds a header in place of sound, frames by it, samples to trim by it."""
    size, samples = frame_size(head)
    head = head[:size]
    if head[36:40] == b"VBRI":
        return samples, True, int.from_bytes(head[50:54], "big"), 0
    at = max(head.find(b"Xing", 0, 48), head.find(b"Info", 0, 48))  # behind 9, 17 or 32 bytes of side information
    if at < 0:
        return samples, False, None, 0
    delays = int.from_bytes(head[at + 141 : at + 144], "big") if head[at + 7] & 15 == 15 else 0
    announced = int.from_bytes(head[at + 8 : at + 12], "big") if head[at + 7] & 1 else None
    return samples, True, announced, (delays >> 12) + (delays & 0xFFF)


def _to_next_frame(stream: IO[bytes], position: int, end: int) -> int:
    """Bytes from `position`, where no frame begins, to the next one or to the end."""
    stream.seek(position)
    if size := tag_at(stream.read(32)):
        return size
    for start in range(position + 1, end, _BLOCK):
        stream.seek(start)
        block = stream.read(_BLOCK)
        at = block.find(b"\xff")
        while at >= 0:
            if _is_frame(stream, start + at, end):
                return start + at - position
            at = block.find(b"\xff", at + 1)
    return end - position


def _is_frame(stream: IO[bytes], position: int, end: int) -> bool:
    """Whether a frame begins there: another of its version, layer and rate is behind it, or the end."""
    stream.seek(position)
    head = stream.read(4)
    size, _ = frame_size(head)
    stream.seek(position + size)
    following = stream.read(4)
    is_same = frame_size(following)[0] > 0 and (following[1] ^ head[1]) & 0xFE == (following[2] ^ head[2]) & 0x0C == 0
    return size > 0 and (is_same or position + size == end)
