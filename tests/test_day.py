"""The day of a user (`make day`): one that does not go well ends where it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from day_in_the_life import Day, Surprise, walk


def test_the_first_surprise_ends_the_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def bad(day: Day) -> None:
        raise Surprise("it is not so")

    def never(day: Day) -> None:
        raise AssertionError

    assert walk([lambda day: None, bad, never], Day(tmp_path / "day")) == 1
    assert "it is not so" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "code", "says", "surprise"),
    [
        ("echo fine", 0, "fine", ""),
        ("exit 3", 0, "", "exit code 3, expected 0"),
        ("echo fine", 1, "fine", "exit code 0, expected 1"),
        ("echo fine", 0, "fine & dandy", r"\['dandy'\] is not in what it says"),
        ("echo 'Traceback (most recent call last)'", 0, "", "Traceback"),
    ],
)
def test_what_a_command_says_and_gives_is_looked_at(
    tmp_path: Path, script: str, code: int, says: str, surprise: str
) -> None:
    day = Day(tmp_path / "day")
    day.bin.mkdir(parents=True)
    (day.bin / "anytok").write_text(f"#!/bin/sh\n{script}\n")
    (day.bin / "anytok").chmod(0o755)
    if not surprise:
        assert day.anytok("list", code=code, says=says).strip() == "fine" and day.walked == {"list"}
        return
    with pytest.raises(Surprise, match=surprise):
        day.anytok("list", code=code, says=says)
