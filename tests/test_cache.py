"""anytok.cached: a tokenizer like any other, and what it finds was made of equal media, weights and options."""

from __future__ import annotations

import pickle
import threading
import time
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from job_corpus import FAKES  # noqa: F401 - brings the fake tokenizers in
from PIL import Image

import anytok
from anytok.cache import Counts, cached
from anytok.cache.entry import identity, key_of, pack, unpack
from anytok.cache.store import ROW, Store, open_store
from anytok.cli import main
from anytok.errors import MediaError, UsageError
from anytok.media import prepare
from anytok.spec import Spec
from anytok.testing import AudioContract, ImageContract

GOLDEN = Path(__file__).parent / "golden"


class TestSpeechCached(AudioContract):
    """The second class-scoped fixture encodes everything, so that all later tests are answered by the folder."""

    name = "speech-mini"

    @pytest.fixture(scope="class")
    @classmethod
    def tokenizer(cls, tmp_path_factory: pytest.TempPathFactory) -> anytok.Tokenizer:
        tokenizer = anytok.load_tokenizer(cls.name, engine=cls.engine, checkpoint=cls.checkpoint, **cls.options)
        return cached(tokenizer, tmp_path_factory.mktemp("cache") / "codes")

    def test_most_of_these_tests_were_answered_by_the_folder(self, tokenizer: Any) -> None:
        assert tokenizer.counts.found > tokenizer.counts.encoded > 0


class TestMusicWithScalesCached(TestSpeechCached):
    name, checkpoint = "encodec-48khz", GOLDEN / "encodec_48khz"


class TestPicturesCached(ImageContract):
    name = "seed-mini"
    options: ClassVar = {"num_inference_steps": 2}
    tokenizer = TestSpeechCached.tokenizer


def sound(seed: int, num_samples: int = 3200) -> anytok.Audio:
    return anytok.Audio(np.random.default_rng(seed).uniform(-0.1, 0.1, num_samples).astype(np.float32), 16000)


def fake(name: str = "fake-speech", **options: Any) -> anytok.Tokenizer:
    return anytok.load_tokenizer(name, **{"milliseconds": 0, **options})


class Calls:
    """Counts what a tokenizer is asked to encode."""

    def __init__(self, tokenizer: anytok.Tokenizer, monkeypatch: pytest.MonkeyPatch, seconds: float = 0) -> None:
        self.items, encode = 0, tokenizer._encode

        def counting(prepared: Any) -> Any:
            ready = list(prepared)
            self.items += len(ready)
            time.sleep(seconds)
            return encode(ready)

        monkeypatch.setattr(tokenizer, "_encode", counting)


def test_what_was_encoded_is_looked_up(tmp_path, monkeypatch):
    plain = fake()
    wanted = plain.encode_batch([sound(0), sound(1), sound(2)])
    calls = Calls(plain, monkeypatch)
    tokenizer = cached(plain, tmp_path / "codes")
    assert tokenizer.encode_batch([sound(0), sound(1), sound(0)]) == [wanted[0], wanted[1], wanted[0]]
    assert calls.items == 2 and tokenizer.counts == Counts(found=1, encoded=2)
    assert tokenizer.encode_batch([sound(2), sound(0)]) == [wanted[2], wanted[0]]
    assert calls.items == 3 and tokenizer.counts == Counts(found=2, encoded=3)
    again = cached(fake(), tmp_path / "codes")  # as another process would
    assert again.encode_batch([sound(1), sound(2)]) == wanted[1:] and again.counts == Counts(found=2)


def test_codes_have_the_spec_of_the_tokenizer_and_may_not_be_written(tmp_path):
    tokenizer = cached(fake(), tmp_path)
    tokenizer.encode(sound(0))
    codes = tokenizer.encode(sound(0))
    assert codes.spec is tokenizer.spec and codes.values.dtype == np.int64 and not codes.values.flags.writeable


def key(tokenizer: anytok.Tokenizer, medium: Any = None) -> bytes:
    return key_of(prepare(sound(0) if medium is None else medium, tokenizer.spec), identity(tokenizer))


