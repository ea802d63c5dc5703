"""The GPU's tiled codec, on the CPU: every kernel sees one shape, and codes are those of the plain modules."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import anytok
from anytok.checkpoints.codec_sizes import CodecSizes
from anytok.checkpoints.report import load_state
from anytok.checkpoints.seanet import model_state, read_codec
from anytok.engines.native.gpu import codec as gpu_codec
from anytok.engines.native.gpu import lstm, tile_layers, tile_layout, tiles
from anytok.engines.native.gpu.codec import TiledCodec
from anytok.engines.native.gpu.convolution import ConvOptions, is_better_as_product
from anytok.errors import UsageError
from anytok.models.codec import Codec
from anytok.models.seanet import Activation

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = {
    "speechtokenizer": "speechtokenizer",
    "speechtokenizer-snake": "speechtokenizer-snake",
    "encodec-32khz": "encodec_32khz",
    "encodec-24khz": "encodec_24khz",
}
SHORT = 6  # frames of the longest clip that is not tiled: a convolution of kernel 7 mirrors 6


def encoded(codec: Any, waves: list[Tensor], num_codebooks: int) -> list[Tensor]:
    """The codes alone, without margins."""
    return [codes_kt for codes_kt, _ in codec.encode(waves, num_codebooks)]


@pytest.fixture(scope="module")
def plain() -> tuple[Codec, CodecSizes]:
    """A bidirectional LSTM, and convolutions that pad on both sides."""
    return golden("speechtokenizer")


def golden(name: str) -> tuple[Codec, CodecSizes]:
    files = read_codec(GOLDEN / FOLDERS[name])
    with torch.device("meta"):
        codec = Codec(**files.sizes.architecture())
    load_state(codec, model_state(files.state), "golden")
    return codec.eval().requires_grad_(False), files.sizes


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that hold parts of several clips, and need little arithmetic."""
    monkeypatch.setattr(gpu_codec, "LSTM_CLIPS", 1)
    monkeypatch.setattr(lstm, "STEPS", 30)
    monkeypatch.setattr(gpu_codec, "SEARCH_FRAMES", 14)


def tiled(plain: tuple[Codec, CodecSizes], **options: Any) -> TiledCodec:
    codec, sizes = plain
    options = {"batch_size": 5, **options}
    return TiledCodec(copy.deepcopy(codec), sizes.hop_length, torch.float32, torch.float32, **options)


def stacks(codec: TiledCodec) -> list[tiles.TiledStack]:
    return [stage for part in (codec._encoder, codec._decoder) for stage in part if isinstance(stage, tiles.TiledStack)]


def lengths(hop: int) -> list[int]:
    """One sample; around the shortest clip in tiles; around the edges of tiles; several tiles."""
    short, tile = SHORT * hop, tiles.TILE_FRAMES * hop
    return [1, hop, short, short + 1, short + hop, tile - 1, tile, tile + 1, tile + hop // 2, 2 * tile - hop,
            3 * tile + 17]  # fmt: skip


def noise(samples: int, channels: int = 1) -> Tensor:
    wave_cs = torch.randn(channels, samples, generator=torch.Generator().manual_seed(samples)) / 5
    return wave_cs * torch.sin(torch.arange(samples) / 3000).abs()


def waves(sizes: CodecSizes) -> list[Tensor]:
    return [noise(samples, sizes.channels) for samples in lengths(sizes.hop_length)]


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "channels_last"), [("speechtokenizer", False), ("speechtokenizer", True), ("encodec-24khz", True)]
)
@torch.inference_mode()
def test_tiles_give_the_codes_of_the_plain_modules(name: str, channels_last: bool) -> None:
    codec, sizes = golden(name)
    fixed = tiled((codec, sizes), channels_last=channels_last)
    for wave_cs in waves(sizes):
        expected_kt = codec.encode(wave_cs[None])[0]
        (codes_kt,) = encoded(fixed, [wave_cs], sizes.num_codebooks)
        np.testing.assert_array_equal(codes_kt, expected_kt, err_msg=f"{wave_cs.shape[1]} samples")
        assert_close(fixed.latents(wave_cs), codec.encoder(wave_cs[None])[0].T)
        assert_close(fixed.decode([(expected_kt, 0)])[0], codec.decode(expected_kt[None])[0])


