"""SEANet's plain layers and segments: weight norm, loudness, overlapping segments."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from anytok.models.seanet import Conv, UpConv, fold_weight_norm, folded
from anytok.models.segments import normalize, overlap_add


@torch.inference_mode()
def test_a_segments_loudness_is_the_same_for_any_number_of_threads(threads):
    generator = torch.Generator().manual_seed(0)
    segments = [torch.randn(2, 48_000, generator=generator) for _ in range(20)]
    scales = [normalize(segment)[1] for segment in segments]
    for segment, scale in zip(segments, scales, strict=True):
        assert scale == pytest.approx(float(segment.mean(0).square().mean().sqrt()) + 1e-8, rel=1e-6)
    torch.set_num_threads(1)
    assert scales == [normalize(segment)[1] for segment in segments]


@pytest.mark.parametrize(("stride", "total"), [(99, 100), (99, 199), (99, 330), (50, 260), (40, 300)])
def test_joined_segments_are_the_weighted_mean_of_all(stride, total):
    """Divided stretch by stretch as they come, but the same as all at once."""
    generator = torch.Generator().manual_seed(0)
    begins = range(0, total, stride)
    segments = [torch.randn(2, min(100, total - begin), generator=generator) for begin in begins]
    weight = torch.arange(1, 101).minimum(torch.arange(100, 0, -1)).double()
    sums, weights = torch.zeros(2, total).double(), torch.zeros(total).double()
    for begin, segment in zip(begins, segments, strict=True):
        length = segment.shape[1]
        sums[:, begin : begin + length] += weight[:length] * segment
        weights[begin : begin + length] += weight[:length]
    torch.testing.assert_close(overlap_add(segments, stride, total), (sums / weights).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("weight_norm", [True, False])
@torch.inference_mode()
def test_a_weight_is_multiplied_out_by_its_norm(weight_norm):
    torch.manual_seed(0)
    for conv in (Conv(6, 90, 7, weight_norm=weight_norm), UpConv(90, 6, 4, weight_norm=weight_norm)):
        wanted, plain = folded(conv), copy.deepcopy(conv)
        if weight_norm:
            nn.init.normal_(conv.weight_g)
            wanted = conv.weight_v * conv.weight_g / conv.weight_v.flatten(1).norm(dim=1)[:, None, None]
            plain = copy.deepcopy(conv)
            fold_weight_norm(plain)
            assert [name for name, _ in plain.named_parameters()] == ["bias", "weight"]
        torch.testing.assert_close(folded(conv), wanted, atol=1e-6, rtol=1e-6)
        assert torch.equal(folded(conv), plain.weight)
        signal = torch.randn(1, conv.in_channels, 30)
        assert torch.equal(conv(signal), plain(signal))
