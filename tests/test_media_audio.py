"""Audio, and what `load_audio` makes of files."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from attacks.sounds import SOUNDS, encoded, muxed, swelling_mp3, tone, wav

from anytok import Audio, MediaError
from anytok.errors import MissingExtraError
from anytok.media.audio import load_audio
from anytok.media.limits import Limits


def test_audio() -> None:
    audio = Audio(tone(8000, 2), 16000)
    assert (audio.channels, audio.num_samples, audio.duration) == (2, 8000, 0.5)
    assert repr(audio) == "Audio(2 x 8000 samples at 16000 Hz)"
    assert audio == Audio(audio.wave.copy(), 16000)
    assert audio != Audio(audio.wave, 8000) and audio != Audio(-audio.wave, 16000) and audio != "audio"


def test_audio_takes_arrays_of_floats() -> None:
    tensors = (torch.zeros(1, 5), torch.zeros(1, 5, requires_grad=True), torch.zeros(5, dtype=torch.bfloat16))
    for wave in (np.zeros(5), np.zeros((1, 5), np.float16), *tensors, [0.0] * 5):
        audio = Audio(wave, np.int64(16000))  # type: ignore[arg-type]
        assert audio.wave.dtype == np.float32 and audio.wave.shape == (1, 5) and type(audio.sample_rate) is int


def test_audio_of_a_read_only_array_suits_torch() -> None:
    wave = np.frombuffer(tone(10).tobytes(), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(Audio(wave, 16000).wave)


@pytest.mark.parametrize(
    ("wave", "rate", "kind", "says"),
    [
        (np.zeros(5, np.int16), 16000, "sample_type", "wave / 32768"),
        (np.zeros(5, complex), 16000, "sample_type", "complex128"),
        (np.array(["a"]), 16000, "sample_type", "floats"),
        (np.zeros((2, 3, 4)), 16000, "shape", r"\[channels, samples\]"),
        (np.zeros((0, 4)), 16000, "shape", r"\[0, 4\]"),
        (np.zeros(()), 16000, "shape", "expected"),
        (np.zeros((48000, 2)), 16000, "shape", "wave.T"),
        (np.zeros(5), 0, "sample_rate", "Hz"),
        (np.zeros(5), 44100.0, "sample_rate", "whole"),
        (np.zeros(5), True, "sample_rate", "whole"),
        (np.zeros(5), "16000", "sample_rate", "whole"),
    ],
)
def test_audio_refuses(wave: np.ndarray, rate: int, kind: str, says: str) -> None:
    with pytest.raises(MediaError, match=says) as caught:
        Audio(wave, rate)
    assert caught.value.kind == kind


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_saved_sound_comes_back(suffix: str, tmp_path: Path) -> None:
    steps = np.arange(-32768, 32768, dtype=np.float32)[None] / 32768  # every value of 16 bits
    Audio(steps, 44100).save(tmp_path / f"a{suffix}")
    assert load_audio(tmp_path / f"a{suffix}") == Audio(steps, 44100)


def test_save_cuts_off_what_is_too_loud(tmp_path: Path) -> None:
    Audio(np.array([[0.5, 1.7, -9.0]]), 16000).save(tmp_path / "a.wav")
    assert load_audio(tmp_path / "a.wav").wave.tolist() == [[0.5, 32767 / 32768, -1.0]]
    Audio(np.array([[0.5, 1.7, -9.0]]), 16000).save(tmp_path / "a.wav", subtype="FLOAT")
    assert load_audio(tmp_path / "a.wav").wave.tolist() == [[0.5, np.float32(1.7), -9.0]]
    Audio(np.array([[1.7, -9.0]]), 16000).save(tmp_path / "a.flac", subtype="PCM_24")
    assert np.abs(load_audio(tmp_path / "a.flac").wave - [[1, -1]]).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "wave", "subtype", "kind"),
    [
        ("a.mp3", np.zeros(5), "PCM_16", "suffix"),
        ("a", np.zeros(5), "PCM_16", "suffix"),
        ("no/a.wav", np.zeros(5), "PCM_16", "unwritable"),
        ("a.flac", np.zeros(5), "FLOAT", "subtype"),
        ("a.wav", np.zeros(0), "PCM_16", "empty"),
        ("a.wav", np.array([0, np.nan]), "PCM_16", "not_finite"),
    ],
)
def test_save_refuses(name: str, wave: np.ndarray, subtype: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        Audio(wave, 16000).save(tmp_path / name, subtype)
    assert caught.value.kind == kind and caught.value.key == str(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("form", "subtype", "step"),
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "PCM_32", 2**-23),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("RF64", "PCM_16", 2**-15),
        ("AIFF", "PCM_16", 2**-15),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-23),
    ],
)
def test_lossless_formats(form: str, subtype: str, step: float) -> None:
    wave = tone(5000, 2)
    audio = load_audio(encoded(form, subtype, wave, 22050))
    assert audio.sample_rate == 22050 and audio.wave.shape == (2, 5000)
    assert np.abs(audio.wave - wave).max() <= step


@pytest.mark.parametrize(
    ("data", "num_samples", "rate"),
    [
        (encoded("OGG", "VORBIS"), 16000, 16000),
        (encoded("OGG", "OPUS"), 16000, 16000),
        (encoded("MP3", "MPEG_LAYER_III"), 16000, 16000),
        (muxed("ipod", "aac"), 17408, 16000),
        (muxed("webm", "libopus"), 48000, 48000),
        (muxed("mov", "alac"), 16000, 16000),
        (muxed("flac", "flac", pipe=True), 16000, 16000),
    ],
    ids=["vorbis", "opus", "mp3", "m4a", "webm", "alac", "flac-from-a-pipe"],
)
def test_lossy_and_boxed_formats(data: bytes, num_samples: int, rate: int) -> None:
    """The decoder, and so the number of samples, is part of what codes mean: a change must be noticed."""
    audio = load_audio(data)
    assert (audio.num_samples, audio.sample_rate) == (num_samples, rate)
    spectrum = np.abs(np.fft.rfft(audio.wave[0]))
    assert abs(spectrum.argmax() * rate / num_samples - 440) < 2  # the tone is there, at its pitch …
    assert 0.1 < np.abs(audio.wave).max() < 1  # … and its loudness


@pytest.mark.parametrize("kind", ["u8", "s16", "s32", "flt", "dbl"])
def test_ffmpeg_samples_have_libsndfiles_scale(kind: str) -> None:
    codec = {"u8": "pcm_u8", "s16": "pcm_s16le", "s32": "pcm_s32le", "flt": "pcm_f32le", "dbl": "pcm_f64le"}[kind]
    boxed, plain = load_audio(muxed("matroska", codec)), load_audio(muxed("wav", codec))
    assert np.array_equal(boxed.wave, plain.wave)


def test_mp3_is_read_to_its_end() -> None:
    """libsndfile stops where it guesses the end to be: of ten seconds it read three, without a word."""
    whole = load_audio(swelling_mp3())
    assert whole.num_samples == 480_000
    blind = load_audio(swelling_mp3().replace(b"Xing", bytes(4)))
    assert 480_000 <= blind.num_samples <= 480_000 + 3 * 1152
    first = swelling_mp3()
    headless = load_audio(first[first.index(first[:2], 4) :])  # here it guesses too long
    assert abs(headless.num_samples - 480_000) <= 3 * 1152
    half = encoded("MP3", "MPEG_LAYER_III")
    assert 32_000 <= load_audio(half * 2).num_samples <= 32_000 + 3 * 1152


@pytest.mark.parametrize(
    "name",
    [
        "WAV with IMA ADPCM",
        "WAV with ADPCM behind PCM",
        "WAV with its samples in front",
        "AIFC with ADPCM",
        "MAT4, which libsndfile would open",
        "a list of other files",
        "WAV, cut",
        "Ogg, cut",
    ],
)
def test_dangerous_files_reach_no_decoder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = {"WAV, cut": lambda: encoded("WAV", "PCM_16")[:-1], "Ogg, cut": lambda: encoded("OGG", "OPUS")[:-1]}
    data = cut[name]() if name in cut else SOUNDS[name][0]()
    opened: list[object] = []
    monkeypatch.setattr(soundfile, "SoundFile", lambda *given, **more: opened.append(given))
    monkeypatch.setattr("av.open", lambda *given, **more: opened.append(given))
    with pytest.raises(MediaError):
        load_audio(data)
    assert not opened


def test_sources_are_equal(tmp_path: Path) -> None:
    data = encoded("FLAC", "PCM_16")
    (tmp_path / "a.wav").write_bytes(data)  # the suffix lies
    expected = load_audio(data)
    assert load_audio(tmp_path / "a.wav") == load_audio(str(tmp_path / "a.wav")) == expected
    assert load_audio(io.BytesIO(data)) == load_audio(bytearray(data)) == load_audio(expected) == expected
    with open(tmp_path / "a.wav", "rb") as file:
        assert load_audio(file) == expected


def test_samples_are_those_of_the_file(tmp_path: Path) -> None:
    """Longer than a block, three channels: libsndfile's own reader, in one go, is the oracle."""
    soundfile.write(tmp_path / "a.wav", tone(300_001, 3).T, 48000, "PCM_24")
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert np.array_equal(load_audio(tmp_path / "a.wav").wave, expected.T)


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        (np.zeros(100, np.float32), "no_rate", r"anytok\.Audio\(wave, sample_rate\)"),
        (torch.zeros(100), "no_rate", r"anytok\.Audio"),
        (None, "wrong_type", "NoneType"),
        (5, "wrong_type", "int"),
        (io.StringIO("text"), "wrong_type", "'rb'"),
        (Audio(np.zeros((1, 0)), 16000), "empty", "at least 1"),
        (Audio(np.array([0, np.inf]), 16000), "not_finite", "sample 1 of channel 0"),
        ("https://example.org/a.wav", "missing", "no such file"),
    ],
)
def test_refuses_sources(source: object, kind: str, says: str) -> None:
    with pytest.raises(MediaError, match=says) as caught:
        load_audio(source)
    assert caught.value.kind == kind


