"""Several tokenizers over one Vocabulary: words, pictures, speech and music, interleaved ⇄ ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .arguments import did_you_mean
from .checkpoints.around_torchaudio import load_text_tokenizer
from .errors import CheckpointError, UsageError
from .media import Decoded, Media
from .registry import find, list_tokenizers, load_tokenizer, load_voice, option_names, speech_of
from .spec import Codes
from .tokenizer import Tokenizer
from .vocab import Part, Parts, Segment, Special, TextIds, Vocabulary, load_vocabulary
from .voice import Voice

__all__ = ["Image", "Medium", "Multimodal", "Music", "Speech", "load_multimodal"]


@dataclass(frozen=True)
class Medium:
    """A picture or recording to be read by the vocabulary's tokenizer of `modality`, such as another package's."""

    source: Media
    modality: str


@dataclass(frozen=True)
class Image(Medium):
    """A picture to be read: a path, a file object, bytes, a PIL image, or a uint8 array `[H, W, 3]`."""

    modality: str = field(default="image", init=False)


@dataclass(frozen=True)
class Speech(Medium):
    """A recording to be read: a path, a file object, bytes, or `anytok.Audio`."""

    modality: str = field(default="speech", init=False)


@dataclass(frozen=True)
class Music(Medium):
    """A piece of music to be read: a path, a file object, bytes, or `anytok.Audio`."""

    modality: str = field(default="music", init=False)


# Decode options of speech that are the voice's, and what `Voice.fill_batch` calls them.
_VOICE_OPTIONS = {f"voice_{name}": name for name in ("steps", "greedy", "seeds")} | {"voice_prompt": "prompts"}

# What people hand in: words, media to be read, or what is read already.
Source = str | Special | TextIds | Codes | Medium


class Multimodal:
    """Interleaved parts ⇄ ids of `vocabulary`. A tokenizer loads when a part first needs it, and stays; so does the
    voice, if there is one."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        tokenizers: Mapping[str, Tokenizer],
        loading: Mapping[str, Any],
        voice: Voice | str | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self._tokenizers = dict(tokenizers)
        self._loading, self._voice = loading, voice
        self._voiced = voiced_segment(vocabulary, voice) if voice is not None else None

    def encode(self, parts: Source | Sequence[Source]) -> np.ndarray:
        """Ids of the parts in order, or of one part, `[N]` of the vocabulary's dtype; no begin-of-text id.

        Strings need a text tokenizer; whatever they spell, they never become media ids. Raises MediaError on
        media that cannot be read, CodesError on codes that do not belong here.
        """
        return self.vocabulary.to_ids(self.to_codes(parts))

    def decode(self, ids: Any, policy: str = "strict", **options: Mapping[str, Any]) -> Parts:
        """Ids → parts in order: str (TextIds without a text tokenizer), PIL images, Audio.

        `policy` says what becomes of faulty runs, and `.report` of the result what was wrong; see
        `Vocabulary.from_ids`. `options` go to the tokenizers' decode by modality: `image={"seeds": [1]}`; raises
        UsageError on those for a modality that the vocabulary does not have. Those of speech that begin with "voice_"
        go to the voice, if there is one: `speech={"voice_prompt": "me.wav", "voice_seeds": 1}`; see `Voice.fill_batch`.
        """
        parts = self.vocabulary.from_ids(ids, policy)
        return Parts(self.to_media(parts, **options), parts.report)

    def to_codes(self, parts: Source | Sequence[Source]) -> list[Part]:
        """The parts, or one alone, with every picture and sound read into Codes, each tokenizer running once."""
        done: list[Any] = list(parts) if isinstance(parts, (list, tuple)) else [parts]
        for place, part in enumerate(done):
            if not isinstance(part, (str, Special, TextIds, Codes, Medium)):
                raise UsageError(
                    f"part {place} is a {type(part).__name__}: expected str, Codes, or anytok.Image, Speech, Music or "
                    f"Medium around a file"
                )
        places: dict[str, list[int]] = {}
        for place, part in enumerate(done):
            if isinstance(part, Medium):
                places.setdefault(part.modality, []).append(place)
        for modality, of_it in places.items():
            codes = self.tokenizer(modality).encode_batch([done[place].source for place in of_it])
            for place, item in zip(of_it, codes, strict=True):
                done[place] = item
        return done

    def to_media(self, parts: Sequence[Part], **options: Mapping[str, Any]) -> list[str | TextIds | Decoded]:
        """The parts with all Codes turned into pictures and sound, each tokenizer running once; see `decode`."""
        self.check_options(options)
        done: list[Any] = list(parts)
        names = {part.spec.name for part in parts if isinstance(part, Codes)}
        for segment in self.vocabulary.layout.segments:
            if segment.spec.name in names:
                places = [i for i, p in enumerate(parts) if isinstance(p, Codes) and p.spec.name == segment.spec.name]
                codes, others = self._spoken(segment, [done[place] for place in places], options)
                media = self.tokenizer_of(segment).decode_batch(codes, **others)
                for place, item in zip(places, media, strict=True):
                    done[place] = item
        return done

    def _spoken(
        self, segment: Segment, codes: list[Codes], options: Mapping[str, Mapping[str, Any]]
    ) -> tuple[list[Codes], dict[str, Any]]:
        """The codes of a segment, with a voice where they are to have one, and the options that are the tokenizer's."""
        given = dict(options.get(segment.modality, {}))
        for_voice = {_VOICE_OPTIONS[key]: given.pop(key) for key in list(given) if key in _VOICE_OPTIONS}
        if not self.has_voice(segment):
            if for_voice:
                raise UsageError(
                    f"options for a voice, and {segment.spec.name} is decoded without one: load_multimodal(…, voice=…)"
                )
            return codes, given
        return self.voice.fill_batch(codes, **for_voice), given

    def has_voice(self, segment: Segment) -> bool:
        """Whether codes of this segment are decoded with a voice."""
        return segment is self._voiced

    @property
    def voice(self) -> Voice:
        """The voice, loaded if it was not; raises UsageError if there is none."""
        if self._voiced is None:
            raise UsageError(f"{self!r} has no voice: load_multimodal(…, voice='soundstorm')")
        if not isinstance(self._voice, Voice):
            dtype = self._loading["dtype"]
            given = {"device": self._loading["device"], "dtype": "float32" if dtype == "mixed" else dtype}
            given["checkpoint"] = self._loading["checkpoints"].get(self._voice)
            self._voice = load_voice(str(self._voice), speech=self.tokenizer_of(self._voiced), **given)
        return self._voice

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise UsageError on decode options under anything but a modality of the vocabulary."""
        known = sorted({segment.modality for segment in self.vocabulary.layout.segments})
        if unknown := sorted(set(options) - set(known)):
            raise UsageError(
                f"decode has no option {', '.join(unknown)}: options go by modality, and {self.vocabulary.name} has "
                f"{', '.join(known)}, as in {known[0] if known else 'image'}={{…}}"
            )

    def tokenizer(self, modality: str) -> Tokenizer:
        """The tokenizer of a modality, such as "image", the first that the vocabulary has, loaded if it was not; raises
        UsageError if there is none."""
        for segment in self.vocabulary.layout.segments:
            if segment.modality == modality:
                return self.tokenizer_of(segment)
        known = sorted({segment.modality for segment in self.vocabulary.layout.segments})
        raise UsageError(f"the vocabulary {self.vocabulary.name} has no {modality}; it has {', '.join(known)}")

    def tokenizer_of(self, segment: Segment) -> Tokenizer:
        """The tokenizer of a segment of the vocabulary, loaded if it was not."""
        name = segment.spec.name
        if name not in self._tokenizers:
            given = {key: self._loading[key] for key in ("engine", "device", "dtype")}
            given |= {"checkpoint": self._loading["checkpoints"].get(name), **self._loading["options"].get(name, {})}
            fewer = segment.num_codebooks < find(name).spec.num_codebooks
            fewer = fewer and not self.has_voice(segment)  # a voice prompt has all
            if fewer and "num_codebooks" in option_names(name, given["engine"]):
                given.setdefault("num_codebooks", segment.num_codebooks)  # others are not written, so not computed
            self._tokenizers[name] = _in_cache(load_tokenizer(name, **given), self._loading.get("cache"))
        return self._tokenizers[name]

    def __repr__(self) -> str:
        return f"<Multimodal {self.vocabulary.name}, loaded: {', '.join(self._tokenizers) or 'none yet'}>"


def load_multimodal(
    vocabulary: str | Path | Vocabulary,
    *,
    text_tokenizer: Any = None,
    tokenizers: Mapping[str, Tokenizer] | None = None,
    checkpoints: Mapping[str, str | Path] | None = None,
    engine: str = "native",
    device: str = "cpu",
    dtype: str = "float32",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    voice: Voice | str | None = None,
    cache: str | Path | None = None,
) -> Multimodal:
    """Interleaved words and media ⇄ ids: `load_multimodal("anygpt", text_tokenizer=llama)`.

    `vocabulary` is a name or a file, as `load_vocabulary` takes them, or a Vocabulary. `text_tokenizer` is a Hugging
    Face tokenizer, or its folder or name on the hub: the plain text base, or one that has the media tokens, whose own
    ids then win over the table. `tokenizers` (by name) are used as they are; others load on first use, from
    `checkpoints` (by name) or the hub, with `options` (by name) for their engine.

    AnyGPT writes speech as its first layer alone: what is said, without the voice. Decoding that layer gives
    intelligible speech in nobody's voice. With `voice="soundstorm"`, or another that `load_voice` has loaded, the other
    layers are filled in first, as AnyGPT does it, with a voice prompt or without; see `Multimodal.decode`. Its weights
    come from `checkpoints`, too, by its name.

    `cache` is a folder in which the codes of all these tokenizers are looked up and kept; see `anytok.cached`.

    Raises UsageError on names that are not there, CheckpointError on missing files, VocabularyError on a text tokenizer
    that is not the vocabulary's, all before weights are fetched.
    """
    vocab = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    given = {"tokenizers": tokenizers or {}, "checkpoints": checkpoints or {}, "options": options or {}}
    _check_names(vocab, given, engine, voice)
    for name, tokenizer in (tokenizers or {}).items():
        if not vocab.layout.segment(name).spec.accepts(tokenizer.spec):
            raise UsageError(f"the tokenizer given for {name} is {tokenizer.spec.id}")
    if isinstance(text_tokenizer, (str, Path)):
        text_tokenizer = load_text_tokenizer(text_tokenizer)
    if text_tokenizer is not None:
        vocab = vocab.with_text(text_tokenizer)
    loading = {"engine": engine, "device": device, "dtype": dtype, "cache": cache, **given}
    return Multimodal(vocab, {name: _in_cache(one, cache) for name, one in (tokenizers or {}).items()}, loading, voice)


def _in_cache(tokenizer: Tokenizer, folder: str | Path | None) -> Tokenizer:
    """The tokenizer, with a cache if there is to be one; one that has a cache of its own keeps it."""
    if folder is None:
        return tokenizer
    from .cache import CachedTokenizer, cached  # here: most do without, and it takes SQLite and POSIX locks

    return tokenizer if isinstance(tokenizer, CachedTokenizer) else cached(tokenizer, folder)


def _check_names(
    vocabulary: Vocabulary, given: Mapping[str, Mapping[str, Any]], engine: str, voice: Voice | str | None
) -> None:
    """Raise UsageError on names of tokenizers, engines and voices that are not there, CheckpointError on missing files:
    before anything is fetched or loaded."""
    if voice is not None:
        voiced_segment(vocabulary, voice)
    names = [segment.spec.name for segment in vocabulary.layout.segments]
    for what, mapping in given.items():
        known = [*names, voice] if what == "checkpoints" and isinstance(voice, str) else names
        for name in mapping:
            if name not in known:
                spoken, near = ", ".join(sorted(names)), did_you_mean(name, known)
                raise UsageError(f"{what} for {name!r}: {vocabulary.name} speaks {spoken}{near}")
    for name in names:
        entry = None if name in given["tokenizers"] or name not in list_tokenizers() else find(name)
        if entry is not None and not entry.package and engine not in entry.engines:
            entry.tokenizer_class(engine)  # raises
    for name, path in given["checkpoints"].items():
        if path is not None and not Path(path).expanduser().exists():
            raise CheckpointError(
                f"checkpoints={{{name!r}: {str(path)!r}}}: no such file or folder (see checkpoints.md)"
            )


def voiced_segment(vocabulary: Vocabulary, voice: Voice | str) -> Segment:
    """The segment of a vocabulary whose speech a voice speaks; raises UsageError if there is none that needs it."""
    speech_name = voice.speech_name if isinstance(voice, Voice) else speech_of(voice)
    segment = next((each for each in vocabulary.layout.segments if each.spec.name == speech_name), None)
    if segment is None or segment.num_codebooks > 1:
        layers = f"{segment.num_codebooks} layers" if segment else "nothing"
        raise UsageError(
            f"a voice for layer 1 of {speech_name}: {vocabulary.name} writes {layers} of it; leave the voice out"
        )
    return segment
