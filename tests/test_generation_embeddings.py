"""New rows for new ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama import tiny_llama

from anytok import UsageError, load_tokenizer, load_vocabulary
from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.generation import codebook_vectors, resize_embeddings
from anytok.registry import find
from anytok.vocab import Vocabulary, build_layout, build_vocabulary, segment_of

GOLDEN = Path(__file__).parent / "golden"
ANYGPT, MINI = load_vocabulary("anygpt"), load_vocabulary("mini")
SPEECH = build_vocabulary("speech", 256, [segment_of(find("speechtokenizer").spec, num_codebooks=1)])  # 1,282 ids


def test_rows_begin_near_the_mean_and_text_stays() -> None:
    model = tiny_llama(32000)
    before = [table.weight.detach().clone() for table in (model.get_input_embeddings(), model.get_output_embeddings())]
    assert resize_embeddings(model, ANYGPT, pad_to_multiple_of=100) == 49500
    assert model.config.vocab_size == 49500
    for table, old in zip((model.get_input_embeddings(), model.get_output_embeddings()), before, strict=True):
        assert table.weight.shape == (49500, 32)
        assert torch.equal(table.weight[:32000], old)
        new = table.weight[32000:]
        assert ((new - old.mean(0)).abs() < old.std(0)).all()
        assert len(torch.unique(new, dim=0)) == len(new)
    out = model(torch.tensor([[1, 40000, 49417]]))
    assert out.logits.shape == (1, 3, 49500)


def test_codes_begin_where_their_codebooks_say() -> None:
    model = tiny_llama(32000, hidden=64)
    rng = np.random.default_rng(0)
    books = rng.normal(size=(8, 2048, 16)).astype(np.float32)
    resize_embeddings(model, ANYGPT, codebooks={"encodec-32khz": books})
    weight = model.get_input_embeddings().weight.detach()
    rows = weight[41224 : 41224 + 8192]
    flat = torch.from_numpy(books[:4].reshape(-1, 16))
    pairs = torch.from_numpy(rng.integers(0, 8192, (500, 2)))
    near = (flat[pairs[:, 0]] - flat[pairs[:, 1]]).norm(dim=1)
    far = (rows[pairs[:, 0]] - rows[pairs[:, 1]]).norm(dim=1)
    assert np.corrcoef(near, far)[0, 1] > 0.7, "codes that are alike begin alike"
    assert torch.allclose(rows.std(0), weight[:32000].std(0), rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "folder", "shape"),
    [
        ("seed-2", GOLDEN / "seed", (1, 512, 32)),
        ("encodec-32khz", GOLDEN / "encodec_32khz", None),
        ("speech-mini", None, None),
        ("seed-mini", None, None),
    ],
)
def test_codebooks_are_those_of_the_tokenizer(name: str, folder: Path | None, shape: tuple[int, ...] | None) -> None:
    vectors, spec = codebook_vectors(name, folder), load_tokenizer(name, checkpoint=folder).spec
    assert vectors.dtype == np.float32 and vectors.shape[:2] == (spec.num_codebooks, spec.codebook_size)
    assert shape is None or vectors.shape == shape
    assert len(np.unique(vectors[0], axis=0)) == spec.codebook_size


def test_the_small_models_begin_at_their_codebooks() -> None:
    mini, model = MINI, tiny_llama(256, hidden=64)
    resize_embeddings(model, mini, codebooks={s.tokenizer: codebook_vectors(s.tokenizer) for s in mini.layout.segments})
    segment = mini.layout.segment("speech-mini")
    flat = torch.from_numpy(codebook_vectors("speech-mini")[0])
    rows = model.get_input_embeddings().weight.detach()[segment.first_id : segment.first_id + segment.codebook_size]
    near = torch.cdist(flat, flat).fill_diagonal_(torch.inf).argmin(1)
    apart = torch.cdist(rows, rows)
    assert (apart[torch.arange(len(near)), near] < apart.median(1).values).float().mean() > 0.95


@pytest.mark.parametrize("shape", [(3, 2048, 16), (4, 2047, 16), (2048, 16)])
def test_codebooks_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    model = tiny_llama(32000)
    with pytest.raises(UsageError, match=r"expected finite numbers \[at least 4, 2048, D\]"):
        resize_embeddings(model, ANYGPT, codebooks={"encodec-32khz": np.zeros(shape, np.float32)})
    assert model.config.vocab_size == 32000, "nothing was changed"


def test_tied_embeddings_stay_tied() -> None:
    model = tiny_llama(32000)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    resize_embeddings(model, ANYGPT)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_another_base_is_refused() -> None:
    with pytest.raises(UsageError, match="31999 rows, anygpt has 32000 text ids and 49418 in all"):
        resize_embeddings(tiny_llama(31999), ANYGPT)


def padded(rows: int, **config: Any) -> Any:
    """A model whose rows reach beyond the 256 text ids of SPEECH, as DeepSeek's and Qwen's reach beyond theirs."""
    model = tiny_llama(rows)
    for key, value in config.items():
        setattr(model.config, key, value)
    return model


@pytest.mark.parametrize("rows", [257, 320, SPEECH.layout.total - 1, SPEECH.layout.total, 256 + 4096])
@pytest.mark.parametrize("tied", [False, True])
def test_rows_that_pad_a_model_are_used_and_counted(rows: int, tied: bool) -> None:
    model = padded(rows, tie_word_embeddings=tied)
    model.tie_weights()
    before = model.get_input_embeddings().weight.detach().clone()
    said = f"has {rows} rows .* the {rows - 256} others, .* {min(rows, 1282) - 256} of them as rows of speech"
    with pytest.warns(UserWarning, match=said):
        assert resize_embeddings(model, SPEECH) == -(-max(rows, SPEECH.layout.total) // 64) * 64
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        new = table.weight[256:]
        mean, spread = table.weight[:256].mean(0), table.weight[:256].std(0)
        assert ((new - mean).abs() < spread).all() and len(torch.unique(new, dim=0)) == len(new)
    assert torch.equal(model.get_input_embeddings().weight[:256], before[:256])
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


def test_a_model_that_is_not_padded_is_resized_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    resize_embeddings(tiny_llama(256), SPEECH)
    assert not recwarn.list


def test_rows_that_were_trained_are_not_begun_again(tmp_path: Path) -> None:
    """Known by what the config records, in memory and on disk, not by how many rows there are."""
    model = tiny_llama(256)
    resize_embeddings(model, SPEECH)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    other = build_vocabulary("other", 256, list(MINI.layout.segments[:1]))
    for resized in (model, again):
        before = resized.get_input_embeddings().weight.detach().clone()
        for vocabulary in (SPEECH, other):
            with pytest.raises(UsageError, match=r"resized for the vocabulary speech already.*not resized before"):
                resize_embeddings(resized, vocabulary)
        assert torch.equal(resized.get_input_embeddings().weight, before)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rows", [264, 320, SPEECH.layout.total])
def test_rows_that_were_trained_elsewhere_are_not_begun_again(rows: int, tied: bool) -> None:
    """Nothing is recorded, and there are no more of them than padding has; their values tell."""
    model = padded(rows, tie_word_embeddings=tied)
    model.tie_weights()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    ids = torch.arange(256, rows)[torch.randint(rows - 256, (8, 24), generator=torch.Generator().manual_seed(0))]
    for _ in range(30):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(UsageError, match=rf"of the {rows - 256} rows behind the text's 256, .* pass overwrite=True"):
        resize_embeddings(model, SPEECH)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not hasattr(model.config, "anytok_vocabulary")
    with pytest.warns(UserWarning, match=r"taken for padding \(.*\d+ overwritten\), begin anew"):
        resize_embeddings(model, SPEECH, overwrite=True)


@torch.no_grad()
@pytest.mark.parametrize(
    ("fill", "told"),
    [
        (lambda rows, text: rows.zero_(), "64 zero"),
        (lambda rows, text: rows.mul_(1e-4), "64 zero"),
        (lambda rows, text: rows.copy_(text[7].expand_as(rows)), "64 equal to one another"),
        (lambda rows, text: rows[1:].zero_(), "63 zero, 1 as the model initialises rows"),
        (lambda rows, text: rows.normal_(0, 0.02), "64 as the model initialises rows"),
        (lambda rows, text: rows[:10].normal_(0.1, 0.02), None),
        (lambda rows, text: rows.normal_(0, 0.03), None),
        (lambda rows, text: rows.mul_(0.8), None),
        (lambda rows, text: rows[5].add_(0.3), None),
    ],
)
def test_what_tells_padding(fill: Any, told: str | None) -> None:
    torch.manual_seed(0)
    model = padded(320)
    weight = model.get_input_embeddings().weight
    fill(weight[256:], weight[:256])
    if told is None:
        with pytest.raises(UsageError, match="they may be trained"):
            resize_embeddings(model, SPEECH)
    else:
        with pytest.warns(UserWarning, match=rf"taken for padding \({told}\)"):
            resize_embeddings(model, SPEECH)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_transformers_added_are_padding(dtype: torch.dtype) -> None:
    """It draws them about the mean of those there, hardly apart."""
    model = tiny_llama(256).to(dtype)
    model.get_input_embeddings().weight.add_(0.01)
    model.resize_token_embeddings(257)
    model.resize_token_embeddings(320, mean_resizing=False)
    with pytest.warns(UserWarning, match="1 at the mean of the text's, 63 as the model initialises rows"):
        resize_embeddings(model, SPEECH)


def test_a_vocabulary_may_go_on_behind_another() -> None:
    model = tiny_llama(256)
    resize_embeddings(model, SPEECH, pad_to_multiple_of=None)
    before = model.get_input_embeddings().weight.detach().clone()
    behind = build_vocabulary("behind", SPEECH.layout.total, list(ANYGPT.layout.segments[:1]))
    assert resize_embeddings(model, behind, pad_to_multiple_of=None) == behind.layout.total
    assert torch.equal(model.get_input_embeddings().weight[: len(before)], before)


@pytest.mark.parametrize(
    ("rows", "config", "why"),
    [
        (
            256 + 4097,
            {},
            r"has 4353 rows, speech has 256 text ids .*cut them off first.*resize_token_embeddings\(256\)",
        ),
        (32000, {}, "has 32000 rows"),
        (300, {"eos_token_id": [2, 280]}, "eos_token_id is 280, and speech has 256 text ids"),
        (300, {"image_token_index": 299}, "image_token_index is 299"),
    ],
)
def test_rows_that_are_not_padding_are_not_taken(rows: int, config: dict[str, Any], why: str) -> None:
    """They are another text tokenizer's words, or were resized and trained elsewhere."""
    model = padded(rows, **config)
    before = model.get_input_embeddings().weight.detach().clone()
    with pytest.raises(UsageError, match=why):
        resize_embeddings(model, SPEECH)
    assert torch.equal(model.get_input_embeddings().weight, before) and not hasattr(model.config, "anytok_vocabulary")
    model.resize_token_embeddings(256)  # the way out, if one knows better
    model.config.eos_token_id = 2
    resize_embeddings(model, SPEECH)


