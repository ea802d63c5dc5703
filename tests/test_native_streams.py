"""The fast engine against its plain twin: any length, any tiling, any pieces, any number of threads."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from marks import half_kernels
from torch.multiprocessing.reductions import StorageWeakRef

import anytok
from anytok.checkpoints.report import load_state
from anytok.checkpoints.seanet import model_state, read_codec
from anytok.engines.native import precision
from anytok.engines.native.cpu import codec as cpu_codec
from anytok.engines.native.cpu import spill
from anytok.engines.native.gpu.codec import TiledCodec
from anytok.errors import CodesError, MediaError, UsageError
from anytok.models.codec import Codec

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = {
    "speechtokenizer": "speechtokenizer",
    "speechtokenizer-snake": "speechtokenizer-snake",
    "encodec-32khz": "encodec_32khz",
    "encodec-24khz": "encodec_24khz",
}


@pytest.fixture(scope="module", params=FOLDERS)
def pair(request) -> tuple[anytok.Tokenizer, Codec]:
    """A native tokenizer and the plain modules with the same weights."""
    folder = GOLDEN / FOLDERS[request.param]
    files = read_codec(folder)
    with torch.device("meta"):
        twin = Codec(**files.sizes.architecture())
    load_state(twin, model_state(files.state), "golden")
    return anytok.load_tokenizer(request.param, checkpoint=folder), twin.eval()


@pytest.fixture(scope="module")
def normed_pair() -> tuple[cpu_codec.FastCodec, Codec]:
    """The engine of a codec with norm layers (EnCodec 48 kHz), and the plain modules with the same weights."""
    files = read_codec(GOLDEN / "encodec_48khz")
    with torch.device("meta"):
        twin = Codec(**files.sizes.architecture())
    load_state(twin, model_state(files.state), "golden")
    twin.eval().requires_grad_(False)
    return cpu_codec.FastCodec(copy.deepcopy(twin), files.sizes.hop_length, torch.float32, torch.float32), twin


def noise(samples: int, rate: int, seed: int = 0) -> anytok.Audio:
    wave = np.random.default_rng(seed).standard_normal((1, samples)).astype(np.float32)
    return anytok.Audio(0.2 * wave * np.abs(np.sin(np.arange(samples) / 3000)).astype(np.float32), rate)


def lengths(hop: int) -> list[int]:
    """Every length at which some layer's padding changes its rule, and a few ordinary ones."""
    return [*range(1, 12), hop - 1, hop, hop + 1, 2 * hop, 3 * hop + 1, 5 * hop - 1, 11 * hop + 3, 60 * hop + 17]


def test_packing_keeps_nothing_of_the_plain_weights(pair, normed_pair):
    """One layer kept would double the memory: its weight, and through its bias the whole mapped file."""
    for _, twin in (pair, normed_pair):
        plain = copy.deepcopy(twin).requires_grad_(False)
        kept = {name: StorageWeakRef(weight.untyped_storage()) for name, weight in plain.named_parameters()}
        fast = cpu_codec.FastCodec(plain, 320, torch.float32, torch.float32)
        del plain
        gc.collect()
        assert fast.hop_length and [name for name, storage in kept.items() if not storage.expired()] == []


@pytest.mark.parametrize(("tile", "chunk"), [(100, 1000), (1, 1), (3, 7), (2, 50)])
@torch.inference_mode()
def test_tiles_equal_the_whole_pass(pair, monkeypatch, tile, chunk):
    tokenizer, twin = pair
    monkeypatch.setattr(cpu_codec, "TILE_FRAMES", tile)
    monkeypatch.setattr(cpu_codec, "CHUNK_FRAMES", chunk)
    assert tokenizer._codec.tile_frames == tile
    for samples in lengths(tokenizer.spec.hop_length):
        audio = noise(samples, tokenizer.spec.sample_rate)
        whole_kt = twin.encode(torch.tensor(audio.wave)[None])[0]
        codes = tokenizer.encode(audio)
        np.testing.assert_array_equal(codes.values, whole_kt, err_msg=f"{samples} samples")
        wave = twin.decode(whole_kt[None])[0, :, :samples].numpy()
        assert np.abs(tokenizer.decode(codes).wave - wave).max() <= 1e-5 * np.abs(wave).max()


