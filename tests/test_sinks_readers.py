"""Codes by the readers of two toolkits for training: lhotse's own, and Megatron-Energon's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_corpus import write_png, write_wav

from anytok import Codes, Spec, load_tokenizer
from anytok.errors import JobError
from anytok.jobs import JobConfig, run_job, verify_job
from anytok.jobs.config import SinkConfig, SourceConfig, TokenizerConfig
from anytok.jobs.items import Item
from anytok.jobs.shard import Row, Shard
from anytok.jobs.sinks import SINKS
from anytok.jobs.sinks.lhotse import keys_lhotse, name_lhotse, write_lhotse

LENGTHS = [1, 100, 319, 320, 321, 330, 479, 481, 6399, 16000, 16001, 48000]  # samples; a frame has 320


def written(root: Path, names: tuple[str, ...], sinks: tuple[str, ...]) -> tuple[Path, dict[str, Codes]]:
    """A job's output, and what the tokenizers give of its media without any job."""
    for number, length in enumerate(LENGTHS):
        write_wav(root / "in" / f"{number:02d}.x.wav", length, number)
        (root / "in" / f"{number:02d}.x.txt").write_text(f"Wörter {number} 🎶", "utf-8")
    if "fake-image" in names:
        write_png(root / "in" / "a.png", 0)
    tokenizers = {load_tokenizer(name).spec.modality: TokenizerConfig(name) for name in names}
    source = SourceConfig(str(root / "in"), text_suffix=".txt")
    job = JobConfig(str(root / "out"), (source,), tokenizers, tuple(map(SinkConfig, sinks)), shard_items=5)
    assert run_job(job).failed == 0
    files = {path.name: path for path in sorted((root / "in").iterdir()) if path.suffix != ".txt"}
    loaded = {name: load_tokenizer(name) for name in names}
    wanted = {
        key: loaded["fake-image" if key.endswith("png") else names[-1]].encode(path) for key, path in files.items()
    }
    return root / "out", wanted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Codes]]:
    root = tmp_path_factory.mktemp("readers")
    return written(root, ("fake-image", "fake-speech"), ("lhotse", "webdataset"))


def test_shar_by_lhotse(made: tuple[Path, dict[str, Codes]]) -> None:
    from lhotse import CutSet

    output, codes = made
    cuts = {cut.key: cut for cut in CutSet.from_shar(in_dir=output / "lhotse")}
    assert set(cuts) == set(codes)
    for key, cut in cuts.items():
        assert np.array_equal(cut.load_codes(), codes[key].values.T), key
        assert (cut.tokenizer, cut.custom["num_samples"]) == (codes[key].spec.id, codes[key].num_samples)
    assert [one.text for one in cuts["03.x.wav"].supervisions] == ["Wörter 3 🎶"] and not cuts["a.png"].supervisions
    assert cuts["09.x.wav"].duration == pytest.approx(1.0) and json.loads(cuts["09.x.wav"].meta) == {}


def test_a_shortened_cut_loads_its_own_frames(made: tuple[Path, dict[str, Codes]]) -> None:
    from lhotse import CutSet

    output, codes = made
    [cut] = [cut for cut in CutSet.from_shar(in_dir=output / "lhotse") if cut.key == "11.x.wav"]
    assert np.array_equal(cut.truncate(offset=1.0, duration=0.5).load_codes(), codes["11.x.wav"].values[:, 50:75].T)


def test_shar_in_a_sampler_and_shuffled(made: tuple[Path, dict[str, Codes]]) -> None:
    from lhotse import CutSet
    from lhotse.dataset import SimpleCutSampler

    output, codes = made
    cuts = CutSet.from_shar(in_dir=output / "lhotse", shuffle_shards=True, seed=1)
    found = [cut.key for batch in SimpleCutSampler(cuts, max_cuts=4) for cut in batch]
    assert sorted(found) == sorted(codes) != found


def shar_of(folder: Path, codes: list[Codes]) -> dict[str, Any]:
    """Cuts by their keys, of a shard that no job has written."""
    from lhotse import CutSet

    rows = [Row(Item(str(number), "music", ""), one) for number, one in enumerate(codes)]
    shard = Shard(0, rows, {"music": codes[0].spec}, "", None)
    write_lhotse(folder / "x", shard)
    assert keys_lhotse(folder / "x") == [str(number) for number in range(len(codes))]
    paths = {suffix: folder / name_lhotse(0, suffix) for suffix in SINKS["lhotse"].suffixes}
    for suffix, path in paths.items():
        (folder / f"x{suffix}").rename(path)
    return {cut.key: cut for cut in CutSet.from_shar(in_dir=folder)}


