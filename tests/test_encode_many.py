"""Batches that bear a bad item, iterators with progress, and what long work says of itself."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacks.sounds import tone
from job_corpus import speech_folder, speech_job, write_wav

import anytok
from anytok import Audio, Codes, MediaError, Spec, Tokenizer, UsageError, progress
from anytok.cli import main
from anytok.errors import JobError, MissingExtraError
from anytok.jobs import Progress, run_job

GOOD = [Audio(tone(length)[0], 16000) for length in (3000, 9000, 5000)]


@pytest.fixture(scope="module")
def speech() -> Tokenizer:
    return anytok.load_tokenizer("speech-mini")


def test_a_batch_bears_bad_items(speech: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF but no more")
    items = [GOOD[0], str(tmp_path / "broken.wav"), GOOD[1], "absent.wav", np.zeros(9), GOOD[2]]
    found = speech.encode_batch(items, errors="return")
    assert [found[place] for place in (0, 2, 5)] == speech.encode_batch(GOOD)
    for place, name, kind in (
        (1, "broken.wav", "unsupported_format"),
        (3, "absent.wav", "missing"),
        (4, "item 4", "no_rate"),
    ):
        error = found[place]
        assert isinstance(error, MediaError) and error.key.endswith(name) and error.kind == kind
    with pytest.raises(MediaError, match="broken"):
        speech.encode_batch(items)
    assert speech.encode_batch([], errors="return") == []
    assert [type(one) for one in speech.encode_batch(["absent.wav"], errors="return")] == [MediaError]
    with pytest.raises(UsageError, match="errors='ignore': expected 'raise', 'return'"):
        speech.encode_batch(GOOD, errors="ignore")


def test_a_missing_package_is_its_items_alone(
    speech: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42")
    codes, error = speech.encode_batch([GOOD[0], tmp_path / "a.m4a"], errors="return")
    assert codes == speech.encode(GOOD[0]) and isinstance(error, MissingExtraError) and "anytok[media]" in str(error)


class Loud(Tokenizer):
    """Refuses whole batches in which a medium is loud, as codecs do whose half precision overflows."""

    spec = Spec("loud", "speech", 1, 4, frame_rate=50, sample_rate=16000, preprocessing="first:functional")

    def _encode(self, prepared: Any) -> list[Codes]:
        waves = [one.wave for one in prepared]
        if any(wave.max() > 0.9 for wave in waves):
            raise MediaError("overflow", "too loud")
        return [Codes(np.zeros((1, 1), int), self.spec, wave.shape[1]) for wave in waves]

    def _decode(self, codes: Any) -> list[Any]:
        return []


def test_what_the_model_refuses_is_found_among_the_others() -> None:
    items = [Audio(np.full(100 + place, 0.95 if place in (2, 5) else 0.1), 16000) for place in range(7)]
    found = Loud().encode_batch(items, errors="return")
    assert [place for place, one in enumerate(found) if isinstance(one, MediaError)] == [2, 5]
    assert str(found[2]) == "item 2: too loud [overflow]"
    assert [one.num_samples for one in found if isinstance(one, Codes)] == [100, 101, 103, 104, 106]


def test_an_iterable_is_encoded_as_it_comes(speech: Tokenizer) -> None:
    taken: list[int] = []

    def media() -> Iterator[Audio]:
        for place in range(7):
            taken.append(place)
            yield GOOD[place % 3]

    told: list[tuple[int, int | None]] = []
    results = speech.encode_iter(media(), batch_size=2, progress=lambda *now: told.append(now))
    assert next(results) == speech.encode(GOOD[0]) and taken == [0, 1]
    assert list(results) == speech.encode_batch([GOOD[place % 3] for place in range(1, 7)])
    assert told == [(2, None), (4, None), (6, None), (7, None)]
    told.clear()
    list(speech.encode_iter(GOOD, progress=lambda *now: told.append(now)))
    assert told == [(3, 3)]
    bad = list(speech.encode_iter([*GOOD, "absent.wav", GOOD[0]], batch_size=2, errors="return"))
    assert [type(one) for one in bad] == [Codes, Codes, Codes, MediaError, Codes] and bad[4] == bad[0]
    with pytest.raises(MediaError, match="absent"):
        list(speech.encode_iter(["absent.wav"]))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"media": "a.wav"}, "expected a list; for one item there is `encode`"),
        ({"media": {"array": [0.0], "sampling_rate": 16000}}, "expected a list"),
        ({"media": GOOD, "batch_size": 0}, "batch_size=0: expected a whole number, at least 1"),
        ({"media": GOOD, "errors": "skip"}, "errors='skip': expected"),
        ({"media": GOOD, "progress": "loud"}, "progress='loud': expected 'auto', 'bar', 'lines', 'json', 'none'"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_taken(
    speech: Tokenizer, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        speech.encode_iter(**wrong)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time that progress goes by."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_off_a_terminal_lines_come_at_fixed_intervals(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.Reporter("encode", 100, unit="file") as reporter:
        for done in range(1, 41):
            clock(1.0)
            reporter.update(done, failed=done // 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "anytok: encode: 10 of 100 files, 1 failed, 1 a second, about 90 s left"
    assert [line.split()[2] for line in lines] == ["10", "20", "30", "40", "40"]  # the last as it ends
    with progress.Reporter("encode", 100) as reporter:
        clock(9.9)
        reporter.update(100)
    assert not capsys.readouterr().err, "short work says nothing"


def test_lines_may_be_json(clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Reporter("run", kind="json") as reporter:
        clock(20.0)
        reporter.update(50, 200, 1)
    first, *_ = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first == {
        "event": "progress", "what": "run", "done": 50, "total": 200, "failed": 1, "per_second": 2.5,
        "eta_seconds": 60.0,
    }  # fmt: skip


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.Reporter("encode", 4, unit="file") as reporter:
        reporter.update(4, failed=1)
    assert "encode: 100%" in terminal.getvalue() and "1 failed" in terminal.getvalue()


def test_a_job_reports_in_the_form_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = speech_folder(tmp_path / "in", 20)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    run_job(speech_job(source, tmp_path / "a"), progress="json")
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["what"], last["done"], last["total"], last["failed"]) == ("run", 20, 20, 0)
    run_job(speech_job(source, tmp_path / "b"), progress=True)
    assert "anytok: run: 20 of 20 items, 0 failed" in capsys.readouterr().err
    told: list[Progress] = []
    run_job(speech_job(source, tmp_path / "c"), progress=told.append)
    assert told[-1].items == 20 and not capsys.readouterr().err
    with pytest.raises(UsageError, match="progress='loud'"):
        run_job(speech_job(source, tmp_path / "d"), progress="loud")
    assert not (tmp_path / "d").exists()


def test_a_job_that_stops_at_its_limit_counts_the_reasons(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "good.wav", 800)
    for number in range(3):
        (tmp_path / "in" / f"text{number}.wav").write_text("no sound")
    (tmp_path / "in" / "empty.wav").touch()
    with pytest.raises(
        JobError, match=r"4 of 5 items failed.*0\.2 allows: 3 unsupported_format, 1 empty\. .*--max-failure-rate"
    ):
        run_job(speech_job(tmp_path / "in", tmp_path / "out"))


def test_a_job_logs_what_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "anytok"):
        run_job(speech_job(speech_folder(tmp_path / "in", 20), tmp_path / "out"))
    said = [record.getMessage().split(":")[0] for record in caplog.records if record.name == "anytok.jobs.progress"]
    assert said[0] == "start" and said.count("shard") == 2 and said[-1] == "finish"


def test_the_death_of_a_worker_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_wav(tmp_path / "in" / "deadly.wav", 800, first=0.25)
    write_wav(tmp_path / "in" / "good.wav", 900)
    run_job(speech_job(tmp_path / "in", tmp_path / "out", max_failure_rate=0.5))
    assert "a worker process died (" in caplog.text


def test_commands_say_what_the_library_logs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> list[str]:
        logging.getLogger("anytok.anything").warning("look at %s", "this")
        logging.getLogger("anytok.anything").info("not at that")
        return []

    monkeypatch.setattr(anytok.registry, "list_tokenizers", listed)
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "anytok: look at this\n"
    assert not logging.getLogger("anytok").handlers, "whoever calls `main` has their own"


def test_threads_sleep_before_torch_is_loaded() -> None:
    """… in a command and in the processes that a job starts; what the user says holds."""
    look = "import os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('KMP_BLOCKTIME'))"
    script = f"import sys\nfrom anytok.cli import main\nassert 'torch' not in sys.modules\nmain(['list'])\n{look}"

    def said(**more: str) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "KMP", "OMP_W"))}
        done = subprocess.run([sys.executable, "-c", script], env={**clean, **more}, capture_output=True, text=True)
        return done.stdout.splitlines()[-1]

    assert said() == "10000 0" and said(GOMP_SPINCOUNT="7") == "7 0" and said(OMP_WAIT_POLICY="active") == "None None"
