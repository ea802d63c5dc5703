"""A Processor where transformers wants a `processing_class`: its trainers, data collators and text generation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama import llama_tokenizer, tiny_llama

from anytok import UsageError, load_multimodal
from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.generation import Processor, resize_embeddings
from anytok.vocab import Parts

with around_torchaudio():
    import transformers
    from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq, DataCollatorWithPadding

TRAINING = ("trainer", "trainer_seq2seq", "trainer_utils", "trainer_pt_utils", "trainer_callback", "data/data_collator")
TRAINING += ("integrations/integration_utils", "integrations/tpu", "pipelines/base", "pipelines/text_generation")
# Read only with `mlm=True`, which ends before it, for want of a mask token.
MASKED = {"mask_token_id", "is_fast", "get_special_tokens_mask", "convert_tokens_to_ids"}
# Asked for by hasattr or getattr, or behind it; what a tokenizer and an image processor of their own kind have.
OPTIONAL = {"deprecation_warnings", "feature_extractor", "image_processor", "response_template", "parse_response"}
REFUSED = {"model_max_length"}  # to cut a prompt, by handle_long_generation="hole": it would cut media


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(load_multimodal("mini"), template="mini")


@pytest.fixture
def model(processor: Processor) -> Any:
    model = tiny_llama(256, hidden=16)
    resize_embeddings(model, processor.any2any.vocabulary)
    return model


def rows(processor: Processor) -> list[Any]:
    talks = [[("user", "hi " * (count + 1)), ("assistant", "ok")] for count in range(6)]
    return [processor.apply_chat_template(talk, learn=True) for talk in talks]


def attributes(file: str) -> Iterator[str]:
    """What a file of transformers reads of a tokenizer or a processor."""
    owners = ("processing_class", "tokenizer", "processor")
    path = Path(transformers.__file__).parent / f"{file}.py"
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] in owners:
            yield node.attr
        asked = isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr")
        if asked and ast.unparse(node.args[0]).rpartition(".")[2] in owners and isinstance(node.args[1], ast.Constant):
            yield node.args[1].value


def test_it_has_what_transformers_reads(processor: Processor) -> None:
    read = {name for file in TRAINING for name in attributes(file)}
    assert {"model_input_names", "pad", "pad_token_id", "eos_token_id", "padding_side", "save_pretrained"} <= read
    assert {name for name in read if not hasattr(processor, name)} <= MASKED | OPTIONAL | REFUSED
    for name in (*MASKED, *REFUSED, "get_vocab", "push_to_hub", "post_process_multimodal_output"):
        with pytest.raises(AttributeError, match=rf"a Processor has no '{name}': .* give processor\.tokenizer"):
            getattr(processor, name)


def train(model: Any, processor: Processor, folder: Path, **arguments: Any) -> Any:
    with around_torchaudio():
        from transformers import Trainer, TrainingArguments
    arguments = {"max_steps": 2, "save_strategy": "no", **arguments}
    settings = TrainingArguments(
        str(folder), report_to=[], use_cpu=True, disable_tqdm=True, per_device_train_batch_size=2, **arguments
    )
    lines = rows(processor)
    return Trainer(
        model, settings, processor.collate, train_dataset=lines, eval_dataset=lines, processing_class=processor
    )


@pytest.mark.parametrize("strategy", ["random", "sequential", "group_by_length", "batch_rebalance"])
def test_rows_are_sampled_in_every_way(processor: Processor, model: Any, tmp_path: Path, strategy: str) -> None:
    trainer = train(model, processor, tmp_path, train_sampling_strategy=strategy)
    assert np.isfinite(trainer.train().training_loss)
    assert np.isfinite(trainer.evaluate()["eval_loss"])


def test_a_trainers_checkpoint_is_gone_on_from_and_read_back(processor: Processor, model: Any, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 1, "include_num_input_tokens_seen": "non_padding"}
    trainer = train(model, processor, tmp_path, **options)
    trainer.train()
    again = Processor.from_pretrained(tmp_path / "checkpoint-1")
    assert again("hi")["input_ids"] == processor("hi")["input_ids"]
    resumed = train(model, processor, tmp_path, **options)
    assert resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1")).global_step == 2
    with pytest.raises(UsageError, match="resized for the vocabulary mini already"):
        resize_embeddings(type(model).from_pretrained(tmp_path / "checkpoint-2"), processor.any2any.vocabulary)


def test_prompts_are_evaluated_by_generation(processor: Processor, model: Any, tmp_path: Path) -> None:
    """Padded on the left, of different lengths; what comes back is padded, and decodes to what was written."""
    with around_torchaudio():
        from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments
    arguments = Seq2SeqTrainingArguments(
        str(tmp_path), report_to=[], use_cpu=True, disable_tqdm=True, predict_with_generate=True,
        per_device_eval_batch_size=2, generation_max_length=24,
    )  # fmt: skip
    prompts = [processor.apply_chat_template([("user", "hi " * count)]) for count in (1, 2, 5)]
    collate = DataCollatorWithPadding(processor)
    trainer = Seq2SeqTrainer(model, arguments, collate, processing_class=processor)
    written = trainer.predict(prompts).predictions
    assert written.shape == (3, 24)
    alone = model.generate(torch.from_numpy(prompts[0]["input_ids"])[None], max_length=11, do_sample=False)[0].tolist()
    line, alone = (
        [number for number in ids if number not in (-100, processor.pad_token_id)] for ids in (written[0], alone)
    )
    assert line[: len(alone)] == alone
    decoded = processor.batch_decode(written, skip_special_tokens=True)
    assert all(isinstance(parts, Parts) and str(parts[0]).startswith("hi") for parts in decoded)
    processor.padding_side = "right"
    try:
        assert processor(["a", "abc"])["attention_mask"] == [[1, 1, 0, 0], [1, 1, 1, 1]]
        assert collate(prompts)["attention_mask"][0].tolist() == [*[1] * 6, *[0] * 12]
    finally:
        processor.padding_side = "left"


def test_collators_of_transformers_pad_with_it(processor: Processor) -> None:
    two = [{"input_ids": [1, 2], "labels": [-100, 2]}, {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}]
    wanted = {"input_ids": [[257, 1, 2], [1, 2, 3]], "attention_mask": [[0, 1, 1], [1, 1, 1]]}
    for collator in (DataCollatorWithPadding(processor), DataCollatorForSeq2Seq(processor)):
        batch = collator(two)
        assert {key: value.tolist() for key, value in batch.items()} == {
            **wanted,
            "labels": [[-100, -100, 2], [-100, 2, 3]],
        }
    all_words = DataCollatorForLanguageModeling(processor, mlm=False)(two)
    assert all_words["labels"].tolist() == [[-100, 1, 2], [1, 2, 3]]
    with pytest.raises(ValueError, match="mask token"):
        DataCollatorForLanguageModeling(processor)
    columns = {"input_ids": [[1, 2], [1, 2, 3]]}
    assert processor.pad(columns, padding_side="right", return_tensors="np")["input_ids"].tolist()[0] == [1, 2, 257]
    with pytest.raises(UsageError, match="told from words by the mask alone"):
        processor.pad(columns, return_attention_mask=False)
    with pytest.raises(UsageError, match=r"row 0 has \{'text': 1\}"):
        processor.pad([{"text": "a"}])


def test_what_lines_are_padded_with() -> None:
    """A special token where there is one, so that decoding skips it."""
    for tokens, wanted in (({"pad_token": "filler7"}, "filler7"), ({}, "<unk>"), ({"unk_token": None}, "</s>")):
        tokenizer = llama_tokenizer()
        for name, token in tokens.items():
            setattr(tokenizer, name, token)
        processor = Processor(load_multimodal("anygpt", text_tokenizer=tokenizer))
        number = tokenizer.convert_tokens_to_ids(wanted)
        assert (processor.pad_token, processor.pad_token_id) == (wanted, number)
        batch = processor(["a", "a b"])
        assert batch["input_ids"][0][0] == number
        assert processor.decode(batch["input_ids"][0], skip_special_tokens=True) == ["a"]
    tokenizer.eos_token = None
    bare = Processor(load_multimodal("anygpt", text_tokenizer=tokenizer))
    assert bare.pad_token is bare.pad_token_id is bare.eos_token_id is None and bare.bos_token_id == 1
    assert bare.collate([{"input_ids": [1, 2]}, {"input_ids": [1]}])["attention_mask"].tolist() == [[1, 1], [1, 0]]
    with pytest.raises(UsageError, match="no token to pad with"):
        bare.pad([{"input_ids": [1]}])


def test_text_generation_gives_parts(processor: Processor, model: Any) -> None:
    with around_torchaudio():
        from transformers import pipeline
    pipe = pipeline("text-generation", model=model, tokenizer=processor)
    [told] = pipe("hi", max_new_tokens=3, do_sample=False)
    [new] = pipe("hi", max_new_tokens=3, do_sample=False, return_full_text=False)
    assert told["generated_text"] == ["hi", *new["generated_text"]]
    assert isinstance(told["generated_text"], Parts)
    [answer] = pipe([{"role": "user", "content": "hi"}], max_new_tokens=3)
    assert [message["role"] for message in answer["generated_text"]] == ["user", "assistant"]


def test_messages_come_in_either_form(processor: Processor) -> None:
    pairs = [("user", "hi"), ("assistant", "ok")]
    dicts = [{"role": role, "content": words} for role, words in pairs]
    for count in (1, 2):
        ids = processor.apply_chat_template(dicts[:count])["input_ids"]
        assert ids.tolist() == processor.apply_chat_template(pairs[:count])["input_ids"].tolist()
    batch = processor.apply_chat_template(dicts, learn=True, return_tensors="pt", return_dict=True, tokenize=True)
    assert {key: list(value.shape) for key, value in batch.items()} == {key: [1, len(ids)] for key in batch}
    assert set(batch) == {"input_ids", "attention_mask", "labels"}


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda p: p("hi", truncation=True, max_length=4), "has no truncation=True, max_length=4: leave it out"),
        (lambda p: p.decode([104], clean_up_tokenization_spaces=True), "clean_up_tokenization_spaces=True: words come"),
        (lambda p: p.save_pretrained("nowhere", push_to_hub=True), "save_pretrained has no push_to_hub=True"),
        (lambda p: p.apply_chat_template([("user", "a")], tools=[1]), "in the form of mini has no tools=[1]: leave"),
        (lambda p: p.apply_chat_template([("user", "a")], add_generation_prompt=False), "behind the user's message"),
        (lambda p: p.apply_chat_template([{"role": "user", "text": "a"}]), "message 0 has 'role', 'text': expected"),
    ],
)
def test_what_it_does_not_do_is_refused_by_name(
    processor: Processor, call: Any, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(why)):
        call(processor)
    assert not list(tmp_path.iterdir())


def test_what_is_unset_is_no_option(processor: Processor) -> None:
    line = processor("hi", truncation=None, max_length=None, videos=None, add_special_tokens=False)["input_ids"]
    assert line == processor("hi")["input_ids"]
