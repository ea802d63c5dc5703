"""The recorded hashes of codes in float64 hold here, with every build of the kernels and on any number of threads."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import anytok
from anytok import fingerprint
from anytok.cli import main
from anytok.registry import find

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

PUBLISHED = {
    "speechtokenizer": "9fda377a5a76", "speechtokenizer-snake": "db8635620c4e", "encodec-32khz": "cbe561d6cb79",
    "encodec-24khz": "6b3634cdbda1", "encodec-48khz": "288edb8f13c6",
}  # fmt: skip
MEDIA = {"seed-mini": "a612d9fcd464", "music-mini": "d3e2c47cbf00", "speech-mini": "d3e2c47cbf00"}


@pytest.mark.parametrize("name", fingerprint.RECORDED)
def test_the_media_are_the_same_everywhere(name: str) -> None:
    digest = hashlib.sha256()
    for medium in fingerprint.fixed_media(find(name).spec):
        numbers: Any = getattr(medium, "wave", medium)
        digest.update(np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<")).tobytes())
        assert len(np.unique(numbers)) > (100 if numbers.size > 10 else 3)
    assert digest.hexdigest()[:12] == MEDIA[name]


@pytest.mark.parametrize("name", fingerprint.RECORDED)
def test_codes_in_float64_are_those_recorded(name: str, build: Any, thread_counts: Any) -> None:
    for _ in thread_counts:
        [found] = fingerprint.fingerprints([name], ["float64"])
        assert found.hash == fingerprint.RECORDED[name] and found.ok
        assert found.tokenizer.endswith("+float64") and found.least_margin > 1e-9


@pytest.mark.parametrize("name", PUBLISHED)
def test_codes_in_float64_at_published_sizes_are_those_recorded(name: str, tmp_path: Path) -> None:
    """The seeded weights differ between machines in last bits, which move latents by less than the least margin."""
    from seeded import write_checkpoint

    spec = find(name).spec
    rate, channels = spec.sample_rate or 0, spec.channels or 1
    waves = [fingerprint._levels(2 * rate, channels, seed) / np.float32(32768) for seed in (7, 8)]
    checkpoint = write_checkpoint(name, tmp_path / name, waves, reproducible=True)
    codes = anytok.load_tokenizer(name, checkpoint=checkpoint, dtype="float64").encode(anytok.Audio(waves[1], rate))
    assert min(len(np.unique(layer)) for layer in codes.values) > 0.15 * codes.values.shape[1]
    [found] = fingerprint.fingerprints([name], ["float64"], checkpoint=checkpoint)
    assert (found.hash, found.least_margin > 1e-8) == (PUBLISHED[name], True)


def test_the_command_says_what_is_not_as_everywhere(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(fingerprint, "RECORDED", MappingProxyType({"speech-mini": "0" * 12}))
    assert main(["fingerprint", "--json"]) == 3
    exact, plain = json.loads(capsys.readouterr().out)
    assert (exact["dtype"], exact["recorded"], plain["dtype"], plain["recorded"]) == (
        "float64", "0" * 12, "float32", None,
    )  # fmt: skip
    assert main(["fingerprint", "speech-mini"]) == 3
    assert f"expected {'0' * 12}" in capsys.readouterr().out.splitlines()[0]
    monkeypatch.undo()
    assert main(["fingerprint", "speech-mini"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].endswith("as everywhere") and "expected" not in said
    assert main(["fingerprint", "--checkpoint", "."]) == 2
    assert "holds the files of one tokenizer" in capsys.readouterr().err
