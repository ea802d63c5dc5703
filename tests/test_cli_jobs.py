"""The commands around jobs, on a folder of three recordings of which one is broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import anytok
from anytok.cli import main
from anytok.jobs import JobConfig

SPEECH = Path(__file__).parent / "golden" / "speechtokenizer"
JOB = ["rec", "tokens", "--tokenizer", "speechtokenizer", "--checkpoint", str(SPEECH), "--max-failure-rate", "0.5"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("rec").mkdir()
    for name in ("one", "two"):
        anytok.Audio(np.sin(np.arange(8000) * len(name) / 20), 16000).save(f"rec/{name}.wav")
    Path("rec/bad.wav").write_bytes(b"no sound at all")
    return tmp_path


def test_a_job_from_plan_to_stats(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *JOB, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["items"] == 3 and plan["sample_failures"].keys() == {"bad.wav"} and not Path("tokens").exists()
    assert main(["plan", JOB[0], *JOB[2:]]) == 0  # where it would go does not matter
    assert "items      3 (3 speech)" in capsys.readouterr().out

    assert main(["run", *JOB]) == 1  # the broken item is said by the exit code, too
    said = capsys.readouterr()
    assert "tokens: finished" in said.out and "tokens/failures.jsonl" in said.err
    assert main(["status", "tokens", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["written"], status["failed"], status["finished"]) == (2, 1, True)

    assert main(["verify", "tokens", "--one-in", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["reencoded"] == 2
    assert main(["stats", "tokens", "--json", "--no-picture"]) == 0
    assert json.loads(capsys.readouterr().out)["modalities"]["speech"]["items"] == 2
    assert main(["stats", "tokens"]) == 0
    assert Path("tokens/stats.png").stat().st_size > 1000

    anytok.Audio(np.zeros(8000, np.float32), 16000).save("rec/bad.wav")
    assert main(["run", *JOB, "--retry-failed"]) == 0
    assert main(["verify", "tokens"]) == 0


def test_a_damaged_output_is_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", *JOB])
    [shard] = [path for path in Path("tokens").rglob("*.parquet") if not path.is_symlink()][:1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    capsys.readouterr()
    assert main(["verify", "tokens"]) == 1
    assert "problem" in capsys.readouterr().out


def test_job_files_and_short_forms_do_not_mix(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.toml").write_text(
        f'output = "out"\nsources = [{{path = "rec"}}]\n[tokenizers.speech]\nname = "speechtokenizer"\n'
        f'checkpoint = "{SPEECH}"\n[run]\nmax_failure_rate = 0.5\n'
    )
    Path("empty").mkdir()
    assert main(["run", "job.toml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["output"] == "out"
    for wrong, code in [
        (["run", "rec"], 2),
        (["run", *JOB[:1], *JOB[2:]], 2),
        (["run", "nowhere", *JOB[1:]], 2),
        (["run", "empty", *JOB[1:]], 2),
        (["run", "job.toml", "--tokenizer", "speechtokenizer"], 2),
        (["run", "absent.toml"], 2),
        (["run", "job.toml", "--shard", "8/8"], 2),
        (["run", "job.toml", "--shard-items", "1"], 4),
        (["status", "nowhere"], 2),
    ]:
        assert main(wrong) == code
        said = capsys.readouterr()
        assert said.err.startswith("anytok: ") and len(said.err.splitlines()) == 1


def test_vocabularies_print_and_save(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vocab", "anygpt", "--save", "anygpt.json"]) == 0
    printed = capsys.readouterr().out
    assert "49418 ids" in printed
    assert main(["vocab", "anygpt.json"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["vocab", "anygpt", "--save", "anygpt.json"]) == 2
    assert main(["vocab", "no-such"]) == 2


def test_a_job_in_which_too_much_failed_is_not_finished(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *JOB[:-1], "0.1"]) == 4
    assert "more than max_failure_rate = 0.1 allows" in capsys.readouterr().err
    assert main(["status", "tokens"]) == 0
    assert "tokens: 1 of 1 shards, not laid out for their readers: run the job again" in capsys.readouterr().out
    assert main(["verify", "tokens"]) == 1
    assert "run the job again, it lays the files out anew" in capsys.readouterr().out
    assert main(["run", *JOB]) == 1
    assert "tokens: finished" in capsys.readouterr().out


def test_help_names_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    job = JobConfig.simple("a", "b", "speech-mini")
    for name in ("workers", "readers", "max_failure_rate"):
        described = said.split(f"--{name.replace('_', '-')} ")[-1].split(" --")[0]
        assert described.endswith(f"(default: {getattr(job.run, name)})")
    assert f"items of a shard (default: {job.shard_items})" in said


def test_what_is_to_be_measured_is_counted(here: Path) -> None:
    assert main(["plan", *JOB, "--sample", "0"]) == 2
    assert main(["run", *JOB]) == 1
    assert main(["verify", "tokens", "--one-in", "-1"]) == 2


def test_the_short_form_takes_sinks_options_and_where_to_load(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "--sink webdataset --sink parquet --num-codebooks 2 --dtype float64 --device cpu --option channels=first"
    assert main(["run", *JOB, *more.split()]) == 1
    job = json.loads(Path("tokens/_anytok/job.json").read_text())
    assert [sink["kind"] for sink in job["sinks"]] == ["webdataset", "parquet"]
    [one] = job["tokenizers"].values()
    assert (one["dtype"], one["device"]) == ("float64", "cpu")
    assert one["options"] == {"channels": "first", "num_codebooks": 2}
    [shard] = Path("tokens/parquet").glob("*.parquet")
    assert [len(layers) for layers in pq.read_table(shard)["codes"].to_pylist()] == [2, 2]
    assert list(Path("tokens/webdataset").glob("*.tar"))


def test_a_device_beside_a_job_file_is_no_other_job(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"[[sources]]\npath = 'rec'\n[tokenizers.speech]\nname = 'speechtokenizer'\ncheckpoint = '{SPEECH}'\n"
    Path("job.toml").write_text(f"output = 'tokens'\nshard_items = 1\n{source}[run]\nmax_failure_rate = 0.5\n")
    assert main(["run", "job.toml", "--shard", "0/3"]) in (0, 1)
    assert main(["run", "job.toml", "--device", "cpu:0"]) == 1
    assert "tokens: finished" in capsys.readouterr().out
    assert json.loads(Path("tokens/_anytok/job.json").read_text())["tokenizers"]["speech"]["device"] == "cpu:0"
    assert main(["run", "job.toml", "--shard-items", "2"]) == 4  # that is another one
    assert "work.shard_items was 1, is now 2" in capsys.readouterr().err
