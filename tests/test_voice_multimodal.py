"""Ids with speech → words and a voice: at once, as they come, through a Processor, and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from llama import llama_tokenizer

from anytok import Audio, Codes, Speech, UsageError, Vocabulary, Voice, load_multimodal, load_tokenizer, load_voice
from anytok.cli import main
from anytok.generation import MediaStream, Processor
from anytok.media.audio import load_audio
from anytok.multimodal import Multimodal
from anytok.vocab import build_layout, segment_of

GOLDEN = Path(__file__).parent / "golden"
SPEECH = GOLDEN / "speechtokenizer-snake"


@pytest.fixture(scope="module")
def speech():
    return load_tokenizer("speechtokenizer-snake", checkpoint=SPEECH)


@pytest.fixture(scope="module")
def voice(speech) -> Voice:
    return load_voice("soundstorm", speech=speech, checkpoint=GOLDEN / "soundstorm")


@pytest.fixture(scope="module")
def vocabulary(speech) -> Vocabulary:
    """Words, and layer 1 of speech, as AnyGPT has it."""
    vocab = Vocabulary(build_layout("small", 400, ["<eos>", segment_of(speech.spec, num_codebooks=1)]))
    vocab.extend(llama_tokenizer(400))
    return vocab


@pytest.fixture
def any2any(vocabulary, speech, voice) -> Multimodal:
    return load_multimodal(vocabulary, tokenizers={"speechtokenizer-snake": speech}, voice=voice)


@pytest.fixture
def content(speech) -> Codes:
    return Codes(np.random.default_rng(0).integers(0, 64, (1, 12)), speech.spec)


@pytest.fixture
def recording() -> Audio:
    return Audio((0.2 * np.random.default_rng(1).standard_normal((2, 8000))).astype(np.float32), 16000)


def test_decoding_gives_speech_with_the_voice(any2any, speech, voice, content, recording) -> None:
    ids = any2any.encode(["Say: ", content, "and", content])
    said = voice.fill(content, recording, seed=3)
    words, first, between, second = any2any.decode(ids, speech={"voice_prompt": recording, "voice_seeds": [3, 4]})
    assert (words, between) == ("Say: ", "and")
    assert first == speech.decode(said) and second == speech.decode(voice.fill(content, recording, seed=4))
    assert any2any.decode(ids)[1] == speech.decode(voice.fill(content)) != first


def test_without_a_voice_all_is_as_before(vocabulary, speech, content) -> None:
    plain = load_multimodal(vocabulary, tokenizers={"speechtokenizer-snake": speech})
    ids = plain.encode(content)
    assert plain.decode(ids) == [speech.decode(content)]
    with pytest.raises(UsageError, match="decoded without one"):
        plain.decode(ids, speech={"voice_prompt": "me.wav"})
    with pytest.raises(UsageError, match="has no voice"):
        _ = plain.voice


@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_run_that_is_streamed_comes_out_at_its_end_with_its_voice(any2any, content, recording, size: int) -> None:
    ids, options = any2any.encode(["Say: ", content, "!"]), {"speech": {"voice_prompt": recording}}
    stream, media = MediaStream(any2any, **options), []
    for start in range(0, len(ids), size):
        media += stream.push(ids[start : start + size])
    media += stream.finish()
    assert [item for item in media if isinstance(item, Audio)] == [any2any.decode(ids, **options)[1]]


def test_a_processor_hands_the_prompt_on(any2any, content, recording) -> None:
    ids = any2any.encode(["Say: ", content])
    options = {"speech": {"voice_prompt": recording}}
    processor = Processor(any2any, bos=False)
    assert processor.decode(ids, **options) == any2any.decode(ids, **options)
    assert processor.batch_decode([ids, ids], **options)[1] == any2any.decode(ids, **options)


def test_a_voice_is_loaded_by_name_with_a_tokenizer_of_all_layers(vocabulary, content, recording) -> None:
    checkpoints = {"speechtokenizer-snake": SPEECH, "soundstorm": GOLDEN / "soundstorm"}
    any2any = load_multimodal(vocabulary, voice="soundstorm", checkpoints=checkpoints)
    ids = any2any.encode(content)
    assert any2any.decode(ids, speech={"voice_prompt": recording})[0].num_samples == 12 * 320
    assert any2any.voice.speech.spec.num_codebooks == 8
    assert len(any2any.encode(Speech(recording))) == 25 + 2  # of which layer 1 is written


def test_a_voice_that_has_nothing_to_say_is_refused(vocabulary, voice) -> None:
    with pytest.raises(UsageError, match="mini writes 8 layers of it"):
        load_multimodal("mini", voice="voice-mini")
    with pytest.raises(UsageError, match="seed-llama writes nothing of it"):
        load_multimodal("seed-llama", voice=voice)
    with pytest.raises(UsageError, match="no voice is called 'nobody'"):
        load_multimodal(vocabulary, voice="nobody")


def test_the_command_line_gives_codes_another_s_voice(
    tmp_path: Path, monkeypatch, capsys, speech, voice, recording
) -> None:
    monkeypatch.chdir(tmp_path)
    recording.save("me.wav", "FLOAT")
    said = [Codes(np.random.default_rng(layers).integers(0, 64, (layers, 9)), speech.spec) for layers in (1, 8)]
    lines = [json.dumps({"source": f"{place}.wav", **codes.to_dict()}) for place, codes in enumerate(said)]
    Path("codes.jsonl").write_text("\n".join(lines), "utf-8")
    decode = ["decode", "codes.jsonl", "--checkpoint", str(SPEECH), "--voice-checkpoint", str(GOLDEN / "soundstorm")]
    assert main([*decode, "--out", "mine", "--voice-prompt", "me.wav"]) == 0
    assert "speaks as in me.wav" in capsys.readouterr().err
    assert main([*decode, "--out", "nobodys", "--voice", "soundstorm"]) == 0
    for folder, prompt in (("mine", recording), ("nobodys", None)):
        for place, codes in enumerate(said):
            whole = speech.decode(voice.fill(codes.layers(0, 1), prompt))
            made = load_audio(f"{folder}/{place}.wav")
            assert np.abs(made.wave - whole.wave.clip(-1, 1)).max() <= 1 / 32768
    assert main([*decode, "--out", "x", "--voice", "voice-mini"]) == 2  # which is for codes of speech-mini
    assert "a voice for codes of speechtokenizer-snake" in capsys.readouterr().err
    assert main([*decode, "--out", "x", "--voice", "nobody"]) == 2
