"""The recorded hashes of codes in float64 hold here, with every build of the kernels and on any number of threads."""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from anytok import fingerprint
from anytok.cli import main
from anytok.registry import find

MEDIA = {"seed-mini": "af5b8344c74b", "music-mini": "d3e2c47cbf00", "speech-mini": "d3e2c47cbf00"}


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
