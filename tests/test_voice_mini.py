"""The small voice that ships: what the registry says of it, the same codes everywhere, and a model's ids as speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import anytok
from anytok import Audio, Codes, Vocabulary, load_multimodal
from anytok.generation import MediaStream, Processor
from anytok.metrics.audio import log_mel_distance
from anytok.vocab import ByteTokenizer, build_layout, segment_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def speech():
    return anytok.load_tokenizer("speech-mini")


@pytest.fixture(scope="module")
def voice(speech):
    return anytok.load_voice("voice-mini", speech=speech)


@pytest.fixture(scope="module")
def recording() -> Audio:
    """Real speech that no model was trained on."""
    stored = load_file(GOLDEN / "speechtokenizer" / "golden.safetensors")
    key = max((k for k in stored if k.endswith(".waveform")), key=lambda k: stored[k].size)
    return Audio(stored[key], 16000)


def test_it_is_what_the_registry_says(voice) -> None:
    assert voice.speech_name == "speech-mini" and voice.num_layers == 3
    assert voice.id.startswith("voice-mini@") and not voice._engine.load_report.ignored


def test_codes_are_the_same_on_every_run_and_machine(voice, speech, recording, thread_counts) -> None:
    """The golden codes were made by the plain float64 twin of benchmarks/plain_soundstorm.py."""
    golden = np.load(GOLDEN / "mini" / "voice-mini.npy")
    codes = speech.encode(recording)
    for _ in thread_counts:
        assert (voice.fill(codes.layers(0, 1), codes).values == golden).all()


def test_what_it_fills_in_is_nearer_than_chance(voice, speech, recording) -> None:
    codes = speech.encode(recording)
    half = codes.num_frames // 2
    prompt = Codes(codes.values[:, :half], codes.spec)
    rest = Codes(codes.values[:, half:], codes.spec)
    best = speech.decode(rest).wave[0]
    filled = voice.fill(rest.layers(0, 1), prompt)
    rng = np.random.default_rng(0)
    random = Codes(np.concatenate([rest.values[:1], rng.integers(0, 512, (2, rest.num_frames))]), rest.spec)
    distances = [log_mel_distance(speech.decode(each).wave[0], best, 16000) for each in (filled, random)]
    assert distances[0] < distances[1]
    assert (filled.values[1] == rest.values[1]).mean() > 10 / 512


def test_ids_of_a_language_model_become_speech_with_a_voice(speech, voice, recording) -> None:
    """AnyGPT's form on the small models: layer 1 among words; decoded at once, streamed, and by a Processor."""
    text = ByteTokenizer()
    layout = build_layout("spoken", len(text), [segment_of(speech.spec, num_codebooks=1)])
    any2any = load_multimodal(Vocabulary(layout, text), tokenizers={"speech-mini": speech}, voice=voice)
    content = speech.encode(recording).layers(0, 1)
    ids = any2any.encode(["They said: ", content])  # as a model would write them
    words, said = any2any.decode(ids, speech={"voice_prompt": recording})
    assert words == "They said: " and said.num_samples == content.num_frames * 320
    assert said == speech.decode(Codes(voice.fill(content, recording).values, content.spec))
    stream = MediaStream(any2any, speech={"voice_prompt": recording})
    streamed = [*stream.push(ids[:40]), *stream.push(ids[40:]), *stream.finish()]
    assert streamed[-1] == said
    processor = Processor(any2any, bos=False)
    assert processor.decode(ids, speech={"voice_prompt": recording}) == [words, said]
    assert np.isfinite(said.wave).all()
