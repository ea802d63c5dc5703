"""Whatever is in a manifest, a table, a tar or a dataset: its items are listed, or it is refused by an error of ours,
and every entry is accounted for."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections import Counter
from pathlib import Path

import job_fuzz
import pytest
from job_corpus import opened, speech_folder, speech_job

from anytok.errors import AnytokError
from anytok.jobs import run_job
from anytok.jobs.config import SinkConfig
from anytok.jobs.sinks import SINKS
from anytok.vocab import Segment, Vocabulary, build_layout

SECONDS = 25  # for all mutations; 20,000 need about 15 on one free core


def test_twenty_thousand_mutated_sources_are_listed_or_refused_by_our_errors(tmp_path):
    counts = job_fuzz.fuzz(tmp_path, 20_000, SECONDS)
    seen = {kind for kind, _ in counts}
    assert seen == set(job_fuzz.SHARES) and counts.total() > 500
    for kind in ("csv", "jsonl", "tar", "parquet", "hf/data.arrow"):
        assert counts[kind, "listed"] and counts[kind, "refused"], f"{kind}: both ways were gone"


def test_what_reads_back_mutated_outputs_raises_our_errors_alone(tmp_path):
    speech = Segment("fake-speech", "speech", 1, 1024, "<s{}>", "<sosp>", "<eosp>", frame_rate=50)
    Vocabulary(build_layout("fake", 300, [speech])).save(tmp_path / "ids.json")
    job = speech_job(speech_folder(tmp_path / "in", 4), tmp_path / "out", vocabulary=str(tmp_path / "ids.json"))
    run_job(job.override(sinks=tuple(SinkConfig(kind) for kind in SINKS)))
    counts = job_fuzz.fuzz_sinks(tmp_path / "out", 2000, SECONDS / 8)
    assert {kind for kind, _ in counts} == set(SINKS) and counts.total() > 50
    assert sum(count for (_, outcome), count in counts.items() if outcome == "refused") > counts.total() / 4


# Sources made at random of entries that are known: each is an item, read beside one, or passed over and counted.

NAMES = ("a", "b", "b.c", "b.c.d", "x y", "ü", ".hidden", "A")
SUFFIXES = (".wav", ".WAV", ".flac", ".txt", ".TXT", ".json", ".md", "", ".cls")


def text(draw: random.Random) -> bytes:
    return draw.choice((b"so", b"\xff", b"{}", b'{"k": 1}', b"", "\ufeffü".encode()))


def random_folder(root: Path, draw: random.Random) -> int:
    """The number of entries that are no folders."""
    folders = [root, root / "f", root / "f" / "g.wav", root / "h"]
    for folder in folders:
        folder.mkdir(parents=True)
    paths = {draw.choice(folders) / (draw.choice(NAMES) + draw.choice(SUFFIXES)) for _ in range(12)} - {*folders}
    for path in paths:
        if draw.random() < 0.2:
            os.symlink(draw.choice(("nowhere", "a.wav", "../a.txt", path.name)), path)
        else:
            path.write_bytes(text(draw))
    return sum(len(names) for _, _, names in os.walk(root))


def random_tar(path: Path, draw: random.Random) -> int:
    count = 0
    data = b""
    for _ in range(draw.choice((1, 1, 2, 3))):
        with tarfile.open(path, "w") as tar:
            for name in sorted({draw.choice(NAMES) + draw.choice(SUFFIXES) for _ in range(10)}):
                member = tarfile.TarInfo(draw.choice(("", "./", "f/")) + name)
                content = text(draw)
                kind = draw.random()
                if kind < 0.3:
                    member.type = draw.choice((tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))
                    member.linkname, content = draw.choice(("a.wav", "../a.wav", "b.txt", name, "/etc/passwd")), b""
                member.size = len(content)
                count += not member.isdir()
                tar.addfile(member, io.BytesIO(content))
        data += path.read_bytes()
    path.write_bytes(data)
    return count


@pytest.mark.parametrize("kind", ["folder", "pattern", "tar"])
def test_items_and_what_is_beside_them_are_all_entries_there_are(tmp_path, kind):
    seen = Counter()
    for number in range(200):
        draw = random.Random(f"{kind}-{number}")
        path = tmp_path / str(number)
        options = {"text_suffix": ".txt"} if draw.random() < 0.5 and kind != "tar" else {}
        if kind == "tar":
            path = path.with_suffix(".tar")
            entries = random_tar(path, draw)
        else:
            entries = random_folder(path, draw)
        source = opened(f"{path}/**" if kind == "pattern" else path, **options)
        items = []
        try:
            items.extend(source.items())
        except AnytokError as error:
            assert "text_suffix" in str(error) or "no file matches" in str(error)
            seen["refused"] += 1
            continue
        found = len(items) + source.sidecars.total() + source.ignored.total()
        assert found == entries, (number, dict(source.ignored), dict(source.sidecars), [item.key for item in items])
        seen["items"] += len(items)
        seen["unusable"] += sum(item.place[:1] == ("unusable",) for item in items)
        seen["beside"] += source.sidecars.total()
        seen["passed over"] += source.ignored.total()
    assert min(seen[name] for name in ("items", "unusable", "beside", "passed over")) > 2, seen
    assert seen["refused"] < 150
