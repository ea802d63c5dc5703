"""AnyGPT's JSONL rows ⇄ words and Codes.

{"text": "A cat", "image": "<soim><👀1>…<eoim>"}                                    one item and its words
{"id": "7", "conversation": [[{"role": "user", "message": "See <soim>…"}, …], …]}     dialogues
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import VocabularyError
from ..spec import Codes
from .runs import Part
from .templates import Message
from .vocabulary import Vocabulary

__all__ = ["from_chat_row", "from_row", "to_chat_row", "to_row"]


def to_row(vocabulary: Vocabulary, *media: Codes, text: str | None = None) -> dict[str, str]:
    """A row of one item of each modality, and the words that go with it."""
    row: dict[str, str] = {} if text is None else {"text": text}
    for codes in media:
        if codes.spec.modality in row:
            raise VocabularyError(f"a row holds one {codes.spec.modality}: write several rows, or a chat row")
        row[codes.spec.modality] = vocabulary.to_text(codes)
    return row


def from_row(vocabulary: Vocabulary, row: Mapping[str, Any]) -> dict[str, str | Codes]:
    """The row's words under "text" and Codes under their modality; other fields are left out.

    Raises VocabularyError where a media field is not exactly one run of its modality.
    """
    found: dict[str, str | Codes] = {"text": row["text"]} if isinstance(row.get("text"), str) else {}
    for modality in {segment.modality: None for segment in vocabulary.layout.segments}:
        if row.get(modality) is not None:
            parts = vocabulary.from_text(row[modality])
            if len(parts) != 1 or not isinstance(parts[0], Codes) or parts[0].spec.modality != modality:
                raise VocabularyError(f"the field {modality!r} holds {parts}: expected one run of {modality}")
            found[modality] = parts[0]
    return found


def to_chat_row(vocabulary: Vocabulary, key: str, dialogues: Sequence[Sequence[Message]]) -> dict[str, Any]:
    """A row of dialogues; a message is words or parts."""
    turns = [[{"role": role, "message": vocabulary.to_text(what)} for role, what in talk] for talk in dialogues]
    return {"id": key, "conversation": turns}


def from_chat_row(vocabulary: Vocabulary, row: Mapping[str, Any]) -> list[list[tuple[str, list[Part]]]]:
    """The dialogues of a row, each message as parts; raises VocabularyError on what does not parse."""
    try:
        talks = [[(turn["role"], turn["message"]) for turn in talk] for talk in row["conversation"]]
    except (KeyError, TypeError) as error:
        raise VocabularyError(f"no chat row ({error!r}): expected 'conversation', a list of lists of turns") from error
    return [[(role, vocabulary.from_text(words)) for role, words in talk] for talk in talks]
