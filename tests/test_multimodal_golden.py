"""Interleaved parts through the real engines, on the small golden checkpoints: equal to each tokenizer alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llama import llama_tokenizer

from anytok import Audio, Codes, Image, Music, Speech, Tokenizer, Vocabulary, load_multimodal, load_tokenizer
from anytok.vocab import build_layout, segment_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    folders = {"seed-2": "seed", "speechtokenizer-snake": "speechtokenizer-snake", "encodec-32khz": "encodec_32khz"}
    return {name: load_tokenizer(name, checkpoint=GOLDEN / folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def vocab(tokenizers: dict[str, Tokenizer]) -> Vocabulary:
    image, speech, music = (tokenizer.spec for tokenizer in tokenizers.values())
    segments = [segment_of(image), segment_of(speech, num_codebooks=1), segment_of(music)]
    return Vocabulary(build_layout("golden", 32000, segments))


def sound(rate: int, seconds: float) -> Audio:
    return Audio(np.random.default_rng(0).normal(0, 0.1, (1, int(rate * seconds))).astype(np.float32), rate)


def test_every_part_equals_its_tokenizer(tokenizers: dict[str, Tokenizer], vocab: Vocabulary) -> None:
    seed, speech, music = tokenizers.values()
    picture = np.random.default_rng(1).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    voice, song = sound(22050, 0.3), sound(32000, 0.2)
    any2any = load_multimodal(vocab, text_tokenizer=llama_tokenizer(), tokenizers=tokenizers)
    ids = any2any.encode(["Look ", Image(picture), "listen", Speech(voice), Music(song), "."])
    parts = any2any.vocabulary.from_ids(ids)
    assert [parts[place] for place in (0, 2, 5)] == ["Look ", "listen", "."]
    wanted = [seed.encode(picture), speech.encode(voice).layers(0, 1), music.encode(song)]
    for place, codes in zip((1, 3, 4), wanted, strict=True):
        assert isinstance(parts[place], Codes)
        assert np.array_equal(parts[place].values, codes.values)
    sounds = any2any.to_media(parts[3:5])
    assert np.array_equal(sounds[0].wave, speech.decode(parts[3]).wave)
    assert np.array_equal(sounds[1].wave, music.decode(parts[4]).wave)


def test_an_engine_with_one_layer_gives_the_same_speech(tokenizers: dict[str, Tokenizer], vocab: Vocabulary) -> None:
    checkpoints = {"speechtokenizer-snake": GOLDEN / "speechtokenizer-snake"}
    any2any = load_multimodal(vocab, checkpoints=checkpoints)
    voice = sound(16000, 0.5)
    ids = any2any.encode([Speech(voice)])
    assert any2any.tokenizer("speech").spec.num_codebooks == 1
    assert np.array_equal(ids, vocab.to_ids(tokenizers["speechtokenizer-snake"].encode(voice)))
    assert np.array_equal(
        any2any.decode(ids)[0].wave, load_multimodal(vocab, tokenizers=tokenizers).decode(ids)[0].wave
    )
