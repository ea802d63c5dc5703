"""A layout: which id means what, as data.

Ids come in one line: first the text tokenizer's, then, in the order in which they are added to it, special
tokens and segments. A segment is the codes of one tokenizer, layer after layer, and its two markers; a tokenizer
has one at most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from ..arguments import whole
from ..errors import CodesError, VocabularyError
from ..records import Within, build, check
from ..spec import Codes, Spec
from .checks import MAX_IDS, check_layout
from .patterns import FLAT, flat_cells

__all__ = ["Layout", "Segment", "build_layout", "rewritten", "segment_of"]


_Number = Annotated[int, Within(1, MAX_IDS)]
_Id = Annotated[int, Within(-1, MAX_IDS)]


@dataclass(frozen=True)
class Segment:
    """The ids of one tokenizer: code c of layer k is `first_id + k * codebook_size + c`.

    `tokenizer` is a name, or a full `name@hash` to pin the weights. `num_codebooks` is how many layers are
    written, the first ones. `code` is the text of a code, with `{}` for the number `k * codebook_size + c`,
    padded with zeros to `digits`; `aliases` are other spellings that parse. `num_frames` is T where it is
    fixed.
    """

    tokenizer: str
    modality: str
    num_codebooks: _Number
    codebook_size: _Number
    code: str
    start: str
    end: str
    digits: Annotated[int, Within(0, 20)] = 0
    aliases: tuple[str, ...] = ()
    pattern: str = "frame-major"
    num_frames: _Number | None = None
    frame_rate: float | None = None
    first_id: _Id = -1  # -1: not placed yet
    start_id: _Id = -1
    end_id: _Id = -1

    def __post_init__(self) -> None:
        check(self, VocabularyError)
        if self.pattern not in FLAT:
            raise VocabularyError(
                f"{self.tokenizer}: pattern {self.pattern!r} does not fit a line of ids; "
                f"{' and '.join(FLAT)} do; delay and parallel are for models with several streams"
            )
        if any(form.count("{}") != 1 for form in (self.code, *self.aliases)):
            raise VocabularyError(f"{self.tokenizer}: the text of a code, {self.code!r}, needs '{{}}' exactly once")

    @property
    def num_ids(self) -> int:
        """Ids of codes, markers not counted."""
        return self.num_codebooks * self.codebook_size

    @cached_property
    def spec(self) -> Spec:
        """The Spec that codes read from this segment carry."""
        return Spec(
            name=self.tokenizer.partition("@")[0],
            modality=self.modality,
            num_codebooks=self.num_codebooks,
            codebook_size=self.codebook_size,
            num_frames=self.num_frames,
            frame_rate=self.frame_rate,
            id=self.tokenizer,
        )

    def text_of(self, number: int) -> str:
        """The text of one code: `text_of(12)` is "<👀12>"."""
        return self.code.replace("{}", str(number).zfill(self.digits))

    def texts(self, code: str = "") -> list[str]:
        """The text of every code in the order of their numbers, as `code` or an alias of it spells them."""
        before, after = (code or self.code).split("{}")
        return [f"{before}{number:0{self.digits}d}{after}" for number in range(self.num_ids)]

    def summary(self) -> str:
        """One line for tables: "<🎶0> … <🎶8191>  encodec-32khz, 4 layers, frame-major"."""
        layers = f"{self.num_codebooks} layers, {self.pattern}" if self.num_codebooks > 1 else "1 layer"
        frames = f", {self.num_frames} a run" if self.num_frames else ""
        return f"{self.text_of(0)} … {self.text_of(self.num_ids - 1)}  {self.tokenizer}, {layers}{frames}"

    def tokens(self) -> Iterator[tuple[int, str]]:
        """Every id of the segment with its text."""
        yield from enumerate(self.texts(), self.first_id)
        yield from ((self.start_id, self.start), (self.end_id, self.end))

    def numbers(self, codes: Codes) -> np.ndarray:
        """Codes → the numbers of a run in order, int64 `[K·T]`; an id is first_id + number.

        Raises CodesError on codes that do not fit the segment.
        """
        self._check(codes)
        values = codes.values[: self.num_codebooks]
        lifted = values + np.arange(self.num_codebooks)[:, None] * self.codebook_size
        return lifted.reshape(-1)[flat_cells(self.pattern, *values.shape)]

    def _check(self, codes: Codes) -> None:
        spec = codes.spec
        if not self.spec.accepts(spec):
            raise CodesError(f"codes of {spec.id}: this vocabulary holds {self.tokenizer}")
        if codes.first_codebook != 0 or codes.num_codebooks < self.num_codebooks:
            first, last = codes.first_codebook, codes.first_codebook + codes.num_codebooks
            raise CodesError(
                f"codes with layers [{first}, {last}) of {spec.name}: the vocabulary writes layers "
                f"[0, {self.num_codebooks}); encode with at least {self.num_codebooks} codebooks"
            )
        if spec.codebook_size != self.codebook_size:
            raise CodesError(
                f"codes of {spec.id} with codebooks of {spec.codebook_size}: expected {self.codebook_size}"
            )
        if self.num_frames is not None and codes.num_frames != self.num_frames:
            raise CodesError(f"codes with {codes.num_frames} frames: a run of {self.tokenizer} has {self.num_frames}")
        if codes.scales is not None:
            raise CodesError(f"codes of {spec.name} carry loudness scales, which ids cannot hold: store the codes")


def segment_of(spec: Spec, *, num_codebooks: int | None = None, pattern: str = "frame-major", **texts: Any) -> Segment:
    """A segment for a tokenizer's Spec, not placed yet: `<image_12>` between `<image>` and `</image>`.

    `num_codebooks` writes only the first layers; `texts` overrides `code`, `digits`, `aliases`, `start`,
    `end`.
    """
    count = spec.num_codebooks if num_codebooks is None else num_codebooks
    if not 1 <= count <= spec.num_codebooks:
        raise VocabularyError(f"{count} codebooks of {spec.name} asked for: it has {spec.num_codebooks}")
    kind = spec.modality
    return Segment(
        tokenizer=spec.id,
        modality=kind,
        num_codebooks=count,
        codebook_size=spec.codebook_size,
        pattern=pattern,
        num_frames=spec.num_frames,
        frame_rate=spec.frame_rate,
        **{"code": f"<{kind}_{{}}>", "start": f"<{kind}>", "end": f"</{kind}>", **texts},
    )


@dataclass(frozen=True)
class Layout:
    """Ids 0 … text_size - 1 are text; every id from there to total is of one special token or segment.

    `text_hash` tells which text tokenizer has these text ids, where one was given: see `vocab.hf.hash_text`.
    """

    name: str
    text_size: int
    specials: tuple[tuple[str, int], ...]
    segments: tuple[Segment, ...]
    total: int
    text_hash: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check(self, VocabularyError)
        check_layout(self)

    def tokens(self) -> list[str]:
        """The text of every id from text_size on, in id order: what is added to the text tokenizer."""
        found = {number: token for token, number in self.specials}
        for segment in self.segments:
            found.update(segment.tokens())
        return [found[number] for number in range(self.text_size, self.total)]

    def stretches(self) -> list[tuple[int, int, str]]:
        """Who owns which ids, in order: first, one behind the last, meaning."""
        owners = [(number, number + 1, token) for token, number in self.specials]
        for segment in self.segments:
            owners += [
                (segment.first_id, segment.first_id + segment.num_ids, segment.summary()),
                (segment.start_id, segment.start_id + 1, segment.start),
                (segment.end_id, segment.end_id + 1, segment.end),
            ]
        return [(0, self.text_size, "text"), *sorted(owners)]

    def segment(self, tokenizer: str) -> Segment:
        """The segment of a tokenizer, by name; raises VocabularyError listing those there are."""
        for segment in self.segments:
            if segment.tokenizer.partition("@")[0] == tokenizer:
                return segment
        known = ", ".join(segment.tokenizer for segment in self.segments)
        raise VocabularyError(f"the vocabulary {self.name} has no ids for {tokenizer}; it speaks {known}")

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits: two layouts are one when their hashes are.

        Without `text_hash`: a published layout is the same before and after its text tokenizer is at hand."""
        record = {key: value for key, value in self.to_dict().items() if key != "text_hash"}
        canonical = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON; `from_dict` is its inverse."""
        return {
            "name": self.name,
            "text_size": self.text_size,
            "specials": [list(pair) for pair in self.specials],
            "segments": [{**asdict(segment), "aliases": list(segment.aliases)} for segment in self.segments],
            "total": self.total,
            **({"text_hash": self.text_hash} if self.text_hash else {}),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Layout:
        """A layout from `to_dict`'s output; raises VocabularyError on anything else."""
        return build(cls, record, "not a layout of Vocabulary.save", VocabularyError)


