"""The first command: media → codes → ids → codes → media, through the public API, on one page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..arguments import check_folder, several
from ..errors import AnytokError, MediaError, MissingExtraError, UsageError
from ..jobs.items import valid_text
from ..media import Audio, Media, prepare
from ..multimodal import Multimodal, load_multimodal
from ..spec import Codes
from .page import Exhibit, Found, is_page, render

if TYPE_CHECKING:
    from ..metrics.evaluate import Refused
    from ..tokenizer import Tokenizer

__all__ = ["DemoResult", "run_demo"]

T = TypeVar("T")
NOTE = (
    "These are the small models that ship with anytok. They show the way through codes and ids; "
    "for quality there are the published ones (anytok list)."
)


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
    """Send `files` (or our own three clips) to ids and back, and write `demo.html` into `folder`.

    Pictures go to the suite's image tokenizer; sound to speech, or to music where its name says so or it has more
    than one channel. `progress` is called after each item. Files that cannot be used are left out and told to
    `refused`, as place and error; without it the first raises its MediaError. An earlier page of the demo is
    replaced; raises UsageError if `demo.html` is anything else, or `folder` no folder.
    """
    page = _place(Path(folder))
    items = list(_usable(several(files, "[file]"), refused)) if files else _own_clips()
    if not items:
        return DemoResult(None, [])
    speaker = load_multimodal("mini")
    for modality in dict.fromkeys(modality for _, modality, _ in items):
        _warm_up(speaker.tokenizer(modality))
    exhibits = []
    for item in items:
        exhibits.append(_exhibit(speaker, *item))
        progress()
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(exhibits, NOTE, *_remembered(speaker, exhibits)), "utf-8")
    return DemoResult(page, [exhibit.facts for exhibit in exhibits])


def _remembered(speaker: Multimodal, exhibits: Sequence[Exhibit]) -> tuple[list[Found], str]:
    """What a memory of the exhibits finds; or nothing, and why."""
    from .remember import remember

    try:
        return remember(speaker, exhibits), ""
    except AnytokError as error:
        return [], f"No memory on this page: {error}"


def _place(folder: Path) -> Path:
    """The page's path, once it is sure that nothing of anyone else's is there."""
    page = folder / "demo.html"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: not a folder; choose another for the page")
    if page.exists() and not (page.is_file() and is_page(page)):
        raise UsageError(f"{page}: exists already, and is no page of this demo; choose another folder, or move it away")
    check_folder(folder)
    return page


def _own_clips() -> list[tuple[str, str, Media]]:
    from .clips import draw_landscape, hear_voice, play_tune

    return [
        ("a drawn landscape", "image", draw_landscape()),
        ("a spoken sentence", "speech", hear_voice()),
        ("a plucked tune", "music", play_tune()),
    ]


def _usable(files: Sequence[str | Path], refused: Refused | None) -> Iterator[tuple[str, str, Media]]:
    for place, path in enumerate(files):
        try:
            yield _look_at(path)
        except (MediaError, MissingExtraError) as error:
            if refused is None:
                raise
            refused(place, error)


def _look_at(path: str | Path) -> tuple[str, str, Media]:
    """(title, modality, media) of a user's file: a picture if it opens as one, otherwise sound."""
    from ..media.audio import load_audio
    from ..media.image import load_image

    name = valid_text(Path(path).name)
    try:
        return name, "image", load_image(path)
    except MediaError as not_a_picture:
        try:
            audio = load_audio(path)
        except MediaError as not_a_sound:
            # The reader of its kind knows what is wrong with a file; the other one only knows that it is not its own.
            told = [error for error in (not_a_picture, not_a_sound) if error.kind != "unsupported_format"]
            both = f"no picture ({not_a_picture.detail}) and no sound ({not_a_sound.detail})"
            raise (told[0] if told else MediaError("neither", both, str(path))) from not_a_sound
    music = "music" in name.lower() or audio.channels > 1
    return name, "music" if music else "speech", audio


def _exhibit(speaker: Multimodal, title: str, modality: str, media: Media) -> Exhibit:
    tokenizer: Tokenizer = speaker.tokenizer(modality)
    codes, encode_seconds = _timed(lambda: tokenizer.encode(media))
    ids = speaker.vocabulary.to_ids(codes)
    (back,) = speaker.vocabulary.from_ids(ids)
    assert isinstance(back, Codes)
    decoded, decode_seconds = _timed(lambda: tokenizer.decode(back))
    return Exhibit(
        title=title,
        original=prepare(media, tokenizer.spec),
        codes=codes,
        ids=ids,
        text=speaker.vocabulary.to_text(codes),
        decoded=decoded,
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
    )


def _warm_up(tokenizer: Tokenizer) -> None:
    """A first run, of next to nothing: it also loads and plans, which is not what the page tells the time of."""
    from PIL import Image

    rate = tokenizer.spec.sample_rate
    tokenizer.decode(tokenizer.encode(Audio(np.zeros(rate), rate) if rate else Image.new("RGB", (8, 8))))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start
