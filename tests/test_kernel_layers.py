"""What exactness rests on: a row's bits do not depend on the rows beside it, on tiles, or on the number of threads."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from marks import compiled_only, half_kernels, packed_only
from torch import nn

from anytok.engines.native import kernels, recurrent
from anytok.engines.native.abreast import abreast
from anytok.engines.native.normed import NormedConv
from anytok.engines.native.packed import BlockedLinear, CompiledLinear, PackedLinear, has_kernel, linear
from anytok.engines.native.packed_conv import PackedConv, Weights
from anytok.engines.native.packing import _elu, up_weights
from anytok.engines.native.recurrent import (
    CompiledLayer,
    FusedLayer,
    PackedLayer,
    State,
    SteppedLayer,
    Sweep,
    TorchLayer,
    layers_of,
    single_layers,
)
from anytok.engines.native.search import CompiledSearch, _first_largest, search
from anytok.models.quantize import ResidualQuantizer
from anytok.models.seanet import Conv, UpConv, fold_weight_norm, folded
from anytok.models.segments import normalize, overlap_add


@packed_only
@pytest.mark.parametrize(("c_in", "c_out"), [(1024, 4096), (8192, 1024), (128, 2048), (64, 64), (32, 5)])
@torch.inference_mode()
def test_a_row_of_a_product_is_the_same_in_any_company(threads, compiled, c_in, c_out):
    torch.manual_seed(0)
    product = linear(torch.randn(c_out, c_in) / c_in**0.5, torch.randn(c_out))
    assert isinstance(product, CompiledLinear) == (compiled and c_out > 5)
    rows = torch.randn(130, c_in)
    whole = product(rows)
    for count in (1, 2, 3, 7, 16, 33, 60, 61, 129):
        assert torch.equal(product(rows[:count]), whole[:count])
        assert torch.equal(product(rows[-count:]), whole[-count:])
    torch.set_num_threads(1)
    assert torch.equal(product(rows), whole)


@packed_only
@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "stride", "dilation"),
    [
        (1, 64, 7, 1, 1),
        (64, 32, 3, 1, 1),
        (64, 64, 1, 1, 1),
        (64, 128, 8, 4, 1),
        (128, 256, 8, 4, 1),
        (128, 256, 10, 5, 1),
        (32, 16, 3, 1, 2),
        (64, 1, 7, 1, 1),
        (32, 2, 7, 1, 1),
        (512, 99, 16, 8, 1),
        (512, 256, 3, 1, 9),
    ],
)
@torch.inference_mode()
def test_a_convolution_in_tiles_is_the_whole_one_in_every_bit(threads, compiled, c_in, c_out, kernel, stride, dilation):
    torch.manual_seed(0)
    weight, bias = torch.randn(c_out, c_in, kernel) / (c_in * kernel) ** 0.5, torch.randn(c_out)
    conv = PackedConv(Weights(weight), bias, stride, dilation)
    count = 400
    signal = torch.randn((count - 1) * stride + conv.span, c_in)
    whole = conv(signal)
    plain = F.conv1d(signal.T[None], weight, bias, stride, 0, dilation)[0].T
    torch.testing.assert_close(whole, plain, atol=1e-5, rtol=1e-5)
    for begin, end in [(0, 1), (3, 11), (0, 50), (50, 137), (17, 19), (392, 400)]:
        tile = signal[begin * stride : (end - 1) * stride + conv.span]
        assert torch.equal(conv(tile), whole[begin:end])
    torch.set_num_threads(1)
    assert torch.equal(conv(signal), whole)


@packed_only
@torch.inference_mode()
def test_products_made_block_by_block_are_the_same_products(monkeypatch):
    """What matrix units are given, always as many rows; here with whatever this CPU has."""
    weight, bias, rows = torch.randn(48, 32), torch.randn(48), torch.randn(130, 32)
    product, plain, counts = BlockedLinear(weight, bias), F.linear(rows, weight, bias), set()
    multiply = PackedLinear.__call__
    monkeypatch.setattr(PackedLinear, "__call__", lambda self, some: counts.add(len(some)) or multiply(self, some))
    for count in (0, 1, 31, 32, 33, 130):
        torch.testing.assert_close(product(rows[:count]), plain[:count], atol=1e-5, rtol=1e-5)
    assert counts == {32}


@packed_only
@half_kernels
@pytest.mark.parametrize(("c_in", "c_out"), [(1024, 4096), (2048, 4096), (512, 2048), (128, 512), (64, 256)])
@torch.inference_mode()
def test_a_row_of_a_half_precision_product_is_the_same_in_any_company(threads, compiled, c_in, c_out):
    torch.manual_seed(0)
    product = linear((torch.randn(c_out, c_in) / c_in**0.5).bfloat16(), torch.randn(c_out).bfloat16())
    assert isinstance(product, CompiledLinear) == has_kernel(c_in, torch.zeros(c_out).bfloat16())
    rows = torch.randn(820, c_in).bfloat16()
    whole = product(rows)
    for count in (1, 2, 7, 16, 33, 64, 65, 200, 256):
        assert torch.equal(product(rows[:count]), whole[:count])
        assert torch.equal(product(rows[-count:]), whole[-count:])
    torch.set_num_threads(1)
    assert torch.equal(product(rows), whole)


@packed_only
@half_kernels
@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "stride"),
    [
        (128, 256, 8, 4),
        (128, 256, 10, 5),
        (256, 512, 2, 1),
        (128, 64, 3, 1),
        (1, 64, 7, 1),
        (64, 1, 7, 1),
        (256, 512, 10, 5),
        (256, 512, 16, 8),
        (512, 1024, 16, 8),
        (1024, 128, 7, 1),
        (1024, 512, 7, 1),
        (128, 1024, 7, 1),
    ],
)
@pytest.mark.parametrize("threads", [1, 2, 3, 4], indirect=True)
@torch.inference_mode()
def test_a_half_precision_convolution_in_tiles_is_the_whole_one(threads, compiled, c_in, c_out, kernel, stride):
    torch.manual_seed(0)
    weight, bias = torch.randn(c_out, c_in, kernel) / (c_in * kernel) ** 0.5, torch.randn(c_out)
    conv = PackedConv(Weights(weight), bias.bfloat16(), stride)
    count = 2000
    signal = torch.randn((count - 1) * stride + conv.span, c_in).bfloat16()
    whole = conv(signal)
    plain = F.conv1d(signal.float().T[None], weight.bfloat16().float(), bias, stride)[0].T
    torch.testing.assert_close(whole.float(), plain, atol=0.03, rtol=0.01)
    for begin, end in [(0, 1), (3, 11), (0, 50), (50, 137), (1992, 2000), (100, 1700)]:
        assert torch.equal(conv(signal[begin * stride : (end - 1) * stride + conv.span]), whole[begin:end])
    torch.set_num_threads(1)
    assert torch.equal(conv(signal), whole)


@pytest.mark.parametrize("channels", [24, 1])
@torch.inference_mode()
def test_a_normed_convolution_is_torchs_and_the_same_for_any_number_of_threads(threads, compiled, channels):
    torch.manual_seed(0)
    weight, bias = torch.randn(2 * channels, 2, 7), torch.randn(2 * channels) + 5
    norm = nn.GroupNorm(1, channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    conv = NormedConv(Weights(weight), bias, norm)
    signals = [torch.randn(4007, 2) for _ in range(20)]
    made = [conv(signal) for signal in signals]
    for signal, made_tc in zip(signals, made, strict=True):
        plain_ct = F.conv1d(signal.T[None], weight, bias)[0].unflatten(0, (2, channels)).movedim(0, -1).flatten(1)
        torch.testing.assert_close(made_tc, norm(plain_ct[None])[0].T.reshape(made_tc.shape), atol=3e-6, rtol=0)
    torch.set_num_threads(1)
    assert all(torch.equal(conv(signal), made_tc) for signal, made_tc in zip(signals, made, strict=True))


@torch.inference_mode()
def test_a_normed_constant_is_its_shift(compiled):
    """Its variance is nothing, and what rounding makes of it must not be below nothing."""
    norm = nn.GroupNorm(1, 24)
    nn.init.constant_(norm.bias, 3)
    for level in (0.0, 1.1, 1e6, 1e12):
        made = NormedConv(Weights(torch.zeros(24, 2, 7)), torch.full((24,), level), norm)(torch.ones(4007, 2))
        assert made.isfinite().all() and (level > 2 or torch.allclose(made, torch.tensor(3.0), atol=1e-3)), level


@torch.inference_mode()
def test_a_segments_loudness_is_the_same_for_any_number_of_threads(threads):
    generator = torch.Generator().manual_seed(0)
    segments = [torch.randn(2, 48_000, generator=generator) for _ in range(20)]
    scales = [normalize(segment)[1] for segment in segments]
    for segment, scale in zip(segments, scales, strict=True):
        assert scale == pytest.approx(float(segment.mean(0).square().mean().sqrt()) + 1e-8, rel=1e-6)
    torch.set_num_threads(1)
    assert scales == [normalize(segment)[1] for segment in segments]


@pytest.mark.parametrize(("stride", "total"), [(99, 100), (99, 199), (99, 330), (50, 260), (40, 300)])
def test_joined_segments_are_the_weighted_mean_of_all(stride, total):
    """Divided stretch by stretch as they come, but the same as all at once."""
    generator = torch.Generator().manual_seed(0)
    begins = range(0, total, stride)
    segments = [torch.randn(2, min(100, total - begin), generator=generator) for begin in begins]
    weight = torch.arange(1, 101).minimum(torch.arange(100, 0, -1)).double()
    sums, weights = torch.zeros(2, total).double(), torch.zeros(total).double()
    for begin, segment in zip(begins, segments, strict=True):
        length = segment.shape[1]
        sums[:, begin : begin + length] += weight[:length] * segment
        weights[begin : begin + length] += weight[:length]
    torch.testing.assert_close(overlap_add(segments, stride, total), (sums / weights).float(), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_elu_is_torchs_and_the_same_for_any_number_of_threads(threads, compiled):
    signal = torch.randn(3001, 65, generator=torch.Generator().manual_seed(0))
    once = _elu(signal, torch.empty_like(signal))
    torch.testing.assert_close(once, F.elu(signal), atol=2e-7, rtol=0)
    in_place = signal.clone()
    assert torch.equal(_elu(in_place, in_place), once)
    for count in (1, 12, 50):
        torch.set_num_threads(count)
        assert torch.equal(_elu(signal, torch.empty_like(signal)), once)


@pytest.mark.parametrize("rows", [1, 7, 96, 1000, 1024])
def test_the_first_of_the_nearest_rows_is_found(rows):
    scores = torch.randint(0, 4, (500, rows), generator=torch.Generator().manual_seed(0)).float()
    scores[3] = float("-inf")
    scores[4, -1] = float("nan")
    assert torch.equal(_first_largest(scores), torch.from_numpy(scores.numpy().argmax(1)))


@pytest.mark.parametrize(("books", "entries", "dimension"), [(1, 64, 1), (3, 128, 5), (8, 1024, 130), (2, 96, 16)])
@torch.inference_mode()
def test_a_search_finds_what_the_plain_one_finds(threads, compiled, books, entries, dimension):
    """Codebooks in eighths, and no sum is rounded: with few dimensions many entries are equally near."""
    generator = torch.Generator().manual_seed(0)
    plain = ResidualQuantizer(books, entries, dimension)
    plain.codebooks_knd = torch.randint(-8, 9, plain.codebooks_knd.shape, generator=generator) / 8
    latents = torch.randint(-16, 17, (301, dimension), generator=generator) / 8
    searched, before = search(plain.codebooks_knd), latents.clone()
    codes = searched(latents, books)
    assert torch.equal(codes, plain.encode(latents.T[None])[0]) and codes.unique().numel() > 10
    assert torch.equal(latents, before)
    for count in (0, 1, 7, 61):
        assert torch.equal(searched(latents[:count], 1), codes[:1, :count])


@compiled_only
@pytest.mark.parametrize(("entries", "dimension"), [(64, 512), (1024, 1024), (192, 1120)])
@pytest.mark.parametrize("like", ["ties", "near", "nearer", "far", "small"])
@torch.inference_mode()
def test_a_search_by_matrix_units_finds_what_the_other_finds(threads, entries, dimension, like):
    """Also where entries are alike but for less than bfloat16 tells apart, or float32 if it sums in another order, and
    where some are equal."""
    generator = torch.Generator().manual_seed(0)
    codebooks = torch.randn(3, entries, dimension, generator=generator)
    latents = 2 * torch.randn(75, dimension, generator=generator)
    if like == "ties":
        codebooks, latents = codebooks.mul(4).round() / 8, latents.mul(4).round() / 8
        codebooks[:, 1::2] = codebooks[:, ::2]
    if like.startswith("near"):
        codebooks = codebooks[:, :1] + (1e-3 if like == "near" else 1e-5) * codebooks
    if like == "small":
        codebooks, latents = codebooks * 1e-18, latents * 1e-18
    codes = CompiledSearch(codebooks, near=False)(latents, 3)
    assert torch.equal(CompiledSearch(codebooks, near=True)(latents, 3), codes) and len(codes.unique()) > 20
    for count in (0, 1, 17):
        assert torch.equal(CompiledSearch(codebooks, near=True)(latents[:count], 2), codes[:2, :count])


@compiled_only
@torch.inference_mode()
def test_a_search_by_matrix_units_forgives_whatever_bfloat16_does():
    """All roundings of the nearest entry go one way, and those of the others nowhere."""
    codebooks, latents = torch.full((1, 64, 512), 1 - 2**-8), torch.ones(1, 512)
    codebooks[0, 5] = 1 + 2**-9.1
    assert codebooks.bfloat16()[0, 5, 0] == 1 and codebooks.bfloat16()[0, 0, 0] == 1 - 2**-8
    for near in (False, True):
        assert CompiledSearch(codebooks, near)(latents, 1).item() == 5


@compiled_only
@torch.inference_mode()
def test_what_is_no_number_has_the_same_code_by_matrix_units():
    codebooks, latents = torch.randn(2, 64, 512), torch.randn(5, 512)
    latents[0, 3], latents[1, 7], latents[2, 9] = float("nan"), float("inf"), 1e30
    codes = CompiledSearch(codebooks, near=False)(latents, 2)
    assert torch.equal(CompiledSearch(codebooks, near=True)(latents, 2), codes)


def layer_of(kind: type[PackedLayer], lstm: nn.LSTM) -> PackedLayer:
    return kind(lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)


@packed_only
@pytest.mark.parametrize("taken", ["stepped", "stepped, without kernels", "here", "here, without kernels"])
@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float32, 2e-6), pytest.param(torch.bfloat16, 1e-2, marks=half_kernels)]
)
@pytest.mark.parametrize("width", [2048, 1024, 256, 20])
@torch.inference_mode()
def test_clips_abreast_hear_what_each_would_hear_alone(threads, width, dtype, within, taken, monkeypatch):
    """In the layer that this CPU takes, and in the stepped one, which another would."""
    torch.manual_seed(0)
    if "without" in taken:
        monkeypatch.setattr(kernels, "missing", lambda: "for this test")
    lstm = nn.LSTM(width, width).to(dtype)
    layer = layer_of(SteppedLayer, lstm) if "stepped" in taken else layers_of(lstm)[0][0]
    pieces = [torch.randn(frames, width) for frames in (70, 1, 33, 70, 5, 50, *[6] * 11)]
    together = layer.run([Sweep(layer, piece) for piece in pieces])
    for piece, (heard, state) in zip(pieces, together, strict=True):
        ((alone, after),) = layer.run([Sweep(layer, piece)])
        assert torch.equal(heard, alone) and torch.equal(state.cell_c, after.cell_c)
        torch.testing.assert_close(heard, lstm.float()(piece)[0], atol=within, rtol=0)
    torch.set_num_threads(1)
    assert torch.equal(layer.run([Sweep(layer, pieces[0])])[0][0], together[0][0])


@packed_only
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (SteppedLayer, torch.float32),
        (FusedLayer, torch.float32),
        pytest.param(CompiledLayer, torch.float32, marks=compiled_only),
        pytest.param(CompiledLayer, torch.bfloat16, marks=compiled_only),
    ],
)
@torch.inference_mode()
def test_state_is_carried_from_piece_to_piece(kind, dtype, own_half):
    torch.manual_seed(0)
    layer = layer_of(kind, nn.LSTM(32, 32).to(dtype))
    signal = torch.randn(120, 32)
    ((whole, end),) = layer.run([Sweep(layer, signal)])
    ((head, state),) = layer.run([Sweep(layer, signal[:37])])
    ((tail, after),) = layer.run([Sweep(layer, signal[37:], state)])
    assert torch.equal(torch.cat([head, tail]), whole)
    assert torch.equal(after.hidden_c, end.hidden_c) and torch.equal(after.cell_c, end.cell_c)


@packed_only
def test_the_fused_layer_is_kept_from_matrix_units_and_from_wide_inputs(monkeypatch):
    """Neither can be tried on every machine; bits would change there, or time be lost."""

    def fused(lstm: nn.LSTM) -> list[bool]:
        weights = [weights for directions in recurrent._weights(lstm) for weights in directions]
        return [recurrent._is_fused_better(weight_ih, weight_hh) for weight_ih, weight_hh, *_ in weights]

    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(recurrent, "HAS_MATRIX_UNITS", False)
    assert fused(nn.LSTM(1024, 1024)) == [False]
    narrow = nn.LSTM(64, 64, num_layers=2, bidirectional=True)
    assert fused(narrow) == [True, True, False, False]
    assert fused(nn.LSTM(64, 64).bfloat16()) == [True]
    monkeypatch.setattr(recurrent, "HAS_MATRIX_UNITS", True)
    assert fused(nn.LSTM(64, 64).bfloat16()) == [False]


@pytest.mark.parametrize(
    ("has_units", "compiled_for", "fast"),
    [(False, {"has_pairs"}, True), (False, set(), False), (True, {"has_pairs"}, False),
     (True, {"has_pairs", "has_matrix"}, True)],
)  # fmt: skip
def test_what_our_kernels_compute_in_half_precision(monkeypatch, has_units, compiled_for, fast):
    """Where there are matrix units, only what uses them."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_units)
    monkeypatch.setattr(kernels, "missing", lambda: None)
    monkeypatch.setattr(kernels, "constant", lambda name: name in compiled_for if name.startswith("has") else 1)
    weight, bias = torch.zeros(4, 1), torch.zeros(4)
    assert recurrent._has_kernel(weight.bfloat16()) == fast and recurrent._has_kernel(weight)
    assert has_kernel(8, bias.bfloat16()) == fast and has_kernel(8, bias)
    assert not has_kernel(7, bias.bfloat16()) and has_kernel(7, bias) and not has_kernel(8, bias.half())


