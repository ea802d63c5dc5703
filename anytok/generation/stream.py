"""Ids as they come → words, sound and pictures as soon as they can be seen or heard."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..media import Audio
from ..multimodal import Multimodal
from ..spec import Codes
from ..vocab import Frames

__all__ = ["DecoderStream", "MediaStream"]


class DecoderStream(Protocol):
    """What `tokenizer.decoder_stream()` returns, where a tokenizer can decode piece by piece: the pieces' waves,
    joined, are the wave of all codes decoded at once. A piece may be of no samples."""

    def push(self, codes: np.ndarray) -> Audio:
        """Take codes `[K, t]`, return the sound that is sure."""

    def finish(self) -> Audio:
        """The sound that was held back for what might have followed."""


class MediaStream:
    """Feed ids by `push`, end with `finish`; both return str, Audio pieces and PIL images, in order.

    Sound comes piece by piece from tokenizers that have a `decoder_stream`, else whole at the end of its run. The
    first sound of EnCodec at 32 kHz, SpeechTokenizer and the small models is there once 4 frames are in (of 0.02 s);
    from then on each frame gives a frame of sound.

    `options` go to decode by modality, as in `Multimodal.decode`; sound with options, or with a voice, comes at the end
    of its run. Raises CodesError where the tokenizer is not the one that the vocabulary pins, UsageError on options
    that do not exist.
    """

    def __init__(self, any2any: Multimodal, policy: str = "strict", **options: Any) -> None:
        any2any.check_options(options)
        self._any2any, self._options = any2any, options
        self._ids = any2any.vocabulary.stream(policy)
        self._sound: DecoderStream | None = None

    @property
    def report(self) -> Any:
        """What was wrong with the ids so far; see `Vocabulary.from_ids`."""
        return self._ids.report

    def push(self, ids: Any) -> list[Any]:
        """Take ids `[n]`, return the media that became sure."""
        return [medium for piece in self._ids.push(ids) for medium in self._media(piece)]

    def finish(self) -> list[Any]:
        """The line ends here: return what was still held."""
        return [medium for piece in self._ids.finish() for medium in self._media(piece)]

    def _media(self, piece: Any) -> list[Any]:
        if not isinstance(piece, Frames):
            return [piece]
        if self._sound is None:
            self._sound = self._open(piece)
        waves = [self._sound.push(piece.values)] if piece.values.shape[1] else []
        if piece.last:
            waves.append(self._sound.finish())
            self._sound = None
        return [wave for wave in waves if not isinstance(wave, Audio) or wave.num_samples]

    def _open(self, piece: Frames) -> DecoderStream:
        segment = self._any2any.vocabulary.layout.segment(piece.spec.name)
        tokenizer = self._any2any.tokenizer_of(segment)
        tokenizer.check(Codes(piece.values, piece.spec))  # a decoder_stream takes bare numbers, whoever made them
        is_whole = self._options.get(piece.spec.modality) or self._any2any.has_voice(segment)
        if hasattr(tokenizer, "decoder_stream") and not is_whole:
            return tokenizer.decoder_stream()
        return _AtOnce(self._any2any, piece, self._options)


class _AtOnce:
    """A DecoderStream that decodes everything in `finish`: for pictures, and for sound that cannot be cut."""

    def __init__(self, any2any: Multimodal, piece: Frames, options: dict[str, Any]) -> None:
        self._any2any, self._spec, self._options = any2any, piece.spec, options
        self._codes = [piece.values[:, :0]]

    def push(self, codes: np.ndarray) -> Audio:
        self._codes.append(codes)
        return Audio(np.zeros((1, 0), np.float32), 1)

    def finish(self) -> Any:
        codes = Codes(np.concatenate(self._codes, axis=1), self._spec)
        return self._any2any.to_media([codes], **self._options)[0]
