"""dtype="float64": the codes of the weights, on every machine; and the margins that say how sure a code is."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import soundfile
import torch

import anytok
from anytok.engines.native.cpu import codec as cpu_codec
from anytok.errors import CodesError, UsageError
from anytok.media import prepare
from anytok.media.audio import DoubleAudio
from anytok.media.resample import resample
from anytok.models.quantize import margins_of
from anytok.models.seed import normalize
from anytok.registry import find
from anytok.testing import picture, sounds

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
GOLDEN = Path(__file__).parent / "golden"
CODECS = ("speechtokenizer", "speechtokenizer-snake", "encodec-32khz", "encodec-24khz", "encodec-48khz")
EXACT = 1e-11  # of the largest: beyond float32 by far, and what float64 sums in another order differ by, after an LSTM


def unlike(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest number."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float64
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# The originals in float64


@pytest.mark.reference
@pytest.mark.parametrize("name", CODECS)
def test_codecs_of_published_sizes_are_the_originals(name: str, tmp_path: Path) -> None:
    """Latents to EXACT show that nothing on the way is float32; an encoder's error in it is some 1e-6."""
    from seeded import write_checkpoint
    from sounds import synthetic_waves

    seconds = 2.2 if find(name).spec.segment_samples else 1.2  # calibration takes whole segments of a second
    [wave] = synthetic_waves(find(name).spec, 1, seconds).values()
    first, second = np.array_split(wave, 2, axis=1)
    checkpoint = write_checkpoint(name, tmp_path, [first])
    native, original = (
        anytok.load_tokenizer(name, engine=engine, checkpoint=checkpoint, dtype="float64")
        for engine in ("native", "reference")
    )
    assert native.spec == original.spec and native.spec.id.endswith("+float64")
    sound = anytok.Audio(np.repeat(second, 2, axis=0)[:2] * np.float32(0.3), 44100)  # resampled, channels mixed
    codes = native.encode(sound, margins=True)
    assert codes == original.encode(sound)
    assert len(np.unique(codes.values)) > 30 and codes.margins is not None and codes.margins.min() > 1e-9
    made, expected = native.decode(codes).wave, original.decode(codes).wave
    assert np.abs(made - expected).max() <= 1e-6 * np.abs(expected).max()  # both are rounded to float32

    prepared: Any = prepare(sound, native.spec)
    assert type(prepared) is DoubleAudio
    wave_cs = prepared.wave
    if native.spec.segment_samples:  # one segment, of unit loudness
        wave_cs = wave_cs[:, : native.spec.segment_samples] if wave_cs.shape[1] > 48000 else wave_cs
        wave_cs = wave_cs / (np.sqrt(np.mean(wave_cs.mean(0) ** 2)) + 1e-8)
        prepared = DoubleAudio(prepared.wave[:, : wave_cs.shape[1]], prepared.sample_rate)
    with torch.inference_mode():
        latents = original._model.encoder(torch.from_numpy(wave_cs)[None])[0].numpy()  # type: ignore[attr-defined]
    assert unlike(native.latents(prepared)[:, : latents.shape[1]], latents) < EXACT  # type: ignore[attr-defined]


@pytest.mark.reference
def test_pictures_are_the_originals() -> None:
    native, original = (
        anytok.load_tokenizer("seed-2", engine=engine, checkpoint=GOLDEN / "seed", dtype="float64")
        for engine in ("native", "reference")
    )
    pictures = [picture(300, 200, seed) for seed in range(4)]
    codes = native.encode_batch(pictures, margins=True)
    assert native.spec == original.spec and codes == original.encode_batch(pictures)
    each: Any = (native, original)
    levels = np.asarray(prepare(pictures[0], native.spec))
    with torch.inference_mode():
        pixels_bchw = normalize(torch.from_numpy(levels)[None], torch.float64)
        assert unlike(each[0]._model.latents(pixels_bchw), each[1].latents(levels)) < EXACT
    assert unlike(each[0].embed(codes), each[1].embed(codes)) < EXACT


# One item, one set of codes


