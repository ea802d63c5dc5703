"""The first command: media → codes → ids → codes → media, through the public API, on one page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import MediaError, UsageError
from ..jobs.items import valid_text
from ..media import Media, prepare
from ..multimodal import Multimodal, load_multimodal
from ..spec import Codes
from .page import Exhibit, render

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

__all__ = ["DemoResult", "run_demo"]

T = TypeVar("T")
NOTE = (
    "These are the small models that ship with anytok. They show the way through codes and ids; "
    "for quality there are the published ones (anytok list)."
)


@dataclass(frozen=True)
class DemoResult:
    """Where the page is, and what it shows, a line an item."""

    page: Path
    lines: list[str]


def run_demo(
    folder: str | Path, files: Sequence[str | Path] = (), progress: Callable[[], object] = lambda: None
) -> DemoResult:
    """Send `files` (or our own three clips) to ids and back, and write `demo.html` into `folder`.

    Pictures go to the suite's image tokenizer; sound to speech, or to music where its name says so or it has more
    than one channel. `progress` is called after each item. Raises MediaError on files that cannot be used, UsageError
    if `folder` is no folder.
    """
    if Path(folder).exists() and not Path(folder).is_dir():
        raise UsageError(f"{folder}: not a folder; choose another for the page")
    speaker = load_multimodal("mini")
    exhibits = []
    for title, modality, media in [_look_at(path) for path in files] or _own_clips():
        exhibits.append(_exhibit(speaker, title, modality, media))
        progress()
    page = Path(folder) / "demo.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(exhibits, NOTE), "utf-8")
    return DemoResult(page, [exhibit.facts for exhibit in exhibits])


def _own_clips() -> list[tuple[str, str, Media]]:
    from .clips import draw_landscape, hear_voice, play_tune

    return [
        ("a drawn landscape", "image", draw_landscape()),
        ("a spoken sentence", "speech", hear_voice()),
        ("a plucked tune", "music", play_tune()),
    ]


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
            raise MediaError(
                "neither", f"no picture ({not_a_picture.detail}) and no sound ({not_a_sound.detail})", str(path)
            ) from not_a_sound
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


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start