@torch.inference_mode()
def test_norms_hear_the_whole_segment(normed_pair, monkeypatch):
    """Whatever the tile: a tile's own statistics would be other ones."""
    fast, twin = normed_pair
    monkeypatch.setattr(cpu_codec, "TILE_FRAMES", 2)
    monkeypatch.setattr(cpu_codec, "CHUNK_FRAMES", 7)
    waves = [torch.tensor(np.tile(noise(samples, 48000).wave, (2, 1))) for samples in lengths(fast.hop_length)]
    books = len(fast.codebooks_knd)
    for wave_cs, (codes_kt, _) in zip(waves, fast.encode(waves, books), strict=True):
        assert torch.equal(codes_kt, fast.encode([wave_cs], books)[0][0])
        assert torch.equal(codes_kt, twin.encode(wave_cs[None])[0]), f"{wave_cs.shape[1]} samples"
        made_cs, plain_cs = next(fast.decode([(codes_kt, 0)])), twin.decode(codes_kt[None])[0]
        assert (made_cs - plain_cs).abs().max() <= 1e-5 * plain_cs.abs().max()


@pytest.fixture
def threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_batch_of_any_lengths_equals_its_items(pair):
    tokenizer, _ = pair
    clips = [noise(samples, tokenizer.spec.sample_rate, samples) for samples in lengths(tokenizer.spec.hop_length)]
    codes = tokenizer.encode_batch(clips)
    assert codes == [tokenizer.encode(clip) for clip in clips]
    for one, many in zip((tokenizer.decode(item) for item in codes), tokenizer.decode_batch(codes), strict=True):
        np.testing.assert_array_equal(one.wave, many.wave)


@half_kernels
@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
@pytest.mark.parametrize("name", FOLDERS)
def test_half_precision_has_other_codes_but_always_the_same(name, dtype, threads_restored, monkeypatch):
    """In any batch, in any tile, on any number of threads."""
    tokenizer = anytok.load_tokenizer(name, checkpoint=GOLDEN / FOLDERS[name], dtype=dtype)
    clips = [noise(samples, tokenizer.spec.sample_rate, samples) for samples in lengths(tokenizer.spec.hop_length)]
    codes = tokenizer.encode_batch(clips)
    waves = [made.wave for made in tokenizer.decode_batch(codes)]
    for count, tile, chunk in ((1, 200, 1000), (2, 7, 30), (3, 1, 1)):
        torch.set_num_threads(count)
        for constant in ("TILE_FRAMES", "HALF_TILE_FRAMES"):
            monkeypatch.setattr(cpu_codec, constant, tile)
        monkeypatch.setattr(cpu_codec, "CHUNK_FRAMES", chunk)
        assert tokenizer._codec.tile_frames == tile
        assert [tokenizer.encode(clip) for clip in clips] == codes
        for item, wave in zip(codes, waves, strict=True):
            np.testing.assert_array_equal(tokenizer.decode(item).wave, wave)


def test_a_cpu_without_half_precision_kernels_is_told_so(monkeypatch):
    monkeypatch.setattr(precision, "has_half_kernels", lambda: False)
    with pytest.raises(UsageError, match=r"no bfloat16 kernels.*float32"):
        anytok.load_tokenizer("speech-mini", dtype="mixed")
    assert precision.codec_dtypes("float32", "cpu") == (torch.float32, torch.float32)
    assert precision.codec_dtypes("bfloat16", "cuda") == (torch.bfloat16, torch.bfloat16)


def test_threads_do_not_change_codes(pair, threads_restored):
    tokenizer, _ = pair
    audio = noise(100 * tokenizer.spec.hop_length + 5, tokenizer.spec.sample_rate)
    codes = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        codes.append(tokenizer.encode(audio))
    assert codes[0] == codes[1] == codes[2]


@pytest.mark.parametrize("step", [1, 2, 5, 29, 40])
def test_streamed_sound_is_the_offline_sound(pair, step):
    tokenizer, _ = pair
    codes = tokenizer.encode(noise(40 * tokenizer.spec.hop_length, tokenizer.spec.sample_rate))
    stream = tokenizer.decoder_stream()
    pieces = [stream.push(codes.values[:, start : start + step]).wave for start in range(0, 40, step)]
    first_heard = next(i for i, piece in enumerate(pieces) if piece.size)
    pieces.append(stream.finish().wave)
    wave = tokenizer.decode(codes).wave
    assert np.abs(np.concatenate(pieces, axis=1) - wave).max() <= 1e-5 * np.abs(wave).max()
    assert first_heard * step <= 7, "sound must not wait for more than seven frames behind its own"


