"""Messages as people have them, with content in typed parts as in transformers' chats → turns of anytok's parts."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..arguments import did_you_mean
from ..errors import MediaError, UsageError, first_line
from ..media.limits import DEFAULT_LIMITS
from ..multimodal import Medium, Multimodal
from ..vocab import Layout, Vocabulary
from .special_tokens import allow_special

__all__ = ["Beside", "Turn", "is_batch", "places_of", "read_turns", "turns_of_codes"]

_USUAL = ("image", "speech", "music")  # have a place in every text, so that one without a tokenizer is an error


@dataclass(frozen=True)
class Turn:
    """One message: who speaks, its parts in order (None where it has no content, as beside `tool_calls`), and whatever
    else a chat template may read of it."""

    role: str
    parts: list[Any] | None
    more: Mapping[str, Any] = field(default_factory=dict)


def places_of(layout: Layout) -> dict[str, tuple[str, bool]]:
    """What stands for a medium in a text, such as `<image>`: its modality, and whether it is one of the images."""
    fixed = {segment.modality: segment.num_frames is not None for segment in reversed(layout.segments)}
    modalities = dict.fromkeys((*_USUAL, *fixed))
    places = {f"<{modality}>": (modality, fixed.get(modality, modality == "image")) for modality in modalities}
    return places | {"<audio>": ("speech" if "speech" in fixed else "music", False)}


def is_batch(conversation: Any) -> bool:
    """Whether this is a list of conversations; a message is a mapping, or a pair that begins with its role."""
    first = conversation[0] if isinstance(conversation, (list, tuple)) and conversation else None
    return isinstance(first, (list, tuple)) and not (first and isinstance(first[0], str))


class Beside:
    """Media that are given beside texts or messages, for their places in turn: `images` and `audio`, one or a list."""

    def __init__(self, images: Any, audio: Any) -> None:
        self.images, self.audio = (iter(_listed(media)) for media in (images, audio))

    def fill(self, text: str, places: Mapping[str, tuple[str, bool]]) -> list[Any]:
        """A text with media in its `places_of`, each the next of its kind. Raises UsageError where there is none."""
        parts: list[Any] = []
        for piece in re.split(f"({'|'.join(map(re.escape, places))})", text):
            if piece in places:
                modality, is_picture = places[piece]
                source = next(self.images if is_picture else self.audio, None)
                if source is None:
                    raise UsageError(f"the text has more {piece} than were given")
                parts.append(Medium(source, modality))
            elif piece:
                parts.append(piece)
        return parts

    def check_used(self) -> None:
        """Raise UsageError on media that have no place."""
        for what, left in (("images", list(self.images)), ("audio", list(self.audio))):
            if left:
                raise UsageError(f"{len(left)} more {what} than places for them in the text")


def turns_of_codes(
    conversations: list[list[Turn]], any2any: Multimodal, allowed: str | Collection[str]
) -> list[list[Turn]]:
    """The conversations with their media read into Codes, each media tokenizer running once for all of them, and with
    the special tokens that their words may spell as Special."""
    parts = iter(any2any.to_codes([part for turns in conversations for turn in turns for part in turn.parts or ()]))

    def filled(turn: Turn) -> Turn:
        done = None if turn.parts is None else [next(parts) for _ in turn.parts]
        return replace(turn, parts=done and allow_special(done, allowed, any2any.vocabulary))

    return [[filled(turn) for turn in turns] for turns in conversations]


def read_turns(messages: Sequence[Any], any2any: Multimodal, beside: Beside) -> list[Turn]:
    """Turns of ("user", content) or {"role": "user", "content": content}, where content is words, a part as
    `Multimodal.encode` takes it, or a list of those and of typed parts:

        {"type": "text", "text": …}
        {"type": "image" | "audio" | "speech" | "music", KEY: source}       KEY: path, url, base64, or the type again
        {"type": "image_url", "image_url": {"url": …}}, {"type": "input_audio", "input_audio": {"data": …}}

    A typed part without a source takes the next of those beside. Raises UsageError on anything else.
    """
    if not isinstance(messages, (list, tuple)) or not messages:
        raise UsageError(f"a conversation that is {messages!r}: expected a list of messages, of one at least")
    return [_turn(message, place, any2any.vocabulary, beside) for place, message in enumerate(messages)]


def _turn(message: Any, place: int, vocabulary: Vocabulary, beside: Beside) -> Turn:
    if isinstance(message, Mapping):
        more = {str(key): value for key, value in message.items() if value is not None}
        role, content = more.pop("role", None), more.pop("content", None)
        if content is None and not more.keys() & {"tool_calls", "reasoning_content", "thinking"}:
            raise UsageError(
                f"message {place} has {', '.join(map(repr, message)) or 'nothing'}: expected 'role' and 'content'"
            )
    elif isinstance(message, (list, tuple)) and len(message) == 2:
        (role, content), more = message, {}
    else:
        raise UsageError(f"message {place} is {message!r}: expected {{'role': …, 'content': …}}, or (role, content)")
    if not isinstance(role, str):
        raise UsageError(f"message {place} is of {role!r}: expected a role, such as 'user'")
    if content is None:
        return Turn(role, None, more)
    parts = content if isinstance(content, (list, tuple)) else [content]
    return Turn(role, [_part(part, place, vocabulary, beside) for part in parts], more)


def _part(part: Any, place: int, vocabulary: Vocabulary, beside: Beside) -> Any:
    """A typed part as one of ours; what is no mapping stays as it is."""
    if not isinstance(part, Mapping):
        return part
    part = {key: value for key, value in part.items() if value is not None}
    kind = part.pop("type", None)
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind in ("image_url", "input_audio"):  # OpenAI's
        inner = part.get(kind)
        inner = inner if isinstance(inner, Mapping) else {"url": inner}
        part = {"url": inner["url"]} if "url" in inner else {"base64": inner.get("data")}
        kind = {"image_url": "image", "input_audio": "audio"}[kind]
    spoken = {segment.modality for segment in vocabulary.layout.segments}
    known = ["text", *sorted(spoken), *(["audio"] if spoken & {"speech", "music"} else [])]
    if kind not in known or kind == "text":
        raise UsageError(
            f"message {place} has a part {_named(kind, part)}: expected 'type' to be one of {', '.join(known)}, with "
            f"its 'text', or its 'path', 'url' or 'base64'{did_you_mean(kind, known)}"
        )
    modality, is_picture = places_of(vocabulary.layout)[f"<{kind}>"]
    return Medium(_source(part, kind, place, beside, is_picture), modality)


def _source(part: Mapping[str, Any], kind: str, place: int, beside: Beside, is_picture: bool) -> Any:
    """Where a typed part's picture or sound is: one of its keys, or the next that was given beside the messages."""
    keys = [key for key in dict.fromkeys((kind, "audio", "path", "url", "base64")) if key in part]
    if not keys:
        if (found := next(beside.images if is_picture else beside.audio, None)) is None:
            raise UsageError(
                f"message {place} has a part {_named(kind, part)}, which is no source: give it 'path', 'url', 'base64' "
                f"or {kind!r}, or pass {'images' if is_picture else 'audio'}=[…]"
            )
        return found
    if len(keys) > 1:
        raise UsageError(f"message {place} has a part of type {kind!r} with {' and '.join(keys)}: expected one source")
    source = part[keys[0]]
    if keys[0] == "base64":
        return _from_base64(source, place)
    return _opened(source, place) if isinstance(source, str) else source


def _opened(source: str, place: int) -> Any:
    """A path as it is; the bytes of a data: URL, or of any other that fsspec reads."""
    if source.startswith("data:"):
        return _from_base64(source.partition(",")[2], place)
    if "://" not in source:
        return source
    import fsspec

    try:
        with fsspec.open(source, "rb") as stream:
            return stream.read(DEFAULT_LIMITS.max_audio_bytes + 1)  # more is refused where the bytes are decoded
    except Exception as error:  # each file system has its own
        raise MediaError("unreadable", f"cannot be read ({first_line(error)})", source) from error


def _from_base64(text: Any, place: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise UsageError(f"message {place} has media in base64 that is none ({error})") from error


def _named(kind: Any, part: Mapping[str, Any]) -> str:
    return f"of type {kind!r} with {', '.join(map(repr, part)) or 'nothing'}"


def _listed(items: Any) -> list[Any]:
    return [] if items is None else list(items) if isinstance(items, (list, tuple)) else [items]
