"""What is written beside ids: the layout with its hash, as a file, and the hash in the heads of shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import VocabularyError
from .layout import Layout

__all__ = ["check_hash", "read_layout"]


def read_layout(path: str | Path) -> Layout:
    """The layout in a file of `Vocabulary.save`; raises VocabularyError on others, and if it was changed since."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        stated = record.pop("hash")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise VocabularyError(f"{path} is no file of Vocabulary.save ({error})") from error
    layout = Layout.from_dict(record)
    if layout.hash != stated:
        raise VocabularyError(f"{path} was changed since it was written: its hash is {layout.hash}, not {stated}")
    return layout


def check_hash(provenance: str | bytes | Mapping[str, Any], layout: Layout) -> None:
    """Raise VocabularyError unless a shard's head, or a job's plan.json, names this layout."""
    stated = _hash_in(provenance)
    if stated != layout.hash:
        raise VocabularyError(
            f"ids of the vocabulary with the hash {str(stated)[:12] or 'none'}; that of {layout.name} is "
            f"{layout.hash[:12]}: read them with their own, from the name or file that the job was given"
        )


def _hash_in(provenance: str | bytes | Mapping[str, Any]) -> Any:
    """The hash of the vocabulary that a shard's head, or a job's plan.json, names; raises VocabularyError on others."""
    try:
        record = json.loads(provenance) if isinstance(provenance, (str, bytes)) else provenance
        stated = record["vocabulary"]
        return stated if isinstance(stated, str) else stated["hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise VocabularyError(
            f"nothing here says with which vocabulary ids were written ({error!r}): expected the head of a shard"
        ) from error
