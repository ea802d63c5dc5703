"""The demo's page: one HTML file that needs nothing else, with what went in beside what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..drawing import audio_uri, draw_codes, draw_spectrogram, image_uri
from ..media import Audio, Decoded
from ..spec import Codes

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Exhibit", "Found", "is_page", "render"]

_SHOWN = 24  # ids and tokens that are written out


@dataclass(frozen=True)
class Exhibit:
    """One item on its way: what went in, its codes, ids and text, and what came out."""

    title: str
    original: Decoded  # as the tokenizer sees it: resized, resampled, mixed
    codes: Codes
    ids: np.ndarray
    text: str
    decoded: Decoded
    encode_seconds: float
    decode_seconds: float

    @property
    def facts(self) -> str:
        """One line: how much became how much, and how fast."""
        spec, codes = self.codes.spec, self.codes
        size = f"{self.original.duration:.1f} s" if isinstance(self.original, Audio) else f"{self.original.width} px"
        return (
            f"{self.title}: {size} → {codes.num_codebooks} × {codes.num_frames} codes of {spec.codebook_size} "
            f"→ {len(self.ids)} ids → back; {spec.name}, encoded in {self.encode_seconds:.2f} s, "
            f"decoded in {self.decode_seconds:.2f} s"
        )


@dataclass(frozen=True)
class Found:
    """A search of a memory that holds `among` items: what was asked, and the best answer's words, score and medium."""

    asked: Image | str
    words: str
    score: float
    medium: Decoded  # decoded from the remembered codes
    among: int


def render(exhibits: Sequence[Exhibit], note: str, found: Sequence[Found] = (), absent: str = "") -> str:
    """The page as text; `absent` says why nothing is `found`."""
    cards = "\n".join(map(_card, exhibits))
    if found:
        cards += _MEMORY.format(among=_count(found[0].among, "item"), answers="".join(map(_answer, found)))
    if absent:
        cards += f'<p class="soft">{escape(absent)}</p>'
    warning = f'<p class="note">{escape(note)}</p>' if note else ""
    return _PAGE.format(style=_STYLE, cards=cards, warning=warning)


def is_page(path: Path) -> bool:
    """Whether a file is a page that `render` made, by its title: then a new one may take its place."""
    with path.open("rb") as file:
        return b"<title>anytok demo</title>" in file.read(1000)


def _card(exhibit: Exhibit) -> str:
    codes = exhibit.codes
    return _CARD.format(
        title=escape(exhibit.title),
        facts=escape(exhibit.facts.removeprefix(f"{exhibit.title}: ")),
        original=_media(exhibit.original),
        decoded=_media(exhibit.decoded),
        codes=image_uri(draw_codes(codes.values)),
        legend=f"{_count(codes.num_codebooks, 'codebook')} × {_count(codes.num_frames, 'frame')}",
        ids=escape(_start_and_end(list(map(str, exhibit.ids)))),
        text=escape(_start_and_end(exhibit.text.replace("><", ">\n<").split("\n"))),
    )


def _answer(found: Found) -> str:
    what = "words" if isinstance(found.asked, str) else "a crop of nine tenths"
    return _ANSWER.format(
        what=what, asked=f"<p>“{escape(found.asked)}”</p>" if isinstance(found.asked, str) else _media(found.asked),
        words=escape(found.words), score=f"{found.score:.2f}", medium=_media(found.medium),
    )  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _start_and_end(words: list[str]) -> str:
    """The first words and the last, with "…" for those between, if there are any."""
    return " ".join([*words[:_SHOWN], "…", words[-1]] if len(words) > _SHOWN + 1 else words)


def _media(media: Decoded) -> str:
    if isinstance(media, Audio):
        picture = image_uri(draw_spectrogram(media))
        return f'<img class="wide" src="{picture}" alt="spectrogram"><audio controls src="{audio_uri(media)}"></audio>'
    return f'<img src="{image_uri(media)}" alt="picture">'


_STYLE = """
:root { color-scheme: light dark; --card: #fff; --page: #f2f1ee; --ink: #22242a; --soft: #6b6f78; --line: #dcdad4; }
@media (prefers-color-scheme: dark) {
  :root { --card: #1d1f25; --page: #14151a; --ink: #e6e6ea; --soft: #9a9ea8; --line: #33363f; }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 30px; margin: 0; }
h2 { font-size: 20px; margin: 0; }
h3 { font-size: 13px; font-weight: 600; color: var(--soft); margin: 18px 0 6px; }
p { margin: 4px 0; }
.soft { color: var(--soft); font-size: 14px; }
.note { background: #fff1c9; color: #5a4300; border-radius: 8px; padding: 10px 14px; margin: 16px 0 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
section { padding: 20px 24px; margin: 24px 0; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 24px; }
.pair h3 { margin-top: 14px; }
img { display: block; max-width: 100%; border-radius: 6px; }
.pair img:not(.wide) { width: 100%; max-width: 320px; image-rendering: auto; }
img.wide, img.codes { width: 100%; }
img.codes { image-rendering: pixelated; }
audio { width: 100%; margin-top: 8px; }
pre { white-space: pre-wrap; word-break: break-word; font: 13px/1.5 ui-monospace, monospace; margin: 0; }
@media (max-width: 640px) { .pair { grid-template-columns: 1fr; } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>anytok demo</title>
<style>{style}</style>
<main>
<h1>anytok</h1>
<p>Any media ⇄ codes ⇄ ids of one shared vocabulary, and the way back.</p>
{warning}
{cards}
</main>
</html>
"""

_CARD = """<section>
<h2>{title}</h2>
<p class="soft">{facts}</p>
<div class="pair">
<div><h3>what went in</h3>{original}</div>
<div><h3>what came back from the ids</h3>{decoded}</div>
</div>
<h3>codes: {legend}</h3>
<img class="codes" src="{codes}" alt="codes">
<h3>ids</h3>
<pre>{ids}</pre>
<h3>text</h3>
<pre>{text}</pre>
</section>"""

_MEMORY = """
<section class="memory">
<h2>remembered</h2>
<p class="soft">All of the above went into a memory as codes ({among}), and is decoded from these when it is found.</p>
{answers}</section>"""

_ANSWER = """<div class="pair">
<div><h3>asked by {what}</h3>{asked}</div>
<div><h3>found: {words} (likeness {score})</h3>{medium}</div>
</div>
"""
