"""Text tokenizers of language models, as Hugging Face keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, UsageError
from .around_torchaudio import around_torchaudio

__all__ = ["load_text_tokenizer"]


def load_text_tokenizer(source: str | Path, *, local_only: bool = False) -> Any:
    """A Hugging Face tokenizer from a folder or, unless `local_only`, by its name on the hub.

    Raises UsageError where there is none, MissingExtraError without transformers.
    """
    with around_torchaudio():
        try:
            from transformers import AutoTokenizer
        except ModuleNotFoundError as error:
            raise MissingExtraError("transformers", "hf", "reading a text tokenizer") from error
        try:
            return AutoTokenizer.from_pretrained(source, local_files_only=local_only or Path(source).is_dir())
        except Exception as error:  # OSError, ValueError, KeyError, the parser's own: whatever is in a stranger's files
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UsageError(
                f"no text tokenizer at {source} ({reason}): expected a folder with tokenizer.json, or a hub name"
            ) from error