@pytest.mark.parametrize(("rate", "samples"), [(75, 24000), (12.5, 24000), (44100 / 512, 44100), (100 / 3, 48000)])
def test_codes_of_every_frame_rate_load_whole(tmp_path: Path, rate: float, samples: int) -> None:
    spec = Spec("x", "music", 2, 1024, frame_rate=rate, sample_rate=samples)
    draw = np.random.default_rng(0)
    codes = [Codes(draw.integers(0, 1024, (2, frames)), spec) for frames in range(1, 400, 3)]
    for key, cut in shar_of(tmp_path, codes).items():
        assert np.array_equal(cut.load_codes(), codes[int(key)].values.T)


def test_segments_that_overlap_load_whole(tmp_path: Path) -> None:
    """As those of EnCodec at 48 kHz, with a loudness each."""
    sizes = {"segment_samples": 48000, "segment_stride": 47520}
    spec = Spec("x", "music", 2, 1024, frame_rate=150, sample_rate=48000, channels=2, **sizes)
    lengths = [1, 48000, 48001, 100000]
    codes = [
        Codes(np.zeros((2, spec.frames_of(length)), int), spec, length, 0, [0.5] * len(spec.segments(length)))
        for length in lengths
    ]
    for key, cut in shar_of(tmp_path, codes).items():
        assert np.array_equal(cut.load_codes(), codes[int(key)].values.T)
        assert cut.duration == lengths[int(key)] / 48000 and set(cut.scales) == {0.5}


def test_a_tar_of_other_cuts_is_found(tmp_path: Path) -> None:
    spec = Spec("x", "music", 2, 1024, frame_rate=50, sample_rate=16000)
    rows = [Row(Item(str(number), "music", ""), Codes(np.zeros((2, 3), int), spec)) for number in range(2)]
    write_lhotse(tmp_path / "x", Shard(0, rows, {"music": spec}, "", None))
    write_lhotse(tmp_path / "y", Shard(0, rows[:1], {"music": spec}, "", None))
    (tmp_path / "y.codes.tar").rename(tmp_path / "x.codes.tar")
    with pytest.raises(JobError, match="does not hold the codes of the cuts"):
        keys_lhotse(tmp_path / "x")


def test_the_audit_reads_shar(made: tuple[Path, dict[str, Codes]]) -> None:
    output, codes = made
    assert verify_job(output).written == len(codes)


def energon(*words: Any) -> None:
    code = "import sys; from megatron.energon.cli.main import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, capture_output=True, text=True)


def test_webdataset_by_energon(made: tuple[Path, dict[str, Codes]]) -> None:
    """Prepared by its own command; decoded by its own reader, every sample once in each of two ranks' shares."""
    from megatron.energon import (
        Cooker,
        DefaultTaskEncoder,
        Sample,
        WorkerConfig,
        basic_sample_keys,
        edataclass,
        get_loader,
        get_train_dataset,
        stateless,
    )

    @edataclass
    class OfCodes(Sample):
        codes: np.ndarray
        record: dict
        text: str | None

    @stateless
    def cook(sample: dict) -> OfCodes:
        more = {"codes": sample["codes.npy"], "record": sample["json"], "text": sample.get("txt")}
        return OfCodes(**basic_sample_keys(sample), **more)

    class Encoder(DefaultTaskEncoder):
        cookers = [Cooker(cook)]  # noqa: RUF012

    output, codes = made
    options = ["--non-interactive", "--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset", "--num-workers", 1]
    energon("prepare", output / "webdataset", *options)
    found: dict[str, Any] = {}
    for rank in range(2):
        workers = WorkerConfig(rank=rank, world_size=2, num_workers=0)
        dataset = get_train_dataset(
            output / "webdataset", worker_config=workers, batch_size=None, task_encoder=Encoder(),
            shuffle_buffer_size=None, max_samples_per_sequence=None, repeat=False,
        )  # fmt: skip
        samples = {sample.record["key"]: sample for sample in get_loader(dataset)}
        assert samples and not set(samples) & set(found)
        found |= samples
    assert set(found) == set(codes)
    for key, one in codes.items():
        assert np.array_equal(found[key].codes, one.values), key
    assert found["03.x.wav"].text == "Wörter 3 🎶" and found["a.png"].text is None
