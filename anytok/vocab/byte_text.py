"""The smallest text tokenizer there is: one id per byte of UTF-8. For the vocabulary of the small models."""

from __future__ import annotations

from typing import Any

__all__ = ["ByteTokenizer"]


class ByteTokenizer:
    """Has what a Vocabulary and a Processor need of a Hugging Face tokenizer. It knows any text and no special
    tokens; those are the layout's."""

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
