"""One option everywhere: a cache of codes in multimodal, processors, memories, jobs and the workers of a DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_corpus import write_wav
from memories import recording, scene
from test_cache import Calls, sound
from torch.utils.data import DataLoader, Dataset

import anytok
from anytok.cache import CachedTokenizer, Counts, cached
from anytok.cli import main
from anytok.errors import CacheError, JobError, UsageError
from anytok.generation import Processor
from anytok.jobs import JobConfig, plan_job, run_job, verify_job
from anytok.jobs.config import RunConfig, SourceConfig, TokenizerConfig

PARTS = ["A cat: ", scene(0), "says ", recording(0), scene(0)]


def counts(any2any: Any, *modalities: str) -> list[Counts]:
    return [any2any.tokenizer(modality).counts for modality in modalities]


def test_multimodal(tmp_path):
    plain = anytok.load_multimodal("mini")
    for found, encoded in ((1, 1), (2, 0)):
        any2any = anytok.load_multimodal("mini", cache=tmp_path)
        assert any2any.encode(PARTS).tolist() == plain.encode(PARTS).tolist()
        assert counts(any2any, "image", "speech") == [Counts(found, encoded), Counts(1 - encoded, encoded)]
        assert any2any.decode(any2any.encode(recording(0)))[0] == plain.decode(plain.encode(recording(0)))[0]


def test_multimodal_takes_what_is_cached_and_caches_what_it_is_given(tmp_path):
    speech, music = anytok.load_tokenizer("speech-mini"), anytok.load_tokenizer("music-mini")
    own = cached(speech, tmp_path / "own")
    given = {"speech-mini": own, "music-mini": music}
    any2any = anytok.load_multimodal("mini", tokenizers=given, cache=tmp_path / "all")
    assert any2any.tokenizer("speech") is own
    for modality in ("image", "music"):
        tokenizer: Any = any2any.tokenizer(modality)
        assert isinstance(tokenizer, CachedTokenizer) and tokenizer.folder == tmp_path / "all"
    assert anytok.load_multimodal("mini", tokenizers=given).tokenizer("music") is music


def test_processor(tmp_path):
    Processor(anytok.load_multimodal("mini"), bos=False).save_pretrained(tmp_path / "processor")
    made = []
    for found in (0, 1):
        processor = Processor.from_pretrained(tmp_path / "processor", cache=tmp_path / "codes")
        made.append(processor(text="<image>!", images=[scene(1).source])["input_ids"])
        assert counts(processor.any2any, "image") == [Counts(found, 1 - found)]
    assert made[0] == made[1]


def test_memory(tmp_path):
    """Nothing is to be done for it: it takes the tokenizers of a Multimodal."""
    for found in (0, 1):
        any2any = anytok.load_multimodal("mini", cache=tmp_path / "codes")
        with anytok.load_memory(tmp_path / f"memory {found}", any2any, user="alice") as memory:
            name = memory.add([scene(2), "our cat"])
            assert counts(any2any, "image") == [Counts(found, 1 - found)]
            assert memory.search(scene(2))[0].id == name and memory.get(name).codes == anytok.load_multimodal(
                "mini"
            ).tokenizer("image").encode(scene(2).source)


class Recordings(Dataset):
    def __init__(self, tokenizer: Any, files: list[Path]) -> None:
        self.tokenizer, self.files = tokenizer, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Any:
        before = self.tokenizer.counts
        codes = self.tokenizer.encode(self.files[place])
        return codes.values.copy(), self.tokenizer.counts.found - before.found


@pytest.mark.parametrize("workers, start", [(0, None), (2, "fork"), (2, "spawn")])
def test_the_second_epoch_of_a_loader_encodes_nothing(tmp_path, workers, start):
    files = [tmp_path / f"{number}.wav" for number in range(6)]
    for number, file in enumerate(files):
        sound(number).save(file)
    plain = anytok.load_tokenizer("speech-mini")
    wanted = [plain.encode(file).values for file in files]
    data = Recordings(cached(plain, tmp_path / "codes"), files)
    for share in (0, len(files)):
        loaded = list(DataLoader(data, batch_size=None, num_workers=workers, multiprocessing_context=start))
        assert all(np.array_equal(codes, one) for (codes, _), one in zip(loaded, wanted, strict=True))
        assert sum(found for _, found in loaded) == share


# Jobs


def job(tmp_path: Path, output: str, **run: Any) -> JobConfig:
    sources = (SourceConfig(str(tmp_path / "in"), modality="speech"),)
    tokenizers = {"speech": TokenizerConfig("fake-speech", options={"milliseconds": 0.0})}
    return JobConfig(str(tmp_path / output), sources, tokenizers, shard_items=4, run=RunConfig(**run))


@pytest.fixture
def recordings(tmp_path):
    for number in range(10):
        write_wav(tmp_path / "in" / f"{number}.wav", 1600, seed=number % 9)
    return tmp_path


def written(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "parquet").iterdir())]


def test_a_job_looks_up_what_another_encoded(recordings, monkeypatch):
    """Other shards, other runs, equal bytes; FAKE_OOM_FRAMES makes the model fail, should it be asked."""
    codes = str(recordings / "codes")
    assert run_job(job(recordings, "plain")).written == 10
    assert run_job(job(recordings, "first", cache=codes, workers=2)).written == 10
    monkeypatch.setenv("FAKE_OOM_FRAMES", "0")
    assert run_job(job(recordings, "second", cache=codes)).written == 10
    assert written(recordings / "plain") == written(recordings / "first") == written(recordings / "second")
    with pytest.raises(JobError, match="items failed"):
        run_job(job(recordings, "without"))


def test_verify_and_plan_ask_the_model_not_the_cache(recordings, monkeypatch):
    codes = str(recordings / "codes")
    run_job(job(recordings, "out", cache=codes))
    assert verify_job(str(recordings / "out"), one_in=1).ok
    monkeypatch.setenv("FAKE_OOM_FRAMES", "0")
    assert len(verify_job(str(recordings / "out"), one_in=1).problems) == 10
    assert len(plan_job(job(recordings, "other", cache=codes), sample=2).sample_failures) == 2


def test_a_cache_that_cannot_be_used_stops_a_job(recordings):
    with pytest.raises(CacheError, match=r"holds '0.wav' and no cache of codes"):
        run_job(job(recordings, "out", cache=str(recordings / "in")))


def test_a_cache_that_fails_under_way_puts_the_blame_on_no_item(recordings, monkeypatch):
    from anytok.jobs.batches import Encoder

    tokenizer = anytok.load_tokenizer("fake-speech")
    calls = Calls(tokenizer, monkeypatch)
    encoder = Encoder(cached(tokenizer, recordings / "codes"), 4096)
    for path in (recordings / "codes").iterdir():
        path.unlink()
    with pytest.raises(CacheError, match="was deleted"):
        encoder.encode([sound(0), sound(1)])
    assert calls.items == 2  # the batch was not halved


def test_run_by_command(recordings, monkeypatch, capsys):
    monkeypatch.chdir(recordings)
    line = ["run", "in", "--tokenizer", "fake-speech", "--cache", "codes"]
    assert main([*line[:2], "one", *line[2:]]) == 0
    monkeypatch.setenv("FAKE_OOM_FRAMES", "0")
    assert main([*line[:2], "two", *line[2:]]) == 0
    assert main([*line[:2], "three", *line[2:-1], "in"]) == 3
    assert "no cache of codes" in capsys.readouterr().err


def test_the_cache_is_no_part_of_a_plan(recordings):
    """So that a job that was begun without one goes on with one."""
    assert job(recordings, "out", cache="codes").work() == job(recordings, "out").work()
    with pytest.raises(UsageError, match="cache"):
        RunConfig(cache=3)
