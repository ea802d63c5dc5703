"""Import transformers and diffusers where a torchaudio that cannot load is installed; text tokenizers from there.

torchaudio's last release fits one older torch and raises when imported beside today's; transformers imports any
that it finds, and diffusers imports transformers. Nothing in anytok needs torchaudio.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, UsageError, first_line
from .hub import why_offline

__all__ = ["around_torchaudio", "load_text_tokenizer"]


@contextmanager
def around_torchaudio() -> Iterator[None]:
    """Within, a torchaudio that raises on import counts as not installed; a sound one, or none, is left alone."""
    broken = not _loads("torchaudio")
    if broken:
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # how Python spells "not importable"
        _look_now()
    try:
        yield
    finally:
        if broken:
            _look_now()
            del sys.modules["torchaudio"]


def load_text_tokenizer(source: str | Path, *, local_only: bool = False) -> Any:
    """A Hugging Face tokenizer from a folder or, unless `local_only`, by its name on the hub.

    Raises UsageError where there is none, MissingExtraError without transformers.
    """
    with around_torchaudio():
        try:
            from transformers import AutoTokenizer
        except ModuleNotFoundError as error:
            raise MissingExtraError("transformers", "hf", "reading a text tokenizer") from error
        offline = "" if local_only or Path(source).is_dir() else why_offline()
        try:
            return AutoTokenizer.from_pretrained(
                source, local_files_only=local_only or bool(offline) or Path(source).is_dir()
            )
        except Exception as error:  # OSError, ValueError, KeyError, the parser's own: whatever is in a stranger's files
            why = f"the hub cannot be reached: {offline}; not in its cache, either" if offline else first_line(error)
            raise UsageError(
                f"no text tokenizer at {source} ({why}): expected a folder with tokenizer.json, or a hub name"
            ) from error


def _look_now() -> None:
    """transformers looks for torchaudio once and remembers. What it sees now is to hold for its parts that load
    later, too, and to replace what it saw if it was imported before."""
    try:
        seen = importlib.import_module("transformers.utils.import_utils").is_torchaudio_available
    except (ImportError, AttributeError):
        return
    if hasattr(seen, "cache_clear"):
        seen.cache_clear()
        seen()


def _loads(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:  # not there, which its importers expect
        return True
    except Exception:  # there, but made for another torch: OSError, RuntimeError, AttributeError, …
        return False
    return True
