"""The demo's memory: a cropped picture finds what it was cut from, and a remembered voice speaks again."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import AnytokError
from ..multimodal import Image, Multimodal
from .exhibit import Exhibit
from .panel import Figure, Panel, count

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["remember"]

_TITLE = "a memory"


def remember(suite: Multimodal, exhibits: Sequence[Exhibit]) -> Panel | None:
    """Remember all exhibits in a folder of the moment, then search by nine tenths of the first picture and by the title
    of the first voice, where there are any. Without the extra `memory` the panel says so; where nothing was asked or
    found there is none."""
    try:
        among, rows = _search(suite, exhibits)
    except AnytokError as error:
        return Panel(_TITLE, f"No memory on this page: {error}")
    if not rows:
        return None
    text = f"All of the above is remembered as codes ({count(among, 'item')}), and decoded from them when it is found."
    return Panel(_TITLE, text, rows)


def _search(suite: Multimodal, exhibits: Sequence[Exhibit]) -> tuple[int, list[list[Figure]]]:
    """How many items are remembered, and for each search what was asked and the best answer."""
    from ..memory import load_memory

    first = {exhibit.codes.spec.modality: exhibit for exhibit in reversed(exhibits)}
    queries: list[tuple[str, Picture | str]] = []
    if "image" in first:
        queries.append(("asked by a crop of nine tenths", cropped(first["image"].original)))
    if "speech" in first:
        queries.append(("asked by words", first["speech"].title))
    rows = []
    with TemporaryDirectory() as folder, load_memory(folder, suite, user="demo") as memory:
        for exhibit in exhibits:
            memory.add([exhibit.codes, exhibit.title])
        for how, asked in queries:
            for best in memory.search(asked if isinstance(asked, str) else Image(asked), 1):  # none: no word in a title
                medium, words = suite.to_media(best.parts)
                found = Figure(f"found: {words} (likeness {best.score:.2f}, 1 is the same)", medium)  # type: ignore[arg-type]
                rows.append([Figure(how, asked), found])
        return len(memory.get_all()), rows


def cropped(picture: Any, share: float = 0.9) -> Picture:
    """The middle of a PIL picture, `share` of each side."""
    width, height = picture.size
    left, top = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    return picture.crop((left, top, width - left, height - top))