@packed_only
@torch.inference_mode()
def test_where_there_is_nothing_to_pack_for_torch_serves(monkeypatch):
    torch.manual_seed(0)
    lstm = nn.LSTM(24, 24, num_layers=2)
    piece = torch.randn(9, 24)
    packed = [layer for (layer,) in layers_of(lstm)]
    monkeypatch.setattr(recurrent, "can_pack", lambda device: False)
    plain = [layer for (layer,) in layers_of(lstm)]
    assert all(isinstance(layer, TorchLayer) for layer in plain)
    heard = {}
    for name, layers in (("packed", packed), ("plain", plain)):
        signal, state = piece, None
        for layer in layers:
            ((signal, state),) = layer.run([Sweep(layer, signal)])
            ((_, state),) = layer.run([Sweep(layer, signal, state)])
        heard[name] = (signal, state.cell_c)
    for one, other in zip(heard["packed"], heard["plain"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_torchs_layer_takes_sweeps_of_one_length_together():
    """As on a GPU: each sweep gets the bits that it gets alone, its state included, in the order that they came in."""
    torch.manual_seed(0)
    (((layer,),), size) = single_layers(nn.LSTM(24, 24)), 24
    sweeps = [Sweep(layer, torch.randn(5 + 4 * (i % 2), size)) for i in range(40)]
    sweeps += [Sweep(layer, torch.randn(5, size), State(torch.randn(size), torch.randn(size)))]
    one_by_one = layer.run(sweeps)
    layer._rows = 16
    shapes = []
    layer.module.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape)))
    together = layer.run(sweeps)
    assert sorted(shapes) == [(5, 16, size)] * 2 + [(9, 16, size)] * 2
    for sweep, (out_tc, state), (plain_tc, plain) in zip(sweeps, together, one_by_one, strict=True):
        ((alone_tc, after),) = layer.run([sweep])
        pairs = [(out_tc, alone_tc), (state.hidden_c, after.hidden_c), (state.cell_c, after.cell_c)]
        assert all(torch.equal(one, other) for one, other in pairs)
        torch.testing.assert_close((out_tc, state.cell_c), (plain_tc, plain.cell_c), atol=1e-6, rtol=0)


