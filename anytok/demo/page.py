"""The demo's page: one HTML file that needs nothing else, from `page.html` and panels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from ..drawing import audio_uri, draw_codes, draw_spectrogram, image_uri
from ..media import Audio
from .describe import describe
from .panel import Figure, Panel, Table

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["is_page", "render"]

_PART = re.compile(r'<template id="([\w-]+)">\n(.*?)</template>\n', re.DOTALL)


def render(panels: Sequence[Panel], note: str) -> str:
    """The page as text; `note` is what a reader should know before all."""
    numbered = [(f"panel-{place}", panel) for place, panel in enumerate(panels, 1)]
    return _fill(
        "page",
        note=escape(note),
        contents="".join(_fill("link", id=identity, title=escape(panel.title)) for identity, panel in numbered),
        panels="".join(_panel(identity, panel) for identity, panel in numbered),
    )


def is_page(path: Path) -> bool:
    """Whether a file is a page that `render` made, by its title: then a new one may take its place."""
    with path.open("rb") as file:
        return b"<title>anytok demo</title>" in file.read(1000)


@cache
def _parts() -> dict[str, Template]:
    """The page, and the parts that repeat in it: each stands in `page.html` as a `<template>` with an id."""
    source = Path(__file__).with_name("page.html").read_text("utf-8")
    return {name: Template(part) for name, part in [*_PART.findall(source), ("page", _PART.sub("", source))]}


def _fill(part: str, /, **values: object) -> str:
    return _parts()[part].substitute(values)


def _panel(identity: str, panel: Panel) -> str:
    return _fill(
        "panel",
        id=identity,
        title=escape(panel.title),
        text=escape(panel.text),
        figures="".join(_row(row, panel.title) for row in panel.figures),
        tables="".join(map(_table, panel.tables)),
        listings="".join(_fill("listing", title=escape(name), text=escape(text)) for name, text in panel.listings),
    )


def _row(figures: Sequence[Figure], title: str) -> str:
    pictures = not any(figure.medium is None or isinstance(figure.medium, Audio) for figure in figures)
    kind = "pictures" if pictures else "sounds"
    return _fill("row", kind=kind, figures="".join(_figure(figure, title) for figure in figures))


def _figure(figure: Figure, title: str) -> str:
    medium = figure.medium
    if isinstance(medium, Audio):
        inner = _image("wide", draw_spectrogram(medium), f"spectrogram: {describe(medium)}")
        inner += _fill("player", uri=audio_uri(medium, "flac"), label=escape(f"{figure.caption} ({title})"))
    elif isinstance(medium, str):
        inner = _fill("words", text=escape(medium))
    else:
        inner = "" if medium is None else _image("picture", medium, figure.seen or describe(medium))
    if figure.codes is not None:
        inner += _image("codes", draw_codes(figure.codes), _seen(figure.codes))
    return _fill("figure", caption=escape(figure.caption), medium=inner)


def _image(kind: str, picture: Image, seen: str) -> str:
    uri = image_uri(picture)
    return _fill("image", kind=kind, uri=uri, seen=escape(seen), width=picture.width, height=picture.height)


def _seen(codes: np.ndarray) -> str:
    """What a picture of codes shows."""
    different = len(np.unique(codes))
    return f"codes: {codes.shape[0]} by {codes.shape[1]} coloured cells of {different} different colours"


def _table(table: Table) -> str:
    rows = [
        _fill("cells", name=escape(name), cells="".join(f"<td>{escape(cell)}</td>" for cell in cells))
        for name, *cells in table.rows
    ]
    columns = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    return _fill("table", caption=escape(table.caption), columns=columns, rows="".join(rows))
