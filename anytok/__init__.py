"""anytok: images, speech and music ⇄ codes ⇄ ids of one shared vocabulary.

Names load on use, so `import anytok` costs next to nothing and brings in no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import cached as cached
    from .errors import AnytokError as AnytokError
    from .errors import CacheError as CacheError
    from .errors import CheckpointError as CheckpointError
    from .errors import CodesError as CodesError
    from .errors import MediaError as MediaError
    from .errors import StoreError as StoreError
    from .errors import UsageError as UsageError
    from .errors import VocabularyError as VocabularyError
    from .jobs import run_job as run_job
    from .media import Audio as Audio
    from .memory import load_memory as load_memory
    from .multimodal import Image as Image
    from .multimodal import Medium as Medium
    from .multimodal import Music as Music
    from .multimodal import Speech as Speech
    from .multimodal import load_multimodal as load_multimodal
    from .registry import list_tokenizers as list_tokenizers
    from .registry import list_voices as list_voices
    from .registry import load_tokenizer as load_tokenizer
    from .registry import load_voice as load_voice
    from .spec import Codes as Codes
    from .spec import Spec as Spec
    from .tokenizer import Tokenizer as Tokenizer
    from .vocab import Vocabulary as Vocabulary
    from .vocab import load_vocabulary as load_vocabulary
    from .voice import Voice as Voice

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(
        ["AnytokError", "CheckpointError", "CodesError", "MediaError", "StoreError", "UsageError", "VocabularyError"],
        "errors",
    ),
    **dict.fromkeys(["Codes", "Spec"], "spec"),
    **dict.fromkeys(["list_tokenizers", "list_voices", "load_tokenizer", "load_voice"], "registry"),
    **dict.fromkeys(["Vocabulary", "load_vocabulary"], "vocab"),
    **dict.fromkeys(["Image", "Medium", "Music", "Speech", "load_multimodal"], "multimodal"),
    "Audio": "media",
    "CacheError": "errors",
    "cached": "cache",
    "load_memory": "memory",
    "run_job": "jobs",
    "Tokenizer": "tokenizer",
    "Voice": "voice",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'anytok' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
