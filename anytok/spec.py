"""Codes, and the Spec of the tokenizer that made them.

Legend: K codebooks, T frames.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from .arguments import whole
from .drawing import draw_codes, image_uri
from .errors import CodesError
from .records import Within, build, check

__all__ = ["Codes", "Spec"]

_LARGEST = 1 << 40
_DRAWN = 3000  # frames in a notebook
_Number = Annotated[int, Within(1, _LARGEST)]


@dataclass(frozen=True)
class Spec:
    """What a tokenizer takes, what it gives, and which weights it has.

    `id` is `name@hash-of-the-weights`, with `+dtype` behind it where another precision than float32 changes codes.
    An id that is only the name (of a vocabulary without weights) fits every tokenizer of that name.
    `preprocessing` names the recipe by which media become model input; see `anytok.recipes`.
    Raises CodesError on numbers that are no whole ones above 0, and on other things in the place of text.
    """

    name: str
    modality: str  # "image", "speech", "music", or what another package's tokenizer is for
    num_codebooks: _Number  # K of what encode returns
    codebook_size: _Number
    num_frames: _Number | None = None  # T, where it is fixed (images)
    frame_rate: Annotated[float, Within(0, _LARGEST, above=True)] | None = None  # Hz, where T grows with time: 50, 12.5
    sample_rate: _Number | None = None  # Hz
    channels: _Number | None = None  # of the wave, 1 or 2
    image_size: _Number | None = None  # pixels a side
    segment_samples: _Number | None = None  # 48 kHz EnCodec: every segment is encoded on its own …
    segment_stride: _Number | None = None  # … and overlaps the next one
    preprocessing: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        check(self, CodesError)
        if self.frame_rate is not None and self.frame_rate.is_integer():  # 50 and 50.0 are one in JSON, too
            object.__setattr__(self, "frame_rate", int(self.frame_rate))
        if self.sample_rate and self.frame_rate and not 1 <= self.sample_rate / self.frame_rate <= _LARGEST:
            raise CodesError(f"a spec with {self.frame_rate} frames a second of {self.sample_rate} samples")
        if not self.id:
            object.__setattr__(self, "id", self.name)

    @property
    def is_image(self) -> bool:
        """Whether media are pictures; otherwise they are sound. Modalities have names of any kind, so sizes tell."""
        return self.num_frames is not None or self.image_size is not None

    @property
    def hop_length(self) -> int:
        """Samples per frame (audio only)."""
        if not self.sample_rate or not self.frame_rate:
            raise CodesError(f"{self.name} is for {self.modality}: samples and frames of sound mean nothing to it")
        return round(self.sample_rate / self.frame_rate)

    def segments(self, num_samples: int) -> list[tuple[int, int]]:
        """Start and end, in samples, of the stretches that are encoded on their own; one, if not segmented.

        A segment starts every stride until the wave ends, as in encodec and transformers.
        """
        if self.segment_samples is None or self.segment_stride is None:
            return [(0, num_samples)]
        starts = range(0, num_samples, self.segment_stride)
        return [(start, min(num_samples, start + self.segment_samples)) for start in starts]

    def frames_of(self, num_samples: int) -> int:
        """T for a wave of `num_samples` samples: ceil(samples / hop), summed over segments."""
        return sum(-(-(end - start) // self.hop_length) for start, end in self.segments(num_samples))

    def accepts(self, other: Spec) -> bool:
        """Whether codes made under `other` mean the same here: same name, and same weights where both know."""
        name, _, weights = self.id.partition("@")
        other_name, _, other_weights = other.id.partition("@")
        unknown = not weights or not other_weights
        return name == other_name and (unknown or weights.split("+")[0] == other_weights.split("+")[0])

    def with_id(self, identity: str) -> Spec:
        """The same Spec under another id; see `Tokenizer.identified`."""
        return dataclasses.replace(self, id=identity)

    def __repr__(self) -> str:
        """Without the fields that are not set."""
        return f"Spec({', '.join(f'{key}={value!r}' for key, value in self.to_dict().items() if value != '')})"

    def _repr_html_(self) -> str:
        from html import escape  # here: its table of entities takes as long to import as all of this file

        rows = (f"<tr><th>{key}</th><td>{escape(str(value))}</td></tr>" for key, value in self.to_dict().items())
        return f"<table>{''.join(rows)}</table>"

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON, without the fields that are None."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of one item: `values`, int64 `[K, T]`, each in [0, codebook_size), and their Spec.

    `num_samples` (audio) lets decode cut the sound to its length. `first_codebook` is the layer that row 0
    belongs to, so a slice of layers stays decodable. `scales`, float32 `[segments]`, is there only where the
    tokenizer normalises loudness (EnCodec 48 kHz). `margins`, float32 `[K, T]`, is there only where `encode` was asked
    for it: by what share of its length the latent of each frame may be off without another code there. It says how sure
    codes are, not what they are, so it is not compared. Raises CodesError on what does not fit together.
    """

    values: np.ndarray
    spec: Spec
    num_samples: int | None = None
    first_codebook: int = 0
    scales: np.ndarray | None = None
    margins: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_codebook", whole("first_codebook", self.first_codebook, 0, error=CodesError))
        if not isinstance(self.spec, Spec):
            raise CodesError(f"codes with a spec of {type(self.spec).__name__}: expected an anytok.Spec")
        values = _array(self.values)
        _check_values(values, self.spec, self.first_codebook)
        values = values.astype(np.int64)
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
        if self.scales is not None:
            object.__setattr__(self, "scales", _scales(self.scales))
        if self.margins is not None:
            object.__setattr__(self, "margins", _margins(self.margins, values.shape))
        if self.num_samples is not None:
            object.__setattr__(self, "num_samples", whole("num_samples", self.num_samples, 1, error=CodesError))
            _check_length(self.num_samples, self.spec, values.shape[1])

    @property
    def num_codebooks(self) -> int:
        return int(self.values.shape[0])

    @property
    def num_frames(self) -> int:
        return int(self.values.shape[1])

    def layers(self, start: int, end: int) -> Codes:
        """Layers [start, end) alone, counted from the tokenizer's first: `codes.layers(0, 1)` is the content
        layer of speech, `codes.layers(1, 8)` the voice."""
        first, last = self.first_codebook, self.first_codebook + self.num_codebooks
        start, end = (whole("layers", place, 0, error=CodesError) for place in (start, end))
        if not first <= start < end <= last:
            raise CodesError(f"layers [{start}, {end}) asked for, but these codes hold layers [{first}, {last})")
        rows = slice(start - first, end - first)
        margins = None if self.margins is None else self.margins[rows]
        return dataclasses.replace(self, values=self.values[rows], first_codebook=start, margins=margins)

    def segment_frames(self) -> list[int]:
        """Frames of each separately encoded stretch (see Spec.segments); they add up to T.

        Without `num_samples` all segments but the last are taken as full.
        """
        spec = self.spec
        if spec.segment_samples is None:
            return [self.num_frames]
        if self.num_samples is not None:
            return [-(-(end - start) // spec.hop_length) for start, end in spec.segments(self.num_samples)]
        full = -(-spec.segment_samples // spec.hop_length)
        return [min(full, self.num_frames - start) for start in range(0, self.num_frames, full)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Codes):
            return NotImplemented
        return (
            self.spec.id == other.spec.id
            and self.first_codebook == other.first_codebook
            and self.num_samples == other.num_samples
            and np.array_equal(self.values, other.values)
            and _equal(self.scales, other.scales)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Codes({self.spec.id}, {self.num_codebooks} x {self.num_frames})"

    def _repr_html_(self) -> str:
        """The codes as a picture, as notebooks show it: a row a codebook, a column a frame, a colour a code."""
        from html import escape

        last = self.first_codebook + self.num_codebooks
        layers = f"codebooks {self.first_codebook + 1} to {last}" if self.num_codebooks > 1 else f"codebook {last}"
        facts = f"{escape(self.spec.id)}: {layers} × {self.num_frames} frames of {self.spec.codebook_size} codes"
        picture = image_uri(draw_codes(self.values[:, :_DRAWN]))
        part = f", of which the first {_DRAWN}" if self.num_frames > _DRAWN else ""
        return f'<div><img src="{picture}" style="image-rendering: pixelated"><br>{facts}{part}</div>'

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON; `from_dict` is its inverse."""
        record: dict[str, Any] = {"spec": self.spec.to_dict(), "codes": self.values.tolist()}
        if self.num_samples is not None:
            record["num_samples"] = self.num_samples
        if self.first_codebook:
            record["first_codebook"] = self.first_codebook
        if self.scales is not None:
            record["scales"] = [float(scale) for scale in self.scales]
        if self.margins is not None:
            record["margins"] = self.margins.tolist()
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Codes:
        """Codes from `to_dict`'s output; raises CodesError on anything else."""
        try:
            spec = build(Spec, record["spec"], "spec", CodesError)
            values = np.asarray(record["codes"])
            more = [record.get(name) for name in ("scales", "margins")]
            extra = set(record) - {"spec", "codes", "num_samples", "first_codebook", "scales", "margins"}
        except (KeyError, TypeError, ValueError) as error:
            raise CodesError(f"not a codes record ({error}): expected the JSON that Codes.to_dict writes") from error
        if extra:
            raise CodesError(
                f"a codes record with unknown fields {sorted(map(str, extra))}: was it written by a newer anytok?"
            )
        return cls(values, spec, record.get("num_samples"), record.get("first_codebook", 0), *more)


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def _array(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # rows of different lengths, a tensor on a GPU
        raise CodesError(f"codes that are no array ({error}): expected integers [K, T]") from error


def _scales(values: Any) -> np.ndarray:
    try:
        scales = np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodesError(f"scales that are no numbers ({error})") from error
    if scales.ndim != 1 or not (np.isfinite(scales) & (scales >= 0)).all():
        raise CodesError(f"scales {scales}: expected one finite loudness, 0 or more, of each segment")
    return scales


def _margins(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        margins = np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodesError(f"margins that are no numbers ({error})") from error
    if margins.shape != shape or np.isnan(margins).any():
        raise CodesError(f"margins of shape {list(margins.shape)}: expected one number for each code, {list(shape)}")
    return margins


def _check_length(num_samples: int, spec: Spec, num_frames: int) -> None:
    if spec.frame_rate is None or spec.sample_rate is None:
        raise CodesError(f"num_samples={num_samples}: this spec of {spec.name} has no sample rate")
    # First what needs no list of segments, of at least a frame each: a record from disk may claim any number.
    segments = -(-num_samples // (spec.segment_stride or num_samples))
    if segments > num_frames or num_samples > num_frames * spec.hop_length or spec.frames_of(num_samples) != num_frames:
        raise CodesError(
            f"num_samples={num_samples} does not make the {num_frames} frames that the codes have for {spec.name}, "
            f"{spec.hop_length} samples each: pass the length of the original wave, or None"
        )


def _check_values(values: np.ndarray, spec: Spec, first_codebook: int) -> None:
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise CodesError(
            f"codes of shape {list(values.shape)} and type {values.dtype}: expected an integer array [K, T] "
            f"({spec.num_codebooks} codebooks, frames)"
        )
    num_codebooks, num_frames = values.shape
    if not (first_codebook >= 0 and 1 <= num_codebooks <= spec.num_codebooks - first_codebook):
        raise CodesError(
            f"codes with {num_codebooks} codebooks from layer {first_codebook} on: {spec.name} has {spec.num_codebooks}"
        )
    if num_frames == 0 or (spec.num_frames is not None and num_frames != spec.num_frames):
        wanted = spec.num_frames if spec.num_frames is not None else "at least 1"
        raise CodesError(f"codes with {num_frames} frames: an item of {spec.name} has {wanted}")
    outside = (values < 0) | (values >= spec.codebook_size)
    if outside.any():
        layer, frame = np.argwhere(outside)[0]
        raise CodesError(
            f"code {values[layer, frame]} at layer {first_codebook + layer}, frame {frame}: {spec.name} has codes "
            f"0 to {spec.codebook_size - 1}. Ids of a shared vocabulary go through Vocabulary.from_ids first"
        )
