"""The demo's memory: a cropped picture finds what it was cut from, and a remembered voice speaks again."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..multimodal import Image, Multimodal
from .page import Exhibit, Recall

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["recall"]


def recall(speaker: Multimodal, exhibits: Sequence[Exhibit]) -> list[Recall]:
    """Remember all exhibits in a folder of the moment, then search by nine tenths of the first picture and by the title
    of the first voice, where there are any. Raises MissingExtraError without the extra `memory`."""
    from ..memory import load_memory

    first = {exhibit.codes.spec.modality: exhibit for exhibit in reversed(exhibits)}
    queries: list[Picture | str] = [cropped(first["image"].original)] if "image" in first else []
    queries += [first["speech"].title] if "speech" in first else []
    found = []
    with TemporaryDirectory() as folder, load_memory(folder, speaker, user="demo") as memory:
        for exhibit in exhibits:
            memory.add([exhibit.codes, exhibit.title])
        among = len(memory.get_all())
        for asked in queries:
            [best] = memory.search(asked if isinstance(asked, str) else Image(asked), 1)
            medium, words = speaker.to_media(best.parts)
            found.append(Recall(asked, str(words), best.score, medium, among))  # type: ignore[arg-type]
    return found


def cropped(picture: Any, share: float = 0.9) -> Picture:
    """The middle of a PIL picture, `share` of each side."""
    width, height = picture.size
    left, top = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    return picture.crop((left, top, width - left, height - top))
