"""What people hold: cells of datasets, pairs, tensors, torch's own types; and what it says of itself."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from attacks.pictures import photo
from attacks.sounds import tone
from PIL import Image

import anytok
from anytok import Audio, Codes, MediaError, Spec, Tokenizer, UsageError, jobs
from anytok.generation import LegalRuns, Processor
from anytok.jobs import JobConfig, JobStatus, config

WAVE = tone(8000)[0]


@pytest.fixture(scope="module")
def speech() -> Tokenizer:
    return anytok.load_tokenizer("speech-mini")


@pytest.fixture(scope="module")
def pictures() -> Tokenizer:
    return anytok.load_tokenizer("seed-mini")


def test_sound_is_taken_as_people_hold_it(speech: Tokenizer, tmp_path: Path) -> None:
    wanted = speech.encode(Audio(WAVE, 16000))
    Audio(WAVE, 16000).save(tmp_path / "a.wav", "FLOAT")
    data = (tmp_path / "a.wav").read_bytes()
    tensor = torch.tensor(WAVE)
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=tensor[None], sample_rate=16000))
    held: list[Any] = [
        {"path": "gone.wav", "array": WAVE, "sampling_rate": 16000},
        {"path": None, "array": tensor, "sampling_rate": 16000},
        {"bytes": data, "path": "gone.wav"},
        {"bytes": None, "path": str(tmp_path / "a.wav")},
        (WAVE, 16000),
        (tensor[None], 16000),
        (WAVE.astype(np.float64), np.int64(16000)),
        Audio(tensor.clone().requires_grad_(), 16000),
        decoder,
    ]
    assert all(codes == wanted for codes in speech.encode_batch(held))
    assert speech.encode(Audio(tensor.bfloat16(), 16000)).num_frames == wanted.num_frames


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (WAVE, r"samples without their rate: pass anytok.Audio\(wave, sample_rate\)"),
        (torch.tensor(WAVE), "samples without their rate"),
        ({"array": WAVE}, "a mapping with 'array': expected 'array' and 'sampling_rate'"),
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
        ({"text": "hi"}, "a mapping with 'text'"),
        ((16000, WAVE), r"no pair of a wave and its rate, in this order: \(wave, 16000\)"),
        ((WAVE, 16000, 1), "no pair of a wave and its rate"),
        ((WAVE, 16000.5), "sample_rate=16000.5: expected whole Hz"),
        ((torch.ones(9, dtype=torch.int16), 16000), "samples of type int16"),
    ],
)
def test_what_is_no_sound_is_named(speech: Tokenizer, held: Any, said: str) -> None:
    with pytest.raises(MediaError, match=said):
        speech.encode(held)
    with pytest.raises(MediaError, match=f"item 1: .*{said}"):
        speech.encode_batch([Audio(WAVE, 16000), held])


def test_pictures_are_taken_as_people_hold_them(pictures: Tokenizer) -> None:
    levels = np.asarray(photo(40, 30).convert("RGB"))
    wanted = pictures.encode(levels)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "png")
    held = [
        torch.tensor(levels), torch.tensor(levels).permute(2, 0, 1), {"bytes": file.getvalue(), "path": None},
        Image.fromarray(levels),
    ]  # fmt: skip
    assert all(codes == wanted for codes in pictures.encode_batch(held))
    for wrong, said in (
        (torch.rand(3, 8, 8), "array of float32"),
        ((levels, 1), "a tuple"),
        ({"array": levels}, "a dict"),
    ):
        with pytest.raises(MediaError, match=said):
            pictures.encode(wrong)


def test_torch_types_name_precisions_and_devices(speech: Tokenizer) -> None:
    same = anytok.load_tokenizer("speech-mini", dtype=torch.float32, device=torch.device("cpu"))
    assert same.spec == speech.spec
    with pytest.raises(UsageError, match=r"no dtype 'int8'; expected one of float32, .*bfloat16"):
        anytok.load_tokenizer("speech-mini", dtype=torch.int8)
    with pytest.raises(UsageError, match="voice-mini has no dtype 'int8'"):
        anytok.load_voice("voice-mini", dtype=torch.int8)
    any2any = anytok.load_multimodal("mini", dtype=torch.float32, device=torch.device("cpu"))
    assert any2any.tokenizer("speech").spec == speech.spec


def test_a_tokenizer_stays_where_it_was_loaded(speech: Tokenizer) -> None:
    assert speech.to("cpu") is speech and speech.to(torch.device("cpu")) is speech
    with pytest.raises(UsageError, match=r"speech-mini is on cpu.*load_tokenizer\('speech-mini', device='cuda:1'\)"):
        speech.to(torch.device("cuda:1"))


class Read(HTMLParser):
    """The tags of a page with their attributes; fails on markup that does not end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, dict[str, str | None]] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = dict(attributes)
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def uri(source: str | None) -> bytes:
    return base64.b64decode((source or "").partition(";base64,")[2])


