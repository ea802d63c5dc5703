"""A language model that can only write legal runs."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lines import DELAYED, TOY, legal_line
from llama import tiny_llama

from anytok import Codes, UsageError, VocabularyError, load_vocabulary
from anytok.generation import LegalRuns, resize_embeddings
from anytok.vocab import Layout, Vocabulary, build_layout

ANYGPT = load_vocabulary("anygpt")
MIO = load_vocabulary("mio")
# AnyGPT's shape with small codebooks, so that sampling is quick.
SMALL = Vocabulary(
    build_layout("small", 300, [replace(segment, codebook_size=64) for segment in ANYGPT.layout.segments])
)


def possible(vocab: Vocabulary, ids: list[int], legal: LegalRuns, size: int) -> list[int]:
    scores = legal(torch.tensor([ids], dtype=torch.long).reshape(1, -1), torch.zeros(1, size))
    return torch.nonzero(scores[0] == 0)[:, 0].tolist()


@pytest.mark.parametrize("vocab", [TOY, DELAYED])
def test_agrees_with_the_strict_parser_on_every_prefix_and_id(vocab: Vocabulary) -> None:
    """An id is possible exactly where the strict parser would take it."""
    rng = np.random.default_rng(0)
    legal = LegalRuns(vocab)
    lines = (legal_line(rng, vocab) for _ in range(12))
    prefixes = {tuple(line[:end]) for line in lines for end in range(1, len(line) + 1)}
    for prefix in prefixes:
        taken = []
        for number in range(vocab.layout.total):
            stream = vocab.stream()
            stream.push(list(prefix))
            try:
                stream.push([number])
            except VocabularyError:
                continue
            taken.append(number)
        assert possible(vocab, list(prefix), legal, vocab.layout.total + 5) == taken


def test_rows_of_a_batch_are_on_their_own() -> None:
    rng = np.random.default_rng(1)
    lines = [line for line in (legal_line(rng, num_parts=8) for _ in range(40)) if len(line) >= 12]
    batch = torch.tensor(np.stack([line[:12] for line in lines]))
    scores = torch.randn(len(batch), TOY.layout.total, generator=torch.Generator().manual_seed(0))
    legal = LegalRuns(TOY, min_frames={"music": 2}, max_frames={"speech": 3}, max_length=20)
    together = legal(batch, scores)
    for row, alone in enumerate(batch):
        assert torch.equal(legal(alone[None], scores[row : row + 1])[0], together[row])
        assert torch.equal(legal.for_request(alone[:5].tolist(), alone[5:].tolist(), scores[row]), together[row])
    assert torch.equal(together[together > -torch.inf], scores[together > -torch.inf])


def test_vllm_takes_it_as_a_processor_of_a_request() -> None:
    """vLLM binds the ids of prompt and output to a processor of three parameters, and calls it with a row of logits."""
    legal, generator = LegalRuns(ANYGPT), torch.Generator().manual_seed(0)
    assert len(inspect.signature(legal.for_request).parameters) == 3
    prompt, output = [1, 5, ANYGPT.layout.segment("seed-2").start_id], list[int]()
    bound = partial(legal.for_request, prompt, output)
    for _ in range(33):
        output.append(int(bound(torch.randn(49472, generator=generator)).argmax()))
    [_, picture] = ANYGPT.from_ids([*prompt, *output])
    assert picture.num_frames == 32


def test_a_prompt_may_be_embeddings() -> None:
    """`generate(inputs_embeds=…)` begins with no ids at all."""
    legal, scores = LegalRuns(ANYGPT, max_length=34), torch.zeros(2, 49418)
    first = legal(torch.zeros(2, 0, dtype=torch.long), scores)
    assert torch.equal(first[0], legal.for_request(None, [], scores[0]))
    assert torch.nonzero(first[1] == 0)[:, 0].tolist() == [*range(32004), 40196, 41222, 49416]
    assert possible(ANYGPT, [], LegalRuns(ANYGPT, max_length=33), 49418) == [*range(32004), 41222, 49416]


def frames(vocab: Vocabulary, modality: str, **limits: Any) -> tuple[int, int]:
    """Shortest and longest run that can be written, walking greedily from its start marker."""
    [segment] = [s for s in vocab.layout.segments if s.modality == modality]
    lengths = []
    for hurry in (True, False):
        ids, legal = [5, segment.start_id], LegalRuns(vocab, **limits)
        for _ in range(400):
            allowed = possible(vocab, ids, legal, vocab.layout.total)
            if segment.end_id in allowed and (hurry or len(allowed) == 1):
                break
            codes = [number for number in allowed if number != segment.end_id]
            ids.append(codes[-1] if hurry else codes[0])
        assert segment.end_id in allowed
        lengths.append((len(ids) - 2) // segment.num_codebooks)
    return lengths[0], lengths[1]


@pytest.mark.parametrize(
    ("vocab", "modality", "limits", "bounds"),
    [
        (ANYGPT, "image", {}, (32, 32)),
        (ANYGPT, "image", {"max_length": 36}, (32, 32)),
        (ANYGPT, "speech", {"min_frames": {"speech": 3}, "max_frames": {"speech": 7}}, (3, 7)),
        (ANYGPT, "music", {"max_frames": {"music": 5}}, (1, 5)),
        (ANYGPT, "music", {"max_length": 2 + 4 * 6 + 1}, (1, 6)),
        (ANYGPT, "music", {"max_length": 2 + 4 * 6 + 4}, (1, 6)),
        (MIO, "speech", {"min_frames": {"speech": 2}, "max_frames": {"speech": 6}}, (2, 6)),
        (MIO, "speech", {"max_length": 2 + 4 * 6 + 1}, (1, 6)),
        (DELAYED, "speech", {"min_frames": {"speech": 2}, "max_frames": {"speech": 6}}, (2, 6)),
        (DELAYED, "speech", {"max_length": 2 + 3 * 6 + 1}, (1, 6)),
    ],
)
def test_lengths(vocab: Vocabulary, modality: str, limits: Any, bounds: tuple[int, int]) -> None:
    assert frames(vocab, modality, **limits) == bounds


def test_no_run_opens_that_could_not_close() -> None:
    start = ANYGPT.layout.segment("seed-2").start_id
    for max_length, expected in ((1 + 33, False), (1 + 34, True)):
        legal = LegalRuns(ANYGPT, max_length=max_length)
        assert (start in possible(ANYGPT, [5], legal, 49418)) is expected


@pytest.mark.parametrize(("least", "most"), [(0, 3), (0, 0), (5, 2), (-1, 1)])
def test_bounds_that_no_run_can_keep_are_refused(least: int, most: int) -> None:
    with pytest.raises(UsageError, match=f"min_frames {least} and max_frames {most} of speech"):
        LegalRuns(ANYGPT, min_frames={"speech": least}, max_frames={"speech": most})


@pytest.mark.parametrize("number", [-1, 10**6])
def test_an_id_that_the_vocabulary_does_not_have_begins_no_run(number: int) -> None:
    """Not even where the last id is a start marker."""
    segment = replace(SMALL.layout.segments[0], first_id=300, start_id=365, end_id=364)
    vocab = Vocabulary(Layout("ends in a start", 300, (), (segment,), 366))
    assert possible(vocab, [1, 365], LegalRuns(vocab), 366)[0] >= 300
    assert possible(vocab, [1, number], LegalRuns(vocab), 366) == possible(vocab, [1], LegalRuns(vocab), 366)


def test_modalities() -> None:
    opened = possible(ANYGPT, [5], LegalRuns(ANYGPT, modalities=["speech"]), 49472)
    assert opened == [*range(32004), 41222]
    with pytest.raises(UsageError, match="has no film; it has image, music, speech"):
        LegalRuns(ANYGPT, modalities=["film"])
    with pytest.raises(UsageError, match="resize_embeddings"):
        LegalRuns(ANYGPT)(torch.tensor([[5]]), torch.zeros(1, 32000))


def test_a_run_that_a_prompt_began_wrongly_can_only_be_closed() -> None:
    assert possible(ANYGPT, [49416, *[41224] * 5], LegalRuns(ANYGPT, max_frames={"music": 1}), 49418) == [49417]


class Eager:
    """A model's taste for media: start and end markers become likely, as in a trained model."""

    def __init__(self, vocab: Vocabulary, bias: float) -> None:
        self.ids = [number for s in vocab.layout.segments for number in (s.start_id, s.end_id)]
        self.bias = bias

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, self.ids] += self.bias
        return scores


@pytest.mark.parametrize("options", [{"do_sample": True}, {"num_beams": 2, "do_sample": True}])
def test_sampled_generations_parse(options: dict[str, Any]) -> None:
    vocab = SMALL
    model = tiny_llama(vocab.layout.text_size)
    resize_embeddings(model, vocab)
    prompt = torch.randint(3, vocab.layout.text_size, (32, 4), generator=torch.Generator().manual_seed(0))
    runs: Counter[str] = Counter()
    legal = LegalRuns(vocab, max_length=84)
    torch.manual_seed(0)
    for processors in ([Eager(vocab, 4.0), legal], [Eager(vocab, 4.0)]):
        lines = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_length=84,
            logits_processor=processors,
            **options,
        )
        faulty = 0
        for line in lines.numpy():
            report = vocab.from_ids(line, policy="drop").report
            faulty += not report.ok
        if legal in processors:
            assert faulty == 0
            for line in lines.numpy():
                runs.update(part.spec.modality for part in vocab.from_ids(line) if isinstance(part, Codes))
        else:
            assert faulty > 20, "without it, hardly a line is legal"
    assert all(runs[modality] > 10 for modality in ("image", "speech", "music"))
