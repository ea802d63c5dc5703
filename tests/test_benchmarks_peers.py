"""benchmarks/speed_peers.py at a small size, and what benchmarks/report_peers.py makes of its rows."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

SPEECH = {"n_filters": 8, "dimension": 64, "semantic_dimension": 48, "codebook_size": 128}
MUSIC = {"num_filters": 8, "hidden_size": 32, "codebook_dim": 32, "codebook_size": 128}
SIZES: dict[str, dict[str, Any]] = {
    "speechtokenizer": SPEECH,
    "encodec-32khz": MUSIC | {"target_bandwidths": [1.4]},
    "encodec-48khz": MUSIC | {"target_bandwidths": [2.1, 4.2]},
}


def small(name: str, folder: Path) -> Path:
    """`folder`, with a small checkpoint in it, where speed.py keeps checkpoints."""
    from seeded import write_checkpoint
    from sounds import synthetic_waves

    from anytok.registry import find

    write_checkpoint(name, folder / name, synthetic_waves(find(name).spec, 1, 2.0).values(), **SIZES[name])
    return folder


def unable(run: Any, **options: Any) -> Any:
    """What torch.compile may come to."""

    def fail(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError("no compiler\nand more lines")

    return fail


@pytest.mark.reference
@pytest.mark.parametrize("name", SIZES)
def test_every_engine_gives_what_the_original_gives(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of a whole segment and a part of one at 48 kHz, alone and together."""
    import speed_peers

    monkeypatch.setattr(torch, "compile", lambda run, **options: run)
    monkeypatch.setitem(speed_peers.RUNTIMES, "OpenVINO", ("no_such_package", speed_peers.openvino))
    rows = speed_peers.peer_rows(name, None, 1.3, 2, 1, 1, small(name, tmp_path))
    timed = [row for row in rows if "left_out" not in row]
    engines = ("original", "native float32", "ONNX Runtime", "torch.compile")
    assert [row["engine"] for row in timed] == [f"{one}{more}" for one in engines for more in ("", ", batch of 2")] * 2
    for row in timed:
        assert row["items"] == 1 + ("batch" in row["engine"]) and 0 < row["least_s"] <= row["median_s"] <= row["most_s"]
        if row["way"] == "encode":
            assert min(row["equal"]) > 0.97, row  # a near tie may fall otherwise in another order of sums
        else:
            assert row["decode_error"] < 1e-4, row
    assert [row["left_out"] for row in rows if "left_out" in row] == ["no_such_package not installed"] * 2


def rows_without_compile(name: str, folder: Path) -> list[dict[str, Any]]:
    import speed_peers

    torch.compile = unable
    return speed_peers.peer_rows(name, None, 1.3, 2, 1, 1, folder)


@pytest.mark.reference
def test_openvino_gives_it_too(tmp_path: Path) -> None:
    """In a process of its own: OpenVINO 2026.4 leaves the thread that compiles a model with an alternate signal stack
    that is no longer mapped, so the next handler of a signal (torch's of SIGCHLD, say) is a segmentation fault."""
    pytest.importorskip("openvino")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        rows = process.submit(rows_without_compile, "encodec-48khz", small("encodec-48khz", tmp_path)).result()
    found = [row for row in rows if row["engine"].startswith("OpenVINO")]
    assert [min(row["equal"]) > 0.97 for row in found if row["way"] == "encode"] == [True, True], found
    assert [row["decode_error"] < 1e-4 for row in found if row["way"] == "decode"] == [True, True], found


@pytest.mark.reference
def test_what_is_absent_or_fails_has_a_row_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import speed_peers
    from report_peers import peers_table
    from speed import line

    monkeypatch.setattr(torch, "compile", unable)
    monkeypatch.setattr(speed_peers, "absent", lambda packages: [one for one in packages if "onnx" in one])
    monkeypatch.setitem(speed_peers.RUNTIMES, "OpenVINO", ("openvino", speed_peers.openvino))
    rows = speed_peers.peer_rows("encodec-32khz", None, 0.5, 2, 1, 1, small("encodec-32khz", tmp_path))
    left_out = {row["engine"]: row["left_out"] for row in rows if row["way"] == "decode" and "left_out" in row}
    lacking = "onnx and onnxscript and onnxruntime not installed"
    assert left_out == {"ONNX Runtime": lacking, "OpenVINO": lacking, "torch.compile": "RuntimeError: no compiler"}
    assert "not measured: RuntimeError: no compiler" in line(rows[-1])
    machine = {"processor": "P", "cores": 2, "versions": {}, "commit": "c"}
    shown = peers_table({"machine": machine, "threads": 1, "rows": rows})
    assert shown.count("| not measured | not measured | not measured |") == 4
    assert "None of them is ahead" not in shown  # nothing was compared
    assert "torch.compile in `encodec-32khz` encode, `encodec-32khz` decode (RuntimeError: no compiler)." in shown


