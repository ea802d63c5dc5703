"""The compiled kernels: what they compute, that company changes no bit, and that anytok works without them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from marks import compiled_only
from torch import Tensor

import anytok
from anytok.engines.native import calls, kernels, recurrent

ROOT = Path(__file__).parent.parent
INF, NAN = float("inf"), float("nan")


# Where kernels are compiled at all; elsewhere there is nothing that these tests could look at.
compiling = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64") or shutil.which("gcc") is None, reason="no gcc for x86-64"
)


@compiling
def test_an_installation_with_a_compiler_has_kernels():
    assert kernels.missing() in (None, "this CPU has no AVX2")


@compiled_only
def test_kernels_are_the_best_that_were_compiled_and_that_this_cpu_has(tmp_path, monkeypatch):
    """An old compiler makes only some of them."""
    built = Path(calls.__file__).parent
    monkeypatch.setattr(calls, "__file__", str(tmp_path / "calls.py"))
    features = {"avx2": "avx2", "avx512": "avx512", "avx512bf16": "avx512_bf16", "amx": "amx_tile"}
    for feature in features.values():
        monkeypatch.setattr(torch.cpu, f"_is_{feature}_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: True)
    assert calls._library.__wrapped__() == "this CPU has no AVX2"
    for kind, feature in features.items():
        monkeypatch.setattr(torch.cpu, f"_is_{feature}_supported", lambda: True)
        assert kind != "avx2" or "not compiled" in calls._library.__wrapped__()
        shutil.copy(built / "kernels-avx2.so", tmp_path / f"kernels-{kind}.so")
        assert calls._library.__wrapped__()._name == str(tmp_path / f"kernels-{kind}.so")
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: False)  # the system keeps matrix units to itself
    assert calls._library.__wrapped__()._name == str(tmp_path / "kernels-avx512bf16.so")


@compiled_only
@torch.inference_mode()
def test_elu_is_elu_to_the_last_bits():
    signal = torch.cat([-torch.logspace(-30, 2, 100_001), torch.logspace(-30, 2, 100_000)])
    exact = F.elu(signal.double())
    made = torch.empty_like(signal)
    kernels.elu(signal, made)
    assert ((made - exact) / exact).abs().max() < 1e-7
    edges = torch.tensor([NAN, INF, -INF, 0.0, -0.0])
    kernels.elu(edges, edges)
    torch.testing.assert_close(edges, torch.tensor([NAN, INF, -1.0, 0.0, -0.0]), equal_nan=True)
    assert torch.signbit(edges[4])


@compiled_only
@pytest.mark.parametrize("count", [1, 7, 8, 15, 16, 31, 100_015])
@torch.inference_mode()
def test_elu_of_a_number_is_the_same_wherever_it_lies(count):
    signal = -torch.rand(count, generator=torch.Generator().manual_seed(0))
    made, elsewhere = torch.empty(count), torch.empty(count + 5)
    kernels.elu(signal, made)
    kernels.elu(F.pad(signal, (3, 2)), elsewhere)
    assert torch.equal(made, elsewhere[3:-2]) and made.max() < 0


@compiled_only
@torch.inference_mode()
def test_snake_is_snake():
    generator = torch.Generator().manual_seed(0)
    signal, alpha = 30 * torch.randn(3000, 64, generator=generator), 4 * torch.rand(64, generator=generator) + 0.1
    made = torch.empty_like(signal)
    kernels.snake(signal, alpha, 1 / alpha, made)
    exact = signal + torch.sin((signal * alpha).double()).square() / alpha
    assert ((made - exact) / exact.abs().clamp_min(1)).abs().max() < 3e-6
    for row in (0, 1, 2999):
        alone = signal[row : row + 1].clone()
        kernels.snake(alone, alpha, 1 / alpha, alone)
        assert torch.equal(alone, made[row : row + 1])
    far = torch.tensor([[1e30, -1e30, INF, NAN, *[1e7] * 60]])
    kernels.snake(far, alpha, 1 / alpha, far)
    assert far[0, :2].tolist() == [pytest.approx(1e30), pytest.approx(-1e30)]
    assert far[0, 2:4].isnan().all() and far[0, 4:].isfinite().all()


@compiled_only
@torch.inference_mode()
def test_half_precision_rounds_once_to_even():
    """Every bfloat16 number there is, against the float32 kernel and torch's rounding."""
    every = torch.arange(1 << 16).to(torch.int16).view(torch.bfloat16)
    made, wide, out = every.clone(), every.float(), torch.empty(1 << 16)
    kernels.elu(made, made)
    kernels.elu(wide, out)
    assert torch.equal(made.isnan(), every.isnan()) and torch.equal(made.nan_to_num(7), out.bfloat16().nan_to_num(7))
    rows_tc = torch.cat([every.roll(shift) for shift in range(64)]).view(-1, 256)  # so many that some lie half-way
    alpha, inverse = torch.rand(2, 256, generator=torch.Generator().manual_seed(0)) + 0.5
    rounded_tc = kernels.snake(rows_tc.float(), alpha, inverse, torch.empty(rows_tc.shape)).bfloat16()
    kernels.snake(rows_tc, alpha, inverse, rows_tc)
    assert torch.equal(rows_tc.nan_to_num(7), rounded_tc.nan_to_num(7))