def test_file_object_that_fails() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise RuntimeError("the line is dead")

    with pytest.raises(MediaError, match="the line is dead"):
        load_audio(Broken())


@pytest.mark.parametrize(
    ("limits", "data"),
    [
        (Limits(max_audio_bytes=1000), wav()),
        (Limits(max_seconds=0), wav()),
        (Limits(max_channels=1), encoded("WAV", "PCM_16", tone(10, 2))),
        (Limits(min_sample_rate=16001), wav()),
        (Limits(max_sample_rate=15999), wav()),
        (Limits(max_wave_bytes=3999), wav()),
    ],
    ids=["max_audio_bytes", "max_seconds", "max_channels", "min_sample_rate", "max_sample_rate", "max_wave_bytes"],
)
def test_limits(limits: Limits, data: bytes, request: pytest.FixtureRequest) -> None:
    """One beyond the limit is refused, naming it; at the limit all is well."""
    with pytest.raises(MediaError, match=request.node.callspec.id):
        load_audio(data, limits=limits)
    at_limit = Limits(
        max_audio_bytes=2044,
        max_seconds=1,
        max_channels=2,
        min_sample_rate=16000,
        max_sample_rate=16000,
        max_wave_bytes=4000,
    )
    load_audio(data, limits=at_limit)


