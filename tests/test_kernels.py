"""The kernels: what each computes, in every implementation that this machine can execute, and how one is chosen."""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
import torch.nn.functional as F
from marks import COMPILED
from torch import Tensor

from anytok import kernels
from anytok.errors import UsageError
from anytok.kernels.weights import Weights
from anytok.models.quantize import ResidualQuantizer

ROOT = Path(__file__).parent.parent
INF, NAN = float("inf"), float("nan")
# Where kernels are compiled at all; elsewhere there is nothing that these tests could look at.
compiling = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64") or shutil.which("gcc") is None, reason="no gcc for x86-64"
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def between(exact: Tensor, made: Tensor, within: float) -> bool:
    """Whether each number is its exact value, up to `within`, rounded once to the type of `made`."""
    below, above = ((exact + error).float().to(made.dtype) for error in (-within, within))
    return bool(torch.all((below <= made) & (made <= above)))


@compiling
def test_an_installation_with_a_compiler_has_the_build_for_its_cpu():
    assert kernels.current().name != "portable" or not kernels._executes("avx2") or kernels.VARIABLE in os.environ


def test_the_best_build_serves_that_was_compiled_and_that_this_cpu_executes(tmp_path, monkeypatch):
    """An old compiler makes only some of them, and the system may refuse AMX."""
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)  # those of an editable install
    features = {"avx2": "avx2", "avx512": "avx512", "avx512bf16": "avx512_bf16", "amx": "amx_tile"}
    for feature in features.values():
        monkeypatch.setattr(torch.cpu, f"_is_{feature}_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: True)
    assert kernels._best() == "portable" and kernels.why_not("avx2") == "this CPU has no avx2"
    for build, feature in features.items():
        before = kernels._best()
        monkeypatch.setattr(torch.cpu, f"_is_{feature}_supported", lambda: True)
        assert kernels._best() == before and "not compiled" in kernels.why_not(build)
        (tmp_path / f"kernels-{build}.so").touch()
        assert kernels._best() == build
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: False)
    assert kernels._best() == "avx512bf16" and kernels.why_not("amx") == "this CPU has no amx"


def test_a_build_is_forced_by_a_variable_and_within_a_context(build, monkeypatch):
    assert kernels.current() is build is kernels.load(build.name)
    assert kernels.serving(torch.device("meta")).name == "portable"
    with kernels.using("portable"):
        assert kernels.current().name == "portable"
    assert kernels.current() is build
    monkeypatch.setattr(kernels, "_forced", [])
    monkeypatch.setenv(kernels.VARIABLE, build.name)
    assert kernels.current() is build
    monkeypatch.setenv(kernels.VARIABLE, "neon")
    with pytest.raises(UsageError, match=r"ANYTOK_KERNELS='neon': expected one of amx, .*portable"):
        kernels.current()
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    monkeypatch.setenv(kernels.VARIABLE, "avx2")
    kernels.load.cache_clear()
    with pytest.raises(UsageError, match="ANYTOK_KERNELS=avx2: this CPU has no avx2"):
        kernels.current()


@torch.inference_mode()
def test_elu_is_elu_to_the_last_bits(build):
    signal = torch.cat([-torch.logspace(-30, 2, 100_001), torch.logspace(-30, 2, 100_000)])
    exact = F.elu(signal.double())
    made = build.elu(signal, torch.empty_like(signal))
    assert ((made - exact) / exact).abs().max() < 2e-7
    edges = torch.tensor([NAN, INF, -INF, 0.0, -0.0])
    build.elu(edges, edges)
    torch.testing.assert_close(edges, torch.tensor([NAN, INF, -1.0, 0.0, -0.0]), equal_nan=True)
    assert torch.signbit(edges[4])


@torch.inference_mode()
def test_elu_of_a_number_is_the_same_wherever_it_lies(build, thread_counts):
    signal = -random(100_015).abs()
    made = build.elu(signal, torch.empty_like(signal))
    assert made.max() < 0
    for _ in thread_counts:
        for count in (*range(1, 40), 100_015):
            elsewhere = build.elu(F.pad(signal[:count], (3, 2)), torch.empty(count + 5))
            assert torch.equal(elsewhere[3:-2], made[:count])


@torch.inference_mode()
def test_snake_is_snake(build):
    for channels in (64, 7):
        held_to_snake(build, channels)


