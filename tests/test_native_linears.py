"""That a model of pictures is packed, computes the same, and gives a picture the same bits in any batch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from marks import half_kernels
from PIL import Image
from torch import nn

import anytok
from anytok.checkpoints.report import load_state
from anytok.engines.native.cpu.linears import linear_weights, pack_linears
from anytok.models.seed import normalize
from anytok.models.vit import Block

DTYPES = [torch.float32, pytest.param(torch.bfloat16, marks=half_kernels)]


def model_of(dtype: torch.dtype, stored: torch.dtype) -> nn.Sequential:
    """Wide and narrow layers, with and without biases, as a checkpoint's weights are put into it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 64), Block(64, 4), Block(64, 4), nn.Linear(64, 5), nn.Linear(5, 64, bias=False))
    state = {name: tensor.to(stored) for name, tensor in model.state_dict().items()}
    load_state(model.to(dtype), state, "here", as_stored=linear_weights(model))
    return model.requires_grad_(False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
@torch.inference_mode()
def test_packed_layers_compute_what_plain_ones_do(dtype, stored, build):
    model = model_of(dtype, stored)
    assert model[0].weight.dtype == stored and model[0].bias.dtype == model[4].weight.dtype == dtype
    plain = copy.deepcopy(model).float()
    pack_linears(model)
    assert not [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    some = torch.randn(2, 37, 30).to(dtype)
    within = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(model(some).float(), plain(some.float()), atol=within, rtol=0)


def test_weights_stored_in_float16_stay_so(compiled):
    model = model_of(torch.float32, torch.float16)
    pack_linears(model)
    assert model[0]._product._weight.dtype == torch.float16
    assert model[1].norm1.weight.dtype == torch.float32


def test_nothing_of_the_checkpoint_is_kept(tmp_path):
    """One small view into a mapped file would keep all of it in memory."""
    stored = model_of(torch.float32, torch.float32).state_dict()
    torch.save(stored, tmp_path / "stored.pt")
    mapped = torch.load(tmp_path / "stored.pt", mmap=True, weights_only=True)
    model = model_of(torch.float32, torch.float32)
    load_state(model, mapped, "here")
    file = mapped["1.norm1.weight"].untyped_storage().data_ptr()
    assert model[1].norm1.weight.untyped_storage().data_ptr() == file
    pack_linears(model)
    assert model[1].norm1.weight.untyped_storage().data_ptr() != file


def test_named_weights_keep_the_type_they_are_stored_in():
    layer = nn.Linear(3, 2, device="meta")
    state = {name: torch.ones(wanted.shape, dtype=torch.float16) for name, wanted in layer.state_dict().items()}
    load_state(layer, state, "here", as_stored={"weight"})
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.float16, torch.float32)


def pictures(count: int) -> list[Image.Image]:
    shape = (90, 70, 3)
    levels = (np.random.default_rng(i).integers(0, 256, shape, dtype=np.uint8) for i in range(count))
    return [Image.fromarray(picture) for picture in levels]


@half_kernels
def test_half_precision_gives_much_the_same_codes():
    half, plain = anytok.load_tokenizer("seed-mini", dtype="bfloat16"), anytok.load_tokenizer("seed-mini")
    codes, others = half.encode_batch(pictures(3)), plain.encode_batch(pictures(3))
    assert np.mean([np.mean(one.values == other.values) for one, other in zip(codes, others, strict=True)]) > 0.7


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.inference_mode()
def test_a_picture_has_the_same_latents_in_any_batch(dtype, thread_counts, compiled):
    """In every bit: an almost equal code must not win in one batch, and lose in another."""
    tokenizer = anytok.load_tokenizer("seed-mini", dtype=dtype)
    model, side = tokenizer._model, tokenizer.spec.image_size
    levels = torch.randint(0, 256, (5, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = normalize(levels)
    together = model.latents(pixels)
    assert together.std() > 0
    for count in thread_counts:
        assert torch.equal(torch.cat([model.latents(some) for some in pixels.split(count)]), together)
        assert torch.equal(model.latents(pixels), together)