def test_limits_hold_for_audio_in_memory() -> None:
    load_audio(Audio(tone(32000), 16000), limits=Limits(max_seconds=2))
    with pytest.raises(MediaError, match="max_seconds"):
        load_audio(Audio(tone(32001), 16000), limits=Limits(max_seconds=2))


@pytest.mark.parametrize("data", [muxed("flac", "flac", pipe=True), muxed("adts", "aac")], ids=["flac", "aac"])
def test_limits_hold_where_no_header_tells_the_length(data: bytes) -> None:
    with pytest.raises(MediaError, match="max_wave_bytes"):
        load_audio(data, limits=Limits(max_wave_bytes=4 * 10_000))


def test_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anytok\[media\]'"):
        load_audio(muxed_m4a)


muxed_m4a = muxed("ipod", "aac", seconds=0.1)


def test_what_gives_only_what_has_come_is_read_to_its_end():
    """Pipes, sockets and unbuffered files may give less than they are asked for."""

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1000)

    data = encoded("WAV", "PCM_16", tone(30_000))
    assert load_audio(Pipe(data)) == load_audio(data)
    with pytest.raises(MediaError, match="max_audio_bytes"):
        load_audio(Pipe(data), limits=Limits(max_audio_bytes=len(data) - 1))


def test_paths_out_of_an_array_are_paths(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded("WAV", "PCM_16"))
    [path] = np.array([str(tmp_path / "a.wav")])
    assert load_audio(path) == load_audio(str(path))
