"""The recipe of voices: stretches, prompts and masks are as described; what is exported computes what was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import anytok
from anytok.errors import UsageError
from anytok.training.clips import Clip, write_clips
from anytok.training.config import RunConfig, TrainConfig, VoiceConfig, read_config
from anytok.training.export import export_voice
from anytok.training.loop import optimize
from anytok.training.voice import VoiceRecipe, shares, some

SMALL = {"width": 16, "depth": 1, "heads": 2, "frames": 30}


@torch.no_grad()
def mean_loss(made: VoiceRecipe) -> float:
    return float(np.mean([sum(map(float, made.losses(0, np.random.default_rng(s)).values())) for s in range(8)]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of one voice, and single words of two speakers."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    names = [("espeak", "en+f1", 50), ("espeak", "en+f1", 40)]
    names += [("digits", f"{digit}_{who}_0", 8) for digit in range(3) for who in ("ann", "bob")]
    clips = [
        Clip((0.1 * rng.standard_normal(320 * frames)).astype(np.float32), source, name)
        for source, name, frames in names
    ]
    write_clips(folder / "train", clips, 16000, 320)
    return folder


def recipe(data: Path, steps: int = 2, **model) -> VoiceRecipe:
    run = RunConfig(steps=steps, batch_size=3, learning_rate=2e-3, warmup=1)
    return VoiceRecipe(TrainConfig("small", "voice", str(data), "", run, VoiceConfig(**{**SMALL, **model})))


def test_codes_are_the_tokenizer_s_and_made_once(data: Path, monkeypatch) -> None:
    made = recipe(data)
    speech = anytok.load_tokenizer("speech-mini")
    item = made.clips.items[1]
    codes = speech.encode(anytok.Audio(made.clips.clip(1)[0], 16000))
    assert (made.codes_lt[:, item["start"] : item["start"] + item["frames"]] == codes.values).all()
    monkeypatch.setattr(type(speech), "encode_batch", None)
    assert (recipe(data).codes_lt == made.codes_lt).all()


def test_single_words_are_joined_by_speaker(data: Path) -> None:
    made, rng = recipe(data, sources={"digits": 1.0}), np.random.default_rng(0)
    items = {speaker: [made._codes(made.clips.items[p]) for p in places] for speaker, places in made._words.items()}
    assert set(items) == {"ann", "bob"}
    for stretch in made._stretches(rng):
        assert stretch.shape == (8, 30)
        whole = {speaker: np.concatenate(words, axis=1) for speaker, words in items.items()}
        frames = {speaker: {tuple(frame) for frame in each.T} for speaker, each in whole.items()}
        assert any({tuple(frame) for frame in stretch.T} <= of for of in frames.values())


def test_prompts_and_masks_are_as_described() -> None:
    rng = np.random.default_rng(0)
    made = VoiceRecipe.__new__(VoiceRecipe)
    made.model = VoiceConfig(without_prompt=0.25)
    lengths = np.array([int((~made._behind_prompt(rng, 100)).sum()) for _ in range(400)])
    assert 0.15 < (lengths == 0).mean() < 0.35 and lengths.max() == 70 and lengths[lengths > 0].min() >= 5
    assert all(made._behind_prompt(rng, 1).sum() == 1 for _ in range(20))  # there is something to fill in
    among = np.arange(40) % 2 == 0
    chosen = [some(rng, among) for _ in range(300)]
    assert all(one.any() and not (one & ~among).any() for one in chosen)
    assert {1, 20} <= {int(one.sum()) for one in chosen}
    assert shares(3).sum() == pytest.approx(1) and shares(1).tolist() == [1.0]


def test_the_network_sees_masks_or_guesses_and_the_prompt_whole(data: Path, monkeypatch) -> None:
    """A step for level q masks some of it and all levels above, in the clip alone; or it masks nothing, and has guesses
    from level q on."""
    made, seen = recipe(data), []
    stretch = made.codes_lt[:, :30]
    monkeypatch.setattr(made, "_stretches", lambda rng: [stretch])
    monkeypatch.setattr(made, "_behind_prompt", lambda rng, length: np.arange(length) >= 10)
    made.state.register_forward_hook(lambda _, given, __: seen.append(given[0].clone()))
    true_rq, kinds = torch.from_numpy(stretch[1:4].T.astype(np.int64)), set()
    for step in range(40):
        seen.clear()
        (name, *_) = made.losses(step, np.random.default_rng(step))
        level, given_rq = int(name.removeprefix("layer ")) - 2, seen[-1]
        masked_rq = given_rq == made.state.mask
        kinds.add((level, len(seen)))
        assert (given_rq[:, :level] == true_rq[:, :level]).all()
        if len(seen) == 1:
            assert masked_rq[10:, level + 1 :].all() and masked_rq[10:, level].any()
            assert (given_rq[:10] == true_rq[:10]).all()
            assert (given_rq[:, level] == true_rq[:, level])[~masked_rq[:, level]].all()
        else:  # guessed first: of the prompt, too, from the second of the upper levels on
            asked_rq = seen[0] == made.state.mask
            assert not masked_rq.any() and asked_rq[10:, level:].all() and not asked_rq[:, :level].any()
            assert bool(asked_rq[:10, level:].all()) == (level > 1)
    assert kinds == {(0, 1), (1, 1), (1, 2), (2, 1), (2, 2)}


def test_it_learns_and_what_is_exported_is_what_was_trained(data: Path, tmp_path: Path) -> None:
    made = recipe(data, steps=25)
    first = mean_loss(made)
    optimize(made, RunConfig(steps=25, batch_size=3, learning_rate=2e-3, warmup=1), tmp_path / "run")
    assert mean_loss(made) < 0.9 * first
    export_voice(made, tmp_path / "weights")
    voice = anytok.load_voice("voice-mini", checkpoint=tmp_path / "weights")
    assert voice.num_layers == 4 and not voice._engine.load_report.ignored
    codes_rq, content_r = torch.randint(0, 512, (9, 3)), torch.randint(0, 512, (9,))
    with torch.inference_mode():
        trained = made.state.eval()(codes_rq, content_r, [9])
        loaded = voice._engine._logits([codes_rq], content_r)[0]
    assert (trained - loaded).abs().max() < 0.05  # float16 weights


def test_a_network_that_is_cut_is_the_whole_one_with_masks_above(data: Path, tmp_path: Path) -> None:
    made = recipe(data, kept_levels=2)
    torch.nn.init.normal_(made.state.code_embedding.weight)  # also of masks
    export_voice(made, tmp_path)
    voice = anytok.load_voice("voice-mini", checkpoint=tmp_path)
    assert voice.num_layers == 3
    codes_rq, content_r = torch.randint(0, 512, (9, 3)), torch.randint(0, 512, (9,))
    codes_rq[:, 2] = made.state.mask
    with torch.inference_mode():
        whole = made.state.eval()(codes_rq, content_r, [9])[:, :2]
        assert (whole - voice._engine._logits([codes_rq[:, :2]], content_r)[0]).abs().max() < 0.05


def test_configs_that_cannot_be_trained_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="num_levels=8: speech-mini has 8 layers"):
        recipe(data, num_levels=8)
    with pytest.raises(UsageError, match="kept_levels=4 of num_levels=3"):
        recipe(data, kept_levels=4)
    path = tmp_path / "config.toml"
    path.write_text(
        'name = "x"\nkind = "voice"\ndata = "d"\nout = "o"\n[run]\nsteps = 5\n[model]\nwidth = 12\nheads = 4\n', "utf-8"
    )
    with pytest.raises(UsageError, match="expected heads of an even width"):
        read_config(path, {"voice": VoiceConfig})
