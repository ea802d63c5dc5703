"""`prepare`: exactly what the published pipelines feed their models."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacks.pictures import encoded as encoded_picture
from attacks.pictures import photo
from attacks.sounds import encoded, tone
from PIL import Image

from anytok import Audio, MediaError, Spec, UsageError
from anytok.media import prepare, prepare_each
from anytok.media.audio import load_audio
from anytok.media.image import load_image
from anytok.media.resample import resample

IMAGE = Spec("picture", "image", 1, 8, num_frames=32, image_size=224, preprocessing="bicubic")


def _sound(preprocessing: str, rate: int = 16000, channels: int = 1) -> Spec:
    return Spec("sound", "music", 1, 8, None, 50, rate, channels, preprocessing=preprocessing)


SOUNDS = [
    _sound("first:functional"),
    _sound("mean-after:transform", 32000),
    _sound("mean-before:transform", 24000),
    _sound("stereo:transform", 48000, 2),
    _sound("first:soxr"),
]


@pytest.mark.parametrize("size", [(640, 480), (100, 333), (224, 224), (1, 1), (1, 500), (3000, 2)])
@pytest.mark.parametrize(
    ("name", "pillows"), [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)]
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_pictures_are_squashed_by_pillow(size: tuple[int, int], name: str, pillows: int, form: str) -> None:
    data = encoded_picture(photo(*size).convert("L" if size == (1, 1) else "RGB"), form)
    spec = Spec("picture", "image", 1, 8, num_frames=32, image_size=224, preprocessing=name)
    import io

    expected = Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224), pillows)
    assert np.array_equal(np.asarray(prepare(data, spec)), np.asarray(expected))


def test_the_two_filters_differ() -> None:
    other = Spec("picture", "image", 1, 8, num_frames=32, image_size=224, preprocessing="bilinear")
    assert not np.array_equal(np.asarray(prepare(photo(), IMAGE)), np.asarray(prepare(photo(), other)))


WAVE = tone(44100, 2, 44100) * np.array([[1], [0.5]], np.float32)


def _expected(mix: str, method: str, rate: int) -> np.ndarray:
    """The recipes, spelled out in the originals' order."""
    if mix == "first":
        return resample(WAVE[:1], 44100, rate, method)
    if mix == "mean-after":
        return torch.from_numpy(resample(WAVE, 44100, rate, method)).mean(dim=0, keepdim=True).numpy()
    if mix == "mean-before":
        return resample(torch.from_numpy(WAVE).mean(0, keepdim=True).numpy(), 44100, rate, method)
    return resample(WAVE, 44100, rate, method)


@pytest.mark.parametrize("spec", SOUNDS, ids=lambda spec: spec.preprocessing)
def test_mixes(spec: Spec) -> None:
    prepared = prepare(Audio(WAVE, 44100), spec)
    assert isinstance(prepared, Audio)
    assert (prepared.sample_rate, prepared.channels) == (spec.sample_rate, spec.channels)
    mix, _, method = spec.preprocessing.partition(":")
    assert np.array_equal(prepared.wave, _expected(mix, method, prepared.sample_rate))


def test_the_order_of_mixing_and_resampling_matters() -> None:
    before, after = (prepare(Audio(WAVE, 44100), _sound(f"mean-{when}:transform")) for when in ("before", "after"))
    assert isinstance(before, Audio) and isinstance(after, Audio)
    assert 0 < np.abs(before.wave - after.wave).max() < 1e-6