@compiled_only
@pytest.mark.parametrize(("rows", "depth", "outputs"), [(1, 1, 64), (7, 63, 128), (200, 65, 64), (61, 300, 192)])
@torch.inference_mode()
def test_products_are_the_formula_also_of_rows_that_overlap(threads, rows, depth, outputs):
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(outputs, depth, generator=generator), torch.randn(outputs, generator=generator)
    signal = torch.randn(3 * rows + depth, generator=generator)
    windows = signal.as_strided((rows, depth), (3, 1))
    made = kernels.products(pack(weight), bias, windows)
    torch.testing.assert_close(made.double(), windows.double() @ weight.double().T + bias, atol=1e-4, rtol=0)
    assert torch.equal(made, kernels.products(pack(weight), bias, windows.contiguous()))
    assert kernels.products(pack(weight), bias, windows[:0]).shape == (0, outputs)


@compiled_only
@pytest.mark.parametrize(("rows", "depth", "outputs"), [(1, 2, 64), (7, 64, 128), (61, 300, 192)])
@torch.inference_mode()
def test_weights_in_float16_are_multiplied_as_what_they_are_in_float32(threads, rows, depth, outputs):
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(outputs, depth, generator=generator).half(), torch.randn(outputs, generator=generator)
    windows = torch.randn(3 * rows + depth, generator=generator).as_strided((rows, depth), (3, 1))
    made = kernels.products(kernels.pack_plain(weight), bias, windows)
    assert torch.equal(made, kernels.products(pack(weight.float()), bias, windows)) and made.std() > 0.5


@compiled_only
@torch.inference_mode()
def test_every_float16_number_is_widened_exactly():
    """Also those so small that they have fewer bits, infinity and NaN."""
    every = torch.arange(1 << 16).to(torch.int16).view(torch.float16).view(-1, 1)
    made = kernels.products(kernels.pack_plain(every), torch.zeros(1 << 16), torch.ones(1, 1))[0]
    torch.testing.assert_close(made, every[:, 0].float(), atol=0, rtol=0, equal_nan=True)