@pytest.mark.parametrize("name", ["speech-mini", "music-mini"])
def test_codes_are_equal_alone_in_batches_and_in_pieces(name: str, thread_counts: Any) -> None:
    tokenizer = anytok.load_tokenizer(name, dtype="float64")
    clips = [anytok.Audio(sounds(samples, 44100, 2, seed), 44100) for seed, samples in enumerate((40_000, 25_000, 7))]
    alone = [tokenizer.encode(clip) for clip in clips]
    for _ in thread_counts:
        assert tokenizer.encode_batch(clips) == alone
        with patch.object(cpu_codec, "TILE_FRAMES", 7), patch.object(cpu_codec, "CHUNK_FRAMES", 20):
            assert tokenizer.encode_batch(clips[::-1]) == alone[::-1]


def test_pictures_have_the_same_codes_in_any_batch(thread_counts: Any) -> None:
    one, four = (anytok.load_tokenizer("seed-mini", dtype="float64", batch_size=size) for size in (1, 4))
    pictures = [picture(300, 200, seed) for seed in range(6)]
    alone = [one.encode(image) for image in pictures]
    for _ in thread_counts:
        assert four.encode_batch(pictures) == alone


def test_a_stream_decodes_to_the_same_sound() -> None:
    tokenizer: Any = anytok.load_tokenizer("speech-mini", dtype="float64")
    codes = tokenizer.encode(anytok.Audio(sounds(30_000, 16000, 1, 0), 16000))
    stream, whole = tokenizer.decoder_stream(), tokenizer.decode(codes).wave
    pieces = [stream.push(codes.values[:, start : start + 10]).wave for start in range(0, codes.num_frames, 10)]
    streamed = np.concatenate([*pieces, stream.finish().wave], axis=1)[:, : whole.shape[1]]
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-7)  # a last bit of float32, at most
    plain = anytok.load_tokenizer("speech-mini").decode(codes).wave
    assert whole.dtype == np.float32 and 0 < np.abs(whole - plain).max() < 1e-5


