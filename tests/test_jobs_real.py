"""Jobs with real tokenizers, loaded in a worker process: the codes of `encode`, by both runners' common worker."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from job_corpus import rows, write_png, write_wav

import anytok
from anytok.jobs import JobConfig, load_config, run_job, verify_job
from anytok.jobs.config import SinkConfig, TokenizerConfig

CHECKPOINT = Path(__file__).parent / "golden" / "speechtokenizer"
CONFIGS = Path(__file__).parent.parent / "configs"
MINIS = {"image": "seed-mini", "speech": "speech-mini", "music": "music-mini"}


def test_a_job_gives_the_codes_of_encode_whatever_the_batches(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # in the worker; threads that wait for each other are slow on busy cores
    lengths = [400, 3000, 1999, 320, 3201, 640]
    for number, length in enumerate(lengths):
        write_wav(tmp_path / "in" / f"{number}.wav", length, number)
    job = JobConfig.simple(
        str(tmp_path / "in"), str(tmp_path / "out"), "speechtokenizer", checkpoint=str(CHECKPOINT), shard_items=4
    )
    status = run_job(job.override(batch_frames=12))
    tokenizer = anytok.load_tokenizer("speechtokenizer", checkpoint=CHECKPOINT)
    found = rows(tmp_path / "out")
    assert status.written == len(found) == len(lengths)
    for key, row in found.items():
        codes = tokenizer.encode(tmp_path / "in" / key)
        assert np.array_equal(row["codes"], codes.values) and row["num_samples"] == codes.num_samples
        assert row["tokenizer"] == tokenizer.spec.id and "@" in row["tokenizer"]
    assert verify_job(tmp_path / "out", one_in=2).ok


def write_data(folder: Path) -> None:
    """What the shipped job files read, three media each, below `folder`: lengths differ, so batches are ragged."""
    for number in range(3):
        write_png(folder / "images" / f"{number}.png", number, 40 + 9 * number)
        write_wav(folder / "voices" / f"{number}.wav", 1600 + 1111 * number, number)
        write_wav(folder / "music" / f"{number}.wav", 1600 + 1300 * number, 7 + number)
        for name in ("images", "music"):
            (folder / name / f"{number}.txt").write_text(f"{name} {number}")
    lines = ["path,text,artist", *(f"images/{number}.png,picture {number},me" for number in range(3))]
    (folder / "pictures.csv").write_text("\n".join(lines) + "\n")
    voices = [{"path": f"voices/{number}.wav", "text": f"voice {number}"} for number in range(3)]
    (folder / "speech.jsonl").write_text("".join(json.dumps(one) + "\n" for one in voices))
    (folder / "speech").mkdir()
    with tarfile.open(folder / "speech" / "0.tar", "w") as tar:
        for number in range(3):
            tar.add(folder / "voices" / f"{number}.wav", f"{number}.wav")


def write_music_table(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted((folder / "music").glob("*.wav"))
    pq.write_table(pa.table({"audio": [path.read_bytes() for path in paths]}), folder / "music" / "0.parquet")


@pytest.mark.parametrize("name", ["anygpt_mixed", "image_folder", "music_parquet", "speech_tar"])
def test_shipped_jobs_run_with_the_small_suite_and_give_the_codes_of_encode(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = tmp_path / "data"
    write_data(data)
    if name == "music_parquet":
        write_music_table(data)
    job = load_config(CONFIGS / f"{name}.toml")
    tokenizers = {modality: TokenizerConfig(MINIS[modality]) for modality in job.tokenizers}
    sinks = tuple(dict.fromkeys([*job.sinks, SinkConfig("parquet")]))
    job = job.override(tokenizers=tokenizers, vocabulary=job.vocabulary and "mini", sinks=sinks)
    status = run_job(job.override(batch_frames=16))
    found = rows(Path(job.output))
    assert status.failed == 0 and status.written == len(found) == 3 * len(tokenizers)
    loaded = {modality: anytok.load_tokenizer(MINIS[modality]) for modality in tokenizers}
    vocab = anytok.load_vocabulary("mini")
    for key, row in found.items():
        folder = {"image": "images", "speech": "voices", "music": "music"}[row["modality"]]
        suffix = ".png" if row["modality"] == "image" else ".wav"
        codes = loaded[row["modality"]].encode(data / folder / f"{Path(key).stem}{suffix}")
        assert np.array_equal(row["codes"], codes.values) and row["tokenizer"] == codes.spec.id
        assert "ids" not in row or row["ids"] == vocab.to_ids(codes).tolist()
        assert name != "anygpt_mixed" or row["text"].endswith(Path(key).stem)
    assert {sink.kind for sink in sinks} <= {path.name for path in Path(job.output).iterdir()}
    assert verify_job(job.output, one_in=1).ok
