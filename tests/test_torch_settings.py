"""What the caller has told torch changes no code, no sound and no picture, and comes back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from PIL import Image

import anytok
from anytok import Audio, Tokenizer
from anytok import torch_settings as settings
from anytok.generation.embeddings import _normal, _project
from anytok.media import prepare
from anytok.models.seed import normalize
from anytok.models.unclip import draw, waves
from anytok.torch_settings import full_float32, products, skeleton


@contextmanager
def told(tell: Callable, value: object, before: object) -> Iterator[None]:
    tell(value)
    try:
        yield
    finally:
        tell(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager]] = {
    "autocast to bfloat16": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "autocast to float16": partial(torch.autocast, "cpu", dtype=torch.float16),
    "float64 by default": partial(told, torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16 by default": partial(told, torch.set_default_dtype, torch.bfloat16, torch.float32),
    "another device by default": partial(told, torch.set_default_device, "meta", None),
    "fast products": partial(told, torch.set_float32_matmul_precision, "medium", "highest"),
    "no oneDNN": partial(told, partial(setattr, torch.backends.mkldnn, "enabled"), False, True),
    "no flash attention": partial(told, torch.backends.cuda.enable_flash_sdp, False, True),
}


def work(tokenizer: Tokenizer) -> list[np.ndarray]:
    """Everything that comes out, of sounds that are resampled in both ways, or of a picture."""
    generator = np.random.default_rng(0)
    if tokenizer.spec.modality == "image":
        codes = tokenizer.encode_batch([Image.fromarray(generator.integers(0, 256, (90, 70, 3), dtype=np.uint8))])
        return [codes[0].values, np.asarray(tokenizer.decode(codes[0])), tokenizer.embed(codes)]
    rates = (tokenizer.spec.sample_rate, 44_100, 11_003)
    sounds = [Audio(generator.normal(0, 0.1, (1, 20_000 + rate)).astype(np.float32), rate) for rate in rates]
    codes = tokenizer.encode_batch(sounds)
    stream = tokenizer.decoder_stream()
    pieces = [stream.push(codes[0].values[:, :5]), stream.push(codes[0].values[:, 5:]), stream.finish()]
    waves = [sound.wave for sound in (*tokenizer.decode_batch(codes), *pieces)]
    return [*(item.values for item in codes), *waves, tokenizer.latents(sounds[1])]


@pytest.fixture(scope="module", params=["speech-mini", "music-mini", "seed-mini"])
def usual(request) -> tuple[Tokenizer, list[np.ndarray]]:
    tokenizer = anytok.load_tokenizer(request.param)
    return tokenizer, work(tokenizer)


def globals_of_torch() -> tuple:
    return (
        torch.get_default_dtype(), torch.get_default_device(), torch.is_autocast_enabled("cpu"),
        torch.backends.mkldnn.enabled, torch.backends.cuda.flash_sdp_enabled(),
    )  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_the_caller_changes_what_comes_out(usual, setting):
    """Of a tokenizer loaded before, and of one loaded meanwhile."""
    tokenizer, wanted = usual
    with SETTINGS[setting]():
        state = globals_of_torch()
        made = work(tokenizer)
        loaded = anytok.load_tokenizer(tokenizer.spec.name)
        others = work(loaded)
        assert state == globals_of_torch()
    assert loaded.spec == tokenizer.spec and len(np.unique(wanted[0])) > 10
    assert all(map(np.array_equal, made, wanted)) and all(map(np.array_equal, others, wanted))


def precisions() -> tuple:
    backends = torch.backends
    return (
        backends.cudnn.conv.fp32_precision, backends.cudnn.rnn.fp32_precision, backends.cuda.matmul.fp32_precision,
        backends.mkldnn.conv.fp32_precision, backends.mkldnn.rnn.fp32_precision, backends.mkldnn.matmul.fp32_precision,
        torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32, backends.cudnn.deterministic,
    )  # fmt: skip


def test_float32_means_all_of_float32_on_every_device():
    with SETTINGS["fast products"]():
        before = precisions()
        with full_float32():
            assert precisions() == (*["ieee"] * 6, "medium", False, True)
        assert precisions() == before and before[5] == "bf16"


def test_float32_is_all_of_float32_until_the_last_thread_is_done():
    before, together, first_is_out, found = precisions(), Barrier(2), Barrier(2), []

    def first() -> None:
        with full_float32():
            together.wait(10)
        first_is_out.wait(10)

    def second() -> None:
        with full_float32():
            together.wait(10)
            first_is_out.wait(10)
            found.append(precisions()[:6])

    threads = [Thread(target=first), Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [("ieee",) * 6] and precisions() == before


def test_settings_come_back_after_an_error():
    before = precisions()
    with pytest.raises(ZeroDivisionError), full_float32(), skeleton():
        raise ZeroDivisionError
    assert precisions() == before and torch.zeros(1).dtype == torch.float32 and torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize("setting", ["float64 by default", "bfloat16 by default", "another device by default"])
def test_noise_and_pixels_are_the_same_in_every_type(setting):
    generator = torch.Generator("cpu")
    vectors_knd = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
    levels_bhwc, steps_b = torch.arange(192, dtype=torch.uint8).view(1, 8, 8, 3), torch.tensor([0, 999])

    def made() -> list[torch.Tensor]:
        noise = [draw([generator.manual_seed(7)], (3, 4)), _project(vectors_knd, 5, seed=0), _normal(3, 4, seed=0)]
        return [*noise, waves(steps_b, 8), normalize(levels_bhwc)]

    wanted = made()
    with SETTINGS[setting]():
        found = made()
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", ["functional", "transform"])
def test_sound_that_is_only_prepared_is_the_same_too(setting, method):
    spec = anytok.Spec("a", "music", 4, 16, frame_rate=50, sample_rate=32000, preprocessing=f"mean-after:{method}")
    sounds = [
        Audio(np.random.default_rng(rate).normal(0, 0.1, (2, 50_000)).astype(np.float32), rate)
        for rate in (44_100, 11_003)
    ]
    wanted = [prepare(sound, spec).wave for sound in sounds]
    with SETTINGS[setting]():
        found = [prepare(sound, spec).wave for sound in sounds]
    assert all(map(np.array_equal, found, wanted))


def test_settings_that_cannot_be_made_leave_the_others_as_they_were(monkeypatch):
    def refuse(_):
        raise RuntimeError("frozen")

    before = (globals_of_torch(), precisions())
    with monkeypatch.context() as patches:
        patches.setattr(torch.backends.cuda, "enable_flash_sdp", refuse)
        with pytest.raises(RuntimeError, match="frozen"), full_float32():
            pass
    assert before == (globals_of_torch(), precisions())
    with full_float32():
        assert precisions()[0] == "ieee"
    assert before == (globals_of_torch(), precisions())


def on_gpus() -> tuple:
    backends = torch.backends
    return tuple(one.fp32_precision for one in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul))


def test_tf32_is_for_gpus_alone():
    before = precisions()
    with products("tf32"):
        assert on_gpus() == ("tf32",) * 3
        assert {getattr(torch.backends.mkldnn, kind).fp32_precision for kind in ("conv", "rnn", "matmul")} == {"ieee"}
    assert precisions() == before


def test_within_one_another_the_inner_holds():
    before = precisions()
    with products("tf32"):
        with full_float32(), full_float32():
            assert on_gpus() == ("ieee",) * 3
        assert on_gpus() == ("tf32",) * 3
    assert precisions() == before


def test_an_inner_setting_that_is_refused_leaves_the_outer(monkeypatch):
    def refuse(precision, before, real=settings._set):
        if precision == "tf32":
            raise RuntimeError("frozen")
        real(precision, before)

    before = precisions()
    with full_float32():
        with monkeypatch.context() as patches:
            patches.setattr(settings, "_set", refuse)
            with pytest.raises(RuntimeError, match="frozen"), products("tf32"):
                pass
        assert on_gpus() == ("ieee",) * 3
    assert precisions() == before
    with products("tf32"):
        assert on_gpus() == ("tf32",) * 3
    assert precisions() == before


def test_no_thread_works_with_the_precision_of_another():
    """Eight threads, each of which needs both, by turns and within one another."""
    before, wrong = precisions(), []

    def work(number: int) -> None:
        for turn in range(50):
            outer, inner = ("ieee", "tf32") if (number + turn) % 2 else ("tf32", "ieee")
            with products(outer):
                wrong.extend([] if on_gpus() == (outer,) * 3 else [outer])
                with products(inner):
                    wrong.extend([] if on_gpus() == (inner,) * 3 else [inner])
                wrong.extend([] if on_gpus() == (outer,) * 3 else [outer])

    threads = [Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads) and precisions() == before
