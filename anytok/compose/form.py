"""What documents look like, as data: which parts, in which order, between which words, and what is learned of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError
from ..records import Checked, Count, Text
from ..vocab.templates import find_template

__all__ = ["Form"]


@dataclass(frozen=True)
class Form(Checked):
    """The form of documents: `[compose.documents]` of a job file."""

    kind: Literal["item", "caption", "interleaved", "conversation"] = "item"
    """`item`: the medium alone; its text is left out. `caption`: text and medium. `interleaved`: the items of one
    document, each as its text, if it has one, and its medium. `conversation`: `template` with the first part in the
    user's mouth and the second as the answer."""
    order: Literal["text-first", "medium-first", "drawn", ""] = ""
    """Of text and medium: always the same, or drawn for each by `seed`; where left out, text first within a document,
    else drawn."""
    loss: Literal["all", "answers", "media"] = "all"
    """What is learned: all ids, `answers` (a conversation's, with their end token; of a caption and a medium, what
    comes second), or `media` (runs, markers included)."""
    seed: Count = 0
    """Of what is drawn."""
    bos: str = ""
    """A special token before each document."""
    eos: str = ""
    """A special token behind each document; a template has its own."""
    document: str = ""
    """The column of the metadata by which items belong together."""
    position: str = ""
    """The column of the metadata with their order in the document; without it they stand as they are stored."""
    role: str = ""
    """Of a conversation: the column of the metadata that says whose message an item is, `user` or `assistant`; all
    items of a document are one conversation."""
    template: str = ""
    """Of a conversation: the words around its messages, by name."""
    ask_text: tuple[Text, ...] = ()
    """Of a conversation: one of these is drawn before a medium, to ask for its text."""
    ask_medium: tuple[Text, ...] = ()
    """Of a conversation: one of these is drawn before a text, to ask for its medium."""

    def __post_init__(self) -> None:
        super().__post_init__()
        grouped = self.kind == "interleaved" or bool(self.role)
        wrong = {
            "order": self.order and (self.kind == "item" or self.role or (grouped and self.order == "drawn")),
            "document": bool(self.document) != grouped,
            "position": self.position and not grouped,
            "role": self.role and self.kind != "conversation",
            "template": bool(self.template) != (self.kind == "conversation"),
            "ask_text": self.ask_text and (self.kind != "conversation" or self.role),
            "ask_medium": self.ask_medium and (self.kind != "conversation" or self.role),
            "loss": self.loss == "answers" and self.kind in ("item", "interleaved"),
            "eos": self.eos and self.kind == "conversation",
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            value = getattr(self, name)
            problem = f"cannot have {name} = {value!r}" if value else f"need {name}"
            raise UsageError(f"documents of kind {self.kind!r}{' with roles' if self.role else ''} {problem}")
        if self.template and self.bos not in ("", find_template(self.template).bos):
            raise UsageError(f"bos = {self.bos!r}: {self.template} begins with {find_template(self.template).bos!r}")

    @property
    def is_grouped(self) -> bool:
        """Whether a document has several items."""
        return bool(self.document)
