"""The loop by which SoundStorm fills masked codes in: level by level, the first one in several passes.

It is AnyGPT's loop (generate in soundstorm_speechtokenizer/soundstorm.py), with all that is odd in it, since the
published weights are judged by what comes out of it; the oddities are named where they are.

Legend: n frames, the prompt's first; q levels, k codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor

__all__ = ["Filling", "filling", "num_passes"]

# Yields the network's input [n, q], is sent its logits [n, q, k], and returns the codes [n, q].
Filling = Generator[Tensor, Tensor, Tensor]

_KEPT = 0.7  # share of the least likely codes that are never drawn
_TINY = 1e-10


def num_passes(num_levels: int, steps: int) -> int:
    """Runs of the network that one clip takes."""
    return steps + num_levels


def filling(
    codes_nq: Tensor,
    num_codes: int,
    uniform: Callable[[], Tensor],
    *,
    steps: int,
    greedy: bool,
    full_levels: int = 1,
    kept: int | None = None,
) -> Filling:
    """Fill in the entries of `codes_nq`, int64, that are `num_codes`, which is the mask: the clip's. The others, the
    prompt's, are frames at its start.

    `uniform` draws numbers of [0, 1), float32 [n q, k], on each call. The first `full_levels` levels take `steps` + 1
    passes, each other one; with `greedy`, only the passes of the former that leave something masked draw at all.
    `kept` likeliest codes can be drawn.
    """
    mask, (frames, levels) = num_codes, codes_nq.shape
    codes_nq, kept = codes_nq.clone(), kept or math.ceil((1 - _KEPT) * num_codes)
    is_prompt_n = codes_nq[:, 0] != mask
    is_open_nq = (codes_nq == mask).clone()
    masked = masked_counts(frames, steps)
    for level in range(min(full_levels, levels)):
        for step, count in enumerate(masked):
            logits_nqk = (yield codes_nq).float()
            if greedy and not count:
                sampled_nq = logits_nqk.argmax(-1)
            else:
                logits_nqk = likeliest(logits_nqk, kept)
                sampled_nq = draw(logits_nqk, uniform(), step / steps)
            codes_nq = torch.where(is_open_nq, sampled_nq, codes_nq)  # also of the levels above, which stay filled
            if count:
                is_open_nq = doubted(logits_nqk, sampled_nq, count, level, is_prompt_n)
                codes_nq = codes_nq.masked_fill(is_open_nq, mask)
    for level in range(min(full_levels, levels), levels):
        logits_nqk = (yield codes_nq).float()
        sampled_nq = logits_nqk.argmax(-1) if greedy else draw(likeliest(logits_nqk, kept), uniform(), 0.0)
        codes_nq = torch.cat([codes_nq[:, :level], sampled_nq[:, level:]], dim=1)  # of the prompt's frames, too
    return codes_nq


def masked_counts(frames: int, steps: int) -> list[int]:
    """Entries that are masked again after each pass of a level, all frames times a cosine, in float32 as published:
    exact arithmetic differs for few lengths."""
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float32, device="cpu")
    counts: list[int] = (torch.cos(share * math.pi * 0.5) * frames).long().tolist()
    return counts


def likeliest(logits_nqk: Tensor, kept: int) -> Tensor:
    """The logits with all but the largest `kept` of each row at minus infinity."""
    values_nqj, places_nqj = logits_nqk.topk(kept, dim=-1, sorted=False)
    return torch.full_like(logits_nqk, -torch.inf).scatter_(-1, places_nqj, values_nqj)


def draw(logits_nqk: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Codes drawn by Gumbel's trick; at temperature 0 the likeliest but for near ties."""
    noise = uniform.to(logits_nqk.device)
    noise = -torch.log(-torch.log(noise + _TINY) + _TINY)
    return (logits_nqk / max(temperature, _TINY) + noise.view_as(logits_nqk)).argmax(-1)


def doubted(logits_nqk: Tensor, sampled_nq: Tensor, count: int, level: int, is_prompt_n: Tensor) -> Tensor:
    """Which entries are masked next: the `count` least sure, and all levels above `level`; none of the prompt's.

    `count` is a number of frames, but entries of all levels, and of the prompt's frames, compete for it; and what is
    judged is the code drawn now, also where another one has stood for long.
    """
    doubts_nq = 1 - logits_nqk.softmax(-1).gather(-1, sampled_nq[..., None])[..., 0]
    order = doubts_nq.flatten().argsort(descending=True, stable=True)
    is_open = torch.zeros_like(order, dtype=torch.bool)
    is_open[order[:count]] = True
    is_open_nq = is_open.view_as(sampled_nq)
    is_open_nq[:, level + 1 :] = True
    is_open_nq[is_prompt_n] = False
    return is_open_nq
