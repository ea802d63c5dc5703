"""Text tokenizers: the shared vocabulary in one of Hugging Face's, and the smallest there is, for the small models.

Imports transformers' `tokenizers` on use only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import MissingExtraError, VocabularyError
from .layout import Layout, Segment

__all__ = [
    "ByteTokenizer", "byte_ids", "check_ids", "decode_text", "encode_text", "encode_texts", "extend", "hash_text",
    "look_up",
]  # fmt: skip


class ByteTokenizer:
    """One id per byte of UTF-8. Has what a Vocabulary and a Processor need of a Hugging Face tokenizer. It knows any
    text and no special tokens; those are the layout's."""

    bos_token = "<s>"
    eos_token = "</s>"
    pad_token_id: int | None = None

    all_special_tokens: tuple[str, ...] = ()
    all_special_ids: tuple[int, ...] = ()

    def __len__(self) -> int:
        return 256

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode("utf-8", "surrogatepass"))}

    def save_pretrained(self, folder: Any) -> None:
        """Nothing to write: there is only one."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return bytes(ids).decode("utf-8", "replace")


def extend(tokenizer: Any, layout: Layout) -> int:
    """Add the layout's tokens in one call, and prove their ids; see `Vocabulary.extend`.

    They are added as special: then a user's words that spell one can be kept from becoming media ids
    (`split_special_tokens=True`), which is not so for ordinary added tokens. They are not normalized: LLaMA's
    normalizer would look for "▁<👀0>" in the text.
    """
    try:
        from tokenizers import AddedToken
    except ModuleNotFoundError as error:
        raise MissingExtraError("tokenizers", "hf", "extending a text tokenizer") from error
    tokens = layout.tokens()
    vocab = tokenizer.get_vocab()
    present = [token for token in tokens if token in vocab]
    if len(present) < len(tokens):
        if present:
            raise VocabularyError(
                f"the tokenizer already has {len(present)} of the {len(tokens)} tokens of {layout.name}, as "
                f"{present[0]}: extend a fresh one, or, if all codes are there, use Vocabulary.from_tokenizer"
            )
        if len(tokenizer) != layout.text_size:
            raise VocabularyError(
                f"the tokenizer has {len(tokenizer)} ids, {layout.name} is laid out for {layout.text_size}: "
                f"use its base tokenizer, or build a layout with text_size={len(tokenizer)}"
            )
        added = [AddedToken(token, special=True, normalized=False) for token in tokens]
        tokenizer.add_tokens(added, special_tokens=True)
        vocab = tokenizer.get_vocab()
    for number, token in enumerate(tokens, layout.text_size):
        if vocab.get(token) != number:
            raise VocabularyError(f"the tokenizer has {token} at id {vocab.get(token)}, {layout.name} at {number}")
    return len(tokens) - len(present)


def check_ids(tokenizer: Any, layout: Layout) -> None:
    """Raise VocabularyError unless a tokenizer has the layout's text ids alone, or all of its tokens at their ids."""
    size = len(tokenizer)
    if size == layout.text_size:
        return
    vocab = tokenizer.get_vocab() if size > layout.text_size else {}
    for number, token in enumerate(layout.tokens(), layout.text_size):
        if vocab.get(token) != number:
            found = f" and {token} at id {vocab[token]}" if token in vocab else ""
            raise VocabularyError(
                f"the text tokenizer has {size} ids{found}; {layout.name} is laid out for {layout.text_size} text ids, "
                f"{token} at {number}: give it its own base tokenizer, or that one extended"
            )


def hash_text(tokenizer: Any, layout: Layout) -> str:
    """SHA-256 of the text tokens and their ids, 64 hex digits; "" where the tokenizer has no table of its tokens, or
    fewer than the layout has text ids. Raises VocabularyError if the layout's text ids are known to be others.

    Tokenizers of LLaMA and Mistral have 32,000 ids each, and share few of them.
    """
    if not hasattr(tokenizer, "get_vocab") or len(tokenizer) < layout.text_size:
        return ""
    text = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number < layout.text_size)
    found = hashlib.sha256(json.dumps(text, separators=(",", ":")).encode()).hexdigest()
    if layout.text_hash not in ("", found):
        raise VocabularyError(
            f"the text tokenizer has other tokens than the one that {layout.name} was made with, at the same "
            f"{layout.text_size} text ids (SHA-256 {found[:12]}, not {layout.text_hash[:12]}): give it its own, or "
            f"that one extended"
        )
    return found


