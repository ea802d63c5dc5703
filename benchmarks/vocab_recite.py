"""A tiny LLaMA learns interleaved items by heart and gives their pictures and sounds back on demand.

    python benchmarks/vocab_recite.py [--steps 150]

A handful of conversations with pictures, speech and music, tokenised by the small models that ship, go through
transformers' Trainer; then each question alone is answered by `generate` under LegalRuns. An answer counts where its
ids, and what they decode to, equal the item's. Exits 1 unless all do. Numbers go to results/vocab_recite.json. A few
minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from pictures import synthetic_pictures
from sounds import synthetic_waves

import anytok
from anytok import Audio, Codes, Image, Music, Speech
from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.generation import LegalRuns, Processor, resize_embeddings
from anytok.registry import find

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from llama import tiny_llama

RESULT = Path(__file__).parent / "results" / "vocab_recite.json"
SECONDS = 0.5  # of each sound: a whole number of frames


def sounds(name: str, count: int) -> list[Audio]:
    spec = find(name).spec
    return [Audio(wave, spec.sample_rate or 0) for wave in synthetic_waves(spec, count, SECONDS).values()]


def items() -> list[tuple[str, list[Any]]]:
    """Questions, and answers of words and media."""
    pictures = synthetic_pictures(2)
    (hello, bye), [tune] = sounds("speech-mini", 2), sounds("music-mini", 1)
    return [
        ("Draw the first.", ["Here: ", Image(pictures[0])]),
        ("Say hello.", [Speech(hello), " That was it."]),
        ("Play a tune!", ["Listen. ", Music(tune)]),
        ("Draw the second and say goodbye.", ["Look ", Image(pictures[1]), " and hear ", Speech(bye)]),
    ]


def learn(model: Any, processor: Processor, rows: list[Any], steps: int) -> float:
    """The loss of the last step."""
    with around_torchaudio():
        from transformers import Trainer, TrainingArguments
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            place, max_steps=steps, per_device_train_batch_size=len(rows), learning_rate=2e-3, weight_decay=0.0,
            warmup_steps=20, report_to=[], save_strategy="no", logging_steps=25, use_cpu=True, seed=0,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=rows, data_collator=processor.collate)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]


def recited(model: Any, processor: Processor, question: str, row: Any) -> dict[str, Any]:
    """The answer to a question, compared with the item that was learned: ids, and what they decode to."""
    vocab = processor.any2any.vocabulary
    prompt = torch.tensor(processor.apply_chat_template([("user", question)])["input_ids"])[None]
    length = len(row["input_ids"])
    written = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_length=length, do_sample=False,
        logits_processor=[LegalRuns(vocab, max_length=length)],
    )[0]  # fmt: skip
    ids = row["input_ids"][prompt.shape[1] :]
    answer = processor.decode(written[prompt.shape[1] :], policy="strict")
    learned = processor.any2any.decode(ids)
    media = [part.spec.modality for part in vocab.from_ids(ids) if isinstance(part, Codes)]
    return {
        "question": question,
        "media": media,
        "ids": len(ids),
        "ids_equal": bool(np.array_equal(written[prompt.shape[1] :], ids)),
        "media_equal": len(answer) == len(learned) and all(map(same, answer, learned)),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or type(one) is not type(other):
        return bool(one == other)
    return np.array_equal(*(item.wave if isinstance(item, Audio) else np.asarray(item) for item in (one, other)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    processor = Processor(anytok.load_multimodal("mini"), template="mini")
    vocab = processor.any2any.vocabulary
    model = tiny_llama(vocab.layout.text_size, hidden=256, layers=4)
    resize_embeddings(model, vocab)
    asked = items()
    rows = [processor.apply_chat_template([("user", q), ("assistant", a)], learn=True) for q, a in asked]
    begun = time.perf_counter()
    loss = learn(model, processor, rows, steps)
    seconds = time.perf_counter() - begun
    model.eval()
    found = [recited(model, processor, question, row) for (question, _), row in zip(asked, rows, strict=True)]
    record = {
        "machine": machine(),
        "model_parameters": model.num_parameters(),
        "steps": steps,
        "training_seconds": round(seconds, 1),
        "loss": loss,
        "items": found,
    }
    RESULT.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps(record, indent=1, ensure_ascii=False))
    raise SystemExit(not all(item["ids_equal"] and item["media_equal"] for item in found))


if __name__ == "__main__":
    main()
