"""The demo's panels that show what codes are for: what they show is what the codes give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import anytok
from anytok import Codes
from anytok.demo import run_demo
from anytok.demo.clips import Clip, draw_landscape, play_tune, speak_bright, speak_deep
from anytok.demo.exhibit import Exhibit, make_exhibit
from anytok.demo.mix import compare, mix_pictures, mix_voices, write_in_vocabularies
from anytok.demo.panel import Figure
from anytok.demo.speak import fill_in
from anytok.multimodal import Multimodal


@pytest.fixture(scope="module")
def suite() -> Multimodal:
    return anytok.load_multimodal("mini")


@pytest.fixture(scope="module")
def voices(suite: Multimodal) -> tuple[Exhibit, Exhibit]:
    """The second is the shorter."""
    long, short = speak_deep(), speak_bright()
    short = anytok.Audio(short.wave[:, : 2 * short.sample_rate], short.sample_rate)
    return make_exhibit(suite, Clip("A", "speech", long)), make_exhibit(suite, Clip("B", "speech", short))


def test_halves_of_two_pictures_make_two_more(suite: Multimodal) -> None:
    fractal = Image.effect_mandelbrot((100, 100), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    first = make_exhibit(suite, Clip("A", "image", draw_landscape()))
    second = make_exhibit(suite, Clip("B", "image", fractal))
    [[a, ab, ba, b]] = mix_pictures(suite, first, second).figures
    half = first.codes.num_frames // 2
    for figure, start, end in ((ab, first, second), (ba, second, first)):
        assert figure.caption == f"{half} codes of {start.title}, then {half} of {end.title}"
        values = np.concatenate([start.codes.values[:, :half], end.codes.values[:, half:]], 1)
        assert np.array_equal(figure.codes, values) and not np.array_equal(values, start.codes.values)
        assert figure.medium == suite.tokenizer("image").decode(Codes(values, first.codes.spec))
    assert (a.medium, b.medium) == (first.decoded, second.decoded)


def test_what_one_voice_says_takes_the_layers_of_the_other(suite: Multimodal, voices: tuple[Exhibit, Exhibit]) -> None:
    panel = mix_voices(suite, *voices)
    for figure, content, timbre in zip(panel.figures[1], voices, reversed(voices), strict=True):
        assert figure.caption == f"content of {content.title}, timbre of {timbre.title}"
        assert figure.codes.shape == content.codes.values.shape
        assert np.array_equal(figure.codes[0], content.codes.values[0])
        for frame in range(content.codes.num_frames):
            assert np.array_equal(figure.codes[1:, frame], timbre.codes.values[1:, frame % timbre.codes.num_frames])
        codes = Codes(figure.codes, content.codes.spec, content.codes.num_samples)
        assert figure.medium == suite.tokenizer("speech").decode(codes)


def test_sounds_are_compared_with_both_voices(voices: tuple[Exhibit, Exhibit]) -> None:
    silent = anytok.Audio(np.zeros(16000), 16000)
    table = compare([Figure("x", voices[0].decoded), Figure("s", silent)], voices)
    assert table.columns == ("sound", "pitch", "from A", "from B")
    (x, pitch, to_a, to_b), rest = table.rows
    assert x == "x" and pitch.endswith(" hertz") and to_a == "0.0 decibels" and float(to_b.split()[0]) > 1
    assert rest == ("s", "none", *["one of them is silent"] * 2)


def test_layer_1_is_filled_in_after_three_seconds(suite: Multimodal, voices: tuple[Exhibit, Exhibit]) -> None:
    second, first = voices  # the prompt is the longer, and cut
    panel = fill_in(suite, first, second)
    [[alone, asked, spoken]] = panel.figures
    speech = suite.tokenizer("speech")
    rate = second.codes.spec.frame_rate
    assert rate and np.array_equal(asked.codes, second.codes.values[:, : 3 * round(rate)])
    assert isinstance(asked.medium, anytok.Audio) and asked.medium.duration == 3
    voice = anytok.load_voice("voice-mini", speech=speech)
    filled = voice.fill(first.codes.layers(0, 1), Codes(asked.codes, second.codes.spec))
    assert np.array_equal(spoken.codes, filled.values) and len(filled.values) == voice.num_layers > 1
    assert np.array_equal(alone.codes, first.codes.values[:1]) and np.array_equal(spoken.codes[:1], alone.codes)
    assert alone.medium == speech.decode(first.codes.layers(0, 1)) and spoken.medium == speech.decode(filled)


def test_three_vocabularies_write_the_same_codes(suite: Multimodal, voices: tuple[Exhibit, Exhibit]) -> None:
    picture = make_exhibit(suite, Clip("P", "image", draw_landscape()))
    of_picture, of_voice = write_in_vocabularies([picture, *voices]).tables
    assert (of_picture.caption, of_voice.caption) == ("P", "A"), "the first of each kind"
    assert of_picture.columns == of_voice.columns == ("vocabulary", "ours", "AnyGPT's", "MIO's")
    words, written, number, ids, text, back = (row[1:] for row in of_voice.rows)
    values = voices[0].codes.values
    assert words == ("256", "32,000", "64,000")
    assert written == ("8 codebooks, frame by frame", "1 codebook", "4 codebooks, one after the other")
    assert number == tuple(f"{k * values.shape[1] + 2:,}" for k in (len(values), 1, 4))
    assert ids[0].startswith(" ".join(map(str, voices[0].ids[:3])))
    first = 32000 + 4 + picture.codes.spec.codebook_size + 2  # behind the words, four special tokens, and the pictures
    start = first + voices[0].codes.spec.codebook_size
    assert ids[1] == f"{start} {first + values[0, 0]} {first + values[0, 1]} … {start + 1}"
    assert text[1].startswith("<sosp> <🗣") and text[1].endswith("… <eosp>")
    assert back == tuple(f"{k} of 8 codebooks, equal" for k in (8, 1, 4))


def test_a_tune_alone_is_written_where_there_is_music(suite: Multimodal) -> None:
    tune = make_exhibit(suite, Clip("T", "music", anytok.Audio(play_tune().wave[:, :32000], 32000)))
    [table] = write_in_vocabularies([tune]).tables
    assert table.columns == ("vocabulary", "ours", "AnyGPT's"), "MIO writes no music"


def test_ones_own_are_mixed_with_each_other_and_one_alone_with_ours(tmp_path: Path) -> None:
    draw_landscape(80, 80).rotate(180).save(tmp_path / "p.png")
    speak_deep().save(tmp_path / "v.wav")
    speak_bright().save(tmp_path / "w.wav")
    pages = []
    for names in (("p.png", "v.wav"), ("v.wav", "w.wav", "v.wav")):
        result = run_demo(tmp_path, [tmp_path / name for name in names])
        assert result.page and len(result.lines) == len(names)
        pages.append(result.page.read_text("utf-8"))
    assert "16 codes of p.png, then 16 of our drawn landscape" in pages[0]
    assert "content of v.wav, timbre of our deep voice" in pages[0]
    assert "layer 1 of v.wav, filled in after the prompt" in pages[0] and "the start of our deep voice" in pages[0]
    assert "content of v.wav, timbre of w.wav" in pages[1] and "the start of w.wav" in pages[1]
    assert "our deep voice" not in pages[1] and "landscape" not in pages[1]