def build_layout(name: str, text_size: int, items: Sequence[str | Segment], reserved: int = 0) -> Layout:
    """Place special tokens (strings) and segments one after the other, from text_size on.

    A segment takes its codes, then its start marker, then its end marker. `reserved` more special tokens,
    `<reserved_0>` …, keep ids free for later.
    """
    whole("reserved", reserved, 0, MAX_IDS, error=VocabularyError)
    specials: list[tuple[str, int]] = []
    segments: list[Segment] = []
    next_id = text_size
    for item in [*items, *(f"<reserved_{number}>" for number in range(reserved))]:
        if isinstance(item, str):
            specials.append((item, next_id))
            next_id += 1
        else:
            end = next_id + item.num_ids
            segments.append(replace(item, first_id=next_id, start_id=end, end_id=end + 1))
            next_id = end + 2
    return Layout(name, text_size, tuple(specials), tuple(segments), next_id)


def rewritten(layout: Layout, modality: str, num_codebooks: int | None = None, pattern: str | None = None) -> Layout:
    """The layout with the same ids and texts, but runs of `modality` with the first `num_codebooks` layers alone, or
    in another `pattern`; None keeps what is there.

    Tokens of the layers left out become special ones, so that text tokenizers that have them still fit. Raises
    VocabularyError where the layout has no such modality, or fewer layers.
    """
    if modality not in (known := {segment.modality for segment in layout.segments}):
        raise VocabularyError(f"the vocabulary {layout.name} has no {modality}; it has {', '.join(sorted(known))}")
    specials, segments = list(layout.specials), []
    for segment in layout.segments:
        if segment.modality != modality:
            segments.append(segment)
            continue
        count = segment.num_codebooks if num_codebooks is None else num_codebooks
        if not 1 <= count <= segment.num_codebooks:
            raise VocabularyError(
                f"{count} codebooks of {segment.tokenizer} asked for: {layout.name} has ids for {segment.num_codebooks}"
            )
        segments.append(replace(segment, num_codebooks=count, pattern=pattern or segment.pattern))
        left_out = range(count * segment.codebook_size, segment.num_ids)
        specials += [(segment.text_of(number), segment.first_id + number) for number in left_out]
    return replace(layout, specials=tuple(specials), segments=tuple(segments))
