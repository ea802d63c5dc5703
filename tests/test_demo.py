"""The first command: what goes in comes out again on one page that needs nothing else; what codes are for is in
`test_demo_mix`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import anytok
from anytok import Codes, MediaError, Spec, Tokenizer, UsageError
from anytok.cli import main
from anytok.demo import exhibit as exhibit_module
from anytok.demo import run_demo
from anytok.demo.clips import Clip, draw_landscape, find_photograph, own_clips, play_tune, speak_bright, speak_deep
from anytok.demo.describe import describe, pitch
from anytok.demo.exhibit import Exhibit
from anytok.demo.page import render
from anytok.drawing import audio_uri, draw_codes, draw_spectrogram


def test_the_page_shows_all_and_needs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out.splitlines()
    page = Path(printed[-1])
    html = page.read_text("utf-8")
    num_pictures = 2 if find_photograph() else 1
    # An item each; then halves of pictures, two voices, a voice filled in, three vocabularies, a memory.
    assert page == Path("demo-out/demo.html") and len(printed) == num_pictures + 3 + 1
    assert html.count("<section ") == num_pictures + 3 + 5 == html.count('<a href="#panel-')
    assert html.count("<audio ") == 3 * 2 + 4 + 3 + 1
    assert not re.search(r'(src|href)="(?!data:|#)', html) and "<script" not in html and "<template" not in html
    assert "default-src 'none'" in html and "$" not in html
    assert "&lt;/image&gt;" in html and "&lt;/speech&gt;" in html and "&lt;/music&gt;" in html
    assert page.stat().st_size < 3_000_000, "a page of a size that can be sent by mail"


def test_own_files_take_the_place_of_ours(tmp_path: Path) -> None:
    draw_landscape(50, 80).save(tmp_path / "mine <b>.png")
    speak_deep().save(tmp_path / "voice.flac")
    play_tune().save(tmp_path / "music.wav")
    done: list[None] = []
    result = run_demo(tmp_path / "out", sorted(tmp_path.glob("*.*")), progress=lambda: done.append(None))
    assert len(done) == 3 and all(
        name in "\n".join(result.lines) for name in ("mine <b>.png", "voice.flac", "music.wav")
    )
    assert result.page
    html = result.page.read_text("utf-8")
    assert "mine &lt;b&gt;.png" in html and "<b>" not in html


def test_the_page_shows_what_a_memory_finds(tmp_path: Path) -> None:
    """A crop finds the picture it was cut from, and words a voice, among others of their kind; both are decoded."""
    draw_landscape(240, 240).save(tmp_path / "hills.png")
    Image.effect_mandelbrot((240, 240), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(tmp_path / "fractal.png")
    play_tune().save(tmp_path / "tune.wav")
    speak_deep().save(tmp_path / "voice <i>.wav")
    names = ("fractal.png", "hills.png", "voice <i>.wav", "tune.wav")
    result = run_demo(tmp_path, [tmp_path / name for name in names])
    assert result.page
    others, panel = result.page.read_text("utf-8").split(">a memory</h2>")
    assert "(4 items)" in panel and re.findall("<figcaption>found: (.*?) [(]", panel) == [
        "fractal.png", "voice &lt;i&gt;.wav",
    ]  # fmt: skip
    assert "<blockquote>“voice &lt;i&gt;.wav”</blockquote>" in panel
    asked, found = re.findall('<img class="picture" src="(data:[^"]*)"', panel)
    assert [uri in others for uri in (asked, found)] == [False, True], "shown as what came back from its ids"
    speech = anytok.load_tokenizer("speech-mini")
    [sound] = re.findall('<audio [^>]*src="([^"]*)"', panel)
    same = sound == audio_uri(speech.decode(speech.encode(tmp_path / "voice <i>.wav")), "flac")
    assert same, "the voice is decoded from the codes that it was remembered as"


def test_without_the_extra_one_line_says_how_to_get_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mem0"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mem0", None)
    speak_deep().save(tmp_path / "voice.wav")
    result = run_demo(tmp_path, [tmp_path / "voice.wav"])
    assert result.page
    html = result.page.read_text("utf-8")
    assert "is remembered" not in html and html.count("pip install &#x27;anytok[memory]&#x27;") == 1


def test_a_file_is_shown_by_its_own_name(tmp_path: Path) -> None:
    """Whatever it is, and not as its folder is called."""
    folder = tmp_path / "Music"
    folder.mkdir()
    files = [folder / "a: b.wav", folder / os.fsdecode(b"x\xff.wav")]
    for file in files:
        speak_deep().save(file)
    result = run_demo(tmp_path / "out", files)
    assert result.page
    html = result.page.read_text("utf-8")
    assert ">a: b.wav</h2>" in html and ">x\\udcff.wav</h2>" in html
    assert all("speech-mini" in line for line in result.lines)


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words, not media" * 10)
    with pytest.raises(MediaError, match=r"notes\.txt: no picture .* and no sound .*\[neither\]"):
        run_demo(tmp_path, [tmp_path / "notes.txt"])


def test_what_is_wrong_with_a_file_is_said_once(tmp_path: Path) -> None:
    """By the reader of its kind, where there is one."""
    draw_landscape(50, 80).save(tmp_path / "cut.png")
    speak_deep().save(tmp_path / "cut.wav")
    (tmp_path / "empty").touch()
    for name in ("cut.png", "cut.wav"):
        os.truncate(tmp_path / name, 1000 if name == "cut.png" else 40)
    for name in ("cut.png", "cut.wav", "empty", "absent", "."):
        with pytest.raises(MediaError) as caught:
            run_demo(tmp_path / "out", [tmp_path / name])
        assert caught.value.key == str(tmp_path / name) and "no picture" not in str(caught.value)
        assert caught.value.kind not in ("neither", "unsupported_format")


def test_files_that_cannot_be_used_are_named_and_the_others_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    speak_deep().save("voice.wav")
    Path("notes.txt").write_text("words, not media" * 10)
    assert main(["demo", "absent.png", "voice.wav", "notes.txt"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("voice.wav: ") and said.out.endswith("demo.html\n")
    assert "anytok: absent.png: there is no such file" in said.err and "anytok: notes.txt: no picture" in said.err
    assert said.err.endswith("anytok: 1 of 3 files shown\n")
    assert main(["demo", "absent.png", "--out", "none"]) == 1
    assert not capsys.readouterr().out and not Path("none").exists()
    with pytest.raises(UsageError, match="expected a list"):
        run_demo("none", "voice.wav")


def test_a_page_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is no folder"):
        run_demo(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_only_the_demos_own_page_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speak_deep().save(tmp_path / "voice.wav")
    command = ["demo", str(tmp_path / "voice.wav"), "--out", str(tmp_path)]
    page = tmp_path / "demo.html"
    page.write_text("mine")
    assert main(command) == 2 and "no page of this demo" in capsys.readouterr().err
    assert page.read_text() == "mine"
    page.unlink()
    assert main(command) == main(command) == 0
    page.unlink()
    page.mkdir()
    assert main(command) == 2


def test_the_first_item_is_not_timed_with_the_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak_deep().save(tmp_path / "voice.wav")
    done: list[str] = []
    encode, decode, timed = Tokenizer.encode, Tokenizer.decode, exhibit_module.timed
    monkeypatch.setattr(Tokenizer, "encode", lambda *args: (done.append("encode"), encode(*args))[1])
    monkeypatch.setattr(Tokenizer, "decode", lambda *args: (done.append("decode"), decode(*args))[1])
    monkeypatch.setattr(exhibit_module, "timed", lambda work: (done.append("clock"), timed(work))[1])
    run_demo(tmp_path, [tmp_path / "voice.wav"] * 2)
    assert done[:10] == ["encode", "decode", *["clock", "encode", "clock", "decode"] * 2]


def test_a_mark_stands_for_ids_that_are_left_out_and_for_none_else() -> None:
    sound, spec = anytok.Audio(np.zeros(1), 16000), Spec("toy", "speech", 1, 512, frame_rate=50, sample_rate=16000)
    for length in (1, 24, 25, 26, 100):
        ids = [str(number) for number in range(300, 300 + length)]
        codes = Codes(np.zeros((1, length), int), spec)
        text = "".join(f"<x{number}>" for number in ids)
        exhibit = Exhibit(Clip("", "speech", sound), sound, codes, np.array(ids, int), text, sound, 0, 0)
        html = render([exhibit.panel()], "")
        wanted = ids if length <= 25 else [*ids[:24], "…", ids[-1]]
        shown, words = (part.split() for part in re.findall(r"<pre>(.*?)</pre>", html, re.DOTALL))
        assert shown == wanted and [word.removeprefix("&lt;x").removesuffix("&gt;") for word in words] == wanted
        assert f"1 codebook × {length} frame{'s' * (length > 1)}<" in html


def test_clips_repeat_and_keep_their_range(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for make in (speak_deep, speak_bright, play_tune):
        assert make() == make() and 0.3 < np.abs(make().wave).max() <= 1
    assert draw_landscape(20, 10).size == (20, 10)
    photograph = find_photograph()
    assert photograph is None or photograph.width == photograph.height >= 200
    if photograph:
        corners = [photograph.getpixel((x, y)) for x in (0, photograph.width - 1) for y in (0, photograph.height - 1)]
        assert (0, 0, 0) not in corners, "no wider than the picture"
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    assert [clip.title for clip in own_clips() if clip.modality == "image"] == ["a drawn scene"]


def test_what_is_seen_and_heard_is_told_in_words() -> None:
    flag = Image.new("RGB", (30, 30), (200, 40, 40))
    assert describe(flag) == "all red"
    flag.paste((50, 90, 190), (0, 0, 30, 10))
    assert describe(flag) == "blue at the top, red in the middle and at the bottom"
    tone = np.sin(2 * np.pi * 440 * np.arange(24000) / 16000)
    assert describe(anytok.Audio(tone, 16000)) == "1.5 seconds, strongest near 440 hertz"
    assert describe(anytok.Audio(np.zeros(1), 16000)) == "0.0 seconds, silent"
    assert describe(anytok.Audio(np.zeros(16000), 16000)) == "1.0 seconds, silent"


def test_the_pitch_of_a_voice_is_its_fundamental() -> None:
    time = np.arange(16000) / 16000
    for hertz in (80, 131, 220, 350):
        voice = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 8)) / 4
        assert pitch(anytok.Audio(voice, 16000)) == pytest.approx(hertz, rel=0.02)
    noise = anytok.Audio(np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    assert pitch(noise) is pitch(anytok.Audio(np.zeros(16000), 16000)) is pitch(anytok.Audio([0.1], 16000)) is None


def test_a_spectrogram_shows_a_tone_at_its_pitch() -> None:
    time = np.arange(16000) / 16000
    heights = []
    for hertz in (200, 400, 800):
        image = draw_spectrogram(anytok.Audio(np.sin(2 * np.pi * hertz * time), 16000), width=40, height=100)
        heights.append(int(np.asarray(image.convert("L"), int).sum(1).argmax()))
    # An octave is always as high, and higher tones stand higher up.
    assert heights[0] > heights[1] > heights[2] and abs((heights[0] - heights[1]) - (heights[1] - heights[2])) <= 2


def test_a_picture_of_codes_has_a_cell_a_code() -> None:
    values = np.array([[1, 2, 1], [3, 3, 0]])
    image = draw_codes(values, width=30)
    assert isinstance(image, Image.Image) and image.width == 30
    pixels = np.asarray(image)
    first, second = pixels[0, [5, 15, 25]], pixels[-1, [5, 15, 25]]
    assert (first[0] == first[2]).all() and (first[0] != first[1]).any()
    assert (second[0] == second[1]).all() and (second[0] != second[2]).any()
