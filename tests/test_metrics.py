"""Metrics against cases whose answers are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anytok import Codes
from anytok.errors import MediaError, UsageError
from anytok.metrics import audio, codes, image
from anytok.spec import Spec

RATE = 16000


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE))


def speech_like() -> np.ndarray:
    """Noise whose loudness changes four times a second, as that of speech does."""
    return noise(3) * (1 + np.sin(2 * np.pi * 4 * np.arange(3 * RATE) / RATE)) ** 2


def test_log_mel_distance_of_equal_waves_is_zero_and_of_a_gain_its_logarithm() -> None:
    wave = noise()
    assert audio.log_mel_distance(wave, wave, RATE) == 0
    assert audio.log_mel_distance(0.5 * wave, wave, RATE) == pytest.approx(np.log(2), rel=1e-3)


def test_log_mel_sees_every_band() -> None:
    """A sine anywhere from 60 Hz to near the limit lifts the spectrum well above silence."""
    time = np.arange(RATE) / RATE
    for frequency in (60, 137, 500, 1999, 7600):
        assert audio.log_mel_distance(0.3 * np.sin(2 * np.pi * frequency * time), np.zeros(RATE), RATE) > 0.05


def test_spectrum_distance_leaves_loudness_length_and_order_out() -> None:
    wave = noise(3)
    high = np.diff(noise(3, seed=1))  # 6 dB more an octave higher
    assert audio.spectrum_distance(wave, 0.01 * wave, RATE) == pytest.approx(0, abs=1e-6)
    assert audio.spectrum_distance(wave, wave[::-1][:RATE], RATE) < 1
    assert audio.spectrum_distance(wave, np.append(wave, np.zeros(len(wave))), RATE) < 0.5, "a pause counts"
    assert audio.spectrum_distance(wave, high, RATE) == audio.spectrum_distance(high, wave, RATE) > 4
    with pytest.raises(MediaError, match="silen"):
        audio.spectrum_distance(wave, np.zeros(RATE), RATE)


def test_si_sdr_ignores_gain_and_measures_noise_in_decibels() -> None:
    wave, other = noise(seed=1), noise(seed=2)
    other -= (other @ wave) / (wave @ wave) * wave  # orthogonal, so the ratio is exact
    other *= np.linalg.norm(wave) / np.linalg.norm(other) / 10
    assert audio.si_sdr(wave + other, wave) == pytest.approx(20, abs=0.1)
    assert audio.si_sdr(3 * (wave + other), wave) == pytest.approx(audio.si_sdr(wave + other, wave), abs=1e-6)


def test_stoi_is_one_for_itself_and_low_for_something_else() -> None:
    wave = speech_like()
    assert audio.stoi(wave, wave, RATE) == pytest.approx(1, abs=1e-6)
    assert audio.stoi(noise(3, seed=5), wave, RATE) < 0.5


def test_si_sdr_is_the_same_at_any_loudness() -> None:
    wave, other = noise(seed=1), noise(seed=2) / 10
    wanted = audio.si_sdr(wave + other, wave)
    for gain in (1e-6, 1e-8, 1e-200, 1e200):
        assert audio.si_sdr(gain * (wave + other), gain * wave) == pytest.approx(wanted, abs=1e-6)
        assert audio.si_sdr(gain * (wave + other), wave) == pytest.approx(wanted, abs=1e-6)
        assert audio.si_sdr(gain * wave, gain * wave) == float("inf")


def test_si_sdr_of_silence_is_the_worst_and_against_silence_none() -> None:
    for silence in (np.zeros(RATE), np.full(RATE, 0.1)):
        assert audio.si_sdr(silence, noise()) == -float("inf")
        for made in (noise(), silence):
            with pytest.raises(MediaError, match="silence"):
                audio.si_sdr(made, silence)


def test_si_sdr_takes_three_samples() -> None:
    """Of two, whatever they are, one wave would be a multiple of the other, and the ratio infinite."""
    assert np.isfinite(audio.si_sdr(np.array([0.1, 0.2, 0.4]), np.array([0.3, -0.4, 0.2])))
    with pytest.raises(MediaError, match="at least 3"):
        audio.si_sdr(np.array([0.1, 0.2]), np.array([0.3, -0.4]))


@pytest.mark.parametrize(
    "metric",
    [audio.si_sdr, lambda a, b: audio.log_mel_distance(a, b, RATE), lambda a, b: audio.stoi(a, b, RATE)],
)
def test_waves_that_are_not_finite_are_refused(metric) -> None:  # type: ignore[no-untyped-def]
    broken = noise()
    broken[3:5] = np.nan, np.inf
    for pair, whose in (((broken, noise()), "made"), ((noise(), broken), "original")):
        with pytest.raises(MediaError, match=f"{whose} wave has 2 samples"):
            metric(*pair)


@pytest.mark.parametrize("rate", [10000, 16000, 24000])
def test_stoi_judges_what_is_long_enough_and_refuses_the_rest(rate: int) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, rate)
    least = int(0.4096 * rate) + 1
    assert audio.stoi(wave[:least], wave[:least], rate) == pytest.approx(1, abs=1e-6)
    pause = np.concatenate([wave[: least // 2], np.zeros(rate)])
    for short in (wave[: least - 1], wave[:200], wave[:1], pause):
        with pytest.raises(MediaError, match="leave this recording out") as caught:
            audio.stoi(short, short, rate)
        assert caught.value.kind == ("silent" if len(short) == 1 else "too_short")
    for silent in (0 * wave, wave[:0]):
        with pytest.raises(MediaError, match="silence"):
            audio.stoi(silent, silent, rate)


@pytest.mark.parametrize("metric", [audio.si_sdr, lambda a, b: audio.log_mel_distance(a, b, RATE)])
def test_waves_of_different_lengths_are_refused(metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="one length"):
        metric(np.zeros(100), np.zeros(101))


def test_psnr_of_one_level_everywhere() -> None:
    flat = np.full((8, 8, 3), 100, np.uint8)
    assert image.psnr(flat + np.uint8(1), flat) == pytest.approx(20 * np.log10(255))
    assert image.psnr(flat, flat) == float("inf")


def test_psnr_of_levels_from_0_to_1_is_refused() -> None:
    black, white = np.zeros((8, 8, 3)), np.ones((8, 8, 3))
    with pytest.raises(UsageError, match="expected uint8"):
        image.psnr(black, white)
    with pytest.raises(UsageError, match="expected uint8"):
        image.psnr(black.astype(np.uint8), white)


def test_lab_of_colours_with_published_values() -> None:
    """sRGB primaries in Lab, D65 (Lindbloom's tables, to the second digit)."""
    rgb = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    wanted = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    assert image.lab(np.array(rgb)) == pytest.approx(np.array(wanted), abs=0.05)


def test_blurred_pictures_are_retrieved_and_shuffled_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    originals = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((60, 60)) for _ in range(10)]
    blurred = [picture.resize((10, 10)).resize((33, 77)) for picture in originals]
    assert image.retrieved(blurred, originals).tolist() == list(range(10))
    assert image.retrieved(blurred[::-1], originals).tolist() == list(range(10))[::-1]