def test_sound_plays_in_a_notebook() -> None:
    shown = Read(Audio(WAVE, 16000)._repr_html_())
    wave, rate = soundfile.read(io.BytesIO(uri(shown.tags["audio"]["src"])))
    assert rate == 16000 and np.abs(wave - WAVE).max() < 1e-4
    long = Audio(np.zeros(61 * 8000, np.float32), 8000)._repr_html_()
    assert len(soundfile.read(io.BytesIO(uri(Read(long).tags["audio"]["src"])))[0]) == 60 * 8000
    assert "the first 60 s" in long
    for nothing in (np.zeros((1, 0), np.float32), np.array([np.nan], np.float32)):
        assert "nothing that can be played" in Audio(nothing, 8000)._repr_html_()


def test_codes_and_specs_draw_themselves() -> None:
    spec = Spec("x<y", "speech", 8, 512, frame_rate=50, sample_rate=16000)
    codes = Codes(np.random.default_rng(0).integers(0, 512, (3, 40)), spec, first_codebook=2)
    page = codes._repr_html_()
    shown = Image.open(io.BytesIO(uri(Read(page).tags["img"]["src"])))
    assert shown.width >= 40 and "codebooks 3 to 5 × 40 frames of 512 codes" in page and "x&lt;y" in page
    assert "first 3000" in Codes(np.zeros((1, 3001), int), spec)._repr_html_()
    assert {"th", "td"} <= Read(spec._repr_html_()).tags.keys() and "x&lt;y" in spec._repr_html_()
    assert repr(spec) == (
        "Spec(name='x<y', modality='speech', num_codebooks=8, codebook_size=512, frame_rate=50, sample_rate=16000, "
        "id='x<y')"
    )
    assert eval(repr(spec), {"Spec": Spec}) == spec


def test_things_say_what_they_are() -> None:
    any2any = anytok.load_multimodal("mini")
    assert repr(Processor(any2any, template=None)) == "<Processor mini on ByteTokenizer, template=None, bos=True>"
    rules = LegalRuns(any2any.vocabulary, modalities=["image", "speech"], max_frames={"speech": 99}, max_length=500)
    assert repr(rules) == "<LegalRuns of mini: image, speech 1 to 99 frames; at most 500 ids>"
    assert repr(LegalRuns(any2any.vocabulary, modalities=[])) == "<LegalRuns of mini: text alone>"
    assert "music 1 to any number of frames" in repr(LegalRuns(any2any.vocabulary))
    job = JobConfig.simple("rec", "out", "speech-mini")
    assert str(job) == "rec to out (parquet): speech by speech-mini" and eval(repr(job), vars(config)) == job
    nothing = {"str": "", "int": 0, "float": 0.0, "bool": False}
    blank = {one.name: nothing.get(one.type, {}) for one in fields(JobStatus)}
    counts = {"items": 9, "written": 5, "failures": {"truncated": 1}, "shards": 3, "shards_done": 2}
    status = JobStatus(**blank | counts | {"output": "out"})
    assert repr(status) == "<JobStatus out: 2 of 3 shards; 9 items, 5 written, 1 truncated>"


def test_dir_shows_what_is_public() -> None:
    assert dir(anytok) == sorted(anytok.__all__) and "load_tokenizer" in dir(anytok)
    assert not [name for name in dir(anytok) if re.fullmatch("_[a-z].*", name)]
    assert dir(jobs) == sorted(jobs.__all__)
