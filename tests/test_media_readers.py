"""Two hundred files, read by us and by others: the same samples and pixels, or a refusal with the true reason; and the
same codes whether they come as a folder, a tar, a table or a Hugging Face dataset."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attacks import corpus
from job_corpus import rows

import anytok
from anytok import MediaError
from anytok.jobs import JobConfig, run_job
from anytok.jobs.config import SourceConfig, TokenizerConfig
from anytok.media.audio import load_audio
from anytok.media.image import load_image

SOUNDS, PICTURES = corpus.sounds(), corpus.pictures()


def test_there_are_two_hundred() -> None:
    assert len(SOUNDS) + len(PICTURES) >= 200


def _compare(case: corpus.Case, read: Callable[[bytes], np.ndarray]) -> None:
    if case.expected is None:
        with pytest.raises(MediaError, match=case.says):
            read(case.data)
        return
    found = read(case.data)
    assert found.shape == case.expected.shape
    assert np.abs(found - case.expected).max() <= case.tolerance


@pytest.mark.parametrize("name", SOUNDS)
def test_sound(name: str) -> None:
    _compare(SOUNDS[name], lambda data: load_audio(data).wave)


@pytest.mark.parametrize("name", PICTURES)
def test_picture(name: str) -> None:
    _compare(PICTURES[name], lambda data: np.asarray(load_image(data)).astype(int))


def _named(cases: dict[str, corpus.Case], suffix: str) -> dict[str, bytes]:
    """Files by a name that sorts as they stand; only what they hold says what they are."""
    return {f"{number:03d}{suffix}": case.data for number, case in enumerate(cases.values())}


def _write_sources(folder: Path, files: dict[str, bytes], modality: str) -> list[SourceConfig]:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "plain").mkdir(parents=True)
    for name, data in files.items():
        (folder / "plain" / name).write_bytes(data)
    with tarfile.open(folder / "files.tar", "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    pq.write_table(pa.table({"media": list(files.values())}), folder / "files.parquet")
    column = {"media": [{"bytes": data, "path": None} for data in files.values()]}
    features = datasets.Features(
        {"media": datasets.Image(decode=False)}
    )  # bytes as they are, its Audio wants torchcodec
    datasets.Dataset.from_dict(column, features=features).save_to_disk(str(folder / "saved"))
    paths = {"folder": "plain", "tar": "files.tar", "parquet": "files.parquet", "hf": "saved"}
    return [
        SourceConfig(str(folder / path), kind=kind, name=f"{modality}-{kind}", modality=modality, columns=columns)
        for kind, path in paths.items()
        for columns in [{"media": "media"} if kind in ("parquet", "hf") else {}]
    ]


def _place(key: str) -> int:
    """The number of a file in the corpus, from the key that a source gave it."""
    return int(re.findall(r"\d+", key)[-1])


def test_every_source_gives_the_codes_of_encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tokenizers = {"speech": "speech-mini", "image": "seed-mini"}
    corpora = {"speech": (SOUNDS, ".wav"), "image": (PICTURES, ".png")}
    sources = [
        source
        for modality, (cases, suffix) in corpora.items()
        for source in _write_sources(tmp_path / modality, _named(cases, suffix), modality)
    ]
    job = JobConfig(str(tmp_path / "out"), tuple(sources), {k: TokenizerConfig(v) for k, v in tokenizers.items()})
    run_job(job.override(max_failure_rate=0.5))
    found = rows(tmp_path / "out")
    for modality, (cases, _) in corpora.items():
        tokenizer = anytok.load_tokenizer(tokenizers[modality])
        good = {n: case.data for n, case in enumerate(cases.values()) if case.expected is not None}
        codes = dict(zip(good, tokenizer.encode_batch(list(good.values())), strict=True))
        for kind in ("folder", "tar", "parquet", "hf"):
            prefix = f"{modality}-{kind}"
            written = {_place(key): row for key, row in found.items() if key.startswith(prefix)}
            assert sorted(written) == sorted(good), prefix
            for number, row in written.items():
                assert np.array_equal(row["codes"], codes[number].values), (prefix, number)
