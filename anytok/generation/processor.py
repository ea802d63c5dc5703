"""Words and media ⇄ model inputs, in the conventions of transformers' processors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError, VocabularyError
from ..multimodal import Multimodal, load_multimodal
from ..vocab import Parts, Special
from ..vocab.templates import find_template
from .auto import HANDED_ON, refuse, register
from .batches import IGNORED, batch, check_rows, row_of
from .chat_template import ChatTemplate
from .messages import Beside, is_batch, places_of, read_turns, turns_of_codes
from .published_form import PublishedForm
from .saved import read_processor, write_processor
from .special_tokens import allow_special

__all__ = ["Processor"]


class Processor:
    """Wraps a `Multimodal` with a text tokenizer for use with a language model.

    `processor(text="Describe <image>", images=["cat.png"], return_tensors="pt")` gives what `model.generate` and
    `Trainer` take; `collate` is the Trainer's data collator. Conversations have the form of the text tokenizer's own
    chat template, or, with `template`, a published one ("anygpt-chat", "seed-llama-8b", …). `bos` begins every line
    with the begin-of-text token, as LLaMA's tokenizers do; unset, it does where the text tokenizer has one (Qwen's has
    none).

    It has what transformers' trainers, data collators and text generation read of a `processing_class`. `padding_side`
    is that of lines for generation; to train, `collate` pads on the right. What is for words alone (`get_vocab`, stop
    strings, text streamers) its text tokenizer has, `processor.tokenizer`.
    """

    model_input_names = ("input_ids", "attention_mask")
    mask_token = None

    def __init__(self, any2any: Multimodal, *, template: str | None = None, bos: bool | None = None) -> None:
        if any2any.vocabulary.text_tokenizer is None:
            raise UsageError("a Processor needs words: load_multimodal(…, text_tokenizer=tokenizer)")
        self.any2any, self.tokenizer = any2any, any2any.vocabulary.text_tokenizer
        self.bos = self.tokenizer.bos_token is not None if bos is None else bos
        if bos and self.tokenizer.bos_token is None:
            raise UsageError("the text tokenizer has no begin-of-text token: pass bos=False")
        self.padding_side = "left"
        self._places = places_of(any2any.vocabulary.layout)
        self.template_name = template
        self._template = None if template is None else find_template(template)
        register(type(self))

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
        allowed_special: str | Collection[str] = (),
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
        What a text spells is words, but for special tokens in `allowed_special` (their names, or "all"; those of media
        are none). Lines are padded to the longest (`padding` True or "longest") and on to `pad_to_multiple_of`, on
        `padding_side` ("left", where generation needs it, unless set); False leaves them as they are.
        `return_tensors`: "pt", "np", or None (lists).
        """
        refuse("a call of a Processor", options)
        side = self._side(padding, padding_side)
        texts = [text] if isinstance(text, str) else list(text)
        beside = Beside(images, audio)
        first = [Special(self.tokenizer.bos_token)] if self.bos else []
        lines = [[*first, *beside.fill(line, self._places)] for line in texts]
        beside.check_used()
        lines = [allow_special(line, allowed_special, self.any2any.vocabulary) for line in lines]
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
        conversation: Sequence[Any],
        chat_template: str | None = None,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool = False,
        *,
        images: Any = None,
        audio: Any = None,
        allowed_special: str | Collection[str] = (),
        learn: bool = False,
        tokenize: bool = True,
        return_tensors: str | None = None,
        return_dict: bool = True,
        padding: bool | str | None = None,
        **variables: Any,
    ) -> Any:
        """`input_ids`, int64 `[N]`, of a conversation of {"role": …, "content": …}, or (role, content), in turns.

        `content` is words, a part as `Multimodal.encode` takes it, or a list of those and of typed parts, {"type":
        "text" | "image" | "audio", …}, as in transformers' chats; see `read_turns`. Typed parts without a source take
        the next of `images` and `audio`. Words never become media or, unless in `allowed_special`, special tokens.

        With `learn`, also `labels`: the ids of the answers, -100 elsewhere. Make a batch with `collate`. If the last
        message is not the model's, its answer comes next, unless `add_generation_prompt` says otherwise. With
        `return_tensors`, or several conversations, a BatchFeature with `attention_mask`: `[B, N]`, padded on the left,
        or lists. Without `tokenize`, text, in which media are spelled by their codes. `variables` are the chat
        template's. Raises UsageError on what the conversation's form has no place for.
        """
        several = is_batch(conversation)
        beside = Beside(images, audio)
        read = [read_turns(one, self.any2any, beside) for one in (conversation if several else [conversation])]
        beside.check_used()
        form = self._form(chat_template, {"tools": tools, "documents": documents, **variables})
        done: list[Any] = []
        for turns in turns_of_codes(read, self.any2any, allowed_special):
            asks = turns[-1].role != "assistant" if add_generation_prompt is None else bool(add_generation_prompt)
            how = turns, asks and not continue_final_message, continue_final_message
            done.append(row_of(*form.row(*how, learn), learn) if tokenize else form.text(*how))
        if not tokenize or not (several or return_tensors):
            return done if several else done[0] if return_dict or not tokenize else done[0]["input_ids"]
        side = self._side(bool(return_tensors) if padding is None else padding, None)
        columns = self._batch(done, return_tensors, side)
        return columns if return_dict else columns["input_ids"]

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
            skipped = self.skipped_ids
            line = [number for number in line if number not in skipped]
        return self.any2any.decode(line, policy, **options)

    @property
    def skipped_ids(self) -> frozenset[int]:
        """What `skip_special_tokens` leaves out: special tokens of the text, and -100."""
        layout = self.any2any.vocabulary.layout
        own = (number for number in self.tokenizer.all_special_ids if number < layout.text_size)
        return frozenset({IGNORED, *own, *(number for _, number in layout.specials)})

    def batch_decode(self, ids: Any, policy: str = "truncate", **options: Any) -> list[Parts]:
        """`decode` of every row, with the same options."""
        return [self.decode(row, policy, **options) for row in ids]

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write the text tokenizer, the vocabulary and this processor's settings into a folder.

        Media tokenizers are not copied; the vocabulary names them. Raises UsageError on options; to publish the folder,
        use `Trainer.push_to_hub` or huggingface_hub's `upload_folder`.
        """
        refuse("save_pretrained", options)
        write_processor(folder, self.any2any.vocabulary, self.template_name, self.bos)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **loading: Any) -> Processor:
        """A Processor that `save_pretrained` wrote; `loading` is for `load_multimodal` (checkpoints, device, …)."""
        vocabulary, settings = read_processor(folder)
        refuse("from_pretrained", {"revision": loading.get("revision")})  # of a folder
        given = {key: value for key, value in loading.items() if key not in HANDED_ON}
        return cls(load_multimodal(vocabulary, **given), **settings)

    @classmethod
    def register_for_auto_class(cls) -> None:
        """What AutoProcessor calls where a saved folder names this class; see `register`."""
        register(cls)

    def __repr__(self) -> str:
        words, form = type(self.tokenizer).__name__, f"template={self.template_name!r}"
        return f"<Processor {self.any2any.vocabulary.name} on {words}, {form}, bos={self.bos}>"

    def _encode(self, lines: list[list[Any]]) -> list[np.ndarray]:
        """Ids of several lines, each media tokenizer running once for all of them."""
        parts = iter(self.any2any.to_codes([part for line in lines for part in line]))
        return [self.any2any.vocabulary.to_ids([next(parts) for _ in line]) for line in lines]

    def _form(self, chat_template: str | None, options: dict[str, Any]) -> ChatTemplate | PublishedForm:
        """The form of conversations: the one that is passed, else the published one, else the text tokenizer's own."""
        if chat_template is None and self._template is not None:
            refuse(f"apply_chat_template in the form of {self.template_name}", options)
            return PublishedForm(self.any2any.vocabulary, self._template, self.bos)
        return ChatTemplate(self.any2any.vocabulary, chat_template, **options)

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


register(Processor)