@compiled_only
@pytest.mark.parametrize(
    ("rows", "depth", "outputs", "tiled"),
    [(1, 2, 64, False), (7, 62, 128, False), (200, 66, 64, False), (61, 300, 192, False),
     (1, 32, 64, True), (7, 96, 128, True), (16, 256, 64, True), (300, 576, 192, True), (1024, 288, 64, True)],
)  # fmt: skip
@torch.inference_mode()
def test_products_in_bfloat16_are_the_formula_and_rounded_once(threads, rows, depth, outputs, tiled):
    """But for sums that lie half-way between two numbers but for their own rounding; also by matrix units."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(outputs, depth, generator=generator), torch.randn(outputs, generator=generator)
    weight, signal = weight.bfloat16(), torch.randn(4 * rows + depth, generator=generator).bfloat16()
    windows, packed = signal.as_strided((rows, depth), (4, 1)), kernels.pack_plain(weight)
    made = kernels.products(packed, bias, windows, tiled)
    exact = windows.double() @ weight.double().T + bias
    below, above = (exact - 2e-5).float().bfloat16(), (exact + 2e-5).float().bfloat16()
    assert torch.all((below <= made) & (made <= above)) and (below == above).float().mean() > 0.9
    assert torch.equal(made, kernels.products(packed, bias, windows.contiguous(), tiled))
    for begin, end in ((0, 1), (rows // 3, rows), (rows // 2, rows // 2 + 1)):  # a row is the same in any company
        assert torch.equal(made[begin:end], kernels.products(packed, bias, windows[begin:end], tiled))


@compiled_only
@pytest.mark.parametrize(("rows", "depth", "outputs"), [(0, 16, 1), (1, 16, 1), (3, 48, 2), (4, 224, 1), (901, 448, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_few_outputs_are_the_formula(threads, rows, depth, outputs, dtype):
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(outputs, depth, generator=generator), torch.randn(outputs, generator=generator)
    weight, signal = weight.to(dtype), torch.randn(3 * rows + depth, generator=generator).to(dtype)
    windows = signal.as_strided((rows, depth), (3, 1))
    made = kernels.dots(weight, bias, windows)
    exact = windows.double() @ weight.double().T + bias
    below, above = (exact - 1e-4).to(dtype), (exact + 1e-4).to(dtype)
    assert made.dtype == dtype and torch.all((below <= made) & (made <= above))
    assert torch.equal(made, kernels.dots(weight, bias, windows.contiguous()))


@compiled_only
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (4096, 1), (300, 48), (3001, 32), (40_001, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_signal_is_measured_and_rescaled(threads, shape, dtype):
    generator = torch.Generator().manual_seed(0)
    signal = (3 * torch.randn(shape, generator=generator) + 1).to(dtype)
    gain, shift = torch.randn(2, shape[1], generator=generator)
    mean, variance = kernels.moments(signal)
    assert mean == pytest.approx(signal.double().mean().item(), rel=1e-6)
    assert variance == pytest.approx(signal.double().var(correction=0).item(), rel=1e-6, abs=1e-6)
    exact = signal.double() * gain + shift
    made = kernels.rescale(signal, gain, shift)
    below, above = (exact - 1e-6).to(dtype), (exact + 1e-6).to(dtype)
    assert made is signal and torch.all((below <= made) & (made <= above))


@compiled_only
@torch.inference_mode()
def test_plain_weights_are_packed_alike_in_any_type():
    weight = torch.randn(192, 65, generator=torch.Generator().manual_seed(0))
    assert torch.equal(kernels.pack_plain(weight), pack(weight))
    assert torch.equal(kernels.pack_plain(weight.T.contiguous().T), pack(weight))
    assert torch.equal(kernels.pack_plain(weight.half()), pack(weight.half().float()).half())


@compiled_only
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 0, 1), (2, 3, 1, 0)])
@torch.inference_mode()
def test_weights_are_packed_from_any_order_of_memory(order, backwards):
    """Outputs of two dimensions, 65 inputs, 3 taps; the other way is to multiply them out first."""
    generator = torch.Generator().manual_seed(0)
    sizes = (4, 32, 65, 3)
    lying = torch.randn([sizes[dim] for dim in order], generator=generator)
    weight = lying.permute([order.index(dim) for dim in range(4)])
    gain_o, gain_i = torch.rand(128, generator=generator), torch.rand(65, generator=generator)
    taps = weight.unbind(3)[::-1] if backwards else weight.unbind(3)
    plain = torch.stack(taps, dim=2).view(128, 3, 65) * gain_o[:, None, None] * gain_i
    made = kernels.pack(weight, gain_o, gain_i, backwards)
    assert weight.shape == sizes and torch.equal(made, pack(plain.flatten(1)))
    assert not torch.equal(made, kernels.pack(weight, gain_o, None, backwards))


def pack(weight_oi: Tensor) -> Tensor:
    return kernels.pack(weight_oi.unsqueeze(2))


@compiled_only
@torch.inference_mode()
def test_long_sums_lose_few_bits():
    """Of positive numbers, one added after the other, ten times as many are lost."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, rows = (torch.rand(count, 8192, generator=generator) for count in (64, 1, 9))
    exact = rows.double() @ weight.double().T + bias[0, :64]
    made = kernels.products(pack(weight), bias[0, :64].contiguous(), rows)
    assert ((made - exact) / exact).abs().max() < 1e-6


