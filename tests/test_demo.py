"""The first command: what goes in comes out again on one page that needs nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import anytok
from anytok import MediaError, UsageError
from anytok.cli import main
from anytok.demo import run_demo
from anytok.demo.clips import draw_landscape, hear_voice, play_tune
from anytok.demo.pictures import draw_codes, draw_spectrogram


def test_the_page_shows_all_three_and_needs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1])
    html = page.read_text("utf-8")
    assert page == Path("demo-out/demo.html")
    assert html.count("<section>") == 3 and html.count("<audio") == 4
    assert not re.search(r'(src|href)="(?!data:)', html) and "<script" not in html
    assert "&lt;/image&gt;" in html and "&lt;/speech&gt;" in html and "&lt;/music&gt;" in html


def test_own_files_take_the_place_of_ours(tmp_path: Path) -> None:
    draw_landscape(50, 80).save(tmp_path / "mine <b>.png")
    hear_voice().save(tmp_path / "voice.flac")
    play_tune().save(tmp_path / "music.wav")
    done: list[None] = []
    result = run_demo(tmp_path / "out", sorted(tmp_path.glob("*.*")), progress=lambda: done.append(None))
    assert len(done) == 3 and all(
        name in "\n".join(result.lines) for name in ("mine <b>.png", "voice.flac", "music.wav")
    )
    html = result.page.read_text("utf-8")
    assert "mine &lt;b&gt;.png" in html and "<b>" not in html


def test_a_file_is_shown_by_its_own_name(tmp_path: Path) -> None:
    """Whatever it is, and not as its folder is called."""
    folder = tmp_path / "Music"
    folder.mkdir()
    files = [folder / "a: b.wav", folder / os.fsdecode(b"x\xff.wav")]
    for file in files:
        hear_voice().save(file)
    result = run_demo(tmp_path / "out", files)
    html = result.page.read_text("utf-8")
    assert "<h2>a: b.wav</h2>" in html and "<h2>x\\udcff.wav</h2>" in html
    assert all("speech-mini" in line for line in result.lines)


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words, not media" * 10)
    with pytest.raises(MediaError, match=r"notes\.txt"):
        run_demo(tmp_path, [tmp_path / "notes.txt"])


def test_a_page_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="not a folder"):
        run_demo(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_clips_repeat_and_keep_their_range() -> None:
    for make in (hear_voice, play_tune):
        assert make() == make() and 0.3 < np.abs(make().wave).max() <= 1
    assert draw_landscape(20, 10).size == (20, 10)


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
