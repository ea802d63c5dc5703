"""The shipped contract holds another package's tokenizer to what it holds ours to, and finds out one that breaks it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anytok import Audio, Codes, Spec, Tokenizer
from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.cli import main
from anytok.testing import AudioContract, sounds

ADAPTER = Path(__file__).parent / "mimi_adapter"
sys.path.append(str(ADAPTER))  # as pip leaves an installed package: a module, and its entry point beside it


def tiny_mimi(folder: Path) -> Path:
    """Mimi's architecture with few channels, random weights, and codebooks that lie where its latents do."""
    with around_torchaudio():  # which the test extra brings, and today's torch cannot load
        from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_filters": 4, "vector_quantization_hidden_dimension": 16, "codebook_dim": 16}
    layers = {"num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = MimiModel(MimiConfig(**sizes, **layers, upsample_groups=32, use_cache=False)).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("embed_sum"):
            buffer.normal_(0, 0.02)
    model.save_pretrained(folder)
    return folder


class TestMimi(AudioContract):
    name = "mimi"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def weights(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        request.cls.checkpoint = tiny_mimi(tmp_path_factory.mktemp("mimi"))


def test_the_adapter_is_small() -> None:
    assert len((ADAPTER / "mimi_adapter.py").read_text("utf-8").splitlines()) <= 30


class Loud(Tokenizer):
    """Codes of a recording's loudness, frame by frame; or, with a fault, of something else."""

    spec = Spec("loud", "speech", 1, 64, None, 50, 8000, 1, preprocessing="first:functional", id="loud@0123456789ab")

    def __init__(self, fault: str = "") -> None:
        self.fault, self.calls = fault, 0

    def _encode(self, prepared: Any) -> list[Codes]:
        made = []
        waves = [audio.wave[0] for audio in prepared]
        longest = max(map(len, waves), default=0)
        for wave in waves:
            self.calls += 1
            padded = np.pad(wave, (0, -len(wave) % 160))
            values = np.clip(np.abs(padded).reshape(-1, 160).mean(1) * 100, 0, 63).astype(int)
            values = (values + longest * (self.fault == "padding leaks") + self.calls * (self.fault == "state")) % 64
            made.append(Codes(values[None], self.spec, len(wave)))
        return made[::-1] if self.fault == "order" else made

    def _decode(self, codes: Any) -> list[Any]:
        rate = 16000 if self.fault == "rate" else 8000
        return [Audio(np.repeat(one.values[0] / 64, 160)[None].astype(np.float32), rate) for one in codes]


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("order", "test_a_batch_equals_its_items_in_order"),
        ("padding leaks", "test_a_batch_equals_its_items_in_order"),
        ("state", "test_encoding_repeats_whatever_the_threads"),
        ("rate", "test_decoding_gives_the_promised_form"),
    ],
)
def test_a_faulty_tokenizer_is_found_out(fault: str, law: str) -> None:
    contract = AudioContract()
    for tokenizer in (Loud(), Loud(fault)):
        media = [Audio(sounds(1000 * length, 8000, 1, length), 8000) for length in range(1, 8)]
        known = {"tokenizer": tokenizer, "media": media, "singles": [tokenizer.encode(item) for item in media]}
        check = getattr(contract, law)
        arguments = {name: known[name] for name in inspect.signature(check).parameters}
        if tokenizer.fault:
            with pytest.raises(AssertionError):
                check(**arguments)
        else:
            check(**arguments)


def test_results_of_another_number_are_refused() -> None:
    class Short(Loud):
        def _encode(self, prepared: Any) -> list[Codes]:
            return super()._encode(prepared)[1:]

    with pytest.raises(RuntimeError, match="gave 1 results for 2 items"):
        Short().encode_batch([Audio(sounds(1000, 8000, 1, 0), 8000)] * 2)


@pytest.mark.parametrize("command", [["list"], ["info", "mimi"]])
def test_what_is_said_of_a_plug_in_needs_no_import(command: list[str]) -> None:
    """Whose it is and whose weights it takes stands in its package's metadata; importing it would bring in torch."""
    code = (
        f"import sys; sys.path.append({str(ADAPTER)!r})\n"
        f"from anytok.cli import main; main({command!r})\n"
        "print([name for name in ('torch', 'mimi_adapter', 'transformers') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "mimi" in printed and "those of the package mimi-adapter 1.0" in printed
    assert printed.splitlines()[-1] == "[]"


def test_info_loads_a_plug_in_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "mimi", "--load", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["engines"] == ["mimi-adapter"] and record["frame_rate"] == 12.5