def held_to_snake(build, channels: int) -> None:
    signal, alpha = 30 * random(3000, channels), 4 * random(channels, seed=1).abs() + 0.1
    made = build.snake(signal, torch.empty_like(signal), alpha, 1 / alpha)
    exact = signal + torch.sin((signal * alpha).double()).square() / alpha
    assert ((made - exact) / exact.abs().clamp_min(1)).abs().max() < 3e-6
    for row in (0, 1, 2999):
        alone = signal[row : row + 1].clone()
        assert torch.equal(build.snake(alone, alone, alpha, 1 / alpha), made[row : row + 1])
    far = torch.tensor([[1e30, -1e30, INF, NAN, *[1e7] * (channels - 4)]])
    build.snake(far, far, alpha, 1 / alpha)
    assert far[0, :2].tolist() == [pytest.approx(1e30), pytest.approx(-1e30)]
    assert far[0, 2:4].isnan().all() and far[0, 4:].isfinite().all()


@torch.inference_mode()
def test_bfloat16_is_computed_in_float32_and_rounded_once_to_even(build):
    """Every bfloat16 number there is, against the float32 kernel and torch's rounding."""
    every = torch.arange(1 << 16).to(torch.int16).view(torch.bfloat16)
    made, out = build.elu(every, every.clone()), build.elu(every.float(), torch.empty(1 << 16))
    assert torch.equal(made.isnan(), every.isnan()) and torch.equal(made.nan_to_num(7), out.bfloat16().nan_to_num(7))
    rows_tc = torch.cat([every.roll(shift) for shift in range(64)]).view(-1, 256)  # so many that some lie half-way
    alpha, inverse = random(2, 256).abs() + 0.5
    rounded_tc = build.snake(rows_tc.float(), torch.empty(rows_tc.shape), alpha, inverse).bfloat16()
    made_tc = build.snake(rows_tc, torch.empty_like(rows_tc), alpha, inverse)
    assert torch.equal(made_tc.nan_to_num(7), rounded_tc.nan_to_num(7))


@torch.inference_mode()
def test_activations_take_tensors_in_any_order_of_memory(build):
    signal, alpha = random(64, 32), random(64).abs() + 0.1
    made_tc = build.elu(signal.T, torch.empty(64, 32).T)
    torch.testing.assert_close(made_tc, F.elu(signal.T), atol=2e-7, rtol=0)
    snakes = [build.snake(signal.T, out, alpha, 1 / alpha) for out in (torch.empty(64, 32).T, torch.empty(32, 64))]
    assert torch.equal(*snakes) and not torch.equal(snakes[0], signal.T)


