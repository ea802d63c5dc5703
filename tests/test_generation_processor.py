"""From words and media to a Trainer's step and `model.generate`, and back, without glue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama import llama_tokenizer, tiny_llama
from small_suite import small_suite

from anytok import Audio, Codes, Image, Music, Spec, Speech, Tokenizer, UsageError, load_multimodal
from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.generation import LegalRuns, Processor, resize_embeddings
from anytok.vocab import TEMPLATES, ByteTokenizer, build_vocabulary


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processor:
    return Processor(small_suite(tmp_path_factory.mktemp("suite") / "unclip"), template="anygpt")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def voice(seed: int, seconds: float = 0.1) -> Audio:
    return Audio(np.random.default_rng(seed).normal(0, 0.1, (1, int(16000 * seconds))).astype(np.float32), 16000)


def song(seed: int, seconds: float = 0.1) -> Audio:
    return Audio(np.random.default_rng(seed).normal(0, 0.1, (1, int(32000 * seconds))).astype(np.float32), 32000)


def test_a_batch_of_words_and_media(processor: Processor) -> None:
    batch = processor(
        text=["Describe <image>", "<audio> and <image> say", "words"],
        images=[picture(0), picture(1)],
        audio=voice(2),
        labels=True,
        return_tensors="pt",
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert ids.dtype == mask.dtype == batch["labels"].dtype == torch.int64
    assert ids.shape == mask.shape == batch["labels"].shape
    any2any = processor.any2any
    wanted = [
        ["Describe ", Image(picture(0))],
        [Speech(voice(2)), " and ", Image(picture(1)), " say"],
        ["words"],
    ]
    for row, parts in enumerate(wanted):
        line = [1, *any2any.encode(parts).tolist()]
        assert ids[row][mask[row] == 1].tolist() == line
        assert batch["labels"][row][mask[row] == 1].tolist() == line
        assert (batch["labels"][row][mask[row] == 0] == -100).all()
        assert mask[row].tolist() == sorted(mask[row].tolist()), "padding is on the left"
    back = processor.any2any.vocabulary.from_ids(ids[1][mask[1] == 1])
    assert [type(part).__name__ for part in back] == ["str", "Codes", "str", "Codes", "str"]


def test_lists_arrays_and_tensors(processor: Processor) -> None:
    lists, arrays, tensors = (processor("hi", return_tensors=kind)["input_ids"] for kind in (None, "np", "pt"))
    assert lists == arrays.tolist() == tensors.tolist()


def test_padding(processor: Processor) -> None:
    lines = processor(["a", "a b c"], padding=False, labels=True)
    short, long = map(len, lines["input_ids"])
    assert short < long == len(lines["labels"][1]) and lines["attention_mask"] == [[1] * short, [1] * long]
    for side in ("left", "right"):
        batch = processor(["a", "a b c"], pad_to_multiple_of=16, padding_side=side, labels=True, return_tensors="pt")
        assert batch["input_ids"].shape == batch["labels"].shape == (2, 16)
        kept = batch["attention_mask"] == 1
        assert [row[some].tolist() for row, some in zip(batch["input_ids"], kept, strict=True)] == lines["input_ids"]
        assert bool(kept[0, 0]) == (side == "right") and (batch["labels"][~kept] == -100).all()
    assert processor(["a", "b"], padding=False, return_tensors="pt")["input_ids"].shape[0] == 2
    with pytest.raises(UsageError, match="lines of different lengths"):
        processor(["a", "a b c"], padding=False, return_tensors="pt")
    with pytest.raises(UsageError, match="'max_length'"):
        processor("a", padding="max_length")
    with pytest.raises(UsageError, match="'top'"):
        processor("a", padding_side="top")
    with pytest.raises(UsageError, match="pad_to_multiple_of=0"):
        processor("a", pad_to_multiple_of=0)


def test_rows_are_collated_with_what_they_have(processor: Processor) -> None:
    padded = processor(["a", "a b c"], labels=True, return_tensors="np")
    rows = [{key: padded[key][row] for key in padded} for row in (0, 1)]
    batch = processor.collate([*rows, {key: rows[1][key][:2] for key in rows[1]}])
    for key, filled in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
        assert batch[key][:2].tolist() == padded[key].tolist(), "a given mask stays"
        assert batch[key][2].tolist() == [*rows[1][key][:2], *[filled] * (len(rows[1][key]) - 2)]
    assert (padded["attention_mask"] == 0).any()
    bare = processor.collate([{"input_ids": [1, 2, 3]}, {"input_ids": [4]}])
    assert sorted(bare) == ["attention_mask", "input_ids"] and bare["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"input_ids": [1]}, "of rows 0 and 1 one has no labels"),
        ({"input_ids": [1, 2], "labels": [1]}, "row 1 has {'input_ids': 2, 'labels': 1}: expected"),
        ({"input_ids": [1], "labels": [1], "text": "a"}, "'text': 1}: expected input_ids"),
        ({"labels": [1]}, "row 1 has {'labels': 1}"),
    ],
)
def test_rows_that_do_not_fit_are_refused(processor: Processor, second: dict[str, Any], why: str) -> None:
    first = {"input_ids": [1, 2], "labels": [-100, 2]}
    with pytest.raises(UsageError, match=re.escape(why)):
        processor.collate([first, second])


def test_places_and_media_come_out_even(processor: Processor) -> None:
    with pytest.raises(UsageError, match="more <image> than were given"):
        processor("<image> <image>", images=[picture(0)])
    with pytest.raises(UsageError, match="1 more images than places"):
        processor("<image>", images=[picture(0), picture(1)])
    with pytest.raises(UsageError, match="1 more audio than places"):
        processor("words", audio=voice(0))


def test_labels_of_a_conversation(processor: Processor) -> None:
    talk = [("user", ["What? ", Image(picture(3))]), ("assistant", "Noise.")]
    row = processor.apply_chat_template(talk, learn=True)
    learned = row["labels"] != -100
    assert (row["labels"][learned] == row["input_ids"][learned]).all()
    assert processor.any2any.vocabulary.from_ids(row["input_ids"][learned]) == ["Noise.<eos>"]
    prompt = processor.apply_chat_template(talk[:1])
    assert row["input_ids"][: len(prompt["input_ids"])].tolist() == prompt["input_ids"].tolist()


def test_it_is_saved_and_comes_back(processor: Processor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    again = Processor.from_pretrained(tmp_path)
    assert again.any2any.vocabulary.hash == processor.any2any.vocabulary.hash
    assert (again.template_name, again.bos) == ("anygpt", True)
    again.any2any._tokenizers.update(processor.any2any._tokenizers)
    text, image = "See <image> [Human] <eos>", picture(5)
    assert again(text, images=image)["input_ids"] == processor(text, images=image)["input_ids"]
    with pytest.raises(UsageError, match="holds no anytok processor"):
        Processor.from_pretrained(tmp_path / "nowhere")


def test_words_may_be_bytes(tmp_path: Path) -> None:
    """The small models' vocabulary needs no text tokenizer from anywhere."""
    mini = Processor(load_multimodal("mini"), template="mini")
    assert mini("né")["input_ids"] == [[256, *"né".encode()]]
    assert Processor(load_multimodal("mini"), bos=False)("né")["input_ids"] == [[*"né".encode()]]
    row = mini.apply_chat_template([("user", "hi"), ("assistant", "ho")], learn=True)
    assert row["input_ids"].tolist() == [256, 258, *b"hi", 259, *b"ho", 257]
    assert row["labels"].tolist() == [-100] * 5 + [*b"ho", 257]
    mini.save_pretrained(tmp_path)
    again = Processor.from_pretrained(tmp_path)
    assert again("né")["input_ids"] == mini("né")["input_ids"]
    line = [256, *b"ok", 257]
    assert again.batch_decode([line]) == [["<s>ok</s>"]]
    assert again.batch_decode([line], skip_special_tokens=True) == [["ok"]]


