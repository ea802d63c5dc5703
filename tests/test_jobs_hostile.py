"""A folder with 5 % hostile files: everything good is tokenized, everything bad is in the ledger, memory is bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attacks.pictures import PICTURES
from attacks.sounds import SOUNDS
from job_corpus import FAKES, rows, write_png, write_wav

from anytok.jobs import JobConfig, verify_job
from anytok.jobs.config import SourceConfig, TokenizerConfig

HERE = str(Path(__file__).parent)
SHARE = 0.05
MAX_READER_MB = 1200  # of a process that decodes; 64 million pixels, which are allowed, need some 400


def hostile_folder(folder: Path) -> tuple[dict[str, str], int]:
    """(key of each hostile file → the kind of failure, "bad" for any; number of good files)."""
    wanted = {}
    for suffix, cases in ((".png", PICTURES), (".wav", SOUNDS)):
        bad = [(make, kind) for make, kind in cases.values() if kind != "ok"]
        for number, (make, kind) in enumerate(bad):
            wanted[f"bad-{number}{suffix}"] = kind
            (folder / f"bad-{number}{suffix}").write_bytes(make())
    good = round(len(wanted) * (1 - SHARE) / SHARE)
    write_png(folder / "good-0.png")
    write_wav(folder / "good-1.wav", 1000)
    for number in range(2, good):
        suffix = (".png", ".wav")[number % 2]
        os.link(folder / f"good-{number % 2}{suffix}", folder / f"good-{number}{suffix}")
    return wanted, good


def peaks(session: int) -> dict[int, tuple[str, int]]:
    """Largest resident set so far, in MB, of every process of the session, with its command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
                status = (folder / "status").read_text().split("VmHWM:")
                found[int(folder.name)] = ((folder / "cmdline").read_text(), int(status[1].split()[0]) // 1024)
        except (OSError, IndexError):
            continue
    return found


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(key → kind, number of good files, output, process → peak MB) of a job over such a folder."""
    folder = tmp_path_factory.mktemp("hostile")
    wanted, good = hostile_folder(folder)
    output = folder.parent / "hostile-out"
    tokenizers = {"image": TokenizerConfig("fake-image"), "speech": TokenizerConfig("fake-speech")}
    job = JobConfig(str(output), (SourceConfig(str(folder)),), tokenizers, shard_items=100)
    script = (
        f"import sys; sys.path[:0] = [{FAKES!r}, {HERE!r}]\nfrom anytok.jobs import run_job\n"
        f"from anytok.jobs.config import *\nrun_job({job!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    highest: dict[int, tuple[str, int]] = {}
    while process.poll() is None:
        highest.update(peaks(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0
    return wanted, good, output, highest


def test_all_bad_files_are_in_the_ledger_with_their_reason(hostile):
    wanted, good, output, _ = hostile
    assert len(wanted) > 80 and len(wanted) / (len(wanted) + good) == pytest.approx(SHARE, rel=0.01)
    ledger = {one["key"]: one for one in map(json.loads, (output / "failures.jsonl").open())}
    assert set(ledger) == set(wanted)
    assert all(one["message"] for one in ledger.values())
    kinds = {key: one["kind"] for key, one in ledger.items()}
    assert not {key: (kinds[key], kind) for key, kind in wanted.items() if kind not in ("bad", kinds[key])}
    assert not {one["kind"] for one in ledger.values()} & {"crashed", "timeout", "undecodable", "encode_failed"}


def test_all_good_files_are_tokenized(hostile):
    _, good, output, _ = hostile
    found = rows(output)
    assert len(found) == good and all(key.startswith("good-") for key in found)
    assert verify_job(output).ok


def test_memory_stays_bounded(hostile):
    highest = hostile[3]
    assert len(highest) >= 3, "driver, worker and reader were seen"
    assert max(size for _, size in highest.values()) < MAX_READER_MB
    workers = [size for command, size in highest.values() if "reading:serve" not in command]
    assert max(workers) < 300, "hostile files meet only the readers"


def test_ten_times_the_items_need_no_more_memory(tmp_path):
    sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
    import jobs

    few, many = jobs.peak_of_job(tmp_path, 200), jobs.peak_of_job(tmp_path, 2000)
    assert (few["items"], many["items"]) == (200, 2000)
    assert many["own_mb"] <= 1.1 * few["own_mb"] and many["helper_mb"] <= 1.1 * few["helper_mb"]