# Whole blocks of outputs and none, rests of one, two and three registers of either size; depths of chunks and rests.
SHAPES = [(1, 1, 64), (7, 65, 20), (200, 63, 40), (61, 300, 112), (130, 7, 5), (9, 48, 1), (901, 448, 2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_products_are_the_formula_also_of_rows_that_overlap(build, dtype):
    for shape in SHAPES:
        held_to_the_product(build, *shape, dtype)


def held_to_the_product(build, rows: int, depth: int, outputs: int, dtype: torch.dtype) -> None:
    weight, bias = random(outputs, depth).to(dtype), random(outputs)
    windows = random(3 * rows + depth, seed=1).to(dtype).as_strided((rows, depth), (3, 1))
    packed = build.pack_plain(weight)
    made = build.products(packed, bias, windows)
    exact = windows.double() @ weight.double().T + bias
    assert made.dtype == dtype and made.shape == exact.shape and between(exact, made, 1e-4)
    assert torch.equal(made, build.products(packed, bias, windows.contiguous()))
    assert build.products(packed, bias, windows[:0]).shape == (0, outputs)


@torch.inference_mode()
def test_products_by_amx_are_the_formula_and_rounded_once(compiled, thread_counts):
    """But for sums that lie half-way between two numbers. In builds without AMX what it does is written out."""
    for _ in thread_counts:
        for rows, depth, outputs in ((1, 32, 64), (7, 96, 20), (300, 576, 224), (1024, 288, 32)):
            weight, bias = random(outputs, depth).bfloat16(), random(outputs)
            windows = random(4 * rows + depth, seed=1).bfloat16().as_strided((rows, depth), (4, 1))
            packed = compiled.pack_plain(weight)
            made = compiled.products(packed, bias, windows, tiled=True)
            assert between(windows.double() @ weight.double().T + bias, made, 2e-5)
            for begin, end in ((0, 1), (rows // 3, rows), (rows // 2, rows // 2 + 1)):
                part = compiled.products(packed, bias, windows[begin:end], tiled=True)
                assert torch.equal(made[begin:end], part), "a row is the same in any company"


@torch.inference_mode()
def test_weights_in_float16_are_multiplied_as_what_they_are_in_float32(build):
    for rows, depth, outputs in ((7, 64, 128), (61, 300, 200), (2, 32, 1)):
        weight, bias, some = random(outputs, depth).half(), random(outputs), random(rows, depth, seed=1)
        made = build.products(build.pack_plain(weight), bias, some)
        wide = build.products(build.pack_plain(weight.float()), bias, some)
        assert torch.equal(made, wide) and made.std() > 0.5


@torch.inference_mode()
def test_every_float16_number_is_widened_exactly(compiled):
    """Also those so small that they have fewer bits, infinity and NaN."""
    every = torch.arange(1 << 16).to(torch.int16).view(torch.float16).view(-1, 1)
    made = compiled.products(compiled.pack_plain(every), torch.zeros(1 << 16), torch.ones(1, 1))[0]
    torch.testing.assert_close(made, every[:, 0].float(), atol=0, rtol=0, equal_nan=True)


@torch.inference_mode()
def test_long_sums_lose_few_bits(build):
    """Of positive numbers, one added after the other, ten times as many are lost."""
    weight, bias, rows = (random(count, 8192, seed=count).abs() for count in (64, 1, 9))
    exact = rows.double() @ weight.double().T + bias[0, :64]
    made = build.products(build.pack_plain(weight), bias[0, :64].contiguous(), rows)
    assert ((made - exact) / exact).abs().max() < 1e-6


@torch.inference_mode()
def test_weights_are_packed_from_any_order_of_memory(build):
    orders = (((0, 1, 2, 3), (4, 32)), ((3, 2, 0, 1), (5, 9)), ((2, 3, 1, 0), (1, 2)))
    for (order, outputs), backwards in product(orders, (False, True)):
        held_to_the_plain_weights(build, order, outputs, backwards)


def held_to_the_plain_weights(build, order: tuple[int, ...], outputs: tuple[int, int], backwards: bool) -> None:
    """Outputs of two dimensions, 64 inputs, 3 taps; the other way is to multiply them out first."""
    sizes, count = (*outputs, 64, 3), math.prod(outputs)
    weight = random(*[sizes[dim] for dim in order]).permute([order.index(dim) for dim in range(4)])
    gain_o, gain_i = random(count, seed=1), random(64, seed=2)
    taps = weight.unbind(3)[::-1] if backwards else weight.unbind(3)
    plain = torch.stack(taps, dim=2).view(count, 3, 64) * gain_o[:, None, None] * gain_i
    made = build.pack(Weights(weight, gain_o, gain_i, backwards), torch.float32)
    assert weight.shape == sizes and torch.equal(made, build.pack_plain(plain.flatten(1)))
    assert not torch.equal(made, build.pack(Weights(weight, gain_o, None, backwards), torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_signal_is_measured_and_rescaled(build, dtype):
    for shape in ((1, 1), (7, 5), (3001, 32), (40_001, 2)):
        held_to_its_moments(build, shape, dtype)


def held_to_its_moments(build, shape: tuple[int, int], dtype: torch.dtype) -> None:
    signal, (gain, shift) = (3 * random(*shape) + 1).to(dtype), random(2, shape[1], seed=1)
    mean, variance = (float(one) for one in build.moments(signal))
    assert mean == pytest.approx(signal.double().mean().item(), rel=1e-6)
    assert variance == pytest.approx(signal.double().var(correction=0).item(), rel=1e-6, abs=1e-6)
    exact = signal.double() * gain + shift
    made = build.rescale(signal, gain, shift)
    assert made is signal and between(exact, made, 2e-6)


def steps_of(
    width: int, rows: int, frames: int = 4, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Recurrent weights, input projections, the states before; cells are always float32."""
    weight = random(4 * width, width, seed=width) / width**0.5
    inputs, (hidden, cell) = 3 * random(frames, rows, 4 * width), random(2, rows, width, seed=1)
    return weight.to(dtype), inputs.to(dtype), hidden.to(dtype), cell


def run(build, weight: Tensor, inputs: Tensor, hidden: Tensor, cell: Tensor, **how: bool) -> tuple[Tensor, Tensor]:
    states, cell = hidden.new_full((len(inputs) + 1, *hidden.shape), NAN), cell.clone()
    states[0] = hidden
    build.lstm(build.pack_gates(weight), inputs, states, cell, **how)
    return states[1:], cell


def held_to_the_formula(build, dtype: torch.dtype, width: int, **how: bool) -> None:
    weight, inputs, hidden, cell = steps_of(width, 5, dtype=dtype)
    made, last = run(build, weight, inputs, hidden, cell, **how)
    cell, rounding = cell.double(), 0 if dtype == torch.float32 else 2**-9
    for frame, inputs_bg in enumerate(inputs):
        i, f, g, o = (hidden.double() @ weight.double().T + inputs_bg).chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = made[frame]
        torch.testing.assert_close(hidden.double(), o.sigmoid() * cell.tanh(), atol=2e-6 + rounding, rtol=0)
    torch.testing.assert_close(last.double(), cell, atol=2e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_lstm_steps_are_the_formula(build, dtype):
    """In float64, after each step. In bfloat16 only hidden states are rounded."""
    for width in (16, 1040):
        held_to_the_formula(build, dtype, width)


@torch.inference_mode()
def test_lstm_steps_by_amx_are_the_formula(compiled):
    for width in (32, 544):
        held_to_the_formula(compiled, torch.bfloat16, width, tiled=True)


@pytest.mark.parametrize(
    ("dtype", "how"), [(torch.float32, {}), (torch.bfloat16, {}), (torch.bfloat16, {"tiled": True})]
)
@torch.inference_mode()
def test_lstm_steps_of_a_clip_are_the_same_in_any_company(compiled, thread_counts, dtype, how):
    """Up to more clips than are taken at once, with whole and broken blocks of rows. test_native_lockstep.py says so of
    the portable twin, too."""
    weight, inputs, hidden, cell = steps_of(96, 19, dtype=dtype)
    alone = [run(compiled, weight, inputs[:, [i]].contiguous(), hidden[[i]], cell[[i]], **how) for i in range(19)]
    for _ in thread_counts:
        for rows in (1, 2, 3, 5, 7, 16, 17, 19):
            made, last = run(compiled, weight, inputs[:, :rows].contiguous(), hidden[:rows], cell[:rows], **how)
            for i in range(rows):
                assert torch.equal(made[:, [i]], alone[i][0]) and torch.equal(last[[i]], alone[i][1])


@torch.inference_mode()
def test_gates_far_out_saturate_and_do_not_overflow(build):
    weight, inputs = torch.zeros(64, 16), torch.zeros(1, 1, 64)
    inputs[..., :16], inputs[..., 16:32], inputs[..., 32:48], inputs[..., 48:] = 1e30, -INF, INF, 200
    made, cell = run(build, weight, inputs, torch.zeros(1, 16), torch.full((1, 16), 5.0))
    torch.testing.assert_close(cell, torch.ones(1, 16))
    torch.testing.assert_close(made[0], torch.ones(1, 16).tanh())
    assert run(build, weight, inputs * NAN, torch.zeros(1, 16), torch.zeros(1, 16))[0].isnan().all()


@torch.inference_mode()
def test_a_search_finds_what_the_plain_one_finds(build, thread_counts):
    for _ in thread_counts:
        for sizes in ((1, 64, 1), (3, 100, 5), (8, 512, 130)):
            held_to_the_plain_search(build, *sizes)


def held_to_the_plain_search(build, books: int, entries: int, dimension: int) -> None:
    """Codebooks in eighths, and no sum is rounded: with few dimensions many entries are equally near. 100 entries are
    no whole blocks."""
    generator = torch.Generator().manual_seed(0)
    plain = ResidualQuantizer(books, entries, dimension)
    plain.codebooks_knd = torch.randint(-8, 9, plain.codebooks_knd.shape, generator=generator) / 8
    latents = torch.randint(-16, 17, (301, dimension), generator=generator) / 8
    packed, before = build.pack_codebooks(plain.codebooks_knd), latents.clone()
    codes = build.quantize(packed, latents, books)
    assert torch.equal(codes, plain.encode(latents.T[None])[0]) and codes.unique().numel() > 10
    assert torch.equal(latents, before)
    for count in (0, 1, 7, 61):
        assert torch.equal(build.quantize(packed, latents[:count], 1), codes[:1, :count])


def test_what_a_kernel_cannot_take_is_never_passed_on(compiled):
    """It would be read as something else. Sizes follow the build's registers."""
    zeros, lanes = torch.zeros, compiled.lanes

    def products(weight: Tensor, bias: int, rows: Tensor, **how: bool) -> None:
        compiled.products(compiled.pack_plain(weight), zeros(bias), rows, **how)

    refused = [
        lambda: compiled.elu(zeros(8, device="meta"), zeros(8, device="meta")),
        lambda: compiled.elu(zeros(8).half(), zeros(8).half()),
        lambda: compiled.snake(zeros(2, 8), zeros(2, 8), zeros(7), zeros(7)),
        lambda: products(zeros(64, 9), 64, zeros(9, 9).T),
        lambda: products(zeros(64, 9), 65, zeros(9, 9)),
        lambda: products(zeros(64, 9), 64, zeros(9, 8)),
        lambda: products(zeros(64, 48).bfloat16(), 64, zeros(9, 48).bfloat16(), tiled=True),  # no whole AMX tiles
        lambda: products(zeros(64, 64), 64, zeros(9, 64), tiled=True),
        lambda: products(zeros(1, 32), 1, zeros(9, 16)),
        lambda: compiled.pack(Weights(zeros(65, 9, 1), gain_i=zeros(8)), torch.float32),
        lambda: compiled.pack(Weights(zeros(65, 9, 1), gain_o=zeros(64)), torch.float32),
        lambda: run(compiled, zeros(4 * lanes, lanes), zeros(2, 1, 4 * lanes), zeros(1, 2 * lanes), zeros(1, lanes)),
        lambda: run(compiled, zeros(4 * lanes, lanes), zeros(2, 1, lanes), zeros(1, lanes), zeros(1, lanes)),
        lambda: compiled.quantize(compiled.pack_codebooks(zeros(2, 96, 8)), zeros(7, 9), 2),
        lambda: compiled.rescale(zeros(16, 7).T, zeros(16), zeros(16)),
    ]
    for number, refuse in enumerate(refused):
        with pytest.raises(AssertionError):
            refuse()
            pytest.fail(f"number {number} was taken")
    with pytest.raises(ValueError):
        compiled.elu(zeros(8).bfloat16(), zeros(8))
    with pytest.raises(KeyError):  # no kind of product
        products(zeros(64, 9), 64, zeros(9, 9).bfloat16())


@pytest.mark.parametrize(
    ("compiler", "editable"),
    [
        pytest.param("gcc", False, marks=compiling),
        pytest.param("gcc", True, marks=compiling),
        ("no-such-compiler", False),
    ],
)
def test_a_wheel_has_kernels_for_its_platform_or_none_for_any(tmp_path, compiler, editable):
    """The source tree is as it was: it may be one that is read-only. What the wheel weighs, `make day` looks at."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "anytok", source / "anytok", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py", ".gitignore"):
        shutil.copy(ROOT / name, source)
    if compiler == "gcc":  # only places matter here, and -O3 takes 20 seconds more
        compiler = str(tmp_path / "gcc")
        Path(compiler).write_text('#!/bin/sh\nexec gcc "$@" -O0\n')
        Path(compiler).chmod(0o755)
    before = sorted(source.rglob("*"))
    script = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"
    command = [sys.executable, "-B", "-c", script, "build_editable" if editable else "build_wheel", str(tmp_path)]
    done = subprocess.run(command, cwd=source, env={**os.environ, "CC": compiler}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(source.rglob("*")) == before
    (wheel,) = tmp_path.glob("*.whl")
    built = [name for name in ZipFile(wheel).namelist() if name.endswith(".so")]
    if compiler != "no-such-compiler":
        version = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=True).stdout
        made = COMPILED[::-1][: min(4, int(version.split(".")[0]) - 7)]
        package = "anytok_kernels" if editable else "anytok/kernels"
        assert set(built) == {f"{package}/kernels-{build}.so" for build in made}
        assert wheel.stem.endswith("-py3-none-linux_x86_64") or editable
        check_that_kernels_are_found(wheel, source, tmp_path / "site", editable)
    else:
        assert not built and wheel.stem.endswith("-py3-none-any")
        elsewhere = (sys.platform, platform.machine()) != ("linux", "x86_64")  # there none were tried
        assert elsewhere or "no kernels for avx2" in done.stdout + done.stderr


def check_that_kernels_are_found(wheel: Path, source: Path, site: Path, editable: bool) -> None:
    """By anytok as it is imported where the wheel is unpacked, of an editable one with the path to its source."""
    ZipFile(wheel).extractall(site)
    look = "from anytok import kernels; print(*(kernels._path(build) for build in kernels.BUILDS[:-1]), sep='\\n')"
    paths = os.pathsep.join([str(site), *([str(source)] if editable else [])])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-B", "-c", look], cwd=site, env=environment, capture_output=True, text=True, check=True
    )
    found = [path for path in map(Path, done.stdout.splitlines()) if path.exists()]
    assert found and all(path.is_relative_to(site) for path in found)
