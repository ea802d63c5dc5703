"""benchmarks/parity.py writes each file's rows as they are measured, goes on after a kill, and merges what it has."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

FILES = ("a.wav", "b.wav", "c.wav", "d.wav")
Rows = list[dict[str, Any]]


class Run:
    """Runs of parity.py whose comparisons are made up; `killed_at` is a file at which the process ends."""

    def __init__(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import parity

        self.out, self.parity, self.monkeypatch = out, parity, monkeypatch
        self.measured: list[tuple[str, str]] = []
        self.killed_at = ""
        monkeypatch.setattr(parity, "codec_rows", self.codec_rows)

    def codec_rows(self, name: str, folder: Path | None, done: Collection[str] = ()) -> Iterator[Rows]:
        for file in FILES:
            if file not in done:
                if file == self.killed_at:
                    raise KeyboardInterrupt
                self.measured.append((name, file))
                row = {"tokenizer": name, "original": "x", "file": file, "equal": 1.0}
                yield [row | {"least_use": 1.0, "decode_error": 0.0, "codes": 8}, row | {"control": True, "equal": 0.5}]

    def __call__(self, *arguments: str, killed_at: str = "") -> list[tuple[str, str]]:
        """What was measured."""
        self.measured, self.killed_at = [], killed_at
        self.monkeypatch.setattr(sys, "argv", ["parity.py", "--out", str(self.out), *arguments])
        with pytest.raises(KeyboardInterrupt if killed_at else SystemExit) as caught:
            self.parity.main()
        assert killed_at or caught.value.code == 0
        return self.measured

    def kept(self) -> list[tuple[str, str]]:
        """What the result file holds."""
        rows = json.loads(self.out.read_text())["rows"]
        assert [bool(row.get("control")) for row in rows] == [False, True] * (len(rows) // 2)
        return [(row["tokenizer"], row["file"]) for row in rows[::2]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path / "parity.json", monkeypatch)


def test_a_killed_run_keeps_what_it_has_and_goes_on(run: Run) -> None:
    both, (first, second) = ("--only", "encodec-32khz", "speechtokenizer"), ("encodec-32khz", "speechtokenizer")
    assert run(*both, killed_at="c.wav") == run.kept() == [(first, "a.wav"), (first, "b.wav")]
    rest = [(first, "c.wav"), (first, "d.wav"), *((second, file) for file in FILES)]
    assert run(*both, "--resume") == rest
    assert sorted(run.kept()) == sorted((name, file) for name in (first, second) for file in FILES)
    assert run(*both, "--resume") == []
    assert len(run(*both)) == len(run.kept()) == 8  # unless asked to go on, it begins anew


def test_one_tokenizer_is_merged_into_what_is_there(run: Run) -> None:
    run("--only", "encodec-32khz")
    run("--only", "speechtokenizer")
    before = run.kept()
    assert run("--only", "encodec-32khz") == [("encodec-32khz", file) for file in FILES]
    assert sorted(run.kept()) == sorted(before) and len(before) == 8


def test_what_older_kernels_gave_is_measured_again(run: Run) -> None:
    run("--only", "encodec-32khz")
    record = json.loads(run.out.read_text())
    record["rows"][0]["commit"], record["rows"][0]["kernel_sources"] = "before", "0123456789abcdef"
    record["rows"][1] |= {"commit": "before", "kernel_sources": "0123456789abcdef"}
    run.out.write_text(json.dumps(record))
    assert run("--only", "encodec-32khz", "--resume") == [("encodec-32khz", "a.wav")]
    assert sorted(run.kept()) == [("encodec-32khz", file) for file in FILES]
