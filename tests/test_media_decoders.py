"""What decoders do with sound when nobody looks: start late, stop early, read tags as sound. Right is the whole file
read at once, the same file without what surrounds it, or the wave that was written."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from attacks.sounds import encoded, muxed, swelling_mp3, tone
from attacks.tags import BEHIND, IN_FRONT, changed, id3, page, pages, shifted

from anytok import Audio, MediaError
from anytok.media.audio import load_audio, warn_if_first_is_silent
from anytok.media.limits import Limits

NO_END = 0xFF - 4  # the flags of Ogg pages, without "end of stream"


def _read(data: bytes) -> np.ndarray:
    """libsndfile from sample 0 to the end in one call, float32 `[channels, samples]`."""
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].T


def _ffmpeg(data: bytes, form: str) -> np.ndarray:
    """FFmpeg, frame by frame, float32 `[channels, samples]`."""
    with av.open(io.BytesIO(data), format=form) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1)


def _refused(data: bytes) -> MediaError:
    with pytest.raises(MediaError) as caught:
        load_audio(data)
    return caught.value


LONG = tone(300_000)  # more than two of our blocks


_LONG_FILES = {
    "Opus": encoded("OGG", "OPUS", LONG),
    "FFmpeg's Opus": muxed("ogg", "libopus", seconds=20),
    "Vorbis": encoded("OGG", "VORBIS", LONG),
    "MP3": encoded("MP3", "MPEG_LAYER_III", LONG),
    "FFmpeg's MP3": muxed("mp3", "libmp3lame", seconds=20),
    "MP3 without a header": muxed("mp3", "libmp3lame", seconds=20, write_xing="0"),
    "MP3 of varying bit rate": swelling_mp3(),
    "FLAC": encoded("FLAC", "PCM_24", LONG),
    "AIFF": encoded("AIFF", "PCM_24", LONG),
    "W64": encoded("W64", "PCM_24", LONG),
}


@pytest.mark.parametrize("name", _LONG_FILES)
def test_blocks_are_read_as_a_whole_file_is(name: str) -> None:
    assert np.array_equal(load_audio(_LONG_FILES[name]).wave, _read(_LONG_FILES[name]))


@pytest.mark.parametrize("codec", ["OPUS", "VORBIS"])
@pytest.mark.parametrize("samples", [1, 5000, 48_000 * 60, 2**40])
def test_ogg_whose_time_does_not_begin_at_zero(codec: str, samples: int) -> None:
    plain = encoded("OGG", codec, LONG)
    moved = shifted(plain, samples)
    assert load_audio(moved) == load_audio(plain)
    assert np.array_equal(load_audio(moved).wave, _read(moved))


@pytest.mark.parametrize("codec", ["OPUS", "VORBIS"])
def test_ogg_whose_first_pages_are_missing(codec: str) -> None:
    whole = pages(encoded("OGG", codec, LONG))
    headers = [one for one in whole if one[6:14] == bytes(8)]
    data = b"".join(headers + whole[len(headers) + 1 :])
    assert len(headers) >= 2 and np.array_equal(load_audio(data).wave, _read(data))


def test_opus_without_an_end_is_what_it_is_with_one() -> None:
    """A cut or streamed recording has no flag at its end, which libsndfile insists on."""
    whole = encoded("OGG", "OPUS", LONG)
    assert load_audio(shifted(whole, 0, flags=NO_END)) == load_audio(whole)
    assert load_audio(shifted(whole, 48_000, flags=NO_END)) == load_audio(whole)
    cut = b"".join(pages(whole)[:-3])
    wave = load_audio(cut).wave
    assert abs(wave.shape[1] - _ffmpeg(cut, "ogg").shape[1] / 3) < 320
    assert 100_000 < wave.shape[1] < 300_000 and np.array_equal(wave, load_audio(whole).wave[:, : wave.shape[1]])


@pytest.mark.parametrize("codec", ["OPUS", "VORBIS"])
def test_ogg_pages_that_are_damaged_or_missing_are_named(codec: str) -> None:
    """libsndfile passes over them and says nothing."""
    whole = encoded("OGG", codec, LONG)
    middle = len(pages(whole)) // 2
    at = len(b"".join(pages(whole)[:middle]))
    gap = b"".join(pages(whole)[:middle] + pages(whole)[middle + 1 :])
    assert f"page {middle - 1} of the Ogg file is followed by page {middle + 1}" in str(_refused(gap))
    damaged = whole[: at + 300] + bytes([whole[at + 300] ^ 1]) + whole[at + 301 :]
    assert f"at byte {at} of the Ogg file has another checksum" in str(_refused(damaged))
    assert f"no page at byte {at}" in str(_refused(whole[:at] + b"lost" + whole[at:]))


THEORA = page(7, 0, 2, 0, b"\x80theora\3\2\1" + bytes(33)), page(7, 1, 0, 0, b"\x81theora" + bytes(20))
SKELETON = page(8, 0, 2, 0, b"fishead\0" + bytes(56)), page(8, 1, 4, 0, b"")


@pytest.mark.parametrize("beside", [THEORA, SKELETON], ids=["pictures", "an index"])
@pytest.mark.parametrize(
    "data", [encoded("OGG", "VORBIS"), encoded("OGG", "OPUS"), muxed("ogg", "flac")], ids=["VORBIS", "OPUS", "FLAC"]
)  # of their own: Ogg's serial numbers are random, and every test process must call a test the same
def test_what_is_beside_the_sound_in_ogg_changes_nothing(data: bytes, beside: tuple[bytes, bytes]) -> None:
    first, *rest = pages(data)
    for before in ((beside[0], first), (first, beside[0])):
        assert load_audio(b"".join([*before, beside[1], *rest])) == load_audio(data)


def test_flac_in_ogg_is_what_was_written() -> None:
    assert np.array_equal(load_audio(muxed("ogg", "flac")).wave, load_audio(muxed("flac", "flac")).wave)


def ogg(codec: str, samples: int, rate: int = 16000, channels: int = 1) -> bytes:
    """FFmpeg writes FLAC in Ogg, libsndfile the others."""
    if codec == "FLAC":
        return muxed("ogg", "flac", seconds=samples / rate, rate=rate)
    return encoded("OGG", codec, tone(samples, channels, rate), rate)


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS", "FLAC"])
def test_recordings_chained_in_ogg_are_read_one_after_another(codec: str) -> None:
    """As icecast records a broadcast; libsndfile stops at the first, FFmpeg reads all, with padding between them."""
    first, second = ogg(codec, 24_000), ogg(codec, 16_000)
    parts = [first, second, first]  # so that a serial number comes twice, too
    found = load_audio(b"".join(parts))
    assert np.array_equal(found.wave, np.concatenate([load_audio(part).wave for part in parts], axis=1))
    if codec != "OPUS":  # which FFmpeg reads at 48 kHz
        assert 0 <= _ffmpeg(b"".join(parts), "ogg").shape[1] - found.num_samples <= 2 * 1024
    assert load_audio(id3(100) + b"".join(parts) + bytes(9000)) == found, "tags around it change nothing"
    if codec == "OPUS":
        assert load_audio(b"".join(shifted(part, 0, flags=NO_END) for part in parts)) == found


@pytest.mark.parametrize("other", [{"rate": 24000}, {"channels": 2}])
def test_recordings_chained_in_ogg_that_do_not_go_together_are_refused(other: dict[str, int]) -> None:
    said = str(_refused(ogg("OPUS", 16_000) + ogg("OPUS", 16_000, **other)))
    assert "several recordings one after another" in said and "of 16000 Hz and 1 channels and of" in said
    assert "split them first" in said


def test_chained_ogg_that_is_damaged_or_too_long_is_named() -> None:
    first, second = ogg("VORBIS", 300_000), pages(ogg("VORBIS", 300_001))
    assert len(second) > 5
    gap = first + b"".join(second[:3] + second[4:])
    assert "is followed by page" in str(_refused(gap))
    assert _refused(first + b"".join(second)[:-1]).kind == "truncated"
    mixed = pages(first)
    assert "goes on with what has ended" in str(_refused(b"".join([*mixed[:-1], *second[:3], mixed[-1]])))
    both = first + b"".join(second)
    with pytest.raises(MediaError, match="up to 30 s are read"):
        load_audio(both, limits=Limits(max_seconds=30))
    assert load_audio(both, limits=Limits(max_seconds=40)).num_samples == 600_001
    assert "no sound of a known codec" in str(_refused(first + b"".join(THEORA)))


def test_codecs_of_ogg_that_no_decoder_reads_are_named() -> None:
    speex = page(1, 0, 2, 0, b"Speex   1.2" + bytes(70)) + page(1, 1, 0, 0, b"x" * 20)
    assert (_refused(speex).kind, "Speex" in str(_refused(speex))) == ("unsupported_codec", True)
    assert _refused(b"".join(THEORA)).kind == "no_sound"


TAGGED = {
    "MP3": muxed("mp3", "libmp3lame", id3v2_version="0"),
    "MP3 without a header": muxed("mp3", "libmp3lame", id3v2_version="0", write_xing="0"),
    "silent MP3, which ends with zeros": encoded("MP3", "MPEG_LAYER_III", np.zeros((1, 16000), np.float32)),
    "AAC": muxed("adts", "aac"),
    "FLAC": encoded("FLAC", "PCM_16"),
    "FLAC written to a pipe": muxed("flac", "flac", pipe=True),
    "WAV": encoded("WAV", "PCM_16"),
    "RF64": encoded("RF64", "PCM_16"),
    "W64": encoded("W64", "PCM_16"),
    "AIFF": encoded("AIFF", "PCM_16"),
    "Ogg Vorbis": encoded("OGG", "VORBIS"),
    "Ogg Opus": encoded("OGG", "OPUS"),
    "Ogg FLAC": muxed("ogg", "flac"),
    "M4A": muxed("ipod", "aac"),
    "WebM": muxed("webm", "libopus"),
}


@pytest.mark.parametrize("name", TAGGED)
def test_tags_around_sound_change_nothing(name: str) -> None:
    """In front, behind and both: the samples are those of the file without them."""
    data = TAGGED[name]
    plain = load_audio(data)
    for front, tag_in_front in IN_FRONT.items():
        for behind, tag_behind in BEHIND.items():
            assert load_audio(tag_in_front + data + tag_behind) == plain, (front, behind)


def test_a_tag_in_front_of_something_else_hides_nothing() -> None:
    assert "PNG" in str(_refused(id3(100) + b"\x89PNG\r\n\x1a\n" + bytes(50)))
    assert "Monkey's Audio, which is not read" in str(_refused(id3(100) + b"MAC " + bytes(50)))
    assert _refused(id3(100)[:50]).kind == "unsupported_format"


def _mp3(seconds: float, rate: int, xing: int) -> bytes:
    return muxed("mp3", "libmp3lame", seconds=seconds, rate=rate, id3v2_version="0", write_xing=str(xing))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("xing", [0, 1])
@pytest.mark.parametrize("seconds", [0.1, 1.5])
def test_joined_mp3_is_read_to_its_end(rate: int, xing: int, seconds: float) -> None:
    """The first header announces the first part only; FFmpeg reads on, and so do we, whatever is between."""
    first, second = _mp3(3, rate, 1), _mp3(seconds, rate, xing)
    expected = _ffmpeg(first + second, "mp3")
    assert expected.shape[1] > (3 + seconds) * rate
    for name, tag in {**IN_FRONT, **BEHIND}.items():
        joined = load_audio(first + tag + second)
        assert np.array_equal(joined.wave, expected), name


def test_mp3_that_lacks_its_end_is_refused_and_rubbish_behind_it_is_not_sound() -> None:
    whole = _mp3(3, 16000, 1)
    assert "frames: the end of the file is missing" in str(_refused(whole[:-2000]))
    for rubbish in (b"<html>not found</html>" * 999, b"\xff" * 9000, np.random.default_rng(0).bytes(50_000)):
        assert load_audio(whole + rubbish) == load_audio(whole)


@pytest.mark.parametrize("name", ["FLAC", "WAV", "RF64", "W64", "AIFF", "M4A"])
def test_recordings_joined_without_a_thought_are_refused(name: str) -> None:
    """Decoders read the first and are content."""
    assert "several recordings one after another" in str(_refused(TAGGED[name] * 2))


def test_other_joined_recordings_are_read_to_the_end() -> None:
    for data in (muxed("adts", "aac"), muxed("webm", "libopus"), muxed("mp2", "mp2")):
        once, twice = load_audio(data).num_samples, load_audio(data + data).num_samples
        assert 2 * once <= twice < 2 * once + 3000


def test_w64_with_chunks_behind_its_samples() -> None:
    """libsndfile reads them as samples."""
    data = encoded("W64", "PCM_16")
    chunk = b"list\x2f\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + struct.pack("<Q", 24 + 4000) + bytes(4000)
    assert load_audio(data + chunk) == load_audio(data) == load_audio(encoded("WAV", "PCM_16"))
    assert _refused(data[:-2]).kind == "truncated"
    assert _refused(encoded("W64", "IMA_ADPCM")).kind == "unsupported_codec"
    assert "never finished" in str(_refused(muxed("w64", "pcm_s16le", pipe=True)))


def test_a_track_that_begins_later_is_whole() -> None:
    """Matroska announces when the last sample ends, not how many there are."""
    for container, codec in (("matroska", "flac"), ("mp4", "alac"), ("mp4", "flac")):
        assert load_audio(muxed(container, codec, start=8000)) == load_audio(muxed(container, codec))
    assert _refused(muxed("matroska", "flac", start=8000)[:-9000]).kind == "truncated"


@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("mov", "aac"), ("matroska", "aac")])
def test_what_encoders_put_in_front_is_left_out(container: str, codec: str) -> None:
    """By edit lists and skipped samples: the first samples are those of the tone."""
    wave = load_audio(muxed(container, codec, start=0)).wave[0]
    middle = tone(16000)[0][4000:12000]  # a chord comes back every 36 samples, its noise only once
    lags = [float(np.dot(wave[4000 + lag : 12000 + lag], middle)) for lag in range(-1200, 1200)]
    assert np.argmax(lags) - 1200 == 0


def test_formats_that_are_known_but_not_read_are_named() -> None:
    for form, subtype, name in (("AU", "PCM_16", "AU"), ("CAF", "PCM_16", "CAF"), ("VOC", "PCM_16", "VOC")):
        error = _refused(encoded(form, subtype))
        assert (error.kind, f"{name}, which is not read" in str(error)) == ("unsupported_format", True)
    assert "WMA, which is not read" in str(_refused(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(100)))


def _peak(wave: np.ndarray, peak: float) -> np.ndarray:
    return (wave * (peak / np.abs(wave).max())).astype(np.float32)


@pytest.mark.parametrize("scale", [128, 32768, 2**23, 2**31])
def test_floats_in_the_range_of_integers_are_refused(scale: int) -> None:
    """They would be encoded as a recording far beyond full scale, and nobody would know."""
    says = rf"expected floats in \[-1, 1\]; those of int{scale.bit_length()} become wave / {scale}"
    for wave in (_peak(tone(), scale / 3), np.rint(tone() * scale)):
        for source in (Audio(wave, 16000), encoded("WAV", "FLOAT", wave), encoded("WAV", "DOUBLE", wave)):
            with pytest.raises(MediaError, match=says):
                load_audio(source)
    assert load_audio(Audio(np.rint(tone() * scale) / scale, 16000)).num_samples == 16000


def test_the_loudest_recording_and_the_quietest_integers() -> None:
    for peak in (1.0, 1.5, 4.0, 8.0, 31.9):
        assert load_audio(encoded("WAV", "FLOAT", _peak(tone(), peak))).wave.max() == pytest.approx(peak, abs=2)
    for peak in (33.0, 1e6, 1e12):
        with pytest.raises(MediaError, match="expected floats in") as caught:
            load_audio(Audio(_peak(tone(), peak), 16000))
        assert caught.value.kind == "too_loud"
    with pytest.raises(MediaError, match="int8 become wave / 128"):  # the silence of a recording of 16 bits
        load_audio(Audio(np.tile(np.float32([0, 1, -2, 1]), 4000), 16000))
    load_audio(Audio(np.tile(np.float32([0, 1, -1, 1]), 4000), 16000))  # a recording that is clipped throughout


def test_a_loud_recording_of_integers_is_scaled_by_its_decoder(tmp_path: Path) -> None:
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32"):
        assert 0.9 < load_audio(encoded("WAV", subtype, _peak(tone(), 0.999))).wave.max() <= 1


def test_a_silent_first_channel_is_told() -> None:
    voice, silence, hum = tone()[0], np.zeros(16000, np.float32), 0.0005 * tone()[0]
    for quiet in (silence, hum):
        with pytest.warns(UserWarning, match=r'the first of 2 channels is silent.*channels="mean"'):
            warn_if_first_is_silent(np.stack([quiet, voice]))
    with pytest.warns(UserWarning, match="first of 3 channels"):
        warn_if_first_is_silent(np.stack([silence, silence, voice]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for waves in ([voice], [silence], [voice, silence], [0.1 * voice, voice], [silence, silence], [silence, hum]):
            warn_if_first_is_silent(np.stack(waves))


def test_large_tags_cost_no_memory_and_no_time() -> None:
    """Every header is read at most once, whatever it says about itself."""
    data = id3(100) * 900 + TAGGED["MP3"] + bytes(50_000_000) + b"TAG" + bytes(125)
    started = time.monotonic()
    tracemalloc.start()
    load_audio(data)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert time.monotonic() - started < 5
    with pytest.raises(MediaError):  # more tags than any tagger writes
        load_audio(id3(0) * 100_000 + TAGGED["MP3"])


def test_changing_the_opus_gain_changes_the_sound() -> None:
    """The header's output gain (RFC 7845, 5.1) is applied, as FFmpeg does."""

    def quieter(one: bytearray) -> None:
        if b"OpusHead" in one:
            at = one.index(b"OpusHead")
            one[at + 16 : at + 18] = struct.pack("<h", -6 * 256)

    data = changed(encoded("OGG", "OPUS"), quieter)
    ratio = np.abs(load_audio(data).wave).max() / np.abs(load_audio(encoded("OGG", "OPUS")).wave).max()
    assert ratio == pytest.approx(10 ** (-6 / 20), rel=0.01)
