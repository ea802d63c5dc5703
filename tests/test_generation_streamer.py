"""`generate(streamer=…)`: words and finished media come out in order, and joined they are what decoding gives."""

from __future__ import annotations

from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from llama import tiny_llama
from PIL import Image as Picture
from qwen import qwen_tokenizer
from test_generation_chat import CAT, PIC, VOICE
from test_generation_stream import assert_same, joined

from anytok import Audio, Codes, UsageError, VocabularyError, load_multimodal
from anytok.generation import LegalRuns, MediaStreamer, Processor, resize_embeddings
from anytok.vocab import Special, build_vocabulary, segment_of


class Painter:
    """In place of seed-mini, which takes its time to paint: a grey picture, as light as its codes are large."""

    spec = PIC

    def check(self, codes: Codes) -> None:
        pass

    def decode_batch(self, codes: list[Codes]) -> list[Picture.Image]:
        return [Picture.new("L", (4, 4), int(one.values.sum() % 256)) for one in codes]


@pytest.fixture(scope="module")
def processor() -> Processor:
    vocabulary = build_vocabulary("mine", qwen_tokenizer(), ["<eot>", segment_of(PIC), segment_of(VOICE)])
    return Processor(load_multimodal(vocabulary, tokenizers={"seed-mini": Painter()}))  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def model(processor: Processor) -> Any:
    model = tiny_llama(259, hidden=16)
    resize_embeddings(model, processor.any2any.vocabulary)
    return model


@pytest.fixture(scope="module")
def line(processor: Processor) -> np.ndarray:
    said = Codes(np.random.default_rng(0).integers(0, 512, (8, 12)), VOICE)
    return processor.any2any.vocabulary.to_ids(["Look: ", CAT, "Hör ", said, "end"]).astype(np.int64)


def fed(streamer: MediaStreamer, prompt: np.ndarray, ids: np.ndarray) -> list[Any]:
    """What comes out, given ids as `generate` gives them."""
    streamer.put(torch.from_numpy(prompt)[None])
    for number in ids:
        streamer.put(torch.tensor([number]))
    streamer.end()
    return list(streamer)


def test_what_a_model_writes_comes_in_order(processor: Processor, model: Any) -> None:
    talk = [("user", ["See ", CAT]), ("assistant", [Special("<speech>")])]  # which opens a run
    prompt = processor.apply_chat_template(talk, continue_final_message=True, return_tensors="pt")
    length = prompt["input_ids"].shape[1]
    legal = LegalRuns(processor.any2any.vocabulary, max_length=length + 60, max_frames={"speech": 5})
    streamer = MediaStreamer(processor)
    torch.manual_seed(0)
    [ids] = model.generate(
        **prompt, max_length=length + 60, do_sample=True, logits_processor=[legal], eos_token_id=None, streamer=streamer
    )
    streamed = joined(list(streamer))
    assert_same(streamed, joined(processor.decode(ids[length - 1 :])))
    assert [type(piece) for piece in streamed[:2]] == [Audio, str] and streamer.report.ok
    assert list(streamer._queue.queue) == []


def test_it_is_read_while_it_is_written(processor: Processor, line: np.ndarray) -> None:
    """Each piece is there before the next id is given."""
    streamer = MediaStreamer(processor, skip_prompt=False, timeout=60)
    streamer.put(torch.from_numpy(line[None, :6]))
    assert next(streamer) == "Look: "
    streamer.put(torch.from_numpy(line[6:40]))
    assert next(streamer).size == (4, 4)
    pieces: list[Any] = []
    reader = Thread(target=lambda: pieces.extend(streamer))
    reader.start()
    streamer.put(torch.from_numpy(line[40:]))
    streamer.end()
    reader.join(60)
    assert_same(joined(pieces), joined(processor.any2any.decode(line[40:])))


@pytest.mark.parametrize("skip_prompt", [True, False])
def test_the_prompt_is_left_out_unless_it_is_wanted(processor: Processor, line: np.ndarray, skip_prompt: bool) -> None:
    """A run that the prompt opens belongs to what is written: its first codes stand in the prompt."""
    decoded = processor.any2any.decode
    for cut, run in ((6, 6), (20, 6), (40, 40), (50, 45), (len(line), len(line))):
        streamed = fed(MediaStreamer(processor, skip_prompt=skip_prompt), line[:cut], line[cut:])
        start = run if skip_prompt else 0
        assert_same(joined(streamed), joined(decoded(line[start:], "truncate")))


def test_it_serves_one_call_after_another(processor: Processor, line: np.ndarray) -> None:
    streamer = MediaStreamer(processor, skip_special_tokens=True)
    im_end = processor.eos_token_id
    words = processor.tokenizer("Hi")["input_ids"]
    for _ in range(2):
        assert fed(streamer, line[:3], np.array([words[0], im_end, words[1]])) == ["H", "i"]
    kept = MediaStreamer(processor)
    assert "<|im_end|>" in "".join(fed(kept, line[:3], np.array([72, im_end])))


def test_errors_reach_the_reader_as_well(processor: Processor, line: np.ndarray) -> None:
    streamer = MediaStreamer(processor, policy="strict", timeout=60)
    with pytest.raises(UsageError, match="ids of 2 rows: a streamer takes one prompt at a time"):
        streamer.put(torch.from_numpy(np.stack([line, line])))
    with pytest.raises(UsageError, match="ids of 2 rows"):
        next(streamer)
    streamer.put(torch.from_numpy(line[None, :3]))
    bad = torch.tensor([processor.any2any.vocabulary.layout.segments[0].end_id])
    with pytest.raises(VocabularyError, match="outside a run"):
        streamer.put(bad)
    with pytest.raises(VocabularyError, match="outside a run"):
        list(streamer)
    with pytest.raises(UsageError, match="no option imagee"):
        MediaStreamer(processor, imagee={})


def test_a_reader_does_not_wait_for_ever(processor: Processor) -> None:
    with pytest.raises(TimeoutError, match=r"no piece came for 0\.01 s"):
        next(MediaStreamer(processor, timeout=0.01))
