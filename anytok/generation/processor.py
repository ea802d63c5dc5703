"""Words and media ⇄ model inputs, in the conventions of transformers' processors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.around_torchaudio import load_text_tokenizer
from ..errors import UsageError
from ..multimodal import Image, Multimodal, Music, Speech, load_multimodal
from ..vocab import ByteTokenizer, Message, Parts, Special, Vocabulary
from ..vocab.templates import find_template

__all__ = ["Processor"]

_PLACE = re.compile("(<image>|<audio>|<speech>|<music>)")
_IGNORED = -100  # what transformers' losses skip


class Processor:
    """Wraps a `Multimodal` with a text tokenizer for use with a language model.

    `processor(text="Describe <image>", images=["cat.png"], return_tensors="pt")` gives what `model.generate` and
    `Trainer` take; `collate` is the Trainer's data collator. `template` is the model's conversation form
    ("anygpt-chat", "seed-llama-8b", …); `bos` begins every line with the begin-of-text token, as LLaMA's
    tokenizers do.
    """

    def __init__(self, any2any: Multimodal, *, template: str | None = None, bos: bool = True) -> None:
        if any2any.vocabulary.text_tokenizer is None:
            raise UsageError("a Processor needs words: load_multimodal(…, text_tokenizer=tokenizer)")
        self.any2any, self.bos = any2any, bos
        self.tokenizer = any2any.vocabulary.text_tokenizer
        if bos and self.tokenizer.bos_token is None:
            raise UsageError("the text tokenizer has no begin-of-text token: pass bos=False")
        self.template_name = template
        self._template = None if template is None else find_template(template)

    def __call__(
        self,
        text: str | Sequence[str],
        images: Any = None,
        audio: Any = None,
        *,
        labels: bool = False,
        return_tensors: str | None = None,
        padding: bool | str = True,
        padding_side: str = "left",
        pad_to_multiple_of: int | None = None,
    ) -> Any:
        """A BatchFeature with `input_ids` and `attention_mask`, int64 `[B, N]`, and with `labels` if asked for
        (the ids, -100 on padding).

        `<image>` in a text takes the next of `images`; `<speech>` and `<music>` the next of `audio`, as does
        `<audio>`, which is speech where the vocabulary has it, else music. Raises UsageError if they do not come
        out even. Lines are padded to the longest (`padding` True or "longest") and on to `pad_to_multiple_of`, on the
        left, where generation needs it; False leaves them as they are. `return_tensors`: "pt", "np", or None (lists).
        """
        if padding not in (True, False, "longest") or padding_side not in ("left", "right"):
            raise UsageError(
                f"padding={padding!r} on the {padding_side!r}: expected True, 'longest' or False, 'left' or 'right'"
            )
        if pad_to_multiple_of is not None and pad_to_multiple_of < 1:
            raise UsageError(f"pad_to_multiple_of={pad_to_multiple_of}: expected 1 or more")
        texts = [text] if isinstance(text, str) else list(text)
        pictures, sounds = iter(_listed(images)), iter(_listed(audio))
        lines = [self._parts(line, pictures, sounds) for line in texts]
        for what, left in (("images", list(pictures)), ("audio", list(sounds))):
            if left:
                raise UsageError(f"{len(left)} more {what} than places for them in the text")
        rows = [{"input_ids": ids} for ids in self._encode(lines)]
        for row in rows if labels else ():
            row["labels"] = row["input_ids"]
        if not padding and return_tensors and len({len(row["input_ids"]) for row in rows}) > 1:
            raise UsageError("lines of different lengths make no tensor: pass padding=True, or return_tensors=None")
        return self._batch(rows, return_tensors, padding_side if padding else "", pad_to_multiple_of or 1)

    def apply_chat_template(self, messages: Sequence[Message], *, learn: bool = False) -> dict[str, np.ndarray]:
        """`input_ids`, int64 `[N]`, of a conversation of ("user" | "assistant", words or parts) in turns.

        With `learn`, also `labels`: the ids of the answers, -100 elsewhere. Make a batch with `collate`.
        """
        if self._template is None:
            raise UsageError("this Processor has no conversation form: Processor(…, template='anygpt-chat')")
        read = [(role, self._read(content)) for role, content in messages]
        ids, mask = self._template.learned(read, self.any2any.vocabulary.to_ids, bos=self.bos)
        row = {"input_ids": ids.astype(np.int64)}
        return {**row, "labels": np.where(mask, row["input_ids"], _IGNORED)} if learn else row

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Rows of `input_ids` and perhaps `attention_mask` and `labels` → one padded batch of torch tensors; a
        Trainer's data_collator.

        Padding is on the right. Raises UsageError on other keys, lengths that differ within a row, or labels that only
        some rows have.
        """
        _check_rows(rows)
        return dict(self._batch(rows, "pt", "right"))

    def decode(self, ids: Any, policy: str = "truncate", *, skip_special_tokens: bool = False, **options: Any) -> Parts:
        """What a model wrote → words, pictures and sound; faulty runs are repaired and reported, see
        `Multimodal.decode`. `skip_special_tokens` leaves out padding, begin, end and roles, but never media."""
        line = ids.tolist() if hasattr(ids, "tolist") else ids
        if skip_special_tokens:
            layout = self.any2any.vocabulary.layout
            own = (number for number in self.tokenizer.all_special_ids if number < layout.text_size)
            skipped = {*own, *(number for _, number in layout.specials)}
            line = [number for number in line if number not in skipped]
        return self.any2any.decode(line, policy, **options)

    def batch_decode(self, ids: Any, policy: str = "truncate", **options: Any) -> list[Parts]:
        """`decode` of every row, with the same options."""
        return [self.decode(row, policy, **options) for row in ids]

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Write the text tokenizer, the vocabulary and this processor's settings into a folder.

        Media tokenizers are not copied; the vocabulary names them.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(path)
        self.any2any.vocabulary.save(path / "vocabulary.json")
        settings = {
            "processor_class": "anytok.generation.Processor",
            "text": "bytes" if isinstance(self.tokenizer, ByteTokenizer) else "transformers",
            "template": self.template_name,
            "bos": self.bos,
        }
        (path / "processor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, **loading: Any) -> Processor:
        """A Processor that `save_pretrained` wrote; `loading` is for `load_multimodal` (checkpoints, device, …)."""
        path = Path(folder)
        try:
            settings = json.loads((path / "processor_config.json").read_text(encoding="utf-8"))
            text, template, bos = settings["text"], settings["template"], settings["bos"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} holds no anytok processor ({error}): expected save_pretrained's files") from error
        tokenizer = ByteTokenizer() if text == "bytes" else load_text_tokenizer(path, local_only=True)
        vocabulary = Vocabulary.from_file(path / "vocabulary.json", tokenizer)
        return cls(load_multimodal(vocabulary, **loading), template=template, bos=bos)

    def _parts(self, line: str, pictures: Iterator[Any], sounds: Iterator[Any]) -> list[Any]:
        """A text with its places filled."""
        has_speech = any(s.modality == "speech" for s in self.any2any.vocabulary.layout.segments)
        kinds = {"<image>": Image, "<speech>": Speech, "<music>": Music, "<audio>": Speech if has_speech else Music}
        parts: list[Any] = [Special(self.tokenizer.bos_token)] if self.bos else []
        for piece in _PLACE.split(line):
            if piece in kinds:
                try:
                    source = next(pictures if piece == "<image>" else sounds)
                except StopIteration:
                    raise UsageError(f"the text has more {piece} than were given") from None
                parts.append(kinds[piece](source))
            elif piece:
                parts.append(piece)
        return parts

    def _encode(self, lines: list[list[Any]]) -> list[np.ndarray]:
        """Ids of several lines, each media tokenizer running once for all of them."""
        parts = iter(self.any2any.to_codes([part for line in lines for part in line]))
        return [self.any2any.vocabulary.to_ids([next(parts) for _ in line]) for line in lines]

    def _read(self, content: Any) -> list[Any]:
        return self.any2any.to_codes(content if isinstance(content, (list, tuple)) else [content])

    def _batch(
        self, rows: Sequence[Mapping[str, Any]], return_tensors: str | None, side: str, multiple: int = 1
    ) -> Any:
        from transformers import BatchFeature

        pad_id = self.tokenizer.pad_token_id or 0
        fill = {"input_ids": pad_id, "labels": _IGNORED, "attention_mask": 0}
        full = [{"attention_mask": np.ones(len(row["input_ids"]), np.int64), **row} for row in rows]
        keys = full[0].keys() if full else ()
        columns = {key: [np.asarray(row[key], np.int64) for row in full] for key in keys}
        batch = {key: _stack(lines, fill[key], side, multiple) if side else lines for key, lines in columns.items()}
        if not return_tensors:
            batch = {key: [line.tolist() for line in lines] for key, lines in batch.items()}
        return BatchFeature(batch, return_tensors)


def _check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    for place, row in enumerate(rows):
        lengths = {key: len(numbers) for key, numbers in row.items()}
        if not {"input_ids"} <= set(row) <= {"input_ids", "attention_mask", "labels"} or len({*lengths.values()}) > 1:
            raise UsageError(
                f"row {place} has {lengths or 'nothing'}: expected input_ids, and perhaps attention_mask and labels "
                f"of the same length"
            )
        if ("labels" in row) != ("labels" in rows[0]):
            raise UsageError(f"of rows 0 and {place} one has no labels: give them to all, {_IGNORED} where none count")


def _stack(lines: list[np.ndarray], fill: int, side: str, multiple: int) -> np.ndarray:
    length = -(-max(map(len, lines)) // multiple) * multiple
    table = np.full((len(lines), length), fill, np.int64)
    for row, line in zip(table, lines, strict=True):
        row[slice(length - len(line), None) if side == "left" else slice(len(line))] = line
    return table


def _listed(items: Any) -> list[Any]:
    return [] if items is None else list(items) if isinstance(items, (list, tuple)) else [items]