def test_works_of_any_shape_run_side_by_side():
    """Results keep their order, though works ask for different layers and end at different times."""

    class Doubling:
        def run(self, sweeps):
            sizes.append(len(sweeps))
            return [(2 * sweep.piece_tc, None) for sweep in sweeps]

    def work(number: int, rounds: int):
        total = torch.tensor([float(number)])
        for turn in range(rounds):
            total, _ = yield Sweep(layers[turn % 2], total)
        return float(total)

    sizes: list[int] = []
    layers = [Doubling(), Doubling()]
    rounds = np.random.default_rng(0).integers(0, 6, 50)
    assert list(abreast(work(i, n) for i, n in enumerate(rounds))) == [i * 2.0**n for i, n in enumerate(rounds)]
    assert max(sizes) == 16 and sum(sizes) == rounds.sum()


def test_works_begin_when_their_turn_comes_and_are_not_kept():
    """An hour in segments must not lie in memory as a whole."""

    class Same:
        def run(self, sweeps):
            return [(sweep.piece_tc, None) for sweep in sweeps]

    def work(number: int):
        yield Sweep(layer, torch.zeros(1))
        return number

    def works():
        for number in range(100):
            begun.append(number)
            yield work(number)

    begun: list[int] = []
    layer = Same()
    for number in (results := abreast(works())):
        assert len(begun) <= number + 33, "sixteen that advance, sixteen whose results wait"
    assert next(results, None) is None and len(begun) == 100