KINDS = [  # dtype, width, whether by matrix units: where there are none, what they do is written out
    *((dtype, width, False) for dtype in (torch.float32, torch.bfloat16) for width in (16, 48, 528, 1024)),
    *((torch.bfloat16, width, True) for width in (32, 544, 1024)),
]


def steps_of(
    width: int, rows: int, frames: int = 4, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Recurrent weights, what is heard, the states before; the cells are always float32."""
    generator = torch.Generator().manual_seed(width)
    weight = torch.randn(4 * width, width, generator=generator) / width**0.5
    heard = 3 * torch.randn(frames, rows, 4 * width, generator=generator)
    hidden, cell = torch.randn(2, rows, width, generator=generator)
    return weight.to(dtype), heard.to(dtype), hidden.to(dtype), cell


def run(
    weight: Tensor, heard: Tensor, hidden: Tensor, cell: Tensor, tiled: bool | None = None
) -> tuple[Tensor, Tensor]:
    states, cell = hidden.new_full((len(heard) + 1, *hidden.shape), NAN), cell.clone()
    states[0] = hidden
    kernels.lstm(kernels.pack_gates(weight), heard, states, cell, tiled)
    return states[1:], cell


@compiled_only
@pytest.mark.parametrize(("dtype", "width", "tiled"), KINDS)
@torch.inference_mode()
def test_lstm_steps_are_the_formula(dtype, width, tiled):
    """In float64, hidden and cell states after each step (Hochreiter and Schmidhuber 1997, with a forget gate). In
    bfloat16 only the hidden states are rounded."""
    weight, heard, hidden, cell = steps_of(width, 5, dtype=dtype)
    made, last = run(weight, heard, hidden, cell, tiled)
    cell, rounding = cell.double(), 0 if dtype == torch.float32 else 2**-9
    for frame, heard_bg in enumerate(heard):
        entry, forget, candidate, output = (hidden.double() @ weight.double().T + heard_bg).chunk(4, dim=1)
        cell = forget.sigmoid() * cell + entry.sigmoid() * candidate.tanh()
        hidden = made[frame]
        torch.testing.assert_close(hidden.double(), output.sigmoid() * cell.tanh(), atol=2e-6 + rounding, rtol=0)
    torch.testing.assert_close(last.double(), cell, atol=2e-6, rtol=0)


@compiled_only
@pytest.mark.parametrize(("dtype", "width", "tiled"), KINDS)
@torch.inference_mode()
def test_lstm_steps_of_a_clip_are_the_same_in_any_company(threads, dtype, width, tiled):
    """Up to more clips than are taken at once, with whole and broken tiles of rows."""
    torch.set_num_threads(1)
    weight, heard, hidden, cell = steps_of(width, 19, dtype=dtype)
    alone = [run(weight, heard[:, [i]].contiguous(), hidden[[i]], cell[[i]], tiled) for i in range(19)]
    torch.set_num_threads(threads)
    for rows in (1, 2, 3, 4, 5, 6, 7, 13, 16, 17, 19):
        made, last = run(weight, heard[:, :rows].contiguous(), hidden[:rows], cell[:rows], tiled)
        for i in range(rows):
            assert torch.equal(made[:, [i]], alone[i][0]) and torch.equal(last[[i]], alone[i][1])


@compiled_only
@torch.inference_mode()
def test_gates_far_out_saturate_and_do_not_overflow():
    weight, heard = torch.zeros(64, 16), torch.zeros(1, 1, 64)
    heard[..., :16], heard[..., 16:32], heard[..., 32:48], heard[..., 48:] = 1e30, -INF, INF, 200
    made, cell = run(weight, heard, torch.zeros(1, 16), torch.full((1, 16), 5.0))
    torch.testing.assert_close(cell, torch.ones(1, 16))
    torch.testing.assert_close(made[0], torch.ones(1, 16).tanh())
    assert run(weight, heard * NAN, torch.zeros(1, 16), torch.zeros(1, 16))[0].isnan().all()


@compiled_only
@pytest.mark.parametrize("rows", [1, 2, 16])
@torch.inference_mode()
def test_a_step_whose_products_are_done_is_the_same_step(rows):
    """In bfloat16 the gates come and the hidden states go as such; what is between is the same."""
    weight, heard, hidden, cell = steps_of(512, rows, frames=1)
    heard = heard.bfloat16().float()
    said, last = run(0 * weight, heard, hidden, cell)
    for dtype in (torch.float32, torch.bfloat16):
        made, now = torch.empty(rows, 512, dtype=dtype), cell.clone()
        kernels.lstm_say(heard[0].to(dtype), now, made)
        assert torch.equal(now, last) and torch.equal(made, said[0].to(dtype))


@compiled_only
@torch.inference_mode()
def test_activations_take_tensors_in_any_order_of_memory():
    signal, alpha = torch.randn(64, 32), torch.rand(64) + 0.1
    made_tc = kernels.elu(signal.T, torch.empty(64, 32).T)
    torch.testing.assert_close(made_tc, F.elu(signal.T), atol=2e-7, rtol=0)
    snakes = [kernels.snake(signal.T, alpha, 1 / alpha, out) for out in (torch.empty(64, 32).T, torch.empty(32, 64))]
    assert torch.equal(*snakes) and not torch.equal(snakes[0], signal.T)


@compiled_only
def test_what_a_kernel_cannot_take_is_never_passed_on():
    """It would be read as something else."""
    with pytest.raises(AssertionError):
        kernels.lstm_say(torch.zeros(64, 1).T, torch.zeros(2, 16).T, torch.zeros(1, 16))
    with pytest.raises(ValueError):
        kernels.elu(torch.zeros(8).bfloat16(), torch.zeros(8))
    with pytest.raises(AssertionError):
        kernels.elu(torch.zeros(8, device="meta"), torch.zeros(8, device="meta"))
    with pytest.raises(AssertionError):
        kernels.elu(torch.zeros(8).half(), torch.zeros(8).half())
    with pytest.raises(AssertionError):
        kernels.products(pack(torch.zeros(64, 9)), torch.zeros(64), torch.zeros(9, 9).T)
    with pytest.raises(AssertionError):
        kernels.dots(torch.zeros(1, 24), torch.zeros(1), torch.zeros(9, 24))
    with pytest.raises(KeyError):  # no kind of product
        kernels.products(pack(torch.zeros(64, 9)), torch.zeros(64), torch.zeros(9, 9).bfloat16())
    for inputs, pitch in ((9, 10), (8, 9)):
        rows = torch.zeros(99).bfloat16().as_strided((9, inputs), (pitch, 1))
        with pytest.raises(AssertionError):
            kernels.products(torch.zeros(64, inputs).bfloat16(), torch.zeros(64), rows)
    for inputs, dtype in ((48, torch.bfloat16), (64, torch.float32)):  # not what matrix units take
        with pytest.raises(AssertionError):
            rows = torch.zeros(9, inputs, dtype=dtype)
            kernels.products(torch.zeros(64, inputs, dtype=dtype), torch.zeros(64), rows, tiled=True)
    for bias, inputs in ((64, 8), (63, 9)):
        with pytest.raises(AssertionError):
            kernels.products(pack(torch.zeros(64, 9)), torch.zeros(bias), torch.zeros(9, inputs))
    for outputs, gains in ((65, 9), (64, 8)):
        with pytest.raises(AssertionError):
            kernels.pack(torch.zeros(outputs, 9, 1), gain_i=torch.zeros(gains))
    for entries, dimension in ((96, 8), (128, 9)):
        with pytest.raises(AssertionError):
            books = torch.zeros(2, entries, 8)
            kernels.quantize(books, torch.zeros(2, entries), torch.zeros(2), books, torch.zeros(7, dimension))
    for entries, dimension in ((128, 528), (4096, 512), (128, 256)):  # no whole tiles; no room; not deep
        with pytest.raises(AssertionError):
            books, latents = torch.zeros(2, entries, dimension), torch.zeros(7, dimension)
            kernels.quantize(books.bfloat16(), torch.zeros(2, entries), torch.zeros(2), books, latents)
    with pytest.raises(AssertionError):
        kernels.rescale(torch.zeros(16, 7).T, torch.zeros(16), torch.zeros(16))
    assert kernels.fits(1024) and not kernels.fits(1028)
    assert kernels.fits_outputs(1024) and not kernels.fits_outputs(1040)
    assert kernels.fits_dots(448) and not kernels.fits_dots(24)


@compiled_only
@pytest.mark.parametrize("name", ["speech-mini", "music-mini"])
def test_without_kernels_the_codes_are_the_same(name, monkeypatch):
    """But for near ties, which these clips do not have; and torch's operations were used."""
    monkeypatch.setattr(kernels, "missing", lambda: "for this test")
    rate = anytok.load_tokenizer(name).spec.sample_rate
    noise = np.random.default_rng(0).normal(0, 0.1, (3, 2 * rate)).astype(np.float32)
    clips = [anytok.Audio(wave[: rate // step], rate) for step, wave in enumerate(noise, start=1)]
    monkeypatch.setattr(recurrent.CompiledLayer, "__init__", None)  # would be seen if it were made
    plain = anytok.load_tokenizer(name)
    without = [plain.encode(clip) for clip in clips]
    sounds = plain.decode_batch(without)
    monkeypatch.undo()
    usual = anytok.load_tokenizer(name)
    for codes, others, sound in zip(without, usual.encode_batch(clips), sounds, strict=True):
        assert np.array_equal(codes.values, others.values) and len(np.unique(codes.values)) > 10
        np.testing.assert_allclose(usual.decode(others).wave, sound.wave, atol=1e-5)


@pytest.mark.parametrize("compiler", [pytest.param("gcc", marks=compiling), "no-such-compiler"])
def test_a_wheel_has_kernels_for_its_platform_or_none_for_any(tmp_path, compiler):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "anytok", source / "anytok", ignore=shutil.ignore_patterns("*.so", "__pycache__", "weights"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py", ".gitignore"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=source, env={**os.environ, "CC": compiler}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    built = [Path(name).name for name in ZipFile(wheel).namelist() if name.endswith(".so")]
    if compiler == "gcc":
        version = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=True).stdout
        kinds = ("avx2", "avx512", "avx512bf16", "amx")[: min(4, int(version.split(".")[0]) - 7)]
        assert set(built) == {f"kernels-{kind}.so" for kind in kinds}
        assert wheel.stem.endswith("-py3-none-linux_x86_64")
    else:
        assert not built and wheel.stem.endswith("-py3-none-any")
        elsewhere = (sys.platform, platform.machine()) != ("linux", "x86_64")  # there none were tried
        assert elsewhere or "no kernels for avx2" in done.stdout + done.stderr