def look_up(tokenizer: Any, wanted: Layout) -> Layout:
    """The layout that a tokenizer really has; see `Vocabulary.from_tokenizer`.

    Text ends at the first wanted token from which wanted and added tokens alone lead to the codes; those that nobody
    asked for become special tokens. A special token that stands before that, among the text, must be one of the
    tokenizer's own.
    """
    vocab = tokenizer.get_vocab()
    segments = [_look_up_segment(vocab, segment, wanted.name) for segment in wanted.segments]
    specials = {token: _id_of(vocab, token, wanted.name) for token, _ in wanted.specials}
    media = {number for segment in segments for number, _ in segment.tokens()}
    total = max(vocab.values()) + 1
    taken = media.union(specials.values())
    tail = min(media, default=total)
    added = taken.union(tokenizer.get_added_vocab().values())
    while tail - 1 in added:
        tail -= 1
    text_size = min((number for number in taken if number >= tail), default=total)
    for token, number in specials.items():
        if number < text_size and token not in tokenizer.all_special_tokens:
            raise VocabularyError(
                f"the tokenizer has {token} at id {number}, among its text, and not as a special token, so that words "
                f"could spell it: make it one, by tokenizer.add_special_tokens"
            )
    behind = sorted((number, token) for token, number in vocab.items() if number >= text_size and number not in media)
    ordered = tuple((token, number) for number, token in behind)
    return Layout(wanted.name, text_size, ordered, tuple(segments), total)


def _look_up_segment(vocab: dict[str, int], segment: Segment, name: str) -> Segment:
    forms = (segment.code, *segment.aliases)
    spelled = [form for form in forms if form.replace("{}", "0".zfill(segment.digits)) in vocab]
    code = spelled[0] if spelled else segment.code
    found = replace(segment, code=code, aliases=tuple(form for form in forms if form != code))
    ids = np.array([vocab.get(text, -1) for text in found.texts()])
    if (ids < 0).any():
        gone = np.flatnonzero(ids < 0)
        raise VocabularyError(
            f"the tokenizer lacks {len(gone)} of the {len(ids)} {segment.modality} codes that {name} needs, "
            f"first {found.text_of(int(gone[0]))}: pass the model's own tokenizer, or extend this one"
        )
    jumps = np.flatnonzero(np.diff(ids) != 1)
    if len(jumps):
        before, after = found.text_of(int(jumps[0])), found.text_of(int(jumps[0]) + 1)
        raise VocabularyError(
            f"the ids of {segment.modality} are not contiguous: {before} is {ids[jumps[0]]}, but {after} is "
            f"{ids[jumps[0] + 1]}. A vocabulary needs one run of ids for each tokenizer"
        )
    start_id, end_id = (_id_of(vocab, token, name) for token in (segment.start, segment.end))
    return replace(found, first_id=int(ids[0]), start_id=start_id, end_id=end_id)


def _id_of(vocab: dict[str, int], token: str, name: str) -> int:
    if token not in vocab:
        raise VocabularyError(f"the tokenizer lacks {token}, which {name} needs: is it the model's own tokenizer?")
    return vocab[token]


def encode_text(tokenizer: Any, layout: Layout, text: str) -> np.ndarray:
    """Text ids of a user's words, int64 `[N]`; what looks like a special or media token in them stays words.

    Raises VocabularyError where the tokenizer does not split such a token: it does not split ordinary added ones.
    """
    ids = np.array(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], np.int64)
    return _checked_words(tokenizer, layout, ids)


def encode_texts(tokenizer: Any, layout: Layout, texts: Sequence[str]) -> list[np.ndarray | VocabularyError]:
    """`encode_text` of each text, or what it raises, in one call of a fast tokenizer."""
    if not getattr(tokenizer, "is_fast", False) or not texts:
        return [_or_error(encode_text, tokenizer, layout, text) for text in texts]
    lines = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [_or_error(_checked_words, tokenizer, layout, np.array(line, np.int64)) for line in lines]


def _or_error(encode: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray | VocabularyError:
    try:
        return encode(*arguments)
    except VocabularyError as error:
        return error


def _checked_words(tokenizer: Any, layout: Layout, ids: np.ndarray) -> np.ndarray:
    beyond = ids[ids >= layout.text_size]
    if len(beyond):
        raise VocabularyError(
            f"words with {tokenizer.decode([int(beyond[0])])}: the tokenizer makes id {beyond[0]} of it, which is no "
            f"text id of {layout.name}. Pass Special(…) or Codes where the token is meant; where words are meant, add "
            f"it to the tokenizer again with special=True, so that it can be split"
        )
    return ids


def byte_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of `<0x00>` … `<0xFF>`, if the tokenizer falls back on them. How one is spelled depends also on those
    that follow: where bytes in a row are no whole characters, all of them become U+FFFD."""
    if not hasattr(tokenizer, "convert_tokens_to_ids"):
        return frozenset()
    ids = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(256)])
    return frozenset(ids) - {tokenizer.unk_token_id, None}


def decode_text(tokenizer: Any, layout: Layout, ids: np.ndarray) -> str:
    """The words of text ids; special tokens that the tokenizer does not know are spelled by the layout."""
    if len(ids) and (ids.max() < layout.text_size or ids.max() < len(tokenizer)):
        return _decode(tokenizer, ids)
    names = {number: token for token, number in layout.specials}
    cuts = np.flatnonzero(ids >= layout.text_size)
    pieces = []
    for stretch in np.split(ids, np.unique(np.concatenate([cuts, cuts + 1]))):
        if len(stretch):
            pieces.append(names.get(int(stretch[0])) or _decode(tokenizer, stretch))
    return "".join(pieces)


def _decode(tokenizer: Any, ids: np.ndarray) -> str:
    return tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