def test_whatever_decides_codes_decides_the_key(monkeypatch):
    def speech(**options: Any) -> anytok.Tokenizer:
        return anytok.load_tokenizer("speech-mini", **options)

    golden = GOLDEN / "speechtokenizer"
    tokenizers = {
        "itself": speech(), "one codebook": speech(num_codebooks=1), "two": speech(num_codebooks=2),
        "the mean of channels": speech(channels="mean"), "another resampler": speech(resampler="transform"),
        "others": anytok.load_tokenizer("speechtokenizer", checkpoint=golden),
        "another package's": fake(), "with an option": fake(milliseconds=2),
    }  # fmt: skip
    for value in ("fake-speech@ffffffffffff", f"{fake().spec.id}+bfloat16"):  # other weights, another precision
        tokenizers[value] = fake()
        tokenizers[value].spec = tokenizers[value].spec.with_id(value)
    for what in ("dtype", "device", "engine", "package"):
        tokenizers[what] = fake()
        tokenizers[what]._loaded_as = {**tokenizers[what]._loaded_as, what: "another"}
    tokenizers["tf32"] = fake()
    tokenizers["tf32"].float32_precision = "tf32"
    keys = {what: key(one) for what, one in tokenizers.items()}
    monkeypatch.setattr("anytok.cache.entry.__version__", "0.2.0")
    keys["another release"] = key(fake())
    assert len(set(keys.values())) == len(keys)


def test_what_decides_no_code_decides_no_key(tmp_path):
    ours = anytok.load_tokenizer("speech-mini")
    other = anytok.load_tokenizer("speech-mini", checkpoint=Path(anytok.__file__).parent / "weights" / "speech-mini")
    assert key(ours) == key(other)
    picture = Image.new("RGB", (9, 9), (1, 2, 3))
    few, many = (anytok.load_tokenizer("seed-mini", num_inference_steps=steps) for steps in (2, 20))
    assert key(few, picture) == key(many, picture)
    assert key(few, picture) != key(anytok.load_tokenizer("seed-mini", interpolation="bilinear"), picture)


def test_other_media_have_other_keys():
    whose, wave = identity(fake()), sound(0).wave
    louder = wave.copy()
    louder[0, -1] = np.nextafter(louder[0, -1], 1, dtype=np.float32)
    grey = Image.new("L", (4, 4), 7)
    media = [
        anytok.Audio(wave, 16000), anytok.Audio(wave, 24000), anytok.Audio(louder, 16000),
        anytok.Audio(wave[:, :-1], 16000), anytok.Audio(wave.reshape(2, -1), 16000),
        grey, Image.new("L", (2, 8), 7), Image.new("L", (8, 2), 7), Image.new("RGB", (4, 4), (7, 7, 7)),
    ]  # fmt: skip
    assert len({key_of(one, whose) for one in media}) == len(media)
    assert key_of(anytok.Audio(wave.copy(), 16000), whose) == key_of(media[0], whose)


def test_a_folder_serves_several_tokenizers(tmp_path):
    speech, music = cached(fake(), tmp_path), cached(fake("fake-music"), tmp_path)
    one, other = speech.encode(sound(0)), music.encode(sound(0))
    assert one == fake().encode(sound(0)) and other == fake("fake-music").encode(sound(0))
    assert (speech.encode(sound(0)), music.encode(sound(0))) == (one, other)
    assert speech.counts == music.counts == Counts(found=1, encoded=1)


def test_other_weights_never_hit(tmp_path, monkeypatch):
    cached(fake(), tmp_path).encode(sound(0))
    other = fake()
    other.spec = other.spec.with_id("fake-speech@ffffffffffff")
    calls = Calls(other, monkeypatch)
    assert cached(other, tmp_path).encode(sound(0)).spec.id == "fake-speech@ffffffffffff" and calls.items == 1


def test_tokenizers_of_which_too_little_is_known_are_refused(tmp_path):
    unloaded = type(fake())()
    with pytest.raises(UsageError, match="was not loaded by load_tokenizer"):
        cached(unloaded, tmp_path / "a")
    nameless = fake()
    nameless.spec = nameless.spec.with_id("fake-speech")
    with pytest.raises(UsageError, match="does not say which weights"):
        cached(nameless, tmp_path / "a")
    odd = fake()
    odd._loaded_as = {**odd._loaded_as, "rule": object()}
    with pytest.raises(UsageError, match="an option that is a object"):
        cached(odd, tmp_path / "a")
    with pytest.raises(UsageError, match="has a cache already"):
        cached(cached(fake(), tmp_path / "b"), tmp_path / "c")
    with pytest.raises(UsageError, match="cached got a str"):
        cached("fake-speech", tmp_path / "a")
    with pytest.raises(UsageError, match="limit=1:"):
        cached(fake(), tmp_path / "b", limit=1)
    assert not (tmp_path / "a").exists() and not (tmp_path / "c").exists()