@pytest.mark.reference
def test_another_error_than_of_compiling_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import speed_peers

    def broken(path: Path, threads: int) -> Any:
        return unable(None)

    monkeypatch.setitem(speed_peers.RUNTIMES, "ONNX Runtime", ("onnxruntime", broken))
    with pytest.raises(RuntimeError, match="no compiler"):
        speed_peers.peer_rows("encodec-32khz", None, 0.5, 2, 1, 1, small("encodec-32khz", tmp_path))


def test_pieces_of_one_length_go_together_and_come_back_in_order() -> None:
    from speed_peers import LARGEST, together

    seen = []

    def graph(inputs: Any) -> list[np.ndarray]:
        seen.append(inputs["wave"].shape)
        return [inputs["wave"] * 2, inputs["wave"].sum(axis=(1, 2))]

    lengths = [3, 5, 3] + [4] * (LARGEST + 1)
    pieces = [{"wave": np.full((1, length), place)} for place, length in enumerate(lengths)]
    for place, (doubled, total) in enumerate(together(graph, pieces)):
        assert doubled.tolist() == [[2 * place] * lengths[place]] and total == place * lengths[place]
    assert seen == [(2, 1, 3), (1, 1, 5), (LARGEST, 1, 4), (1, 1, 4)]


def rows_of(engine: str, alone: float, batch: float, **more: Any) -> list[dict[str, Any]]:
    """Both rows of an engine that is so many times as fast as an original of half a second."""
    shared = {"tokenizer": "a", "way": "encode", **more}
    return [
        {
            **shared, "engine": name, "items": items, "ratio": ratio, "median_s": 0.5 / ratio,
            "least_s": 0.4 / ratio, "most_s": 0.625 / ratio, "times_realtime": 16 * ratio,
        }
        for name, items, ratio in ((engine, 1, alone), (f"{engine}, batch of 8", 8, batch))
    ]  # fmt: skip


def test_the_table_shows_median_spread_agreement_and_who_is_ahead() -> None:
    from report_peers import peers_table

    rows = rows_of("original", 1, 1.1, equal=[1]) + rows_of("native float32", 2, 3, equal=[1, 1])
    rows += rows_of("ONNX Runtime", 1.5, 1.6, equal=[1, 0.9999]) + rows_of("OpenVINO", 2.5, 2.9, equal=[1, 1])
    measured = {"machine": {"processor": "P", "cores": 2, "versions": {"openvino": "1"}, "commit": "c"}, "threads": 2}
    alone, batch, equal, *said = peers_table(measured | {"rows": rows}).splitlines()[4:]
    assert alone == (
        "| `a` | encode | alone | 500 ms (400 to 625) | 2.00 × (1.60 to 2.50) | 1.50 × (1.20 to 1.88) "
        "| 2.50 × (2.00 to 3.12) | not measured |"
    )
    assert batch.startswith("|  |  | batch of 8 | 1.10 × (0.88 to 1.38) | 3.00 × (2.40 to 3.75) |")
    assert equal == "|  |  | equal codes |  | 100.00% | 99.99% | 100.00% |  |"
    assert "Ahead of anytok: OpenVINO in `a` encode alone (2.50 × against 2.00 ×)." in said[-1]
    assert said[-1].endswith("openvino 1; commit `c`. Weights are seeded, in the published forms. 2 threads; clips of "
                             "8 s, batches of 8.")  # fmt: skip
    slower = [row for row in rows if not row["engine"].startswith("OpenVINO")]
    assert "None of them is ahead of anytok." in peers_table(measured | {"rows": slower})


def test_peers_are_refused_where_they_cannot_be_measured(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import speed

    for arguments in (["--device", "cuda"], ["--device", "cpu", "--only", "seed-2"]):
        monkeypatch.setattr(sys, "argv", ["speed.py", "--peers", *arguments])
        with pytest.raises(SystemExit):
            speed.main()
        assert "--peers is for codecs on a CPU" in capsys.readouterr().err
