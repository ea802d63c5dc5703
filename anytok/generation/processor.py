"""Words and media ⇄ model inputs, in the conventions of transformers' processors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.around_torchaudio import load_text_tokenizer
from ..errors import UsageError, VocabularyError
from ..multimodal import Medium, Multimodal, load_multimodal
from ..vocab import ByteTokenizer, Layout, Message, Parts, Special, Vocabulary
from ..vocab.templates import find_template
from .batches import IGNORED, batch, check_rows

__all__ = ["Processor"]

_USUAL = ("image", "speech", "music")  # have a place in every text, so that one without a tokenizer is an error


class Processor:
    """Wraps a `Multimodal` with a text tokenizer for use with a language model.

    `processor(text="Describe <image>", images=["cat.png"], return_tensors="pt")` gives what `model.generate` and
    `Trainer` take; `collate` is the Trainer's data collator. `template` is the model's conversation form
    ("anygpt-chat", "seed-llama-8b", …); `bos` begins every line with the begin-of-text token, as LLaMA's
    tokenizers do.

    It has what transformers' trainers, data collators and text generation read of a `processing_class`. `padding_side`
    is that of lines for generation; to train, `collate` pads on the right. What is for words alone (`get_vocab`, stop
    strings, text streamers) its text tokenizer has, `processor.tokenizer`.
    """

    model_input_names = ("input_ids", "attention_mask")
    mask_token = None

    def __init__(self, any2any: Multimodal, *, template: str | None = None, bos: bool = True) -> None:
        if any2any.vocabulary.text_tokenizer is None:
            raise UsageError("a Processor needs words: load_multimodal(…, text_tokenizer=tokenizer)")
        self.any2any, self.bos = any2any, bos
        self.tokenizer = any2any.vocabulary.text_tokenizer
        if bos and self.tokenizer.bos_token is None:
            raise UsageError("the text tokenizer has no begin-of-text token: pass bos=False")
        self.padding_side = "left"
        self._places = _places(any2any.vocabulary.layout)
        self.template_name = template
        self._template = None if template is None else find_template(template)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"a Processor has no {name!r}: for words alone give processor.tokenizer in its place, its text tokenizer; "
            f"media are decoded by processor.decode"
        )

    @property
    def bos_token_id(self) -> int | None:
        return self._special("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self._special("eos_token")

    @property
    def pad_token_id(self) -> int | None:
        """The id that lines are padded with: the text tokenizer's padding, else unknown, else end-of-text token."""
        found = (self._special(name) for name in ("pad_token", "unk_token", "eos_token"))
        return next((number for number in found if number is not None), None)

    @property
    def pad_token(self) -> str | None:
        names = ("pad_token", "unk_token", "eos_token")
        return next((getattr(self.tokenizer, name) for name in names if self._special(name) is not None), None)

    def __call__(
        self,
        text: str | Sequence[str],
        images: Any = None,
        audio: Any = None,
        *,
        labels: bool = False,
        return_tensors: str | None = None,
        padding: bool | str = True,
        padding_side: str | None = None,
        pad_to_multiple_of: int | None = None,
        **options: Any,
    ) -> Any:
        """A BatchFeature with `input_ids` and `attention_mask`, int64 `[B, N]`, and with `labels` if asked for
        (the ids, -100 on padding).

        `<image>` in a text takes the next of `images`; `<speech>` and `<music>` the next of `audio`, as does
        `<audio>`, which is speech where the vocabulary has it, else music. So does `<…>` with any other modality that
        the vocabulary has; where its runs have a fixed length, as pictures' have, it takes of `images`. Raises
        UsageError if they do not come out even, and for options that it does not have (`truncation` would cut media).
        Lines are padded to the longest (`padding` True or "longest") and on to `pad_to_multiple_of`, on `padding_side`
        ("left", where generation needs it, unless set); False leaves them as they are. `return_tensors`: "pt", "np", or
        None (lists).
        """
        _refuse("a call of a Processor", options)
        side = self._side(padding, padding_side)
        texts = [text] if isinstance(text, str) else list(text)
        pictures, sounds = iter(_listed(images)), iter(_listed(audio))
        lines = [self._parts(line, pictures, sounds) for line in texts]
        for what, left in (("images", list(pictures)), ("audio", list(sounds))):
            if left:
                raise UsageError(f"{len(left)} more {what} than places for them in the text")
        rows = [{"input_ids": ids} for ids in self._encode(lines)]
        for row in rows if labels else ():
            row["labels"] = row["input_ids"]
        return self._batch(rows, return_tensors, side, pad_to_multiple_of)

    def pad(
        self,
        rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> Any:
        """Rows as `collate` takes them, or one mapping of their columns, → one BatchFeature, padded as in a call; what
        transformers' data collators do with a tokenizer. `max_length` counts for nothing without "max_length".

        Raises UsageError as `collate` does, and where the text tokenizer has no token to pad with.
        """
        if isinstance(rows, Mapping):
            rows = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
        check_rows(rows)
        if return_attention_mask is False:
            raise UsageError("return_attention_mask=False: padding is told from words by the mask alone")
        if self.pad_token_id is None:
            raise UsageError("the text tokenizer has no token to pad with: set its pad_token, or use processor.collate")
        return self._batch(rows, return_tensors, self._side(padding, padding_side), pad_to_multiple_of)

    def apply_chat_template(
        self,
        messages: Sequence[Message] | Sequence[Mapping[str, Any]],
        *,
        learn: bool = False,
        return_tensors: str | None = None,
        add_generation_prompt: bool | None = None,
        **options: Any,
    ) -> Any:
        """`input_ids`, int64 `[N]`, of a conversation of ("user" | "assistant", words or parts) in turns, or of
        {"role": …, "content": …}; with `return_tensors` a BatchFeature of `[1, N]` and `attention_mask`.

        With `learn`, also `labels`: the ids of the answers, -100 elsewhere. Make a batch with `collate`. If the last
        message is the user's, the model's answer comes next. Raises UsageError on other roles and options.
        """
        if self._template is None:
            raise UsageError("this Processor has no conversation form: Processor(…, template='anygpt-chat')")
        _refuse("apply_chat_template", options, tokenize=True, return_dict=True)
        read = [(role, self._read(content)) for role, content in map(_message, messages)]
        if read and add_generation_prompt not in (None, read[-1][0] == "user"):
            raise UsageError(
                f"add_generation_prompt={add_generation_prompt} behind the {read[-1][0]}'s message: the model answers "
                f"the user, and only the user"
            )
        ids, mask = self._template.learned(read, self.any2any.vocabulary.to_ids, bos=self.bos)
        row = {"input_ids": ids.astype(np.int64)}
        if learn:
            row["labels"] = np.where(mask, row["input_ids"], IGNORED)
        return self._batch([row], return_tensors, "left") if return_tensors else row

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Rows of `input_ids` and perhaps `attention_mask` and `labels` → one padded batch of torch tensors; a
        Trainer's data_collator.

        Padding is on the right. Raises UsageError on other keys, lengths that differ within a row, or labels that only
        some rows have.
        """
        check_rows(rows)
        return dict(self._batch(rows, "pt", "right"))

    def decode(self, ids: Any, policy: str = "truncate", *, skip_special_tokens: bool = False, **options: Any) -> Parts:
        """What a model wrote → words, pictures and sound; faulty runs are repaired and reported, see
        `Multimodal.decode`. `skip_special_tokens` leaves out padding, begin, end and roles, and what losses skip (-100,
        with which trainers pad), but never media. Words come as they were written, without a clean-up of spaces."""
        if options.pop("clean_up_tokenization_spaces", None):
            raise UsageError("clean_up_tokenization_spaces=True: words come as the model wrote them; leave it out")
        line = ids.tolist() if hasattr(ids, "tolist") else ids
        if skip_special_tokens:
            layout = self.any2any.vocabulary.layout
            own = (number for number in self.tokenizer.all_special_ids if number < layout.text_size)
            skipped = {IGNORED, *own, *(number for _, number in layout.specials)}
            line = [number for number in line if number not in skipped]
        return self.any2any.decode(line, policy, **options)

    def batch_decode(self, ids: Any, policy: str = "truncate", **options: Any) -> list[Parts]:
        """`decode` of every row, with the same options."""
        return [self.decode(row, policy, **options) for row in ids]

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write the text tokenizer, the vocabulary and this processor's settings into a folder.

        Media tokenizers are not copied; the vocabulary names them. Raises UsageError on options; to publish the folder,
        use `Trainer.push_to_hub` or huggingface_hub's `upload_folder`.
        """
        _refuse("save_pretrained", options)
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

    def __repr__(self) -> str:
        form = f"template {self.template_name!r}" if self.template_name else "no template"
        words = type(self.tokenizer).__name__
        return f"<Processor {self.any2any.vocabulary.name} on {words}, {form}, bos={self.bos}>"

    def _parts(self, line: str, pictures: Iterator[Any], sounds: Iterator[Any]) -> list[Any]:
        """A text with its places filled."""
        parts: list[Any] = [Special(self.tokenizer.bos_token)] if self.bos else []
        for piece in re.split(f"({'|'.join(map(re.escape, self._places))})", line):
            if piece in self._places:
                modality, is_picture = self._places[piece]
                try:
                    source = next(pictures if is_picture else sounds)
                except StopIteration:
                    raise UsageError(f"the text has more {piece} than were given") from None
                parts.append(Medium(source, modality))
            elif piece:
                parts.append(piece)
        return parts

    def _encode(self, lines: list[list[Any]]) -> list[np.ndarray]:
        """Ids of several lines, each media tokenizer running once for all of them."""
        parts = iter(self.any2any.to_codes([part for line in lines for part in line]))
        return [self.any2any.vocabulary.to_ids([next(parts) for _ in line]) for line in lines]

    def _read(self, content: Any) -> list[Any]:
        return self.any2any.to_codes(content if isinstance(content, (list, tuple)) else [content])

    def _special(self, name: str) -> int | None:
        """The id of one of the text tokenizer's special tokens, if it has it."""
        token = getattr(self.tokenizer, name, None)
        with suppress(VocabularyError):
            return None if token is None else int(self.any2any.vocabulary.to_ids(Special(str(token)))[0])
        return None

    def _side(self, padding: bool | str, side: str | None) -> str:
        """Where to pad: "left", "right", or "" for nowhere."""
        side = side or self.padding_side
        if padding not in (True, False, "longest") or side not in ("left", "right"):
            raise UsageError(
                f"padding={padding!r} on the {side!r}: expected True, 'longest' or False, 'left' or 'right'"
            )
        return side if padding else ""

    def _batch(
        self, rows: Sequence[Mapping[str, Any]], return_tensors: str | None, side: str, multiple: Any = None
    ) -> Any:
        return batch(rows, self.pad_token_id or 0, return_tensors, side, multiple)


def _places(layout: Layout) -> dict[str, tuple[str, bool]]:
    """What stands for a medium in a text, such as `<image>`: its modality, and whether it is one of the images."""
    fixed = {segment.modality: segment.num_frames is not None for segment in reversed(layout.segments)}
    modalities = dict.fromkeys((*_USUAL, *fixed))
    places = {f"<{modality}>": (modality, fixed.get(modality, modality == "image")) for modality in modalities}
    return places | {"<audio>": ("speech" if "speech" in fixed else "music", False)}


def _refuse(what: str, options: Mapping[str, Any], **usual: Any) -> None:
    """Raise UsageError on options that are not there, but for those that transformers hands on unset or as usual."""
    given = [key for key, value in options.items() if (value != usual[key] if key in usual else value)]
    if given:
        raise UsageError(f"{what} has no {', '.join(f'{key}={options[key]!r}' for key in given)}: leave it out")


def _message(message: Any) -> Message:
    """A message as we have it, or as transformers has it."""
    if isinstance(message, Mapping):
        if set(message) != {"role", "content"}:
            raise UsageError(
                f"a message with {', '.join(map(repr, message)) or 'nothing'}: expected 'role' and 'content'"
            )
        return message["role"], message["content"]
    return message


def _listed(items: Any) -> list[Any]:
    return [] if items is None else list(items) if isinstance(items, (list, tuple)) else [items]
