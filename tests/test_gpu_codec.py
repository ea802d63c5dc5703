"""The GPU's form of the codecs, on any device: every kernel sees one shape, and codes are those of the plain form."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native_streams import FOLDERS, GOLDEN, noise

import anytok
from anytok.checkpoints.codec_sizes import CodecSizes
from anytok.checkpoints.report import load_state
from anytok.checkpoints.seanet import model_state, read_codec
from anytok.engines.native.fast_codec import DecoderStream
from anytok.engines.native.gpu import codec as tiled_codec
from anytok.engines.native.gpu import tile_layers as tiled_layers
from anytok.engines.native.gpu import tiles
from anytok.engines.native.gpu.codec import TiledCodec
from anytok.engines.native.gpu.tile_layers import Form, TiledConv
from anytok.errors import UsageError
from anytok.models.codec import Codec
from anytok.models.seanet import Activation

SHORT = 6  # frames that are computed whole: a convolution over 7 mirrors no fewer


@pytest.fixture(scope="module", params=FOLDERS)
def plain(request) -> tuple[Codec, CodecSizes]:
    files = read_codec(GOLDEN / FOLDERS[request.param])
    with torch.device("meta"):
        codec = Codec(**files.sizes.architecture())
    load_state(codec, model_state(files.state), "golden")
    return codec.eval().requires_grad_(False), files.sizes


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """Groups that hold pieces of several clips, and need little arithmetic."""
    monkeypatch.setattr(tiled_codec, "CLIPS", 1)
    monkeypatch.setattr(tiled_codec, "STEPS", 30)
    monkeypatch.setattr(tiled_codec, "ROWS", 14)


def tiled(plain, **form: int) -> TiledCodec:
    codec, sizes = plain
    form = {"batch_size": 5, **form}
    return TiledCodec(copy.deepcopy(codec), sizes.hop_length, torch.float32, torch.float32, **form)


def lengths(hop: int) -> list[int]:
    """One sample; around the shortest clip in tiles; around the edges of tiles; several tiles."""
    short, tile = SHORT * hop, tiles.TILE_FRAMES * hop
    return [
        1,
        hop,
        short,
        short + 1,
        short + hop,
        tile - 1,
        tile,
        tile + 1,
        tile + hop // 2,
        2 * tile - hop,
        3 * tile + 17,
    ]


def waves(plain) -> list[torch.Tensor]:
    _, sizes = plain
    return [
        torch.tensor(noise(samples, sizes.sample_rate, samples).wave).expand(sizes.channels, -1)
        for samples in lengths(sizes.hop_length)
    ]


@pytest.mark.parametrize("channels_last", [False, True])
@torch.inference_mode()
def test_tiles_give_the_codes_of_the_whole_pass(plain, channels_last):
    codec, sizes = plain
    fixed = tiled(plain, channels_last=channels_last)
    for wave_cs in waves(plain):
        expected_kt = codec.encode(wave_cs[None])[0]
        (codes_kt,) = fixed.encode([wave_cs], sizes.num_codebooks)
        np.testing.assert_array_equal(codes_kt, expected_kt, err_msg=f"{wave_cs.shape[1]} samples")
        latents_td = codec.encoder(wave_cs[None])[0].T
        torch.testing.assert_close(
            fixed.latents(wave_cs), latents_td, rtol=0, atol=1e-5 * float(latents_td.abs().max())
        )
        made_cs = codec.decode(expected_kt[None])[0]
        (found_cs,) = fixed.decode([(expected_kt, 0)])
        torch.testing.assert_close(found_cs, made_cs, rtol=0, atol=1e-5 * float(made_cs.abs().max()))


def held_against_the_whole_pass(sizes: dict[str, Any], frames: Sequence[int], **form: bool) -> None:
    torch.manual_seed(0)
    sizes = {"channels": 1, "num_filters": 2, "dimension": 3, "num_codebooks": 2, "codebook_size": 8} | sizes
    codec, hop = Codec(**sizes).eval().requires_grad_(False), math.prod(sizes["ratios"])
    codec.quantizer.codebooks_knd.normal_()
    fixed = TiledCodec(copy.deepcopy(codec), hop, torch.float32, torch.float32, batch_size=5, **form)
    clips = [torch.randn(1, count * hop - count % hop) for count in frames]
    codes = [torch.randint(8, (2, count)) for count in frames]
    found = [*(latents_td.T for latents_td in map(fixed.latents, clips)), *fixed.decode([(one, 0) for one in codes])]
    plain = [codec.encoder(clip_cs[None])[0] for clip_cs in clips] + [codec.decode(one[None])[0] for one in codes]
    for found_ct, plain_ct in zip(found, plain, strict=True):
        torch.testing.assert_close(found_ct, plain_ct, rtol=0, atol=1e-3 * float(plain_ct.abs().max()))


@pytest.mark.parametrize(
    ("outputs", "inputs", "kernel", "dilation", "tensor_cores", "others"),
    [(64, 64, 1, 1, True, False), (128, 256, 3, 1, False, False), (1280, 512, 2, 1, True, False),
     (640, 256, 2, 1, True, False), (512, 128, 7, 1, False, False), (1024, 2048, 7, 1, True, True),
     (640, 256, 2, 2, False, False)],
)  # fmt: skip
def test_what_is_computed_as_products(outputs, inputs, kernel, dilation, tensor_cores, others):
    """Layers of the published codecs, where cuDNN is slow or gives a tile other bits in another place."""
    weight_oct = torch.empty(outputs, inputs, kernel, device="meta")
    assert tiled_layers._is_better_product(weight_oct, 1, dilation, Form(channels_last=True)) == tensor_cores
    for products in (False, True):  # cuDNN's convolutions in full float32 keep their bits
        assert tiled_layers._is_better_product(weight_oct, 1, dilation, Form(products=products)) == others
    everything = Form(channels_last=True, products=True)
    assert tiled_layers._is_better_product(weight_oct, 1, dilation, everything) == (dilation == 1)


@pytest.mark.parametrize("dilation_base", [5, 12])
@torch.inference_mode()
def test_what_mirrors_more_than_a_short_clip_or_a_tile_holds_is_computed_whole(dilation_base):
    sizes = {"ratios": (2, 2), "num_residual_layers": 3, "dilation_base": dilation_base, "causal": True}
    held_against_the_whole_pass(sizes, [7, 17, 25, 26, 60, 99, 101, 250])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
@torch.inference_mode()
def test_any_sizes_give_what_the_whole_pass_gives(data):
    kernels = st.integers(1, 8)
    sizes = data.draw(
        st.fixed_dictionaries(
            {
                "ratios": st.lists(st.integers(1, 5), min_size=1, max_size=3),
                "kernel": kernels, "last_kernel": kernels, "residual_kernel": st.integers(1, 5),
                "num_residual_layers": st.integers(1, 2), "dilation_base": st.integers(1, 3),
                "bidirectional": st.booleans(), "causal": st.booleans(), "shortcut": st.booleans(),
                "activation": st.sampled_from(["ELU", "Snake"]), "pad_mode": st.sampled_from(["reflect", "constant"]),
            }
        )
    )  # fmt: skip
    products, channels_last = data.draw(st.booleans()), data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(tiles, "TILE_FRAMES", data.draw(st.sampled_from([5, 12, 30])))
        patches.setattr(tiled_layers, "_is_better_product", lambda _, __, dilation, ___: products and dilation == 1)
        held_against_the_whole_pass(sizes, [1, 2, 7, 17, 30, 31, 77], channels_last=channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
@torch.inference_mode()
def test_a_clip_is_the_same_alone_and_among_others_in_every_bit(plain, channels_last, monkeypatch):
    """On a CPU torch computes the last few numbers of an activation in another way, wherever a tile they are from."""
    exact = Activation.forward
    monkeypatch.setattr(Activation, "forward", lambda layer, signal_bct: exact(layer, signal_bct.double()).float())
    fixed, clips = tiled(plain, channels_last=channels_last), waves(plain)
    codes = fixed.encode(clips, 2)
    made = fixed.decode([(codes_kt, 0) for codes_kt in codes])
    for wave_cs, codes_kt, made_cs in zip(clips, codes, made, strict=True):
        assert torch.equal(fixed.encode([wave_cs], 2)[0], codes_kt)
        assert torch.equal(fixed.decode([(codes_kt, 0)])[0], made_cs)
    assert fixed.encode([], 2) == fixed.decode([]) == []


@torch.inference_mode()
def test_its_stream_is_made_once_and_decodes_the_same(plain):
    fixed = tiled(plain)
    (codes_kt,) = fixed.encode(waves(plain)[-1:], 2)
    (made_cs,) = fixed.decode([(codes_kt, 0)])
    streamed_cs = DecoderStream(fixed.streaming()).push(codes_kt, last=True)
    torch.testing.assert_close(streamed_cs, made_cs, rtol=0, atol=1e-5 * float(made_cs.abs().max()))
    assert fixed.streaming() is fixed.streaming()


@torch.inference_mode()
def test_every_kernel_sees_one_shape(plain, monkeypatch):
    seen = set()
    compute = tiles.TiledStack._tiles

    def watch(stack, tiles_nct, edges_3nr):
        seen.add((id(stack), tiles_nct.shape, edges_3nr.shape))
        return compute(stack, tiles_nct, edges_3nr)

    monkeypatch.setattr(tiles.TiledStack, "_tiles", watch)
    fixed = tiled(plain)
    long = [wave_cs for wave_cs in waves(plain) if wave_cs.shape[1] > SHORT * plain[1].hop_length]
    for clips in (long, long[:1], long[-2:]):
        fixed.decode([(codes_kt, 0) for codes_kt in fixed.encode(clips, 1)])
    assert len(seen) == 4  # before and behind the LSTM, in the encoder and the decoder
    assert {shape[0] for _, shape, _ in seen} == {5}


def test_a_halo_that_is_too_narrow_is_no_silent_error(plain, monkeypatch):
    def narrow(*asked):
        least = tiled_layers.halo(*asked)
        return replace(least, offset=least.offset + 1, width=least.width - 1)

    monkeypatch.setattr(tiles, "halo", narrow)
    with pytest.raises(AssertionError, match="a halo for other layers"):
        tiled(plain)


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_are_there_once(plain, channels_last):
    """But those of transposed convolutions, of which the plain form has the halves the other way round."""
    fixed = tiled(plain, channels_last=channels_last)
    for stack in (fixed._front, fixed._back, fixed._first, fixed._up):
        twice = [layer._conv.weight for layer in stack._tiled if isinstance(layer, tiled_layers.TiledUpConv)]
        memory = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in stack.parameters()}
        plain_bytes = sum(part.nbytes for part in stack.layers.parameters())
        extra = sum(part.nbytes for part in twice) + 4 * sum(len(part) for part in twice)  # and biases
        assert sum(memory.values()) <= plain_bytes + extra


@torch.inference_mode()
def test_the_halo_is_no_wider_than_it_must_be(plain):
    """What hears the most is a convolution over 7 frames; it mirrors 6 of them."""
    fixed = tiled(plain)
    for stack in (fixed._front, fixed._back, fixed._first, fixed._up):
        assert -stack._place.offset <= 8 * stack.down
        assert stack._place.width <= (tiles.TILE_FRAMES + 11) * stack.down


@pytest.mark.parametrize(
    ("options", "said"),
    [({"compile": True}, "compile is for GPUs"), ({"batch_size": 8}, "batch_size is for GPUs")],
)
def test_options_are_refused_where_they_mean_nothing(options, said):
    with pytest.raises(UsageError, match=said):
        anytok.load_tokenizer("encodec-32khz", checkpoint=GOLDEN / "encodec_32khz", **options)


@torch.inference_mode()
def test_any_number_of_tiles_at_a_time_gives_the_same(plain):
    clips = waves(plain)[2:]
    few, many = tiled(plain, batch_size=1), tiled(plain, batch_size=9)
    codes = many.encode(clips, 2)
    assert all(map(torch.equal, few.encode(clips, 2), codes))
    asked = [(codes_kt, 0) for codes_kt in codes]
    for one_cs, other_cs in zip(few.decode(asked), many.decode(asked), strict=True):
        torch.testing.assert_close(one_cs, other_cs, rtol=0, atol=1e-5 * float(other_cs.abs().max()))


@pytest.mark.parametrize(("batch_size", "trusted"), [(1, False), (31, False), (32, True), (64, False)])
def test_convolutions_are_trusted_with_the_number_of_tiles_that_was_tried_out(plain, batch_size, trusted):
    fixed = tiled(plain, channels_last=True, batch_size=batch_size)
    layers = [layer for layer in fixed._front.modules() if isinstance(layer, TiledConv) and layer._dilation == 1]
    assert layers and all(layer._product for layer in layers) != trusted


@pytest.mark.gpu
@pytest.mark.parametrize("name", FOLDERS)
def test_a_gpu_gives_the_codes_of_the_cpu(name):
    folder = GOLDEN / FOLDERS[name]
    cpu = anytok.load_tokenizer(name, checkpoint=folder)
    gpu = anytok.load_tokenizer(name, checkpoint=folder, device="cuda")
    hop, rate = cpu.spec.hop_length, cpu.spec.sample_rate
    clips = [noise(samples, rate, samples) for samples in lengths(hop)]
    codes = gpu.encode_batch(clips)
    assert codes == [gpu.encode(clip) for clip in clips] == cpu.encode_batch(clips)
    for one, many, expected in zip(
        map(gpu.decode, codes), gpu.decode_batch(codes), cpu.decode_batch(codes), strict=True
    ):
        np.testing.assert_array_equal(one.wave, many.wave)
        assert np.abs(one.wave - expected.wave).max() <= 1e-4 * np.abs(expected.wave).max()
