"""Mutated manifests, tables, tars, datasets and outputs, for test_jobs_fuzz.py. A thousand from the command line:

python tests/job_fuzz.py 1000
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from job_corpus import wav_bytes, write_tar, write_wav

from anytok.errors import AnytokError, MediaError
from anytok.jobs.config import SourceConfig
from anytok.jobs.fetch import _column, _dataset, _opened, fetch
from anytok.jobs.sinks import SINKS
from anytok.jobs.sources import _KINDS, listed
from anytok.jobs.sources.source import Choice

# What numbers and texts turn into in the hands of others.
PIECES = [
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b",", b"\t", b"\r", b"\n\n", b"{", b"[" * 3000, b"NaN",
    b"-Infinity", b"1e999", b"9" * 5000, b"\\ud800", b"null", b"{}", b"path", b"text", b"s3://x", b"::", b"../",
    b"\x80" * 8, b"\xff" * 12, b"0000777\0", bytes(512), b"x" * 140_000,
]  # fmt: skip


def mutated(data: bytes, draw: random.Random) -> bytes:
    """The data with a few changes: bits, pieces put in or in place of others, parts doubled, gone, or swapped."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        start = draw.randrange(len(found) + 1)
        end = min(len(found), start + draw.choice((0, 1, 2, 8, 60, 600)))
        kind = draw.randrange(6)
        if kind == 0 and start < len(found):
            found[start] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found[start:end] = draw.choice(PIECES)
        elif kind == 2:
            found[start:end] = b""
        elif kind == 3:
            found[start:start] = found[start:end] * draw.choice((1, 2, 50))
        elif kind == 4:
            del found[start:]
        else:
            found[start:end] = bytes(draw.randrange(256) for _ in range(end - start))
    return bytes(found)


