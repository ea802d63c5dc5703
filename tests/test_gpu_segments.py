"""The GPU's segment codec against plain modules, on the CPU; on a real GPU its bits, at the published sizes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import anytok
from anytok.checkpoints.report import load_state
from anytok.checkpoints.seanet import model_state, read_codec
from anytok.engines.native.gpu.segments import SEGMENTS, SegmentCodec
from anytok.engines.native.precision import products_of, torch_dtype
from anytok.errors import MediaError
from anytok.models.codec import Codec
from anytok.torch_settings import products

GOLDEN = Path(__file__).parent / "golden" / "encodec_48khz"
RATE, HOP = 48000, 320
FULL = 6400  # samples of a full segment: a published one has 48,000


def encoded(codec: Any, waves: list[Tensor], num_codebooks: int) -> list[Tensor]:
    """The codes alone, without margins."""
    return [codes_kt for codes_kt, _ in codec.encode(waves, num_codebooks)]


def plain(**others: Any) -> Codec:
    """The golden codec, or one of other sizes and random weights."""
    files = read_codec(GOLDEN)
    if others:
        torch.manual_seed(0)
        codec = Codec(**files.sizes.architecture() | others)
        codec.quantizer.codebooks_knd.normal_()
    else:
        with torch.device("meta"):
            codec = Codec(**files.sizes.architecture())
        load_state(codec, model_state(files.state), "golden")
    return codec.eval().requires_grad_(False)


def segmented(codec: Codec, dtype: torch.dtype = torch.float32, batch_size: int = 5) -> SegmentCodec:
    return SegmentCodec(copy.deepcopy(codec), HOP, dtype, dtype, FULL, batch_size)


def noise(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(seed)) / 3


def clips() -> list[Tensor]:
    """More full segments than a batch of 5 holds, and shorter ones among them: every length that padding depends on."""
    full = [noise(FULL, seed) for seed in range(6)]
    return [*full[:2], noise(700), *full[2:], *(noise(samples) for samples in (1, 2, 5, 319, 320, 321, 961, FULL - 1))]


@pytest.mark.parametrize(
    "others",
    [{}, {"num_residual_layers": 2, "causal": True, "pad_mode": "constant", "shortcut": False, "weight_norm": True}],
    ids=["golden", "other convolutions"],
)
@torch.inference_mode()
def test_latents_codes_and_waves_are_those_of_the_plain_modules(others: dict[str, Any]) -> None:
    codec, waves = plain(**others), clips()
    engine = segmented(codec)
    latents = [codec.encoder(wave_cs[None])[0].T for wave_cs in waves]
    for wave_cs, latents_td in zip(waves, latents, strict=True):
        torch.testing.assert_close(engine.latents(wave_cs), latents_td, rtol=0, atol=2e-5)
    codes = encoded(engine, waves, 3)
    expected = [codec.quantizer.encode(latents_td.T[None], 3)[0] for latents_td in latents]
    assert all(map(torch.equal, codes, expected))
    assert len(torch.cat(codes, dim=1).unique()) > 40
    items = [(codes_kt[1:], 1) for codes_kt in codes]
    for wave_cs, (codes_kt, first) in zip(engine.decode(items), items, strict=True):
        expected_cs = codec.decode(codes_kt[None], first)[0]
        torch.testing.assert_close(wave_cs, expected_cs, rtol=0, atol=1e-5 * float(expected_cs.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_segment_has_the_same_codes_alone_and_in_any_batch(dtype: torch.dtype) -> None:
    engine, waves = segmented(plain(), dtype), clips()
    codes = encoded(engine, waves, 4)
    alone = [encoded(engine, [wave_cs], 4)[0] for wave_cs in waves]
    assert all(map(torch.equal, alone, codes))
    smaller = encoded(segmented(plain(), dtype, batch_size=2), waves, 4)
    equal = torch.cat(smaller, dim=1) == torch.cat(codes, dim=1)
    assert equal.float().mean() == 1 if dtype == torch.float32 else equal.float().mean() > 0.9


@torch.inference_mode()
def test_segments_are_taken_batch_by_batch() -> None:
    """Hours of them would otherwise be in memory at once."""
    taken = 0

    def items() -> Iterator[tuple[Tensor, int]]:
        nonlocal taken
        for _ in range(12):
            taken += 1
            yield torch.zeros(2, 7, dtype=torch.int64), 0

    assert next(segmented(plain()).decode(items())).shape == (2, 7 * HOP)
    assert taken == 5


@torch.inference_mode()
def test_latents_that_overflow_are_refused() -> None:
    engine = segmented(plain())
    engine._encoder._function.layers[0].bias[0] = torch.nan
    with pytest.raises(MediaError, match="NaN or infinity"):
        encoded(engine, [noise(FULL)], 4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "mixed", "tf32", "bfloat16", "float16"])
def test_a_gpu_gives_the_codes_of_the_cpu(dtype: str) -> None:
    gpu = anytok.load_tokenizer("encodec-48khz", checkpoint=GOLDEN, device="cuda", dtype=dtype)
    sounds = [anytok.Audio(noise(samples).numpy(), RATE) for samples in (1, 700, RATE, 20 * RATE + 17, 3 * RATE)]
    codes = gpu.encode_batch(sounds)
    assert codes == [gpu.encode(sound) for sound in sounds]
    if dtype == "float32":
        cpu = anytok.load_tokenizer("encodec-48khz", checkpoint=GOLDEN)
        assert codes == cpu.encode_batch(sounds)
    for item, sound in zip(codes, gpu.decode_batch(codes), strict=True):
        assert (gpu.decode(item).wave == sound.wave).all()


@pytest.mark.gpu
@pytest.mark.reference  # whose sizes are needed
@pytest.mark.parametrize("batch_size", [1, 4, SEGMENTS])
@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16", "float16"])
@torch.inference_mode()
def test_a_segment_has_the_same_bits_in_any_place(dtype: str, batch_size: int) -> None:
    from test_gpu_bits import drawn, published

    kind, codec = torch_dtype(dtype, "cuda"), drawn(published("encodec-48khz"), "cuda")
    engine = SegmentCodec(codec, HOP, kind, kind, RATE, batch_size=batch_size)
    waves = [noise(RATE, seed).cuda() for seed in range(2 * SEGMENTS)] + [noise(30000).cuda()]
    frames = [torch.randn(128, RATE // HOP, device="cuda") for _ in waves]
    with products(products_of(dtype)):
        for stage, full, signals in ((engine._encoder, RATE, waves), (engine._decoder, RATE // HOP, frames)):

            def made(some: list[Tensor], stage: Any = stage, full: int = full) -> list[Tensor]:
                batches = engine._batches(some, full)
                return [one for lengths, *batch in batches for one in stage(*batch)[: len(lengths)]]

            together = made(signals)
            assert all(bool(one.isfinite().all()) for one in together)
            for place in (0, 1, 6, SEGMENTS - 1, SEGMENTS, len(waves) - 1):
                assert torch.equal(made([signals[place]])[0], together[place]), place
