"""One item on its way to ids and back, and the panel that shows it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..media import Audio, Decoded, prepare
from ..multimodal import Multimodal
from ..spec import Codes
from .clips import Clip
from .panel import Figure, Panel, Table, count

__all__ = ["Exhibit", "make_exhibit", "start_and_end"]

T = TypeVar("T")
_SHOWN = 24  # ids and tokens that are written out


@dataclass(frozen=True)
class Exhibit:
    """What went in, its codes, ids and text, and what came out."""

    clip: Clip
    original: Decoded  # as the tokenizer takes it: resized, resampled, mixed
    codes: Codes
    ids: np.ndarray
    text: str
    decoded: Decoded
    encode_seconds: float
    decode_seconds: float

    @property
    def title(self) -> str:
        return self.clip.title

    @property
    def facts(self) -> str:
        """One line: how much became how much, and how fast."""
        spec, codes = self.codes.spec, self.codes
        size = f"{self.original.duration:.1f} s" if isinstance(self.original, Audio) else f"{self.original.width} px"
        return (
            f"{self.title}: {size} → {codes.num_codebooks} × {codes.num_frames} codes of {spec.codebook_size} "
            f"→ {len(self.ids)} ids → back; {spec.name}, encoded in {self.encode_seconds:.2f} s, "
            f"decoded in {self.decode_seconds:.2f} s"
        )

    def panel(self) -> Panel:
        codes = self.codes
        shape = f"{count(codes.num_codebooks, 'codebook')} × {count(codes.num_frames, 'frame')}"
        return Panel(
            self.title,
            self.clip.seen or "One of your own files.",
            [
                [
                    Figure("what went in", self.original, self.clip.seen),
                    Figure("what came back from the ids", self.decoded),
                ],
                [Figure(f"the codes, a colour each: {shape}", None, codes=codes.values)],
            ],
            [Table("in numbers", ("what", "how much", "that is"), self._numbers())],
            [
                ("ids in the shared vocabulary", start_and_end(list(map(str, self.ids)), " ")),
                ("the same as text", start_and_end(self.text.replace("><", ">\n<").split("\n"), " ")),
            ],
        )

    def _numbers(self) -> list[tuple[str, str, str]]:
        codes, spec = self.codes, self.codes.spec
        bits = math.log2(spec.codebook_size)
        if isinstance(self.original, Audio):
            form = f"sound, {self.original.sample_rate:,} samples a second"
            raw = f"the same sound in 16-bit samples: {2 * self.original.wave.size:,} bytes"
            made = f"{count(codes.num_codebooks, 'codebook')} × {count(codes.num_frames, 'frame')}, "
            made += f"{spec.frame_rate} frames a second; "
            back = "sound, computed from the codes alone"
        else:
            form = "the picture, made square"
            raw = f"the same pixels, uncompressed: {3 * self.original.width * self.original.height:,} bytes"
            made, back = "", "a picture, painted from the codes alone; shown as large as what went in"
        return [
            ("went in", _size(self.original), form),
            ("codes", f"{codes.values.size:,}", f"{made}each one of {spec.codebook_size:,}, chosen by {spec.name}"),
            ("size of the codes", f"{math.ceil(codes.values.size * bits / 8):,} bytes", f"{bits:g} bits a code; {raw}"),
            ("ids", f"{len(self.ids):,}", "the codes, and a mark before and behind them"),
            ("came back", _size(self.decoded), back),
            ("time to encode", f"{self.encode_seconds:.3f} seconds", "on this machine, with the model loaded"),
            ("time to decode", f"{self.decode_seconds:.3f} seconds", "likewise"),
        ]


def make_exhibit(suite: Multimodal, clip: Clip) -> Exhibit:
    """Encode, write as ids, read the ids, decode; the two ends are timed."""
    tokenizer = suite.tokenizer(clip.modality)
    codes, encode_seconds = timed(lambda: tokenizer.encode(clip.media))
    ids = suite.vocabulary.to_ids(codes)
    (back,) = suite.vocabulary.from_ids(ids)
    assert isinstance(back, Codes)
    decoded, decode_seconds = timed(lambda: tokenizer.decode(back))
    return Exhibit(
        clip=clip,
        original=prepare(clip.media, tokenizer.spec),
        codes=codes,
        ids=ids,
        text=suite.vocabulary.to_text(codes),
        decoded=decoded,
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
    )


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and the seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _size(medium: Decoded) -> str:
    return f"{medium.duration:.1f} seconds" if isinstance(medium, Audio) else f"{medium.width} × {medium.height} pixels"


def start_and_end(words: list[str], between: str, shown: int = _SHOWN) -> str:
    """The first words and the last, with "…" for those between, if there are any."""
    return between.join([*words[:shown], "…", words[-1]] if len(words) > shown + 1 else words)
