"""A voice's promises: the same codes in any company, errors in the caller's words, prompts of either kind."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from marks import half_kernels

from anytok import Audio, CheckpointError, Codes, CodesError, MediaError, UsageError, Voice, load_tokenizer, load_voice
from anytok.checkpoints.soundstorm import read_soundstorm
from anytok.models.soundstorm import Depthwise, gated
from anytok.registry import list_voices
from anytok.spec import Spec

GOLDEN = Path(__file__).parent / "golden"
FILES = GOLDEN / "soundstorm"
WEIGHTS = "speechtokenizer_soundstorm_mls.pt"


@pytest.fixture(scope="module")
def speech():
    return load_tokenizer("speechtokenizer-snake", checkpoint=GOLDEN / "speechtokenizer-snake")


@pytest.fixture
def voice(speech) -> Voice:
    return load_voice("soundstorm", speech=speech, checkpoint=FILES)


@pytest.fixture(scope="module")
def small() -> Voice:
    """The same without a tokenizer."""
    return load_voice("soundstorm", checkpoint=FILES)


def codes(frames: int, layers: int = 1, seed: int = 0, name: str = "speechtokenizer-snake", size: int = 64) -> Codes:
    spec = Spec(name, "speech", 8, size, frame_rate=50, sample_rate=16000)
    return Codes(np.random.default_rng(seed).integers(0, spec.codebook_size, (layers, frames)), spec)


LENGTHS = (9, 1, 21, 3, 33, 2)


def test_a_batch_gives_what_each_clip_gives_alone(build, speech) -> None:
    voice = load_voice("soundstorm", speech=speech, checkpoint=FILES)
    clips = [codes(frames, seed=place) for place, frames in enumerate(LENGTHS)]
    prompts = [None if place % 3 == 1 else codes(5 + place, 8, seed=place) for place in range(len(clips))]
    for greedy in (True, False):
        options = {"steps": 2, "greedy": greedy}
        together = voice.fill_batch(clips, prompts=prompts, seeds=range(len(clips)), **options)
        order = [4, 0, 2, 5, 1, 3]
        shuffled = voice.fill_batch(
            [clips[place] for place in order], prompts=[prompts[place] for place in order], seeds=order, **options
        )
        for place, clip in enumerate(clips):
            alone = voice.fill(clip, prompts[place], seed=place, **options)
            assert alone == together[place] == shuffled[order.index(place)]


def test_clips_beyond_one_run_of_the_network_are_cut_between_clips(small, monkeypatch) -> None:
    clips = [codes(frames, seed=place) for place, frames in enumerate(LENGTHS)]
    together = small.fill_batch(clips)
    monkeypatch.setattr("anytok.engines.native.soundstorm._ROWS", 25)  # less than the longest clip has
    assert small.fill_batch(clips) == together


def test_rows_of_padding_as_on_gpus_change_nothing(small, monkeypatch) -> None:
    clips = [codes(frames, seed=place) for place, frames in enumerate(LENGTHS)]
    together, rows = small.fill_batch(clips, prompts=codes(4, 8)), []
    monkeypatch.setattr(small._engine, "_pads", True)
    monkeypatch.setattr("anytok.engines.native.soundstorm._ROWS", 64)
    hook = small._engine._network.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    assert small.fill_batch(clips, prompts=codes(4, 8)) == together
    hook.remove()
    assert set(rows) == {64}


def test_the_number_of_threads_does_not_show_in_last_bits() -> None:
    """torch's own sigmoid and SiLU fail this: the last numbers of each thread's share are computed in another way."""
    torch.manual_seed(0)
    signal, convolution = 4 * torch.randn(603, 333), Depthwise(333, 333, 31, padding=15, groups=333)
    before = torch.get_num_threads()
    try:
        for function in (lambda signal: gated(signal, signal), convolution):
            made = []
            for count in (1, 2, 3, 5, 7):
                torch.set_num_threads(count)
                made.append(function(signal).detach())
            assert all(torch.equal(made[0], each) for each in made), function
    finally:
        torch.set_num_threads(before)


def test_the_caller_s_settings_do_not_show(small) -> None:
    clip, prompt = codes(20), codes(9, 8, seed=1)
    usual = small.fill(clip, prompt)
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        assert small.fill(clip, prompt) == usual


def test_what_comes_back_is_the_content_and_the_other_layers(small) -> None:
    content = replace(codes(7), num_samples=2100)
    filled = small.fill(content)
    assert filled.values.shape == (8, 7) and (filled.values[0] == content.values[0]).all()
    assert filled.spec.id == content.spec.id and filled.num_samples == 2100
    narrow = replace(content, spec=replace(content.spec, num_codebooks=1))  # as of a vocabulary with layer 1 alone
    assert small.fill(narrow).values.shape == (8, 7)


def test_seeds_and_prompts_matter_and_default_to_one_for_all(small) -> None:
    clips, prompt = [codes(20), codes(20)], codes(12, 8, seed=5)
    assert small.fill(clips[0]) == small.fill(clips[0], seed=0) == small.fill_batch(clips)[1]
    sampled = small.fill_batch(clips, greedy=False, seeds=[1, 2])
    assert sampled[0] != sampled[1]
    prompted = small.fill_batch(clips, prompts=prompt)
    assert prompted[0] == prompted[1] == small.fill(clips[0], prompt) != small.fill(clips[0])
    assert small.fill_batch([]) == []
    # more layers than are needed, as of a tokenizer of more codebooks
    wide = replace(prompt.spec, num_codebooks=9)
    more = Codes(np.concatenate([prompt.values, prompt.values[:1]]), wide)
    assert small.fill(clips[0], more) == prompted[0]


def test_a_recording_is_resampled_and_then_mixed(voice: Voice) -> None:
    """As AnyGPT does it with a voice prompt, where of other speech it takes the first channel."""
    rng, rate = np.random.default_rng(0), 24000
    wave = (0.3 * rng.standard_normal((2, 12000))).astype(np.float32)
    mixed = Audio(wave, rate), replace(voice.speech.spec, preprocessing="mean-after:functional")
    from anytok.media import prepare

    prompt = voice.speech.encode_prepared([prepare(*mixed)])[0]
    assert prompt != voice.speech.encode(mixed[0])
    assert voice.fill(codes(10), mixed[0]) == voice.fill(codes(10), prompt)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: {"codes": codes(3, name="encodec-32khz")}, "fills in layers of speechtokenizer-snake"),
        (lambda: {"codes": codes(3, size=128)}, "a tokenizer with 128 codes"),
        (lambda: {"codes": codes(3, 8)}, "layers 1 to 8: expected layer 1 alone"),
        (lambda: {"codes": codes(3, 8).layers(1, 2)}, "layers 2 to 2: expected layer 1 alone"),
        (lambda: {"codes": np.zeros((1, 3), int)}, "expected anytok.Codes"),
        (lambda: {"codes": codes(3), "prompt": codes(3, 1)}, "a prompt of layers 1 to 1: expected layers 1 to 8"),
        (lambda: {"codes": codes(3), "prompt": codes(3, 8).layers(1, 8)}, "a prompt of layers 2 to 8"),
        (lambda: {"codes": codes(3), "prompt": codes(3, 8, name="seed-2")}, "a prompt of seed-2"),
        (lambda: {"codes": codes(3), "prompt": codes(0, 8)}, "codes with 0 frames"),
        (lambda: {"codes": Codes(np.full((1, 3), 64), codes(1).spec)}, "code 64 at layer 0"),
    ],
)
def test_codes_that_do_not_fit_are_refused(wrong, message: str, small) -> None:
    with pytest.raises(CodesError, match=message):
        small.fill(**wrong())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"greedy": 1}, "greedy=1"),
        ({"seeds": [1]}, "1 seeds for 2 clips"),
        ({"seeds": ""}, "seed=''"),
        ({"seeds": [1, 2.5]}, "seed=2.5"),
        ({"prompts": [None]}, "1 prompts for 2 clips"),
    ],
)
def test_arguments_that_are_none_are_refused(options: dict, message: str, small) -> None:
    with pytest.raises(UsageError, match=message):
        small.fill_batch([codes(3), codes(4)], **options)


def test_recordings_that_cannot_be_used_are_refused(voice: Voice, speech) -> None:
    with pytest.raises(MediaError, match="0 samples"):
        voice.fill(codes(3), Audio(np.zeros((1, 0), np.float32), 16000))
    with pytest.raises(MediaError, match=r"nowhere\.wav"):
        voice.fill(codes(3), "nowhere.wav")
    shallow = load_tokenizer("speechtokenizer-snake", checkpoint=GOLDEN / "speechtokenizer-snake", num_codebooks=1)
    with pytest.raises(CodesError, match="fewer codebooks"):
        load_voice("soundstorm", speech=shallow, checkpoint=FILES).fill(
            codes(3), Audio(np.zeros((1, 3200), np.float32), 16000)
        )
    with pytest.raises(CodesError, match="speechtokenizer-snake@"):  # the same name, other weights
        voice.fill(replace(codes(3), spec=codes(3).spec.with_id("speechtokenizer-snake@000000000000")))


def test_loading_says_what_does_not_fit(speech) -> None:
    assert {"soundstorm", "voice-mini"} <= set(list_voices())
    with pytest.raises(UsageError, match=r"no voice is called 'bark'; known: soundstorm, "):
        load_voice("bark")
    with pytest.raises(UsageError, match="fills in layers of speechtokenizer"):
        load_voice("soundstorm-librispeech", speech=speech, checkpoint=FILES)
    with pytest.raises(UsageError, match="no dtype 'int8'"):
        load_voice("soundstorm", checkpoint=FILES, dtype="int8")
    with pytest.raises(CheckpointError, match="no such file"):
        load_voice("soundstorm", checkpoint="nowhere")


def test_a_voice_can_be_sent_to_another_process(voice: Voice) -> None:
    sent = pickle.loads(pickle.dumps(voice))
    assert sent.id == voice.id and sent.fill(codes(5)) == voice.fill(codes(5))
    assert "layers 2 to 8 of speechtokenizer-snake" in repr(voice)


@half_kernels
def test_bfloat16_is_another_identity_and_mostly_the_same_codes(small) -> None:
    half = load_voice("soundstorm", checkpoint=FILES, dtype="bfloat16")
    assert half.id == f"{small.id}+bfloat16"
    clips = [codes(frames, seed=place) for place, frames in enumerate(LENGTHS)]
    exact, made = small.fill_batch(clips), half.fill_batch(clips)
    assert made[4] == half.fill(clips[4])
    same = np.mean([(one.values == other.values).mean() for one, other in zip(exact, made, strict=True)])
    assert same > 0.3  # by chance 1/64 of seven layers, and the content: 0.14


# Files that are not what they should be


def damaged(folder: Path, change) -> Path:
    state = dict(torch.load(FILES / WEIGHTS, weights_only=True))
    config = json.loads((FILES / "config.json").read_text("utf-8"))
    change(state, config)
    torch.save(state, folder / WEIGHTS)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


FIRST = "net.conformer.layers.0."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, _: state.pop("net.to_logits.2.weight"), "to_logits.2.weight is missing"),
        (lambda state, _: state.pop(f"{FIRST}post_norm.bias"), "1 of 76 needed tensors are missing"),
        (lambda state, _: state.update({f"{FIRST}conv.net.0.weight": torch.ones(48)}), "its older and its newer name"),
        (lambda state, _: state.update({"net.code_embeds.weight": torch.ones(448, 48)}), "has 448 rows"),
        (lambda state, _: state.update({"semantic_token_emb.weight": torch.ones(65, 48)}), "has 65 rows"),
        (lambda state, _: state.update({"net.heads.0.bias": torch.full((336,), torch.nan)}), "NaN or infinity"),
        (lambda state, _: state.update({"net.to_logits.2.weight": torch.ones(48, 64)}), "no shapes of SoundStorm"),
        (lambda _, config: config["conformer"].update(heads=5), "cuts 24 into even widths"),
        (lambda _, config: config["conformer"].update(heads=8), "cuts 24 into even widths"),
        (lambda _, config: config["conformer"].update(heads="3"), "heads '3'"),
        (lambda _, config: config.update(conformer=3), "heads None"),
    ],
)
def test_files_that_do_not_hold_a_soundstorm_are_refused(change, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_voice("soundstorm", checkpoint=damaged(tmp_path, change))


def test_what_is_not_needed_is_said(tmp_path: Path) -> None:
    folder = damaged(tmp_path, lambda state, _: state.update({"optimizer.step": torch.ones(1)}))
    assert read_soundstorm(folder).ignored == ("optimizer.step",)


def test_weights_that_overflow_are_not_passed_over(tmp_path: Path) -> None:
    folder = damaged(tmp_path, lambda state, _: state.update({"net.to_logits.2.bias": torch.full((1, 1, 7, 64), 3e38)}))
    with pytest.raises(CheckpointError, match="the network gives NaN or infinity"):
        load_voice("soundstorm", checkpoint=folder).fill(codes(4))
