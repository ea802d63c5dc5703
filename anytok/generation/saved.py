"""A processor's folder: the text tokenizer, the vocabulary, and settings by which transformers finds the class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checkpoints.around_torchaudio import load_text_tokenizer
from ..errors import UsageError
from ..vocab import ByteTokenizer, Vocabulary

__all__ = ["read_processor", "write_processor"]

# What AutoProcessor runs, if it is allowed to, where anytok was not imported.
_LOADER = '''"""Where `AutoProcessor.from_pretrained(…, trust_remote_code=True)` finds anytok's processor."""

from anytok.generation import Processor

__all__ = ["Processor"]
'''


def write_processor(folder: str | Path, vocabulary: Vocabulary, template: str | None, bos: bool) -> None:
    """Write the vocabulary with its text tokenizer, and what else a Processor is made of."""
    path, tokenizer = Path(folder), vocabulary.text_tokenizer
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(path)
    vocabulary.save(path / "vocabulary.json")
    settings = {
        "processor_class": "Processor",
        "auto_map": {"AutoProcessor": "processing_anytok.Processor"},
        "text": "bytes" if isinstance(tokenizer, ByteTokenizer) else "transformers",
        "template": template,
        "bos": bos,
    }
    (path / "processor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (path / "processing_anytok.py").write_text(_LOADER, encoding="utf-8")


def read_processor(folder: str | Path) -> tuple[Vocabulary, dict[str, Any]]:
    """The vocabulary, with its text tokenizer, and the settings `template` and `bos`, that `write_processor` wrote.

    Raises UsageError on a folder that holds no such files.
    """
    path = Path(folder)
    try:
        settings = json.loads((path / "processor_config.json").read_text(encoding="utf-8"))
        text, template, bos = settings["text"], settings["template"], settings["bos"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no anytok processor ({error}): expected a folder with save_pretrained's files; "
            f"from the hub, huggingface_hub.snapshot_download gives one"
        ) from error
    tokenizer = ByteTokenizer() if text == "bytes" else load_text_tokenizer(path, local_only=True)
    return Vocabulary.from_file(path / "vocabulary.json", tokenizer), {"template": template, "bos": bos}