def test_a_stream_takes_the_layers_that_decode_takes(pair):
    """Also from a tokenizer that writes fewer itself."""
    tokenizer, _ = pair
    name, hop = tokenizer.spec.name, tokenizer.spec.hop_length
    codes = tokenizer.encode(noise(20 * hop, tokenizer.spec.sample_rate))
    fewer = anytok.load_tokenizer(name, checkpoint=GOLDEN / FOLDERS[name], num_codebooks=1)
    for first, last in ((0, codes.num_codebooks), (1, 3)):
        asked = codes.layers(first, last)
        stream = fewer.decoder_stream(first)
        wave = np.concatenate([stream.push(asked.values).wave, stream.finish().wave], axis=1)
        wanted = tokenizer.decode(asked).wave
        assert np.abs(wave - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_stream_is_one_item(pair):
    tokenizer, _ = pair
    many = tokenizer.spec.num_codebooks
    for first in (-1, many, "0", 1.0):
        with pytest.raises(UsageError, match=f"first_codebook=.*0 to {many - 1}"):
            tokenizer.decoder_stream(first)
    stream = tokenizer.decoder_stream(many - 1)
    with pytest.raises(UsageError, match="nothing was pushed"):
        stream.finish()
    with pytest.raises(CodesError, match=f"2 codebooks from layer {many - 1} on"):
        stream.push(np.zeros((2, 3), np.int64))
    stream = tokenizer.decoder_stream()
    stream.push(np.zeros((2, 3), np.int64))
    with pytest.raises(CodesError, match="codes of 1 codebooks in a stream of 2"):
        stream.push(np.zeros((1, 3), np.int64))
    assert stream.push(np.zeros((2, 7), np.int64)).num_samples + stream.finish().num_samples > 0
    for late in (stream.finish, lambda: stream.push(np.zeros((2, 3), np.int64))):
        with pytest.raises(UsageError, match=r"has ended: take a new decoder_stream\(\)"):
            late()


@pytest.mark.parametrize("form", [cpu_codec.FastCodec, TiledCodec])
def test_an_encoder_that_overflows_is_found_out(pair, form):
    """As in float16 on a GPU; NaN would be code 0 of every layer, in silence."""
    tokenizer, twin = pair
    codec = form(copy.deepcopy(twin), tokenizer.spec.hop_length, torch.float32, torch.float32)
    waves = [torch.from_numpy(noise(5000, 16000).wave), torch.full((1, 5000), 3e38)]
    with torch.inference_mode(), pytest.raises(MediaError, match=r"NaN or infinity: bring the sound into \[-1, 1\]"):
        codec.encode(waves, 1)


def test_long_clips_wait_on_disk(pair, monkeypatch):
    """With no room in memory every piece is spilled, and nothing changes."""
    tokenizer, _ = pair
    audio = noise(50 * tokenizer.spec.hop_length, tokenizer.spec.sample_rate)
    codes = tokenizer.encode(audio)
    monkeypatch.setattr(spill, "MEMORY_BYTES", 0)
    monkeypatch.setattr(cpu_codec, "CHUNK_FRAMES", 10)
    assert tokenizer.encode(audio) == codes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pieces_beyond_the_memory_come_back_from_disk(monkeypatch, dtype):
    """In any order, of any length; and a signal keeps no more than its share in memory."""
    monkeypatch.setattr(spill, "MEMORY_BYTES", 2 * 4 * 3 * dtype.itemsize)
    pieces = {number: torch.randn(number or 4, 3).to(dtype) for number in (5, 4, 0, 3, 1)}
    buffer = spill.SpillBuffer()
    for number, piece in pieces.items():
        buffer[number] = piece
    assert len(buffer) == 5 and buffer._bytes <= spill.MEMORY_BYTES
    assert sum(isinstance(held, torch.Tensor) for held in buffer._pieces.values()) == 2
    for number in (0, 1, 3, 4, 5, 3):
        assert torch.equal(buffer[number], pieces[number])


@half_kernels
@pytest.mark.parametrize("dtype", ["mixed", "bfloat16"])
def test_lower_precision_is_another_identity_and_mostly_the_same_codes(pair, dtype):
    tokenizer, _ = pair
    name = tokenizer.spec.name
    lower = anytok.load_tokenizer(name, checkpoint=GOLDEN / FOLDERS[name], dtype=dtype)
    audio = noise(100 * tokenizer.spec.hop_length, tokenizer.spec.sample_rate)
    exact, rounded = tokenizer.encode(audio), lower.encode(audio)
    assert rounded.spec.id == f"{exact.spec.id}+{dtype}"
    assert (exact.values[0] == rounded.values[0]).mean() > 0.8
    assert tokenizer.decode(rounded).wave.shape == audio.wave.shape