def test_rows_that_cannot_be_written_are_named() -> None:
    quantized, sharded, offloaded = tiny_llama(256), tiny_llama(256), tiny_llama(256).to("meta")
    quantized.lm_head.weight = torch.nn.Parameter(torch.zeros(256, 32, dtype=torch.int8), requires_grad=False)
    sharded.model.embed_tokens.weight.ds_id = 0  # what DeepSpeed's ZeRO-3 leaves on a parameter
    for model, why in (
        (quantized, r"output rows are quantized \(torch.int8\)"),
        (sharded, "input rows are sharded"),
        (offloaded, "input rows are not in memory"),
    ):
        with pytest.raises(UsageError, match=why):
            resize_embeddings(model, SPEECH)
        assert model.config.vocab_size == 256


def test_rows_without_a_spread_are_refused() -> None:
    with pytest.raises(UsageError, match="the model's 1 text rows is not finite"):
        resize_embeddings(tiny_llama(1), Vocabulary(build_layout("bare", 1, [ANYGPT.layout.segments[0]])))


@torch.no_grad()
def test_output_biases_of_new_rows_are_the_texts_mean() -> None:
    with around_torchaudio():
        from transformers import BartConfig, BartForConditionalGeneration, PhiConfig, PhiForCausalLM
    small = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    phi = PhiForCausalLM(PhiConfig(**small, num_attention_heads=2))
    torch.nn.init.normal_(phi.lm_head.bias, -3, 0.1)
    old = phi.lm_head.bias.clone()
    resize_embeddings(phi, MINI)
    assert torch.equal(phi.lm_head.bias[:256], old) and torch.allclose(phi.lm_head.bias[256:], old.mean())
    layers = {f"{half}_{part}": 1 for half in ("encoder", "decoder") for part in ("layers", "attention_heads")}
    bart = BartForConditionalGeneration(BartConfig(vocab_size=256, d_model=32, **layers))
    bart.final_logits_bias.fill_(-3)
    resize_embeddings(bart, MINI)
    assert bart.final_logits_bias.shape == (1, len(bart.get_output_embeddings().weight))
    assert bool((bart.final_logits_bias == -3).all())
