"""A file written aside: there whole or not at all, whatever happens between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anytok.atomic import replacing, sweep


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path, durable=durable) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["a.json"]


def test_a_block_that_raises_or_leaves_nothing_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    with replacing(path):
        pass
    assert path.read_text() == "old" and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("links", [True, False])
def test_the_first_may_win(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for text in ("first", "second"):
        with replacing(tmp_path / "a", first_wins=True) as aside:
            aside.write_text(text)
    assert (tmp_path / "a").read_text() == "first" and names(tmp_path) == ["a"]


def test_links_replace_links_whose_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with replacing(tmp_path / "link") as aside:
        aside.symlink_to(tmp_path / "file")
    assert (tmp_path / "link").read_text() == "x" and names(tmp_path) == ["file", "link"]


def test_a_path_may_depend_on_what_was_written(tmp_path: Path) -> None:
    lines: list[str] = []
    with replacing(lambda: tmp_path / f"of-{len(lines)}.txt") as aside:
        lines.append("a")
        aside.write_text("a")
    assert names(tmp_path) == ["of-1.txt"]


def test_what_is_under_way_is_not_swept(tmp_path: Path) -> None:
    """What killed processes left is: see test_jobs_faults.py."""
    with replacing(tmp_path / "a") as aside:
        aside.write_text("x")
        sweep(tmp_path)
        assert aside.exists()
