"""What documents look like, as data: which parts, in which order, between which words, and what is learned of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError
from ..records import Count, Text, check
from ..vocab.templates import find_template

__all__ = ["Form"]


@dataclass(frozen=True)
class Form:
    """The form of documents. `kind`:

    - "item": the medium alone; its text is left out.
    - "caption": text and medium, in an `order` that is drawn for each by `seed`, or always the same.
    - "interleaved": the items of one document, each as its text, if it has one, and its medium, or as `order` says.
    - "conversation": `template` with the first part in the user's mouth and the second as the answer, `order` as in
      "caption". One of `ask_text` (before a medium, to ask for its text) or `ask_medium` (before a text) is drawn, too.
      With `role`, a column of the metadata says whose message an item is ("user" or "assistant"), and all items of a
      document are one conversation.

    `document` and `position` name the columns of the metadata by which items belong together, and their order there;
    where there is no `position`, they stand as they are stored. `loss`: "all" ids, "answers" (a conversation's, with
    their end token; of a caption and a medium, what comes second), or "media" (runs, markers included). `bos` and `eos`
    are special tokens around each document, "" for none; a template has its own end.
    """

    kind: Literal["item", "caption", "interleaved", "conversation"] = "item"
    order: Literal["text-first", "medium-first", "drawn", ""] = ""  # "": text-first within a document, else drawn
    loss: Literal["all", "answers", "media"] = "all"
    seed: Count = 0
    bos: str = ""
    eos: str = ""
    document: str = ""
    position: str = ""
    role: str = ""
    template: str = ""
    ask_text: tuple[Text, ...] = ()
    ask_medium: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        check(self)
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
