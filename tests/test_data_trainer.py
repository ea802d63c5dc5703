"""transformers' Trainer on composed sequences, and on the same codes composed on the fly: the same losses."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from llama import tiny_llama
from test_compose_jobs import job_of
from test_data import codes, make_codes

from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.compose import Form
from anytok.data import Collator, EpochDataset, SequenceDataset
from anytok.jobs import run_job

STEPS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_codes(tmp_path_factory.mktemp("data"))


def losses(dataset: Any, folder: Path, collate: Any = Collator(), **options: Any) -> list[float]:  # noqa: B008
    """The loss of each step."""
    with around_torchaudio():
        from transformers import Trainer, TrainingArguments
    options = {"max_steps": STEPS, "save_strategy": "no", **options}
    settings = TrainingArguments(
        str(folder), report_to=[], use_cpu=True, disable_tqdm=True, per_device_train_batch_size=2, logging_steps=1,
        learning_rate=0.01, **options,
    )  # fmt: skip
    trainer = Trainer(tiny_llama(18700), settings, collate, train_dataset=dataset)
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_the_same_losses_on_packed_sequences_and_on_the_same_codes_packed_on_the_fly(
    root: Path, tmp_path: Path
) -> None:
    stored = EpochDataset(SequenceDataset(root / "packed"), shuffle=False)
    on_the_fly = EpochDataset(codes(root), shuffle=False, length=60, pack_items=20)
    found = losses(stored, tmp_path)
    assert found == losses(on_the_fly, tmp_path) and len(set(found)) == STEPS
    assert found != losses(EpochDataset(codes(root), shuffle=False, length=60, pack_items=19), tmp_path)


@pytest.mark.parametrize("sink", ["parquet", "webdataset"])
def test_the_same_losses_on_documents_in_the_trainers_own_order(root: Path, tmp_path: Path, sink: str) -> None:
    """Trainer shuffles map-style datasets itself; what is learned is the media alone."""
    form = Form("item", seed=1, loss="media")
    run_job(job_of(root / "codes", tmp_path / "plain", form, compose={"length": 0, "shuffle": False}))
    found = losses(SequenceDataset(tmp_path / "plain"), tmp_path)
    assert found == losses(codes(root, sink, form), tmp_path) and len(set(found)) == STEPS


def test_a_trainers_checkpoint_goes_on_with_the_next_rows(root: Path, tmp_path: Path) -> None:
    """Trainer passes over what it has had, of the epoch it was in: 48 rows are 24 steps of two."""

    def make() -> EpochDataset:
        return EpochDataset(codes(root), seed=4)

    options = {"max_steps": 32, "save_strategy": "steps", "save_steps": 28}
    whole = losses(make(), tmp_path, **options)
    resumed = losses_after(make(), tmp_path / "checkpoint-28", tmp_path, **options)
    assert len(whole) == 32 and resumed == whole[28:]


def losses_after(dataset: Any, checkpoint: Path, folder: Path, **options: Any) -> list[float]:
    with around_torchaudio():
        from transformers import Trainer, TrainingArguments
    settings = TrainingArguments(
        str(folder), report_to=[], use_cpu=True, disable_tqdm=True, per_device_train_batch_size=2, logging_steps=1,
        learning_rate=0.01, **options,
    )  # fmt: skip
    trainer = Trainer(tiny_llama(18700), settings, Collator(), train_dataset=dataset)
    trainer.train(resume_from_checkpoint=str(checkpoint))
    return [line["loss"] for line in trainer.state.log_history if "loss" in line][-4:]


def test_documents_of_a_packed_and_padded_batch_do_not_see_each_other(root: Path) -> None:
    """The logits of each document are those that it has alone."""
    columns = ("input_ids", "labels", "position_ids", "cu_seqlens")
    rows = [SequenceDataset(root / "packed", columns=columns)[number] for number in (1, 3)]
    bounds = [row.pop("cu_seqlens").tolist() for row in rows]
    assert len(rows[0]["input_ids"]) != len(rows[1]["input_ids"]) and max(map(len, bounds)) > 2
    model = tiny_llama(18700)
    model.config.use_cache = False
    with torch.no_grad():
        together = model(**Collator(pad_id=7)(rows)).logits
        for row, logits, ends in zip(rows, together, bounds, strict=True):
            for start, end in itertools.pairwise(ends):
                alone = model(row["input_ids"][None, start:end]).logits[0]
                assert torch.allclose(logits[start:end], alone, atol=1e-4)


def test_collators_of_transformers_take_the_rows(root: Path) -> None:
    from llama import llama_tokenizer

    with around_torchaudio():
        from transformers import DataCollatorForSeq2Seq
    tokenizer = llama_tokenizer(400)
    tokenizer.pad_token = "<unk>"
    rows = [codes(root, columns=("input_ids", "labels"))[number] for number in (0, 1)]
    theirs = DataCollatorForSeq2Seq(tokenizer, padding=True)([dict(row) for row in rows])
    ours = Collator(pad_id=0)(rows)
    assert theirs["labels"].shape == ours["labels"].shape and int((theirs["labels"] == -100).sum()) == int(
        (ours["labels"] == -100).sum()
    )


def test_trainer_in_ten_lines() -> None:
    """tests/test_docs.py runs them."""
    page = (Path(__file__).parent.parent / "anytok" / "data" / "README.md").read_text("utf-8")
    [snippet] = [block for block in page.split("```python\n")[1:] if "Trainer(" in block.partition("```")[0]]
    assert len(snippet.partition("```")[0].splitlines()) <= 10 and "Collator()" in snippet