class Corpus:
    """One whole file of each kind, and how a mutated one is looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        wav = wav_bytes(folder / "a.wav", 400, 1)
        write_wav(folder / "b.wav", 400, 2)
        rows = [{"path": f"{name}.wav", "text": f"Wörter {name}", "speaker": "x"} for name in "abab"]
        self.whole = {
            "csv": "\n".join(",".join(one) for one in [rows[0], *(row.values() for row in rows)]).encode(),
            "tsv": "\n".join("\t".join(one) for one in [rows[0], *(row.values() for row in rows)]).encode(),
            "jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(),
        }
        write_tar(
            folder / "x.tar", {"a.wav": wav[:100], "a.txt": b"so", "a.json": b'{"k": [1]}', "b.c.wav": b"", "d": b""}
        )
        with tarfile.open(folder / "x.tar", "a") as tar:
            link = tarfile.TarInfo("link.wav")
            link.type, link.linkname = tarfile.LNKTYPE, "a.wav"
            tar.addfile(link)
        self.whole["tar"] = (folder / "x.tar").read_bytes()
        columns = {
            "audio": pa.array([wav[:100], None], pa.binary()), "text": ["a", "b"],
            "when": pa.array([1, 2], pa.date32()), "deep": [{"x": [1.0]}, None], "path": ["a.wav", "b.wav"],
        }  # fmt: skip
        table = pa.table(columns)
        pq.write_table(table, folder / "x.parquet")
        self.whole["parquet"] = self.whole["manifest"] = (folder / "x.parquet").read_bytes()
        self.dataset = folder / "ds"
        self.dataset.mkdir()
        with (
            pa.OSFile(str(self.dataset / "data.arrow"), "wb") as stream,
            pa.ipc.new_stream(stream, table.schema) as out,
        ):
            out.write_table(table)
        (self.dataset / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
        (self.dataset / "dataset_info.json").write_text(json.dumps({"features": {"audio": {"_type": "Audio"}}}))
        for name in ("state.json", "dataset_info.json", "data.arrow"):
            self.whole[f"hf/{name}"] = (self.dataset / name).read_bytes()

    def look(self, kind: str, data: bytes) -> tuple[str, str]:
        """What listing and reading mutated data comes to: "listed" or "refused", with the message of a refusal. Raises
        whatever is raised but AnytokError, and AssertionError where an entry is not accounted for."""
        path, options = self._place(kind, data)
        try:
            config = SourceConfig(str(path), **options)  # without a job, which looks for its tokenizers each time
            source = _KINDS[config.kind](config, Choice("", {"speech": "sound"}))
            items = list(listed(source.items()))
            list(listed(source.inputs()))
        except AnytokError as error:
            return "refused", str(error)
        if expected := COUNTS.get(kind):
            entries = len(items) + source.ignored.total() + source.sidecars.total()
            assert entries == expected(data), f"{entries} of {expected(data)} entries of this {kind} are accounted for"
        for item in items[:3]:
            assert item.to_line().isascii()
            with suppress(MediaError):
                fetch(item)
        return "listed", ""

    def _place(self, kind: str, data: bytes) -> tuple[Path, dict]:
        for cached in (_opened, _column, _dataset):
            cached.cache_clear()
        if kind.startswith("hf/"):
            whole = kind.removeprefix("hf/")
            for name in ("state.json", "dataset_info.json", "data.arrow"):
                (self.dataset / name).write_bytes(data if name == whole else self.whole[f"hf/{name}"])
            return self.dataset, {"kind": "hf"}
        path = self.folder / f"mutated.{kind.replace('manifest', 'parquet')}"
        path.write_bytes(data)
        return path, {"kind": "manifest"} if kind == "manifest" else {}


def count_csv(mark: str) -> Callable[[bytes], int]:
    def count(data: bytes) -> int:
        text = data.decode("utf-8-sig", "surrogateescape")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        rows = [row for row in lines if row]
        values = [bool("".join(row).strip()) for row in rows]
        return len(rows) - (True in values)  # the header is no entry

    return count


def count_jsonl(data: bytes) -> int:
    return sum(bool(line.strip()) for line in io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", "surrogateescape", ""))


COUNTS: dict[str, Callable[[bytes], int]] = {"csv": count_csv(","), "tsv": count_csv("\t"), "jsonl": count_jsonl}
# Parquet and Arrow are slower to open; JSON and tars have the most ways to go wrong.
SHARES = {
    "csv": 4, "tsv": 4, "jsonl": 6, "tar": 6, "parquet": 2, "manifest": 1,
    "hf/state.json": 1, "hf/dataset_info.json": 1, "hf/data.arrow": 2,
}  # fmt: skip


def fuzz(folder: Path, number: int, seconds: float, seed: int = 0) -> Counter[tuple[str, str]]:
    """Look at up to `number` mutations, for `seconds` at most; (kind, outcome) → how many."""
    corpus, counts, end = Corpus(folder), Counter(), time.monotonic() + seconds
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    for one in range(number):
        draw = random.Random(f"{seed}-{one}")
        kind = draw.choice(kinds)
        data = mutated(corpus.whole[kind], draw)
        try:
            outcome, message = corpus.look(kind, data)
        except BaseException:
            print(f"mutation {seed}-{one}, of {kind}", file=sys.stderr)
            raise
        assert outcome == "listed" or message, "a refusal says why"
        counts[kind, outcome] += 1
        if time.monotonic() > end:
            break
    return counts


def fuzz_sinks(output: Path, number: int, seconds: float) -> Counter[tuple[str, str]]:
    """The same for what reads back the files of a shard, of all sinks, in `output`."""
    counts, end = Counter(), time.monotonic() + seconds
    shard = output / "_anytok" / "shards" / "000000"
    copy = output / "mutated"
    for one in range(number):
        draw = random.Random(one)
        kind = draw.choice([kind for kind, sink in SINKS.items() if (shard / f"{kind}{sink.suffixes[0]}").exists()])
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for suffix in SINKS[kind].suffixes:
            (copy / f"{kind}{suffix}").write_bytes(mutated((shard / f"{kind}{suffix}").read_bytes(), draw))
        try:
            SINKS[kind].keys(copy / kind)
            counts[kind, "listed"] += 1
        except AnytokError:
            counts[kind, "refused"] += 1
        if time.monotonic() > end:
            break
    return counts


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        for outcome, count in sorted(fuzz(Path(folder), int(sys.argv[1]), 3600, *map(int, sys.argv[2:])).items()):
            print(*outcome, count)
        print(f"{time.monotonic() - began:.0f} s")
