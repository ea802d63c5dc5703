"""Ids as they come → words, sound and pictures; joined, they are what decoding at once gives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from small_suite import GOLDEN, small_suite

from anytok import Audio, Codes, CodesError, UsageError, VocabularyError, load_multimodal, load_tokenizer
from anytok.generation import MediaStream
from anytok.multimodal import Multimodal
from anytok.vocab import Segment, Special, build_vocabulary, segment_of

FRAMES = 12


@pytest.fixture(scope="module")
def any2any(tmp_path_factory: pytest.TempPathFactory) -> Multimodal:
    return small_suite(tmp_path_factory.mktemp("suite") / "unclip")


@pytest.fixture(scope="module")
def line(any2any: Multimodal) -> np.ndarray:
    """Words, a picture, speech, words, music, a special token."""
    rng = np.random.default_rng(0)
    image, speech, music = (
        Codes(rng.integers(0, s.codebook_size, (s.num_codebooks, s.num_frames or FRAMES)), s.spec)
        for s in any2any.vocabulary.layout.segments
    )
    return any2any.vocabulary.to_ids(["Hör: ", image, speech, "dann", music, Special("<eos>")])


def joined(media: list[Any]) -> list[Any]:
    """Neighbouring words joined, and neighbouring pieces of sound at one rate."""
    out: list[Any] = []
    for item in media:
        last = out[-1] if out else None
        if isinstance(item, str) and isinstance(last, str):
            out[-1] = last + item
        elif isinstance(item, Audio) and isinstance(last, Audio) and item.sample_rate == last.sample_rate:
            out[-1] = Audio(np.concatenate([last.wave, item.wave], axis=1), item.sample_rate)
        else:
            out.append(item)
    return out


def assert_same(streamed: list[Any], whole: list[Any]) -> None:
    assert [type(item) for item in streamed] == [type(item) for item in whole]
    for one, other in zip(streamed, whole, strict=True):
        if isinstance(other, Audio):
            assert one.wave.shape == other.wave.shape
            assert np.abs(one.wave - other.wave).max() <= 1e-4
        elif isinstance(other, Picture.Image):
            assert np.array_equal(np.asarray(one), np.asarray(other))
        else:
            assert one == other


@pytest.mark.parametrize("size", [*range(1, 9), 13, 29, 1000])
def test_every_cut_gives_the_offline_media(any2any: Multimodal, line: np.ndarray, size: int) -> None:
    stream, media = MediaStream(any2any), []
    for start in range(0, len(line), size):
        media += stream.push(line[start : start + size])
    media += stream.finish()
    assert_same(joined(media), any2any.decode(line))
    assert stream.report.ok


def test_every_cut_by_frames_of_one_sound(any2any: Multimodal) -> None:
    """Music in pieces of 1, 2, … frames, up to all of them."""
    segment = any2any.vocabulary.layout.segment("encodec-32khz")
    codes = Codes(np.random.default_rng(1).integers(0, segment.codebook_size, (4, FRAMES)), segment.spec)
    ids = any2any.vocabulary.to_ids(codes)
    whole = any2any.decode(ids)
    for frames in range(1, FRAMES + 1):
        stream = MediaStream(any2any)
        media: list[Any] = []
        cuts = [0, *range(1 + 4 * frames, len(ids), 4 * frames), len(ids)]
        for start, end in pairwise(cuts):
            media += stream.push(ids[start:end])
        assert_same(joined(media + stream.finish()), whole)


@pytest.mark.parametrize("name", ["encodec-32khz", "speechtokenizer-snake"])
def test_sound_comes_while_the_model_writes(any2any: Multimodal, name: str) -> None:
    """The first sound is there after four frames, however many follow; then each frame gives a frame."""
    segment = any2any.vocabulary.layout.segment(name)
    layers, hop = segment.num_codebooks, any2any.tokenizer(segment.modality).spec.hop_length
    ids = any2any.vocabulary.to_ids(Codes(np.zeros((layers, FRAMES), int), segment.spec))
    stream = MediaStream(any2any)
    assert stream.push(ids[:1]) == []
    frames = np.split(ids[1:-1], FRAMES)
    lengths = [sum(piece.num_samples for piece in stream.push(frame)) for frame in frames]
    assert [bool(samples) for samples in lengths] == [False] * 3 + [True] * (FRAMES - 3)
    assert set(lengths[4:]) == {hop}


def test_pictures_take_their_options(any2any: Multimodal, line: np.ndarray) -> None:
    stream = MediaStream(any2any, image={"seeds": 5})
    media = stream.push(line) + stream.finish()
    whole = any2any.decode(line, image={"seeds": 5})
    assert np.array_equal(np.asarray(media[1]), np.asarray(whole[1]))
    assert not np.array_equal(np.asarray(media[1]), np.asarray(any2any.decode(line)[1]))


def test_options_are_not_lost(any2any: Multimodal, line: np.ndarray) -> None:
    with pytest.raises(UsageError, match="no option imagee: options go by modality, and small has image, music, sp"):
        MediaStream(any2any, imagee={"seeds": 5})
    stream = MediaStream(any2any, speech={"loud": True})
    with pytest.raises(UsageError, match="no decode options; got loud"):
        stream.push(line)


def test_of_two_tokenizers_for_music_the_one_that_is_written_decodes() -> None:
    folders = {"encodec-32khz": "encodec_32khz", "encodec-24khz": "encodec_24khz"}
    tokenizers = {name: load_tokenizer(name, checkpoint=GOLDEN / folder) for name, folder in folders.items()}
    first, second = (tokenizer.spec for tokenizer in tokenizers.values())
    again = {"code": "<m{}>", "start": "<m>", "end": "</m>"}
    vocab = build_vocabulary("both", 256, [segment_of(first), segment_of(second, num_codebooks=2, **again)])
    any2any = load_multimodal(vocab, tokenizers=tokenizers)
    segment = vocab.layout.segments[1]
    values = np.random.default_rng(2).integers(0, segment.codebook_size, (2, FRAMES))
    ids = vocab.to_ids(Codes(values, segment.spec))
    stream = MediaStream(any2any)
    media = joined(stream.push(ids) + stream.finish())
    assert media[0].sample_rate == 24000
    assert_same(media, any2any.decode(ids))


def test_foreign_weights_are_refused_as_in_decode() -> None:
    pinned = Segment("speech-mini@deadbeef", "speech", 8, 512, "<s{}>", "<s>", "</s>", frame_rate=50)
    any2any = load_multimodal(build_vocabulary("pinned", 256, [pinned]))
    ids = any2any.vocabulary.to_ids(Codes(np.zeros((8, FRAMES), int), pinned.spec))
    with pytest.raises(CodesError, match="made by speech-mini@deadbeef"):
        any2any.decode(ids)
    with pytest.raises(CodesError, match="made by speech-mini@deadbeef"):
        MediaStream(any2any).push(ids[:20])


def test_faults(any2any: Multimodal, line: np.ndarray) -> None:
    broken = np.delete(line, len(line) - 6)  # a code of the music
    with pytest.raises(VocabularyError, match="expected"):
        MediaStream(any2any).push(broken)
    for policy in ("truncate", "pad", "drop"):
        stream, media = MediaStream(any2any, policy), []
        for number in broken:
            media += stream.push([number])
        media += stream.finish()
        assert_same(joined(media), joined(any2any.decode(broken, policy)))
        assert not stream.report.ok


def test_a_tokenizer_that_cannot_stream_decodes_at_the_end(
    any2any: Multimodal, line: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for modality in ("speech", "music"):
        monkeypatch.delattr(type(any2any.tokenizer(modality)), "decoder_stream", raising=False)
    stream, media = MediaStream(any2any), []
    for number in line:
        media += stream.push([number])
    media += stream.finish()
    assert sum(isinstance(item, Audio) for item in media) == 2
    assert_same(joined(media), any2any.decode(line))
