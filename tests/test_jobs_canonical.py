"""Jobs that keep margins, and `verify --canonical`, which encodes in float64 what these leave open."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import anytok
from anytok.cli import main
from anytok.errors import JobError, UsageError
from anytok.jobs import JobConfig, canonical, check_canonical, run_job, verify_job
from anytok.jobs.shard import TALLY
from anytok.testing import sounds


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(source, output) of a job of six recordings in two shards, which kept margins."""
    root = tmp_path_factory.mktemp("canonical")
    (root / "in").mkdir()
    for seed in range(6):
        soundfile.write(root / "in" / f"{seed}.wav", sounds(9000 + 999 * seed, 22050, 1, seed).T, 22050)
    assert main(["run", str(root / "in"), str(root / "out"), "--tokenizer", "speech-mini", "--shard-items", "4",
                 "--margins"]) == 0  # fmt: skip
    return root / "in", root / "out"


def margins_of(output: Path) -> np.ndarray:
    return np.concatenate([np.load(path)["margins"] for path in sorted(output.rglob(TALLY))])


def test_a_job_keeps_the_least_margin_of_each_item(made: tuple[Path, Path]) -> None:
    tokenizer = anytok.load_tokenizer("speech-mini")
    each = [tokenizer.encode(str(path), margins=True).margins for path in sorted(made[0].iterdir())]
    expected = sorted(float(one.min()) for one in each if one is not None)
    np.testing.assert_allclose(sorted(margins_of(made[1])), expected, rtol=1e-5)
    column = [pq.read_table(path)["least_margin"].to_pylist() for path in sorted(made[1].glob("parquet/*.parquet"))]
    np.testing.assert_array_equal(np.concatenate(column).astype(np.float32), margins_of(made[1]))
    assert verify_job(made[1], one_in=1).ok


def test_items_below_the_bound_are_encoded_in_float64(made: tuple[Path, Path], capsys: Any) -> None:
    margins = np.sort(margins_of(made[1]))
    between = float(margins[2] + margins[3]) / 2
    found = check_canonical(made[1], bound=between)
    assert (found.items, found.recomputed, found.differ, found.failed, found.keys) == (6, 3, 0, 0, ())
    assert check_canonical(made[1], bound=2 * float(margins[-1])).recomputed == 6
    assert main(["verify", str(made[1]), "--canonical", str(between), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["canonical"]["recomputed"] == 3
    assert main(["verify", str(made[1]), "--canonical"]) == 0
    assert "items have a margin below 1e-05: encoded in float64, 0 have other codes" in capsys.readouterr().out


def test_codes_that_are_not_those_of_float64_are_counted(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Seen with a tokenizer for the recomputation that gets its sound a sample late."""
    real = canonical.Worker

    class Late(real):  # type: ignore[misc, valid-type]
        def results_of(self, items: Any) -> Any:
            results = real.results_of(self, items)
            for row in results.values():
                row.values = np.roll(row.values, 1, axis=1)
            return results

    monkeypatch.setattr(canonical, "Worker", Late)
    found = check_canonical(made[1], bound=1.0)
    assert (found.recomputed, found.differ, len(found.keys)) == (6, 6, 6)
    assert main(["verify", str(made[1]), "--canonical", "1"]) == 1
    assert "6 have other codes" in capsys.readouterr().out


def test_what_cannot_be_checked_is_said(made: tuple[Path, Path], tmp_path: Path, monkeypatch: Any) -> None:
    job = JobConfig.simple(str(made[0]), str(tmp_path / "out"), "speech-mini")
    run_job(job)
    with pytest.raises(JobError, match="holds no margins: run the job with margins = true"):
        check_canonical(tmp_path / "out")
    assert not any("margins" in np.load(path) for path in (tmp_path / "out").rglob(TALLY))
    with pytest.raises(UsageError, match=r"bound=-1: expected a number above 0"):
        check_canonical(made[1], bound=-1)
    plan = canonical.open_job(made[1])[0]
    spec = replace(plan.specs["speech"], id="speech-mini@0123456789ab")
    with pytest.raises(JobError, match="the weights of today are speech-mini@"):
        other = replace(plan, record={**plan.record, "specs": {"speech": spec.to_dict()}})
        canonical._check_weights(other, canonical.Worker(job))


def test_a_cache_keeps_no_margins(made: tuple[Path, Path], tmp_path: Path) -> None:
    kept = {"margins": True, "cache": str(tmp_path / "kept")}
    job = JobConfig.simple(str(made[0]), str(tmp_path / "out"), "speech-mini", **kept)
    with pytest.raises(UsageError, match="a cache keeps no margins: leave out one or the other"):
        run_job(job)


@pytest.mark.reference
def test_a_tokenizer_without_margins_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    job = JobConfig.simple(str(made[0]), str(tmp_path / "out"), "speech-mini", engine="reference", margins=True)
    with pytest.raises(UsageError, match=r"speech-mini \(reference\) gives no margins"):
        run_job(job)