def check_against_plain(sizes: dict[str, Any], frames: Sequence[int], **options: bool) -> None:
    torch.manual_seed(0)
    sizes = {"channels": 1, "num_filters": 2, "dimension": 3, "num_codebooks": 2, "codebook_size": 8} | sizes
    codec, hop = Codec(**sizes).eval().requires_grad_(False), math.prod(sizes["ratios"])
    codec.quantizer.codebooks_knd.normal_()
    fixed = TiledCodec(copy.deepcopy(codec), hop, torch.float32, torch.float32, batch_size=5, **options)
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
def test_what_is_computed_as_products(
    outputs: int, inputs: int, kernel: int, dilation: int, tensor_cores: bool, others: bool
) -> None:
    """Layers of the published codecs for which cuDNN is slow, or gives a tile other bits in another place."""
    weight_ock = torch.empty(outputs, inputs, kernel, device="meta")
    assert is_better_as_product(weight_ock, 1, dilation, ConvOptions(channels_last=True)) == tensor_cores
    for only in (False, True):  # cuDNN's convolutions in full float32 keep their bits
        assert is_better_as_product(weight_ock, 1, dilation, ConvOptions(only_products=only)) == others
    assert is_better_as_product(weight_ock, 1, dilation, ConvOptions(True, True)) == (dilation == 1)


@pytest.mark.parametrize("dilation_base", [5, 12], ids=["than a short clip", "than a tile"])
@torch.inference_mode()
def test_where_padding_mirrors_more_clips_are_not_tiled(dilation_base: int) -> None:
    sizes = {"ratios": (2, 2), "num_residual_layers": 3, "dilation_base": dilation_base, "causal": True}
    check_against_plain(sizes, [7, 17, 25, 26, 60, 99, 101, 250])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
@torch.inference_mode()
def test_any_sizes_give_what_the_plain_modules_give(data: st.DataObject) -> None:
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
        patches.setattr(tile_layers, "is_better_as_product", lambda _, __, dilation, ___: products and dilation == 1)
        check_against_plain(sizes, [1, 2, 7, 17, 30, 31, 77], channels_last=channels_last)


