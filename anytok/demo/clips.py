"""What the demo sends through when it is given no files: a drawn scene, a photograph, two voices, a plucked tune."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..media import Audio, Media
from ..media.audio import load_audio
from ..media.image import load_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "Clip", "draw_landscape", "find_photograph", "load_scene", "own_clips", "play_tune", "speak_bright", "speak_deep",
]  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """A picture or a sound, the modality of the tokenizer that it is for, and what is to be seen or heard in it."""

    title: str
    modality: str
    media: Media
    seen: str = ""


def own_clips() -> list[Clip]:
    """Two pictures (one, where matplotlib comes without its sample data), two voices and a tune."""
    photograph = find_photograph()
    return [
        Clip(
            "a drawn scene",
            "image",
            load_scene(),
            "A football before the sea at dusk, drawn. It is of the small world that seed-mini knows: it has seen "
            "footballs, and seas, but no football before the sea.",
        ),
        *([Clip("a photograph", "image", photograph, _PHOTOGRAPH)] if photograph else []),
        Clip(
            "a deep voice",
            "speech",
            speak_deep(),
            "Synthetic, of a man: “A picture, a voice and a tune become tokens, and come back.”",
        ),
        Clip(
            "a bright voice",
            "speech",
            speak_bright(),
            "Synthetic, of a man from Scotland: “The same numbers come back every time, on every machine.”",
        ),
        Clip("a plucked tune", "music", play_tune(), "Four broken chords on a synthetic plucked string: C, A, F, G."),
    ]


_PHOTOGRAPH = (
    "A woman with glasses and a dark naval cap before flags: Grace Hopper, photographed by the United States Navy. "
    "Public domain; matplotlib brings it among its sample data."
)


def find_photograph() -> Image | None:
    """The upper square of matplotlib's `grace_hopper.jpg`, of Wikimedia Commons; None where its sample data was left
    out, as some distributions do.

    It is read where matplotlib, which anytok needs, is installed: no photograph is in this package.
    """
    import matplotlib

    path = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    if not path.is_file():
        return None
    picture = load_image(path)
    side = min(picture.size)
    return picture.crop((0, 0, side, side))


def load_scene() -> Image:
    """A scene of the small world (`anytok.training.world`): Noto's football (Apache-2.0) before a drawn background. Its
    pair of kind and background is one of those that training keeps aside."""
    return load_image(Path(__file__).with_name("scene.png"))


def draw_landscape(width: int = 480, height: int = 480) -> Image:
    """A sunset over hills, with a house: an RGB picture, drawn large and shrunk so that edges are smooth."""
    from PIL import Image, ImageDraw, ImageFilter

    wide, high = 2 * width, 2 * height
    rows = np.linspace(0, 1, high)[:, None, None]
    sky = (1 - rows) * np.array([70, 120, 190]) + rows * np.array([255, 190, 130])
    image = Image.fromarray(np.broadcast_to(sky, (high, wide, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse([wide * 0.62, high * 0.22, wide * 0.78, high * 0.38], fill=(255, 235, 170))
    image = image.filter(ImageFilter.GaussianBlur(wide / 200))
    draw = ImageDraw.Draw(image)
    across = np.linspace(0, 1, 200)
    for base, size, pitch, colour in [
        (0.60, 0.09, 1.6, (96, 110, 150)),
        (0.70, 0.06, 2.7, (70, 120, 90)),
        (0.82, 0.04, 1.1, (60, 145, 70)),
    ]:
        ridge = base - size * np.sin(2 * np.pi * (pitch * across + base))
        draw.polygon([(0, high), *zip(across * wide, ridge * high, strict=True), (wide, high)], fill=colour)
    left, top, side = wide * 0.2, high * 0.62, wide * 0.2
    draw.rectangle([left, top, left + side, top + side], fill=(235, 225, 205))
    draw.polygon([(left - 15, top), (left + side / 2, top - side * 0.6), (left + side + 15, top)], fill=(170, 60, 50))
    draw.rectangle([left + side * 0.4, top + side * 0.5, left + side * 0.65, top + side], fill=(90, 60, 40))
    draw.rectangle([left + side * 0.1, top + side * 0.2, left + side * 0.35, top + side * 0.42], fill=(120, 170, 210))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def speak_deep() -> Audio:
    """ "A picture, a voice and a tune become tokens, and come back", spoken by flite's voice rms; 4 s at 16 kHz.

    Training keeps that voice aside. What flite speaks is free of rights.
    """
    return load_audio(Path(__file__).with_name("voice_deep.ogg"))


def speak_bright() -> Audio:
    """ "The same numbers come back every time, on every machine", spoken by flite's voice awb; 4 s at 16 kHz.

    The small models are trained on other sentences of that voice.
    """
    return load_audio(Path(__file__).with_name("voice_bright.ogg"))


def play_tune(sample_rate: int = 32000) -> Audio:
    """A plucked broken chord, C A F G: 5 s. Each string is a burst of noise in a damped delay line (Karplus-Strong)."""
    chords = [(60, 64, 67, 72), (57, 60, 64, 69), (53, 57, 60, 65), (55, 59, 62, 67)]
    notes = [note for chord in chords for note in (*chord, chord[2])]
    step = sample_rate // 4
    wave = np.zeros(step * len(notes) + sample_rate // 2)
    generator = np.random.default_rng(0)
    for place, note in enumerate(notes):
        string = _pluck(440 * 2 ** ((note - 69) / 12), sample_rate, generator)
        end = min(len(wave), place * step + len(string))
        wave[place * step : end] += string[: end - place * step]
    return Audio(0.7 * wave[: 5 * sample_rate] / np.abs(wave).max(), sample_rate)


def _pluck(hertz: float, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    period = round(sample_rate / hertz)
    turn = generator.uniform(-1, 1, period)
    turns = []
    for _ in range(int(1.2 * hertz)):
        turns.append(turn)
        turn = 0.996 * 0.5 * (turn + np.roll(turn, 1))
    return np.concatenate(turns)