def test_it_has_what_its_tokenizer_has(tmp_path):
    plain = anytok.load_tokenizer("speech-mini", num_codebooks=2)
    tokenizer = cached(plain, tmp_path)
    assert tokenizer.total_codebooks == 8 and str(tokenizer.load_report) == str(plain.load_report)
    assert tokenizer.latents(sound(0)).shape == plain.latents(sound(0)).shape and tokenizer.decoder_stream()
    assert not hasattr(tokenizer, "embed") and hasattr(cached(anytok.load_tokenizer("seed-mini"), tmp_path), "embed")


def test_it_decodes_with_all_options_and_encodes_with_none(tmp_path):
    tokenizer = cached(anytok.load_tokenizer("seed-mini"), tmp_path)
    assert tokenizer.options("decode") == ["seeds", "negative"] and tokenizer.options("encode") == []
    speech = cached(anytok.load_tokenizer("speech-mini"), tmp_path)
    with pytest.raises(UsageError, match="no encode options; got margins"):
        speech.encode(sound(0), margins=True)  # which a folder of codes does not keep


def test_pickled_it_opens_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = cached(anytok.load_tokenizer("speech-mini"), "codes", limit=1 << 20)
    codes = tokenizer.encode(sound(0))
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode(sound(0)) == codes and again.counts == Counts(found=1)
    assert open_store(tmp_path / "codes").size()[2] == 1 << 20


def test_media_that_the_model_refuses_are_not_kept_and_block_nobody(tmp_path):
    tokenizer = cached(fake(), tmp_path)
    bad = sound(1)
    bad.wave[0, 0] = 0.5
    for _ in range(2):
        with pytest.raises(MediaError, match="does not like it"):
            tokenizer.encode_batch([sound(0), bad])
    assert tokenizer.encode(sound(0)) == fake().encode(sound(0)) and tokenizer.counts == Counts(encoded=1)


def test_a_tokenizer_that_gives_codes_of_another_is_not_believed(tmp_path, monkeypatch):
    plain = fake()
    stranger = fake("fake-music")
    monkeypatch.setattr(plain, "_encode", lambda prepared: stranger._encode(prepared))
    with pytest.raises(RuntimeError, match="a fault of its own"):
        cached(plain, tmp_path).encode(sound(0))
    assert open_store(tmp_path).size()[0] == 0


def test_equal_items_of_several_threads_are_encoded_once(tmp_path, monkeypatch):
    plain = fake()
    calls, tokenizer = Calls(plain, monkeypatch, seconds=0.05), cached(plain, tmp_path)
    results: list[Any] = [None] * 8
    orders = [[0, 1, 2, 3], [3, 2, 1, 0]] * 4  # the same in both directions: nobody may wait for a claim with a claim

    def work(place: int) -> None:
        results[place] = tokenizer.encode_batch([sound(seed) for seed in orders[place]])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    wanted = fake().encode_batch([sound(seed) for seed in range(4)])
    assert results == [[wanted[seed] for seed in order] for order in orders]
    assert calls.items == 4 and tokenizer.counts == Counts(found=28, encoded=4)


# Entries


def test_codes_of_every_form_survive(tmp_path):
    scaled = anytok.load_tokenizer("encodec-48khz", checkpoint=GOLDEN / "encodec_48khz")
    wide = Spec("wide", "speech", 3, 1 << 20, frame_rate=50, sample_rate=16000, id="wide@0123456789ab")
    several = [
        fake().encode(sound(0)),
        scaled.encode(anytok.Audio(np.zeros((2, 100000), np.float32) + 0.1, 48000)),
        anytok.Codes(np.array([[0, (1 << 20) - 1]]), wide, first_codebook=2),
        anytok.Codes(np.array([[5]] * 3), wide, num_samples=320),
    ]
    for codes in several:
        back = unpack(b"k" * 32, pack(b"k" * 32, codes), codes.spec)
        assert back == codes and back.spec is codes.spec
    assert several[1].scales is not None and len(several[1].scales) == 3
    assert len(pack(b"", several[0])) < 16 + 40 + 2 * several[0].values.size  # two bytes a code