def test_media_are_no_special_tokens_to_skip(processor: Processor) -> None:
    line = [1, *processor.any2any.encode(["hi ", Image(picture(0))]).tolist(), 2]
    words, image = processor.decode(line, skip_special_tokens=True)
    assert words.strip() == "hi" and image.size == processor.decode(line)[1].size


def test_a_tokenizer_without_a_begin_is_asked_for_none() -> None:
    tokenizer = llama_tokenizer()
    assert Processor(load_multimodal("anygpt", text_tokenizer=tokenizer)).bos
    tokenizer.bos_token = None
    any2any = load_multimodal("anygpt", text_tokenizer=tokenizer)
    with pytest.raises(UsageError, match="begin-of-text token: pass bos=False"):
        Processor(any2any, bos=True)
    assert not Processor(any2any).bos
    assert Processor(any2any)("hi")["input_ids"] == Processor(any2any, bos=False)("hi")["input_ids"]


def test_words_are_needed() -> None:
    with pytest.raises(UsageError, match="text_tokenizer"):
        Processor(load_multimodal("anygpt"))
    bare = load_multimodal("seed-llama", text_tokenizer=llama_tokenizer())
    with pytest.raises(UsageError, match="no conversation form"):
        Processor(bare).apply_chat_template([("user", "hi")])