def test_a_copy_is_as_good_as_its_original() -> None:
    black, white = (Image.new("RGB", (20, 20), colour) for colour in ("black", "white"))
    assert image.retrieved([black, white, black], [black, white, black]).tolist() == [0, 1, 2]
    assert image.retrieved([white, black, white, black], [black, white, black]).tolist() == [1, 0, 1, 0]
    assert image.retrieved([], [black]).tolist() == []


SPEC = Spec("toy", "speech", 2, 4, frame_rate=50, sample_rate=16000)


def test_usage_and_perplexity_of_even_and_of_idle_codes() -> None:
    items = [Codes(np.array([[0, 1, 2, 3], [1, 1, 1, 1]]), SPEC)] * 2
    assert codes.usage(items).tolist() == [1.0, 0.25]
    assert codes.perplexity(items) == pytest.approx([4.0, 1.0])


def test_agreement_counts_equal_codes_by_layer() -> None:
    ours, theirs = Codes(np.array([[0, 1], [2, 3]]), SPEC), Codes(np.array([[0, 1], [2, 0]]), SPEC)
    assert codes.agreement([ours], [theirs]).tolist() == [1.0, 0.5]
    with pytest.raises(UsageError):
        codes.agreement([ours], [ours, ours])


def test_items_with_different_codebooks_or_none_are_refused() -> None:
    one, both = (Codes(np.zeros((books, 3), int), SPEC) for books in (1, 2))
    larger = Codes(np.zeros((1, 3), int), Spec("toy", "speech", 2, 8, frame_rate=50, sample_rate=16000))
    for items in ([], [one, both], [one, larger]):
        for metric in (codes.counts, codes.usage, codes.perplexity, lambda items: codes.agreement(items, items)):
            with pytest.raises(UsageError, match="expected items of one tokenizer"):
                metric(items)


def test_nothing_is_retrieved_among_nothing() -> None:
    with pytest.raises(UsageError, match="no originals"):
        image.retrieved([], [])


def test_label_accuracy_without_a_known_label_is_refused() -> None:
    known, unknown = np.array([0, 1]), np.array([-1, -1])
    for labels, held in ((unknown, known), (known, unknown), (known[:0], known)):
        with pytest.raises(UsageError, match="at least one of each"):
            codes.label_accuracy(np.zeros(len(labels), int), labels, np.zeros(2, int), held, 4)


def test_label_accuracy_takes_a_label_for_each_code_and_codes_of_the_codebook() -> None:
    two = np.array([0, 1])
    for pair, held in (((two, two[:1]), (two, two)), ((two, two), (two[:1], two))):
        with pytest.raises(UsageError, match="a label for each code"):
            codes.label_accuracy(*pair, *held, 4)
    for strange in (np.array([0, 4]), np.array([0, -1])):
        for pair, held in (((strange, two), (two, two)), ((two, two), (strange, two))):
            with pytest.raises(UsageError, match="0 to 3"):
                codes.label_accuracy(*pair, *held, 4)


def test_label_accuracy_is_learned_on_one_half_and_scored_on_the_other() -> None:
    train, labels = np.array([0, 0, 0, 1, 1, 3]), np.array([5, 5, 2, 2, 2, -1])
    # code 0 says 5, code 1 says 2, codes never met with a label say 2, the commonest; unknown labels do not count
    accuracy = codes.label_accuracy(train, labels, np.array([0, 1, 2, 3, 0]), np.array([5, 2, 2, 5, -1]), 4)
    assert accuracy == 0.75
