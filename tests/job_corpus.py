"""Small media and jobs for the tests of `anytok.jobs`; the tokenizers are those of fake_tokenizers."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import wave
from pathlib import Path

import numpy as np

from anytok.jobs.config import JobConfig, SourceConfig, TokenizerConfig
from anytok.jobs.sources import open_sources

FAKES = str(Path(__file__).parent / "fake_tokenizers")
if FAKES not in sys.path:
    sys.path.insert(0, FAKES)


def write_wav(path: Path, num_samples: int, seed: int = 0, first: float | None = None) -> None:
    """16-bit mono at 16 kHz; `first` is the value of the first sample, the fake tokenizers' trigger."""
    values = np.random.default_rng(seed).integers(-3000, 3000, num_samples, dtype=np.int16)
    if first is not None:
        values[0] = round(first * 32768)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, 16000, 0, "NONE", ""))
        stream.writeframes(values.tobytes())


def write_stereo(path: Path, values: np.ndarray) -> None:
    """16-bit samples `[samples, 2]` at 16 kHz."""
    with wave.open(str(path), "wb") as stream:
        stream.setparams((2, 2, 16000, 0, "NONE", ""))
        stream.writeframes(values.astype(np.int16).tobytes())


def wav_bytes(path: Path, num_samples: int, seed: int) -> bytes:
    write_wav(path, num_samples, seed)
    return path.read_bytes()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def trap_for_pandas(folder: Path) -> tuple[Path, Path]:
    """A folder to import from before others, whose pandas cannot be imported; and the file that is there once it was
    tried."""
    tried = folder / "tried"
    (folder / "modules").mkdir()
    (folder / "modules" / "pandas.py").write_text(f"open({str(tried)!r}, 'w').close()\nraise ImportError")
    return folder / "modules", tried


def opened(path: Path | str, **options):
    """The source that a job of speech would read there."""
    config = JobConfig("out", (SourceConfig(str(path), **options),), {"speech": TokenizerConfig("fake-speech")})
    [(_, source)] = open_sources(config)
    return source


def listed(path: Path | str, **options) -> list:
    return list(opened(path, **options).items())


def write_png(path: Path, seed: int = 0, size: int = 40) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def speech_folder(folder: Path, count: int) -> Path:
    """`count` recordings of up to half a second, in two folders."""
    lengths = np.random.default_rng(count).integers(400, 8000, count)
    for number, length in enumerate(lengths):
        write_wav(folder / f"{number % 2}" / f"{number:04d}.wav", int(length), seed=number)
    return folder


RUNNER = "local"  # tests/test_jobs_ray.py sets another


def speech_job(source: Path, output: Path, **overrides) -> JobConfig:
    settings = {"runner": RUNNER, **overrides}
    return JobConfig.simple(str(source), str(output), "fake-speech", shard_items=10).override(**settings)


def contents(output: Path) -> dict[str, str]:
    """SHA-256 of every file that holds results: what equal runs must have in common."""
    shards = [path for path in (output / "_anytok" / "shards").rglob("*") if path.name != "record.json"]
    views = [path for path in output.rglob("*") if "_anytok" not in path.parts and path.name != "failures.jsonl"]
    files = [path for path in shards + views if path.is_file()]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(output: Path) -> dict[str, dict]:
    """Every row of the parquet sink by key; fails on a key that is there twice."""
    import pyarrow.parquet as pq

    found: dict[str, dict] = {}
    for path in sorted((output / "parquet").glob("*.parquet")):
        for row in pq.read_table(path, page_checksum_verification=True).to_pylist():
            assert row["key"] not in found, f"{row['key']} is there twice"
            found[row["key"]] = row
    return found