# What goes in


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (16000, 24000), (22050, 32000), (44101, 32000)])
def test_resampling_is_the_published_filter_in_float64(old: int, new: int) -> None:
    """Each sample as a sum over the filter's formula, one by one; float32 misses it by far."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 400))
    base = min(old, new) / math.gcd(old, new) * 0.99
    o, n = old // math.gcd(old, new), new // math.gcd(old, new)
    times = np.arange(-(-400 * n // o))[:, None] / n - np.arange(400)[None] / o  # in frames
    t = (times * base).clip(-6, 6)
    kernel = np.sinc(t) * np.cos(t * np.pi / 12) ** 2 * (base / o)
    expected = (kernel * wave).sum(1)[None]
    for method in ("functional", "transform"):
        made = resample(wave, old, new, method)
        assert unlike(made, expected) < 1e-12
        single = resample(wave.astype(np.float32), old, new, method)
        assert np.abs(single - expected).max() > 1e-9


def test_media_are_prepared_in_float64_from_their_bytes_on() -> None:
    levels = (sounds(5000, 32000, 3, 1) * 32000).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, levels.T, 32000, "PCM_16", format="WAV")
    spec = anytok.load_tokenizer("music-mini", dtype="float64").spec
    assert spec.preprocessing == "mean-after:transform:float64"
    prepared: Any = prepare(file.getvalue(), spec)
    assert prepared.wave.dtype == np.float64
    np.testing.assert_allclose(prepared.wave[0], (levels / 32768).mean(0), rtol=1e-15)
    assert prepare(prepared, spec) == prepared
    plain: Any = prepare(prepared, anytok.load_tokenizer("music-mini").spec)
    assert plain.wave.dtype == np.float32


# Identity, and what there is not


def test_codes_say_that_they_are_those_of_float64() -> None:
    exact, plain = (anytok.load_tokenizer("speech-mini", dtype=dtype) for dtype in ("float64", "float32"))
    assert exact.spec.id == f"{plain.spec.id}+float64"
    codes = exact.encode(anytok.Audio(sounds(9000, 16000, 1, 0), 16000))
    assert plain.decode(codes).num_samples == 9000  # the same codebooks


@pytest.mark.parametrize(
    ("options", "message"),
    [({"resampler": "soxr"}, "soxr's HQ computes in float32"), ({"batch_size": 2}, "batch_size is for GPUs")],
)
def test_what_float64_has_not(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        anytok.load_tokenizer("speech-mini", dtype="float64", **options)


# Margins


def test_a_margin_is_how_far_a_latent_may_move() -> None:
    """Up to it no direction gives another code; beyond it, towards the entry behind the nearest plane, one does."""
    random = torch.Generator().manual_seed(0)
    books_knd = torch.randn(1, 50, 6, generator=random, dtype=torch.float64)
    latents_td = torch.randn(200, 6, generator=random, dtype=torch.float64)
    nearest_t = torch.cdist(latents_td, books_knd[0]).argmin(1)
    margins_t = margins_of(latents_td, nearest_t[None], books_knd)[0]
    reach_t1 = (margins_t * latents_td.norm(dim=1))[:, None]
    to_others_tnd = books_knd[0][None] - books_knd[0][nearest_t][:, None]
    unit_tnd = to_others_tnd / to_others_tnd.norm(dim=2, keepdim=True).clamp_min(1e-30)
    noise_tnd = torch.nn.functional.normalize(torch.randn(200, 50, 6, generator=random, dtype=torch.float64), dim=2)
    for share, unit, equal in ((0.999, unit_tnd, True), (0.999, noise_tnd, True), (1.001, unit_tnd, False)):
        moved = latents_td[:, None] + share * reach_t1[:, None] * unit
        codes = torch.cdist(moved.flatten(0, 1), books_knd[0]).argmin(1).view(200, 50)
        assert bool((codes == nearest_t[:, None]).all(1).all()) == equal
        if not equal:
            assert bool((codes != nearest_t[:, None]).any(1).all())


def test_margins_of_later_codebooks_are_those_of_what_is_left() -> None:
    books_knd = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latent_d = books_knd[0, 3] + books_knd[1, 5] + books_knd[2, 7]
    codes_kt = torch.tensor([[3], [5], [7]])
    margins_kt = margins_of(latent_d[None], codes_kt, books_knd)
    last = margins_of(books_knd[2, 7][None], codes_kt[2:], books_knd[2:])[0, 0] * books_knd[2, 7].norm()
    assert float(margins_kt[2, 0]) == pytest.approx(float(last / latent_d.norm()))
    assert (margins_of(latent_d[None], torch.tensor([[4]]), books_knd) < 0).all()  # not the nearest
    twice_knd = torch.cat([books_knd, books_knd], dim=1)
    nearest_t = torch.cdist(latent_d[None], books_knd[0]).argmin(1)
    assert float(margins_of(latent_d[None], nearest_t[None], twice_knd).abs()) < 1e-12


@pytest.mark.parametrize("name", ["speech-mini", "seed-mini"])
def test_margins_come_with_the_codes_that_are_asked_for_them(name: str) -> None:
    tokenizer = anytok.load_tokenizer(name)
    item: Any = picture(200, 200, 0) if name == "seed-mini" else anytok.Audio(sounds(20_000, 16000, 1, 0), 16000)
    codes, plain = tokenizer.encode(item, margins=True), tokenizer.encode(item)
    assert codes == plain and plain.margins is None
    assert codes.margins is not None and codes.margins.shape == codes.values.shape and codes.margins.min() > 0
    again = anytok.Codes.from_dict(codes.to_dict())
    assert again == codes and np.array_equal(again.margins, codes.margins)  # type: ignore[arg-type]
    first = codes.layers(0, 1)
    assert np.array_equal(first.margins, codes.margins[:1])  # type: ignore[arg-type]
    exact = anytok.load_tokenizer(name, dtype="float64").encode(item, margins=True)
    np.testing.assert_allclose(codes.margins, exact.margins, rtol=0, atol=1e-4)  # type: ignore[arg-type]
    for bad in (codes.margins[:, 1:], np.full(codes.values.shape, np.nan), [["a"]]):
        with pytest.raises(CodesError, match="margins"):
            anytok.Codes(codes.values, codes.spec, codes.num_samples, margins=bad)  # type: ignore[arg-type]


@pytest.mark.reference
def test_the_originals_have_no_margins() -> None:
    tokenizer = anytok.load_tokenizer("speech-mini", engine="reference")
    with pytest.raises(UsageError, match="no encode options; got margins"):
        tokenizer.encode(anytok.Audio([0.1] * 1000, 16000), margins=True)
