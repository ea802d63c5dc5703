"""Small codecs in the published file formats against what the original packages made of them (tests/golden)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import anytok

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = {
    "speechtokenizer": "speechtokenizer",
    "speechtokenizer-snake": "speechtokenizer-snake",
    "encodec-32khz": "encodec_32khz",
    "encodec-24khz": "encodec_24khz",
    "encodec-48khz": "encodec_48khz",
}
CASES = [
    (name, key.removesuffix(".waveform"))
    for name, folder in FOLDERS.items()
    for key in sorted(load_file(GOLDEN / folder / "golden.safetensors"))
    if key.endswith(".waveform")
]
OPTIONS = {"encodec-48khz": {"bandwidth": 1.8}}  # the bandwidth its golden codes were made at
ENGINES = ["native", pytest.param("reference", marks=pytest.mark.reference)]


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, np.ndarray]]:
    return {name: load_file(GOLDEN / folder / "golden.safetensors") for name, folder in FOLDERS.items()}


@pytest.fixture(scope="module")
def tokenizers() -> dict:
    return {}


def load(tokenizers: dict, name: str, engine: str) -> anytok.Tokenizer:
    if (name, engine) not in tokenizers:
        options = {"engine": engine, "checkpoint": GOLDEN / FOLDERS[name], **OPTIONS.get(name, {})}
        tokenizers[name, engine] = anytok.load_tokenizer(name, **options)
    return tokenizers[name, engine]


def golden_codes(arrays: dict, case: str, spec: anytok.Spec, num_samples: int) -> np.ndarray:
    """The golden codes as [K, T]: 48 kHz ones come as [segments, K, T] with the last segment padded."""
    codes = arrays[f"{case}.codes"]
    if codes.ndim == 2:
        return codes
    frames = [-(-(end - start) // spec.hop_length) for start, end in spec.segments(num_samples)]
    return np.concatenate([segment[:, :n] for segment, n in zip(codes, frames, strict=True)], axis=1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "case"), CASES)
def test_codes_and_audio_are_the_originals(golden, tokenizers, name, case, engine):
    tokenizer, arrays = load(tokenizers, name, engine), golden[name]
    wave = arrays[f"{case}.waveform"]
    codes = tokenizer.encode(anytok.Audio(wave, tokenizer.spec.sample_rate))
    np.testing.assert_array_equal(codes.values, golden_codes(arrays, case, tokenizer.spec, wave.shape[1]))
    assert codes.num_samples == wave.shape[1]
    if f"{case}.scales" in arrays:
        np.testing.assert_allclose(codes.scales, arrays[f"{case}.scales"].ravel(), rtol=1e-6)

    decoded = arrays[f"{case}.decoded"][:, : wave.shape[1]]
    audio = tokenizer.decode(codes)
    assert audio.sample_rate == tokenizer.spec.sample_rate and audio.wave.shape == wave.shape
    assert np.abs(audio.wave - decoded).max() <= 1e-4 * np.abs(decoded).max()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["speechtokenizer", "speechtokenizer-snake"])
def test_content_layer_alone_decodes_as_the_original(golden, tokenizers, name, engine):
    tokenizer, arrays = load(tokenizers, name, engine), golden[name]
    codes = anytok.Codes(arrays["speech.9999.codes"], tokenizer.spec)
    decoded = arrays["speech.9999.decoded_layer1"]
    audio = tokenizer.decode(codes.layers(0, 1))
    assert np.abs(audio.wave - decoded).max() <= 1e-4 * np.abs(decoded).max()


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.reference
def test_engines_carry_one_identity(tokenizers, name):
    assert load(tokenizers, name, "native").spec == load(tokenizers, name, "reference").spec


@pytest.mark.parametrize("name", FOLDERS)
def test_first_layers_are_a_prefix(golden, tokenizers, name):
    """Loading fewer layers computes fewer, and gives the same ones."""
    whole = load(tokenizers, name, "native")
    part = anytok.load_tokenizer(name, checkpoint=GOLDEN / FOLDERS[name], num_codebooks=1)
    wave = next(array for key, array in golden[name].items() if key.endswith(".waveform"))
    audio = anytok.Audio(wave, whole.spec.sample_rate)
    assert part.spec.num_codebooks == 1
    np.testing.assert_array_equal(part.encode(audio).values, whole.encode(audio).values[:1])


def test_layers_from_the_middle_decode_through_their_own_codebooks(golden, tokenizers):
    """The latents of layers 0-1 and 2-7 add up to those of all eight, so the layers must not shift."""
    tokenizer = load(tokenizers, "speechtokenizer", "native")
    codes = anytok.Codes(golden["speechtokenizer"]["speech.9999.codes"], tokenizer.spec)
    rest = codes.layers(2, 8)
    assert rest.first_codebook == 2

    def latents(part: anytok.Codes) -> torch.Tensor:
        return tokenizer._codec.dequantize(torch.tensor(part.values), part.first_codebook)

    torch.testing.assert_close(latents(codes), latents(codes.layers(0, 2)) + latents(rest))
    assert tokenizer.decode(rest).wave.shape == (1, 32 * 320)


def test_codes_may_come_one_by_one():
    tokenizer = anytok.load_tokenizer("speech-mini")
    codes = [tokenizer.encode(anytok.Audio(np.zeros((1, samples), np.float32), 16000)) for samples in (500, 900)]
    sounds = tokenizer.decode_batch(item for item in codes)
    assert [sound.num_samples for sound in sounds] == [500, 900]