@pytest.mark.parametrize("weight_norm", [True, False])
@torch.inference_mode()
def test_a_weight_is_multiplied_out_by_its_norm(weight_norm):
    torch.manual_seed(0)
    for conv in (Conv(6, 90, 7, weight_norm=weight_norm), UpConv(90, 6, 4, weight_norm=weight_norm)):
        wanted, plain = folded(conv), copy.deepcopy(conv)
        if weight_norm:
            nn.init.normal_(conv.weight_g)
            wanted = conv.weight_v * conv.weight_g / conv.weight_v.flatten(1).norm(dim=1)[:, None, None]
            plain = copy.deepcopy(conv)
            fold_weight_norm(plain)
            assert [name for name, _ in plain.named_parameters()] == ["bias", "weight"]
        torch.testing.assert_close(folded(conv), wanted, atol=1e-6, rtol=1e-6)
        assert torch.equal(folded(conv), plain.weight)
        signal = torch.randn(1, conv.in_channels, 30)
        assert torch.equal(conv(signal), plain(signal))


@packed_only
@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("c_out", [32, 3])
@torch.inference_mode()
def test_weights_are_multiplied_out_while_they_are_packed(weight_norm, c_out, compiled):
    torch.manual_seed(0)
    up, signal = UpConv(70, c_out, 4, weight_norm=weight_norm), torch.randn(9, 70)
    if weight_norm:
        nn.init.normal_(up.weight_g)
    conv = PackedConv(up_weights(up), up.bias.repeat(4))
    wanted = F.conv_transpose1d(signal.T, folded(up), up.bias, stride=4)[:, 4:-4].T
    torch.testing.assert_close(conv(signal).view(-1, c_out), wanted, atol=1e-5, rtol=1e-5)
    assert isinstance(getattr(conv._compute, "product", None), CompiledLinear) == (compiled and c_out == 32)
