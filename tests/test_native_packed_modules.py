"""That a picture's vision transformer is packed in half precision, and computes the same."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from marks import half_kernels, packed_only
from PIL import Image
from torch import nn

import anytok
from anytok.checkpoints.report import load_state
from anytok.engines.native.packed_modules import can_pack_linears, linear_weights, pack_linears
from anytok.models.vit import Block


@packed_only
@half_kernels
@torch.inference_mode()
def test_packed_layers_compute_what_plain_ones_do():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(30, 64), Block(64, 4), Block(64, 4)).half()
    packed, plain = copy.deepcopy(plain), plain.bfloat16()
    pack_linears(packed, torch.bfloat16)
    assert len(linear_weights(plain, "")) == 9 and not linear_weights(packed, "")
    some = torch.randn(2, 37, 30).bfloat16()
    packed.bfloat16()  # the norms
    wanted = plain.float()(some.float())
    torch.testing.assert_close(packed(some).float(), wanted, atol=0.05, rtol=0)


def test_named_weights_keep_the_type_they_are_stored_in():
    layer = nn.Linear(3, 2, device="meta")
    state = {name: torch.ones(wanted.shape, dtype=torch.float16) for name, wanted in layer.state_dict().items()}
    load_state(layer, state, "here", as_stored={"weight"})
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize(
    ("dtype", "is_packed"), [("float32", False), pytest.param("bfloat16", True, marks=[half_kernels, packed_only])]
)
def test_only_half_precision_is_packed_and_loads_what_was_stored(dtype, is_packed):
    pictures = [
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (90, 70, 3), dtype=np.uint8)) for i in range(3)
    ]
    tokenizer = anytok.load_tokenizer("seed-mini", dtype=dtype)
    left = linear_weights(tokenizer._model.visual_encoder, "")
    assert (not left) == is_packed == can_pack_linears("cpu", getattr(torch, dtype))
    plain = anytok.load_tokenizer("seed-mini")
    codes, others = tokenizer.encode_batch(pictures), plain.encode_batch(pictures)
    equal = np.mean([np.mean(one.values == other.values) for one, other in zip(codes, others, strict=True)])
    assert equal == 1 if dtype == "float32" else equal > 0.7
    alone = [tokenizer.encode(picture) for picture in pictures]
    assert all(np.array_equal(one.values, other.values) for one, other in zip(codes, alone, strict=True))