@torch.inference_mode()
def test_a_clip_has_the_same_bits_alone_and_in_a_batch(
    plain: tuple[Codec, CodecSizes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU torch computes the last few numbers of an activation in another way, whichever tile they are from."""
    exact = Activation.forward
    monkeypatch.setattr(Activation, "forward", lambda layer, signal_bct: exact(layer, signal_bct.double()).float())
    fixed, clips = tiled(plain), waves(plain[1])
    codes = encoded(fixed, clips, 2)
    made = fixed.decode([(codes_kt, 0) for codes_kt in codes])
    for wave_cs, codes_kt, made_cs in zip(clips, codes, made, strict=True):
        assert torch.equal(encoded(fixed, [wave_cs], 2)[0], codes_kt)
        assert torch.equal(fixed.decode([(codes_kt, 0)])[0], made_cs)
    assert encoded(fixed, [], 2) == fixed.decode([]) == []


@pytest.mark.parametrize("backward", [False, True])
def test_gather_indices_read_every_frame_once_and_padding_as_the_row_behind(backward: bool) -> None:
    lengths, batch_size = [3, 40, 7, 33, 40], 2
    batches = lstm.gather_indices(lengths, batch_size, backward)
    assert [tuple(frame_tb.shape) for frame_tb in batches] == [(60, 2), (60, 2), (30, 2)]
    columns = [column_t[column_t != sum(lengths)].tolist() for frame_tb in batches for column_t in frame_tb.T]
    clips = [list(range(sum(lengths[:i]), sum(lengths[: i + 1]))) for i in (1, 4, 3, 2, 0)]  # longest first
    assert columns == [clip[::-1] if backward else clip for clip in clips] + [[]]


@torch.inference_mode()
def test_streams_share_one_codec_made_of_the_tiled_ones_weights(plain: tuple[Codec, CodecSizes]) -> None:
    tokenizer: Any = anytok.load_tokenizer("speechtokenizer", checkpoint=GOLDEN / "speechtokenizer")
    tokenizer._codec = fixed = tiled(plain)
    (codes_kt,) = encoded(fixed, waves(plain[1])[-1:], 2)
    (made_cs,) = fixed.decode([(codes_kt, 0)])
    first, second = tokenizer.decoder_stream(), tokenizer.decoder_stream()
    assert first._stream._codec is second._stream._codec
    streamed_cs = np.concatenate([first.push(codes_kt.numpy()).wave, first.finish().wave], axis=1)
    assert_close(torch.from_numpy(streamed_cs), made_cs)


@torch.inference_mode()
def test_every_kernel_sees_one_shape(plain: tuple[Codec, CodecSizes], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    compute = tiles.TiledStack._batch

    def watch(stack: tiles.TiledStack, tiles_nct: Tensor, edges_3nr: Tensor) -> Tensor:
        seen.add((id(stack), tiles_nct.shape, edges_3nr.shape))
        return compute(stack, tiles_nct, edges_3nr)

    monkeypatch.setattr(tiles.TiledStack, "_batch", watch)
    fixed = tiled(plain)
    long = [wave_cs for wave_cs in waves(plain[1]) if wave_cs.shape[1] > SHORT * plain[1].hop_length]
    for clips in (long, long[:1], long[-2:]):
        fixed.decode([(codes_kt, 0) for codes_kt in encoded(fixed, clips, 1)])
    assert len(seen) == 4  # before and after the LSTM, in the encoder and the decoder
    assert {shape[0] for _, shape, _ in seen} == {5}


def test_a_halo_that_is_too_narrow_is_refused(plain: tuple[Codec, CodecSizes], monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(*args: Any) -> tile_layout.TileLayout:
        least = tile_layout.input_layout(*args)
        return replace(least, offset=least.offset + 1, width=least.width - 1)

    monkeypatch.setattr(tiles, "input_layout", narrow)
    with pytest.raises(AssertionError, match="the halo is too narrow"):
        tiled(plain)


def test_weights_are_there_once(plain: tuple[Codec, CodecSizes]) -> None:
    """But those of transposed convolutions, whose order differs from the plain modules'."""
    for stack in stacks(tiled(plain, channels_last=True)):
        twice = [layer.conv for layer in stack.modules() if isinstance(layer, tile_layers.TiledUpConv)]
        memory = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in stack.parameters()}
        once = sum(part.nbytes for part in stack.layers.parameters())
        assert sum(memory.values()) <= once + sum(conv.weight.nbytes + conv.bias.nbytes for conv in twice)


@pytest.mark.parametrize("name", ["speechtokenizer", "encodec-24khz"])
def test_the_halo_is_no_wider_than_it_must_be(name: str) -> None:
    """The widest receptive field is that of a convolution of kernel 7, which mirrors 6 frames."""
    for stack in stacks(tiled(golden(name))):
        assert -stack.layout.offset <= 8 * stack.down
        assert stack.layout.width <= (tiles.TILE_FRAMES + 11) * stack.down


@pytest.mark.parametrize(
    ("options", "message"),
    [({"compile": True}, "compile is for GPUs"), ({"batch_size": 8}, "batch_size is for GPUs")],
)
def test_options_are_refused_where_they_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        anytok.load_tokenizer("encodec-32khz", checkpoint=GOLDEN / "encodec_32khz", **options)


@torch.inference_mode()
def test_any_batch_size_gives_the_same_codes(plain: tuple[Codec, CodecSizes]) -> None:
    clips = waves(plain[1])[2:]
    few, many = tiled(plain, batch_size=1), tiled(plain, batch_size=9)
    codes = encoded(many, clips, 2)
    assert all(map(torch.equal, encoded(few, clips, 2), codes))
    items = [(codes_kt, 0) for codes_kt in codes]
    for one_cs, other_cs in zip(few.decode(items), many.decode(items), strict=True):
        assert_close(one_cs, other_cs)


@pytest.mark.parametrize(("batch_size", "is_trusted"), [(31, False), (32, True)])
def test_cudnns_convolutions_are_trusted_at_the_measured_batch_size_alone(
    plain: tuple[Codec, CodecSizes], batch_size: int, is_trusted: bool
) -> None:
    front, *_ = stacks(tiled(plain, channels_last=True, batch_size=batch_size))
    layers = [one for one in front.modules() if isinstance(one, tile_layers.TiledConv) and one._dilation == 1]
    assert layers and all(layer.is_product for layer in layers) != is_trusted


@pytest.mark.gpu
@pytest.mark.parametrize("name", FOLDERS)
def test_a_gpu_gives_the_codes_of_the_cpu(name: str) -> None:
    folder = GOLDEN / FOLDERS[name]
    cpu = anytok.load_tokenizer(name, checkpoint=folder)
    gpu = anytok.load_tokenizer(name, checkpoint=folder, device="cuda")
    hop, rate = cpu.spec.hop_length, cpu.spec.sample_rate
    assert hop and rate
    clips = [anytok.Audio(noise(samples).numpy(), rate) for samples in lengths(hop)]
    codes = gpu.encode_batch(clips)
    assert codes == [gpu.encode(clip) for clip in clips] == cpu.encode_batch(clips)
    for one, many, expected in zip(
        map(gpu.decode, codes), gpu.decode_batch(codes), cpu.decode_batch(codes), strict=True
    ):
        np.testing.assert_array_equal(one.wave, many.wave)
        assert np.abs(one.wave - expected.wave).max() <= 1e-4 * np.abs(expected.wave).max()