def test_the_option_is_named_where_the_only_channel_that_is_taken_is_silent() -> None:
    source = Audio(np.concatenate([np.zeros((1, 16000), np.float32), tone()]), 16000)
    with pytest.warns(UserWarning, match='channels="mean"'):
        silent = prepare(source, _sound("first:functional"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = prepare(source, _sound("mean-before:functional"))
    assert isinstance(silent, Audio) and isinstance(mixed, Audio)
    assert not silent.wave.any() and np.array_equal(mixed.wave, tone() / 2)


def test_stereo() -> None:
    spec = _sound("stereo:transform", 48000, 2)
    mono = prepare(Audio(WAVE[:1], 48000), spec)
    assert isinstance(mono, Audio) and np.array_equal(mono.wave, np.concatenate([WAVE[:1], WAVE[:1]]))
    with pytest.raises(MediaError, match="3 channels: this model takes 1 or 2"):
        prepare(Audio(tone(100, 3), 48000), spec)


@pytest.mark.parametrize("spec", [IMAGE, *SOUNDS], ids=lambda spec: spec.preprocessing)
def test_prepared_stays_as_it_is(spec: Spec) -> None:
    once = prepare(photo() if spec.modality == "image" else Audio(WAVE, 44100), spec)
    assert prepare(once, spec) == once
    assert once == prepare(photo() if spec.modality == "image" else Audio(WAVE, 44100), spec)


@pytest.mark.parametrize("spec", SOUNDS, ids=lambda spec: spec.preprocessing)
@pytest.mark.parametrize("rate", [4000, 11025, 44101, 384_000])
@pytest.mark.parametrize("num_samples", [1, 2, 5000])
def test_odd_rates_and_lengths(spec: Spec, rate: int, num_samples: int) -> None:
    prepared = prepare(Audio(tone(num_samples), rate), spec)
    assert isinstance(prepared, Audio) and spec.sample_rate is not None
    assert prepared.num_samples == -(-num_samples * spec.sample_rate // rate)
    assert np.isfinite(prepared.wave).all()


def test_does_not_change_its_input() -> None:
    wave, image = WAVE.copy(), photo()
    for spec in SOUNDS:
        prepare(Audio(wave, 44100), spec)
    prepare(image, IMAGE)
    assert np.array_equal(wave, WAVE) and image == photo()


def test_sum_beyond_float32_is_refused() -> None:
    loud = np.full((2, 100), 3e38, np.float32)
    with pytest.raises(MediaError, match="too_loud"):
        prepare(Audio(loud, 24000), _sound("mean-before:transform", 24000))


def test_wrong_kind_of_media(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded("WAV", "PCM_16"))
    (tmp_path / "a.png").write_bytes(encoded_picture(photo(), "PNG"))
    for source in (tmp_path / "a.wav", Audio(WAVE, 44100)):
        with pytest.raises(MediaError, match="sound"):
            prepare(source, IMAGE)
    for source in (tmp_path / "a.png", photo(), np.asarray(photo())):
        with pytest.raises(MediaError):
            prepare(source, SOUNDS[0])


def test_the_first_bad_item_is_named(tmp_path: Path) -> None:
    good, bad = Audio(WAVE, 44100), tmp_path / "bad.wav"
    bad.write_bytes(b"not sound")
    assert list(prepare_each([good, good], SOUNDS[0])) == [prepare(good, SOUNDS[0])] * 2
    assert list(prepare_each([], SOUNDS[0])) == []
    with pytest.raises(MediaError) as caught:
        list(prepare_each([good, good, b"not sound"], SOUNDS[0]))
    assert caught.value.key == "item 2" and str(caught.value).startswith("item 2: ")
    with pytest.raises(MediaError) as caught:
        list(prepare_each([good, bad], SOUNDS[0]))
    assert caught.value.key == str(bad)
    many = tmp_path / "many.wav"
    many.write_bytes(encoded("WAV", "PCM_16", tone(100, 3)))
    with pytest.raises(MediaError) as caught:
        prepare(many, _sound("stereo:transform", 48000, 2))
    assert caught.value.key == str(many)


def test_items_are_prepared_when_they_are_asked_for() -> None:
    """A picture may be there many times; whoever stops early leaves no threads behind."""
    before, once = threading.active_count(), prepare(photo(), IMAGE)
    picture, palette = photo(), photo().quantize(16)
    prepared = prepare_each([picture, palette] * 4 + [picture, b"not a picture", picture], IMAGE)
    assert [next(prepared) for _ in range(9)] == [once, prepare(palette, IMAGE)] * 4 + [once]
    assert threading.active_count() > before
    with pytest.raises(MediaError) as caught:
        next(prepared)
    assert caught.value.key == "item 9"
    abandoned = prepare_each([picture] * 90, IMAGE)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before


def test_the_next_pictures_are_prepared_while_one_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[prepare.__module__]
    real, begun, all_begun = load_image, list[bytes](), threading.Event()

    def watched(source: bytes, **options: Any) -> Image.Image:
        begun.append(source)
        if len(begun) == module._AHEAD:
            all_begun.set()
        return real(source, **options)

    monkeypatch.setattr(module, "load_image", watched)
    prepared = prepare_each([encoded_picture(photo(), "PNG")] * (3 * module._AHEAD), IMAGE)
    next(prepared)
    assert all_begun.wait(10) and len(begun) == module._AHEAD  # and no more: they wait in memory
    prepared.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("preprocessing", ["", "nearest", "bicubic:transform"])
def test_unknown_recipe_of_pictures(preprocessing: str) -> None:
    spec = Spec("picture", "image", 1, 8, num_frames=32, image_size=224, preprocessing=preprocessing)
    with pytest.raises(UsageError, match="bicubic, bilinear"):
        prepare(photo(), spec)


@pytest.mark.parametrize("preprocessing", ["", "first", "first:linear", "last:functional"])
def test_unknown_recipe_of_sounds(preprocessing: str) -> None:
    with pytest.raises(UsageError, match="known"):
        prepare(Audio(WAVE, 44100), _sound(preprocessing))


def test_threads_and_pickles() -> None:
    run = pickle.loads(pickle.dumps(partial(prepare, spec=SOUNDS[1])))
    sources = [Audio(WAVE * np.float32(1 / i), 44100) for i in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, sources)) == [prepare(source, SOUNDS[1]) for source in sources]
    assert load_audio(pickle.loads(pickle.dumps(sources[0]))) == sources[0]


def test_imports_are_lazy() -> None:
    code = (
        "import sys, anytok.media, anytok.media.image, anytok.media.decode_audio, anytok.media.resample\n"
        "print([name for name in ('torch', 'PIL', 'soundfile', 'av', 'soxr', 'pillow_heif') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
