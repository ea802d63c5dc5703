"""SoundStorm held to what AnyGPT's own code made of the same weights and numbers (tests/golden/soundstorm)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from anytok import Codes, Voice, load_tokenizer, load_voice
from anytok.models.filling import filling

GOLDEN = Path(__file__).parent / "golden"
STORED = load_file(GOLDEN / "soundstorm" / "golden.safetensors")
CASES = sorted({key.split(".")[0] for key in STORED})
FORMS = ("newer names", "older names")


@dataclass(frozen=True)
class Case:
    """One call of the original: b clips of t frames with prompts of p, q levels, k codes."""

    name: str
    content_bt: Tensor
    prompt_blp: Tensor
    codes_blt: Tensor
    passes: Tensor  # uint8 [pass, b, q, p + t], what went into the network
    logits: dict[int, Tensor]  # by pass, [b, p + t, q, k]

    def number(self, what: str) -> int:
        return int(STORED[f"{self.name}.{what}"])

    @property
    def is_usual(self) -> bool:
        """Whether it is one clip, and AnyGPT's other defaults hold, which `fill` has."""
        usual = (self.number("full_levels"), self.number("kept"), len(self.content_bt)) == (1, 20, 1)
        return usual and self.number("seed") >= 0

    def uniform(self, clip: int) -> Callable[[], Tensor]:
        """The numbers behind a clip's noise, call by call: one draw was made for all clips of a batch."""
        if f"{self.name}.uniform" in STORED:
            stored = iter(STORED[f"{self.name}.uniform"])
            return lambda: next(stored)[clip]
        generator = torch.Generator().manual_seed(self.number("seed"))
        _, clips, levels, frames = self.passes.shape
        return lambda: torch.rand(clips, frames * levels, 64, generator=generator)[clip]


def case_of(name: str) -> Case:
    content_bt = STORED[f"{name}.content"].long()
    empty = torch.zeros(len(content_bt), 8, 0)
    logits = {int(key.rpartition(".")[2]): value for key, value in STORED.items() if key.startswith(f"{name}.logits.")}
    prompt_blp = STORED.get(f"{name}.prompt", empty).long()
    return Case(name, content_bt, prompt_blp, STORED[f"{name}.codes"].long(), STORED[f"{name}.passes"], logits)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Voice]:
    speech = load_tokenizer("speechtokenizer-snake", checkpoint=GOLDEN / "speechtokenizer-snake")
    newer = GOLDEN / "soundstorm"
    older = tmp_path_factory.mktemp("older")
    shutil.copy(newer / "config.json", older)
    state = torch.load(newer / "speechtokenizer_soundstorm_mls.pt", weights_only=True)
    names = json.loads((newer / "older-names.json").read_text("utf-8"))
    torch.save(dict(zip(names, state.values(), strict=True)), older / "SoundStorm_best_dev.pt")
    places = dict(zip(FORMS, (newer, older / "SoundStorm_best_dev.pt"), strict=True))
    return {form: load_voice("soundstorm", speech=speech, checkpoint=place) for form, place in places.items()}


def test_both_generations_of_names_are_the_same_weights(voices: dict[str, Voice]) -> None:
    newer, older = voices.values()
    assert newer.id == older.id and newer.num_layers == 8
    assert not newer._engine.load_report.ignored and not older._engine.load_report.ignored


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_each_pass_has_the_original_s_input_and_the_end_its_codes(
    name: str, form: str, voices: dict[str, Voice]
) -> None:
    case, engine = case_of(name), voices[form]._engine
    options = {"steps": case.number("steps"), "greedy": bool(case.number("greedy"))}
    options |= {"full_levels": case.number("full_levels"), "kept": case.number("kept")}
    for clip, (content_t, prompt_lp) in enumerate(zip(case.content_bt, case.prompt_blp, strict=True)):
        masked = torch.full((7, len(content_t)), 64)
        loop = filling(torch.cat([prompt_lp[1:], masked], dim=1).T, 64, case.uniform(clip), **options)
        content_n = torch.cat([prompt_lp[0], content_t])
        inputs = list(answered(loop, lambda codes_nq, content_n=content_n: engine._logits([codes_nq], content_n)[0]))
        *passes, made = inputs
        assert len(passes) == len(case.passes)
        for number, (given, golden) in enumerate(zip(passes, case.passes, strict=True)):
            assert torch.equal(given.T, golden[clip].long()), f"input of pass {number}"
            if number in case.logits:
                difference = engine._logits([given], content_n)[0] - case.logits[number][clip]
                assert difference.abs().max() < 2e-5
        assert torch.equal(made[prompt_lp.shape[1] :].T, case.codes_blt[clip, 1:])


def answered(loop: Iterator, network: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """What a loop asks of the network, and last what it returns."""
    codes_nq = next(loop)
    while True:
        yield codes_nq
        try:
            codes_nq = loop.send(network(codes_nq))  # type: ignore[attr-defined]
        except StopIteration as end:
            yield end.value
            return


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in CASES if case_of(name).is_usual])
def test_fill_gives_the_original_s_codes_from_a_seed(name: str, form: str, voices: dict[str, Voice]) -> None:
    case, voice = case_of(name), voices[form]
    content = Codes(case.content_bt.numpy(), voice.speech.spec)
    prompt = Codes(case.prompt_blp[0].numpy(), voice.speech.spec) if case.prompt_blp.shape[2] else None
    options = {"steps": case.number("steps"), "greedy": bool(case.number("greedy")), "seed": case.number("seed")}
    filled = voice.fill(content, prompt, **options)
    assert (filled.values == case.codes_blt[0].numpy()).all()
    assert filled.spec == voice.speech.spec


def test_anygpt_s_call_ends_in_the_original_s_wave(voices: dict[str, Voice]) -> None:
    case, voice = case_of("anygpt"), voices["newer names"]
    codes = Codes(case.codes_blt[0].numpy(), voice.speech.spec)
    np.testing.assert_allclose(voice.speech.decode(codes).wave, STORED["anygpt.wave"].numpy(), atol=1e-5)