def train(model: Any, processor: Processor, rows: list[Any], steps: int, folder: Path) -> float:
    with around_torchaudio():
        from transformers import Trainer, TrainingArguments
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=len(rows),
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=processor.collate, processing_class=processor)
    return trainer.train().training_loss


def test_learned_by_heart_and_recited(processor: Processor, tmp_path: Path) -> None:
    """A handful of items tokenised by anytok; asked for one, the model gives its very sound or picture back."""
    any2any = processor.any2any
    answers = [Speech(voice(0)), Speech(voice(1)), Music(song(2)), Image(picture(3))]
    talks = [
        [("user", f"Give {name}"), ("assistant", ["Here: ", it])] for name, it in zip("ABCD", answers, strict=True)
    ]
    model = tiny_llama(400, hidden=128)
    resize_embeddings(model, any2any.vocabulary)
    rows = [processor.apply_chat_template(talk, learn=True) for talk in talks]
    train(model, processor, rows, 120, tmp_path)
    model.eval()
    for talk, row in zip(talks, rows, strict=True):
        prompt = torch.tensor(processor.apply_chat_template(talk[:1])["input_ids"])[None]
        legal = LegalRuns(any2any.vocabulary, max_length=len(row["input_ids"]))
        written = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_length=legal.max_length,
            do_sample=False,
            logits_processor=[legal],
        )
        assert written[0].tolist() == row["input_ids"].tolist()
        answer = processor.decode(written[0, prompt.shape[1] :], policy="strict")
        [codes] = any2any.to_codes([talk[1][1][1]])
        [original] = any2any.to_media([codes.layers(0, 1) if codes.spec.modality == "speech" else codes])
        assert [answer[0], answer[2]] == ["Here: ", "<eos>"]
        assert same(answer[1], original)


def same(one: Any, other: Any) -> bool:
    """The same picture, or the same sound as far as both go: ids do not hold where in the last frame a sound ends."""
    if isinstance(one, Audio):
        length = min(one.num_samples, other.num_samples)
        return bool(length) and np.array_equal(one.wave[:, :length], other.wave[:, :length])
    return np.array_equal(np.asarray(one), np.asarray(other))


def test_a_trained_processor_is_saved_with_the_model(processor: Processor, tmp_path: Path) -> None:
    model = tiny_llama(400)
    resize_embeddings(model, processor.any2any.vocabulary)
    with around_torchaudio():
        from transformers import Trainer, TrainingArguments
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    Trainer(model, arguments, data_collator=processor.collate, processing_class=processor).save_model()
    assert (tmp_path / "vocabulary.json").exists()
    assert TEMPLATES[Processor.from_pretrained(tmp_path).template_name or ""]


class Birds(Tokenizer):
    """Another package's tokenizer, of a modality that anytok does not know."""

    spec = Spec(
        "bird-codec", "birdsong", 1, 16, frame_rate=10, sample_rate=8000, channels=1, preprocessing="first:functional"
    )

    def _encode(self, prepared: Any) -> list[Codes]:
        return [Codes(np.full((1, self.spec.frames_of(one.num_samples)), 7), self.spec) for one in prepared]

    def _decode(self, codes: Any) -> Any:
        raise NotImplementedError


def test_every_modality_of_a_vocabulary_has_a_place() -> None:
    vocabulary = build_vocabulary("birds", ByteTokenizer(), [Birds.spec])
    processor = Processor(load_multimodal(vocabulary, tokenizers={"bird-codec": Birds()}), bos=False)
    rows = processor("Which is <birdsong>?", audio=Audio(np.zeros(8000, np.float32), 8000))["input_ids"]
    before, codes, after = vocabulary.from_ids(rows[0])
    assert (before, after) == ("Which is ", "?") and isinstance(codes, Codes) and (codes.values == 7).all()
    with pytest.raises(UsageError, match="has no music; it has birdsong"):
        processor("<music>", audio=Audio(np.zeros(8000, np.float32), 8000))
