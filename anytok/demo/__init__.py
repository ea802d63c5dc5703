"""The first command: media → codes → ids → codes → media, through the public API, and what codes are for; one page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..arguments import check_folder, several
from ..errors import MediaError, MissingExtraError, UsageError
from ..jobs.items import valid_text
from ..media import Audio
from ..multimodal import Multimodal, load_multimodal
from .clips import Clip, draw_landscape, own_clips, speak_deep
from .exhibit import Exhibit, make_exhibit
from .mix import mix_pictures, mix_voices, write_in_vocabularies
from .page import is_page, render
from .panel import Panel
from .remember import remember
from .speak import fill_in

if TYPE_CHECKING:
    from ..metrics.evaluate import Refused
    from ..tokenizer import Tokenizer

__all__ = ["DemoResult", "run_demo"]

NOTE = (
    "These are the small models that ship with anytok. They show the way through codes and ids; "
    "for quality there are the published ones (anytok list)."
)
# What is mixed with the only picture, and the only voice, of one's own files.
_PARTNERS = {
    "image": lambda: Clip("our drawn landscape", "image", draw_landscape()),
    "speech": lambda: Clip("our deep voice", "speech", speak_deep()),
}


@dataclass(frozen=True)
class DemoResult:
    """Where the page is (nowhere, if no file could be used), and what it shows, a line an item."""

    page: Path | None
    lines: list[str]


def run_demo(
    folder: str | Path,
    files: Sequence[str | Path] = (),
    progress: Callable[[], object] = lambda: None,
    refused: Refused | None = None,
) -> DemoResult:
    """Send `files` (or our own clips) to ids and back, mix them, and write `demo.html` into `folder`.

    Pictures go to the suite's image tokenizer; sound to speech, or to music where its name says so or it has more
    than one channel. The first two pictures are mixed with each other, and the first two voices; a single one with one
    of our own. `progress` is called after each item. Files that cannot be used are left out and told to `refused`, as
    place and error; without it the first raises its MediaError. An earlier page of the demo is replaced; raises
    UsageError if `demo.html` is anything else, or `folder` no folder.
    """
    page = _place(Path(folder))
    clips = list(_usable(several(files, "[file]"), refused)) if files else own_clips()
    if not clips:
        return DemoResult(None, [])
    suite = load_multimodal("mini")
    for modality in dict.fromkeys(clip.modality for clip in clips):
        _warm_up(suite.tokenizer(modality))
    exhibits = []
    for clip in clips:
        exhibits.append(make_exhibit(suite, clip))
        progress()
    panels = [*(exhibit.panel() for exhibit in exhibits), *_uses(suite, exhibits)]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(panels, NOTE), "utf-8")
    return DemoResult(page, [exhibit.facts for exhibit in exhibits])


def _uses(suite: Multimodal, exhibits: Sequence[Exhibit]) -> Iterator[Panel]:
    """The panels that show what codes are for."""
    if pictures := _pair(suite, exhibits, "image"):
        yield mix_pictures(suite, *pictures)
    if voices := _pair(suite, exhibits, "speech"):
        yield mix_voices(suite, *voices)
        yield fill_in(suite, *voices)
    yield write_in_vocabularies(exhibits)
    if (memory := remember(suite, exhibits)) is not None:
        yield memory


def _pair(suite: Multimodal, exhibits: Sequence[Exhibit], modality: str) -> tuple[Exhibit, Exhibit] | None:
    """The first two exhibits of a modality; the only one and one of our own; or nothing."""
    those = [exhibit for exhibit in exhibits if exhibit.codes.spec.modality == modality]
    if len(those) == 1:
        those.append(make_exhibit(suite, _PARTNERS[modality]()))
    return (those[0], those[1]) if those else None


def _place(folder: Path) -> Path:
    """The page's path, once it is sure that nothing of anyone else's is there."""
    check_folder(folder)
    page = folder / "demo.html"
    if page.exists() and not (page.is_file() and is_page(page)):
        raise UsageError(f"{page}: exists already, and is no page of this demo; choose another folder, or move it away")
    return page


def _usable(files: Sequence[str | Path], refused: Refused | None) -> Iterator[Clip]:
    for place, path in enumerate(files):
        try:
            yield _look_at(path)
        except (MediaError, MissingExtraError) as error:
            if refused is None:
                raise
            refused(place, error)


def _look_at(path: str | Path) -> Clip:
    """A user's file: a picture if it opens as one, otherwise sound."""
    from ..media.audio import load_audio
    from ..media.image import load_image

    name = valid_text(Path(path).name)
    try:
        return Clip(name, "image", load_image(path))
    except MediaError as not_a_picture:
        try:
            audio = load_audio(path)
        except MediaError as not_a_sound:
            # The reader of its kind knows what is wrong with a file; the other one only knows that it is not its own.
            told = [error for error in (not_a_picture, not_a_sound) if error.kind != "unsupported_format"]
            both = f"no picture ({not_a_picture.detail}) and no sound ({not_a_sound.detail})"
            raise (told[0] if told else MediaError("neither", both, str(path))) from not_a_sound
    music = "music" in name.lower() or audio.channels > 1
    return Clip(name, "music" if music else "speech", audio)


def _warm_up(tokenizer: Tokenizer) -> None:
    """A first run, of next to nothing: it also loads and plans, which is not what the page tells the time of."""
    from PIL import Image

    rate = tokenizer.spec.sample_rate
    tokenizer.decode(tokenizer.encode(Audio(np.zeros(rate), rate) if rate else Image.new("RGB", (8, 8))))
