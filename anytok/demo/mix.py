"""What codes are for: halves of two pictures, the content of one voice in the timbre of another, three vocabularies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np

from ..errors import MediaError
from ..media import Audio, Decoded
from ..metrics.audio import spectrum_distance
from ..multimodal import Multimodal
from ..spec import Codes, Spec
from ..vocab import Segment, Vocabulary, build_layout, load_vocabulary, segment_of
from .describe import pitch
from .exhibit import Exhibit, start_and_end
from .panel import Figure, Panel, Table, count

__all__ = ["compare", "mix_pictures", "mix_voices", "write_in_vocabularies"]

_VOCABULARIES = {"mini": "ours", "anygpt": "AnyGPT's", "mio": "MIO's"}  # by name, and as the page calls them
_WHAT = ("ids of words", "what is written", "how many ids", "the ids", "the same as text", "read back")
_SHOWN = 3  # ids and tokens of a cell


def mix_pictures(suite: Multimodal, first: Exhibit, second: Exhibit) -> Panel:
    """The first half of one picture's codes with the second half of another's, and the other way round."""
    one, other = first.codes.values, second.codes.values
    half = one.shape[1] // 2
    mixed = [np.concatenate([a[:, :half], b[:, half:]], 1) for a, b in ((one, other), (other, one))]
    pictures = suite.tokenizer("image").decode_batch([dataclasses.replace(first.codes, values=m) for m in mixed])
    return Panel(
        "half of one picture, half of the other",
        f"A picture is {one.shape[1]} codes in a row. Cut both rows in the middle and exchange the ends: that is a "
        "picture, too, and the painter paints it. No pixel of the originals is used.",
        [
            [
                Figure(f"{first.title}, as it came back", first.decoded, codes=one),
                Figure(f"{half} codes of {first.title}, then {half} of {second.title}", pictures[0], codes=mixed[0]),
                Figure(f"{half} codes of {second.title}, then {half} of {first.title}", pictures[1], codes=mixed[1]),
                Figure(f"{second.title}, as it came back", second.decoded, codes=other),
            ]
        ],
    )


def mix_voices(suite: Multimodal, first: Exhibit, second: Exhibit) -> Panel:
    """The content layer of one voice with the timbre layers of another, and the other way round.

    As SpeechTokenizer's paper converts voices (arXiv 2308.16692): timbre that is shorter than the content is repeated.
    """
    mixed = [_voiced(first.codes, second.codes), _voiced(second.codes, first.codes)]
    sounds = suite.tokenizer("speech").decode_batch(mixed)
    back = [Figure(f"{one.title}, as it came back", one.decoded, codes=one.codes.values) for one in (first, second)]
    made = [
        Figure(f"content of {a.title}, timbre of {b.title}", sound, codes=codes.values)
        for (a, b), sound, codes in zip(((first, second), (second, first)), sounds, mixed, strict=True)
    ]
    return Panel(
        "what one voice says, with the timbre of the other",
        "Codebook 1, the top row, is there for what is said (content), the others for how it sounds (timbre). So the "
        f"top row of one recording is joined to rows 2 to {first.codes.num_codebooks} of the other. The small model "
        "does not part the two cleanly: the sound goes some of the way, as the numbers tell, and words suffer.",
        [back, made],
        [compare([*back, *made], [first, second])],
    )


def _voiced(content: Codes, timbre: Codes) -> Codes:
    places = np.arange(content.num_frames) % timbre.num_frames
    return dataclasses.replace(content, values=np.concatenate([content.values[:1], timbre.values[1:, places]]))


def compare(sounds: Sequence[Figure], voices: Sequence[Exhibit]) -> Table:
    """The pitch of each sound, and how far its average spectrum is from that of each voice."""
    return Table(
        "how alike: pitch, and decibels between average spectra (loudness left out; 0 is the same)",
        ("sound", "pitch", *(f"from {voice.title}" for voice in voices)),
        [(each.caption, *_compared(each.medium, [voice.decoded for voice in voices])) for each in sounds],
    )


def _compared(sound: object, voices: Sequence[Decoded]) -> tuple[str, ...]:
    waves = [each for each in (sound, *voices) if isinstance(each, Audio)]
    hertz = pitch(waves[0])
    try:
        apart = [spectrum_distance(waves[0].wave[0], each.wave[0], each.sample_rate) for each in waves[1:]]
    except MediaError:
        return "none", *["one of them is silent"] * len(voices)
    return "none" if hertz is None else f"{hertz:.0f} hertz", *(f"{each:.1f} decibels" for each in apart)


def write_in_vocabularies(exhibits: Sequence[Exhibit]) -> Panel:
    """The first picture and the first voice (or tune) as ids of our vocabulary, and as AnyGPT and MIO lay them out."""
    specs = {exhibit.codes.spec.modality: exhibit.codes.spec for exhibit in exhibits}
    kinds: list[str] = [kind for kind in ("image", "speech") if kind in specs] or ["music"]
    chosen = [next(each for each in exhibits if each.codes.spec.modality == kind) for kind in kinds]
    vocabularies = {title: _with_small_models(name, specs) for name, title in _VOCABULARIES.items()}
    return Panel(
        "the same codes in three vocabularies",
        "A language model has ids for words first; codes get ids behind them. Where these begin, how many codebooks "
        "are written and in which order is the vocabulary's choice, and the codes stay what they are. AnyGPT's and "
        "MIO's layouts are the published ones, with the small models in the place of theirs.",
        tables=[
            Table(exhibit.title, ("vocabulary", *names), [*zip(_WHAT, *columns, strict=True)])
            for exhibit in chosen
            for names, columns in [_columns(vocabularies, exhibit.codes)]
        ],
    )


def _columns(vocabularies: Mapping[str, Vocabulary], codes: Codes) -> tuple[list[str], list[tuple[str, ...]]]:
    """The vocabularies that have the modality, and what each makes of the codes."""
    modality = codes.spec.modality
    those = {
        name: vocabulary
        for name, vocabulary in vocabularies.items()
        if modality in {segment.modality for segment in vocabulary.layout.segments}
    }
    return list(those), [_written(vocabulary, codes) for vocabulary in those.values()]


def _with_small_models(name: str, specs: Mapping[str, Spec]) -> Vocabulary:
    """A published vocabulary with our tokenizers in the place of those of their modality."""
    layout = load_vocabulary(name).layout
    items: list[tuple[int, str | Segment]] = [(first_id, token) for token, first_id in layout.specials]
    for segment in layout.segments:
        items.append((segment.first_id, _with_spec(segment, specs.get(segment.modality, segment.spec))))
    return Vocabulary(build_layout(name, layout.text_size, [item for _, item in sorted(items, key=itemgetter(0))]))


def _with_spec(segment: Segment, spec: Spec) -> Segment:
    """A segment that is spelled and ordered like this one, for another tokenizer."""
    texts = {key: getattr(segment, key) for key in ("code", "start", "end", "digits", "aliases", "pattern")}
    return segment_of(spec, num_codebooks=min(segment.num_codebooks, spec.num_codebooks), **texts)


def _written(vocabulary: Vocabulary, codes: Codes) -> tuple[str, ...]:
    segment = vocabulary.layout.segment(codes.spec.name)
    ids, tokens = vocabulary.to_ids(codes), vocabulary.to_text(codes).replace("><", ">\n<").split("\n")
    (back,) = vocabulary.from_ids(ids)
    assert isinstance(back, Codes)
    order = {"frame-major": ", frame by frame", "layer-major": ", one after the other"}[segment.pattern]
    layers = segment.num_codebooks
    same = "equal" if np.array_equal(back.values, codes.values[:layers]) else "not equal"
    return (
        f"{vocabulary.layout.text_size:,}",
        count(layers, "codebook") + (order if layers > 1 else ""),
        f"{len(ids):,}",
        start_and_end(list(map(str, ids)), " ", _SHOWN),
        start_and_end(tokens, " ", _SHOWN),
        f"{layers} of {count(codes.num_codebooks, 'codebook')}, {same}",
    )