def test_the_least_recently_used_go_first(tmp_path):
    store = open_store(tmp_path)
    names = [bytes([number]) * 32 for number in range(6)]
    entry = bytes((1 << 16) // 4 - ROW)  # so that four fill the limit to the byte
    store.set_limit(1 << 16)
    for name in names[:4]:
        store.put({name: entry})
    assert store.size() == (4, 1 << 16, 1 << 16)
    assert store.get(names[0]) == entry and store.get(names[2]) == entry  # used again: 1 and 3 are now the oldest
    store.put({names[4]: entry})
    there = [name for name in names if store.get(name)]
    assert there == [names[0], names[2], names[3], names[4]]  # in this order of use
    store.put({names[5]: entry, names[1]: entry})
    assert [name for name in names if store.get(name)] == [names[1], names[3], names[4], names[5]]
    store.set_limit((1 << 16) * 3 // 4)
    assert [name for name in names if store.get(name)] == [names[3], names[4], names[5]] and store.size()[0] == 3


def test_hits_of_another_process_count(tmp_path):
    """As two processes have it: two stores on one folder."""
    ours, theirs = Store(tmp_path / "codes"), Store(tmp_path / "codes")
    entry = bytes((1 << 16) // 2 - ROW)
    ours.set_limit(1 << 16)
    ours.put({b"a" * 32: entry})
    ours.put({b"b" * 32: entry})
    theirs.get(b"a" * 32)
    theirs._noted -= 2  # seconds: the next hit writes down those before it
    theirs.get(b"a" * 32)
    ours.put({b"c" * 32: entry})
    assert theirs.get(b"a" * 32) and theirs.get(b"c" * 32) and theirs.get(b"b" * 32) is None


def test_the_size_is_what_is_there_whatever_happened(tmp_path):
    store, rng = open_store(tmp_path), np.random.default_rng(0)
    store.set_limit(100_000)
    for _ in range(300):
        names = [bytes([number]) * 32 for number in rng.integers(0, 60, rng.integers(1, 5))]
        store.put({name: rng.bytes(int(rng.integers(1, 9000))) for name in names})
        store.get(names[0])
    number, total, most = store.size()
    lengths = [len(value) for name in range(60) if (value := store.get(bytes([name]) * 32))]
    assert number == len(lengths) > 5 and total == sum(lengths) + ROW * len(lengths) <= most


def test_an_entry_larger_than_the_limit_is_counted_and_drives_nothing_out(tmp_path):
    tokenizer = cached(fake(), tmp_path, limit=1 << 16)
    small, large = sound(0), sound(1, 16000 * 400)  # 20,000 frames of 2 codes of 2 bytes
    tokenizer.encode(small)
    assert tokenizer.encode(large) == fake().encode(large)
    assert tokenizer.counts == Counts(encoded=2, too_large=1)
    tokenizer.encode(small)
    assert tokenizer.counts == Counts(found=1, encoded=2, too_large=1)


def test_a_limit_holds_for_all_until_it_is_set_anew(tmp_path):
    first = cached(fake(), tmp_path, limit=1 << 16)
    second = cached(fake(), tmp_path)
    for seed in range(200):
        second.encode(sound(seed, 16000))
    number, total, most = open_store(tmp_path).size()
    assert most == 1 << 16 and 0 < total <= most and number < 200
    cached(fake(), tmp_path, limit=1 << 20)
    assert open_store(tmp_path).size()[2] == 1 << 20 and first.folder == second.folder


def test_encode_by_command(tmp_path, capsys):
    for seed in range(3):
        sound(seed).save(tmp_path / f"{seed}.wav")
    files = [str(tmp_path / f"{seed}.wav") for seed in range(3)]
    line = ["encode", *files, "--tokenizer", "speech-mini", "--cache", str(tmp_path / "codes"), "--force"]
    written = []
    for found in (0, 3):
        assert main([*line, "--out", str(tmp_path / "codes.jsonl")]) == 0
        assert (
            f"3 of 3 files encoded into {tmp_path / 'codes.jsonl'}, {found} of them from the" in capsys.readouterr().err
        )
        written.append((tmp_path / "codes.jsonl").read_text())
    assert written[0] == written[1]
    assert main([*line[:-2], str(tmp_path), "--out", "-"]) == 3  # the folder with the recordings
    assert "holds '0.wav' and no cache of codes" in capsys.readouterr().err


def test_nothing_warns_and_nothing_is_told_twice(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = cached(fake(), tmp_path)
        tokenizer.encode_batch([sound(0)] * 3)
        tokenizer.encode_batch([sound(0)] * 3)
    assert tokenizer.counts == Counts(found=5, encoded=1)
