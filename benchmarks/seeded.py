"""Seeded weights that behave, in the published file formats, made with the original packages.

Published weights are not always at hand, and plain random ones prove nothing: the biases drown the signal, one code
wins everywhere and a wrong port still scores 80 %. So every convolution is rescaled on real sound to unit deviation
over time, with its mean taken out, and each codebook is drawn from the residuals it will meet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anytok.engines.reference.packages import original

SPEECH_CONFIG: dict[str, Any] = {
    "n_filters": 64, "strides": [8, 5, 4, 2], "dimension": 1024, "semantic_dimension": 768, "bidirectional": True,
    "dilation_base": 2, "residual_kernel_size": 3, "n_residual_layers": 1, "lstm_layers": 2, "activation": "ELU",
    "codebook_size": 1024, "n_q": 8, "sample_rate": 16000, "sampling_rate": 16000,
}  # fmt: skip

_ENCODEC: dict[str, Any] = {
    "hidden_size": 128, "codebook_dim": 128, "num_lstm_layers": 2, "num_residual_layers": 1, "compress": 2,
    "kernel_size": 7, "last_kernel_size": 7, "residual_kernel_size": 3, "dilation_growth_rate": 2,
    "pad_mode": "reflect", "trim_right_ratio": 1.0,
}  # fmt: skip

ENCODEC_CONFIGS: dict[str, dict[str, Any]] = {
    "encodec-32khz": _ENCODEC | {
        "sampling_rate": 32000, "audio_channels": 1, "num_filters": 64, "upsampling_ratios": [8, 5, 4, 4],
        "codebook_size": 2048, "target_bandwidths": [2.2], "norm_type": "weight_norm", "normalize": False,
        "use_causal_conv": False, "use_conv_shortcut": False, "chunk_length_s": None, "overlap": None,
    },
    "encodec-24khz": _ENCODEC | {
        "sampling_rate": 24000, "audio_channels": 1, "num_filters": 32, "upsampling_ratios": [8, 5, 4, 2],
        "codebook_size": 1024, "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0], "norm_type": "weight_norm",
        "normalize": False, "use_causal_conv": True, "use_conv_shortcut": True, "chunk_length_s": None,
        "overlap": None,
    },
    "encodec-48khz": _ENCODEC | {
        "sampling_rate": 48000, "audio_channels": 2, "num_filters": 32, "upsampling_ratios": [8, 5, 4, 2],
        "codebook_size": 1024, "target_bandwidths": [3.0, 6.0, 12.0, 24.0], "norm_type": "time_group_norm",
        "normalize": True, "use_causal_conv": False, "use_conv_shortcut": True, "chunk_length_s": 1.0,
        "overlap": 0.01,
    },
}  # fmt: skip


def write_checkpoint(
    name: str, folder: Path, waves: Iterable[np.ndarray], seed: int = 0, *, reproducible: bool = False, **sizes: Any
) -> Path:
    """Write the published files of tokenizer `name` into `folder`.

    `waves` are float32 [channels, samples] at the model's rate, to calibrate on; `sizes` override the published
    config (tests use small ones). With `reproducible` the weights are the same on every machine but for the last bits
    of some: drawn by one generator, and calibrated in float64, whose differences rounding to float32 mostly hides.
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    clips = [torch.tensor(wave, dtype=torch.float64 if reproducible else torch.float32)[None] for wave in waves]
    if name.startswith("speechtokenizer"):
        snake = name.endswith("snake")
        config = SPEECH_CONFIG | {"activation": "Snake" if snake else "ELU"} | sizes
        model = original("speechtokenizer.model").SpeechTokenizer(config).eval()
        if reproducible:
            _draw(model.double(), seed)
        _calibrate(model, clips, _speech_books(model))
        torch.save(model.float().state_dict(), folder / ("ckpt.dev" if snake else "SpeechTokenizer.pt"))
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    from transformers import EncodecConfig, EncodecModel

    model = EncodecModel(EncodecConfig(**(ENCODEC_CONFIGS[name] | sizes))).eval()
    if reproducible:
        _draw(model.double(), seed)
    if model.config.normalize:
        second = model.config.sampling_rate
        clips = [piece for clip in clips for piece in clip.split(second, dim=-1) if piece.shape[-1] == second]
        clips = [clip / (clip.mean(1, keepdim=True).square().mean(-1, keepdim=True).sqrt() + 1e-8) for clip in clips]
    _calibrate(model, clips, [layer.codebook for layer in model.quantizer.layers])
    model.float().save_pretrained(folder)
    return folder


@torch.no_grad()
def _draw(model: nn.Module, seed: int) -> None:
    """Draw matrices anew, from a generator that stays as it is (NEP 19): torch's differ between CPUs, and how packages
    draw differs between their versions. Biases become 0; gains, of norms and of Snake, 1."""
    random = np.random.RandomState(seed)
    for name, parameter in model.named_parameters():
        is_matrix = parameter.dim() > 1 and parameter[0].numel() > 1
        if is_matrix and not name.endswith("alpha"):
            bound = parameter[0].numel() ** -0.5
            parameter.copy_(torch.from_numpy(random.uniform(-bound, bound, parameter.shape)))
        else:
            parameter.fill_("bias" not in name)


def _speech_books(model: Any) -> list[nn.Module]:
    return [layer._codebook for layer in model.quantizer.vq.layers]


@torch.no_grad()
def _calibrate(model: Any, clips: list[Tensor], books: list[nn.Module]) -> None:
    """Rescale the encoder, draw the codebooks from its latents, rescale the decoder on what they give back.

    Rows take their directions from the residuals and a length that falls slowly from layer to layer: at the residuals'
    own length, those that are drawn from find themselves in every codebook and fade to rounding noise.
    """
    excerpts = [clip[..., : clips[0].shape[-1] // 2] for clip in clips[:6]]  # one clip's mean is not all clips'
    _rescale(model.encoder, torch.cat(excerpts, dim=-1))
    latents_nd = torch.cat([model.encoder(clip)[0].T for clip in clips])
    residual_nd = latents_nd.clone()
    length = 0.7 * latents_nd.norm(dim=1).median()
    for layer, book in enumerate(books):
        rows_nd = length * 0.98**layer * _directions(residual_nd, book.embed.shape[0])
        book.embed.copy_(rows_nd)
        book.embed_avg.copy_(rows_nd)
        book.inited.fill_(1)
        residual_nd -= rows_nd[torch.cdist(residual_nd, rows_nd).argmin(1)]
    quantized_nd = (latents_nd - residual_nd)[: clips[0].shape[-1] // 320]
    _rescale(model.decoder, quantized_nd.T[None])


def _rescale(module: nn.Module, example: Tensor) -> None:
    """On the example's way through, give each convolution's output unit deviation *over time* and no mean.

    A deviation over all values would count the channels' constant offsets, and offsets code nothing.
    """

    def unit_output(conv: nn.Module, _: Any, out: Tensor) -> Tensor:
        bias = conv.bias[:, None]
        scale = (out - bias).std(dim=-1).mean().clamp(min=1e-6)
        gain = getattr(conv, "weight_g", None)  # the old weight norm, the new one, or none
        if gain is None:
            gain = conv.parametrizations.weight.original0 if hasattr(conv, "parametrizations") else conv.weight
        gain.div_(scale)
        scaled = (out - bias) / scale
        conv.bias.copy_(0.1 * conv.bias - scaled.mean(dim=(0, 2)))
        return scaled + conv.bias[:, None]

    convs = [part for part in module.modules() if isinstance(part, nn.Conv1d | nn.ConvTranspose1d)]
    hooks = [conv.register_forward_hook(unit_output) for conv in convs]
    module(example)
    for hook in hooks:
        hook.remove()


def _directions(points_nd: Tensor, size: int) -> Tensor:
    """Unit rows drawn from the louder half of the points, about their mean, and mixtures of those where they run out.

    All of one length and centred, since a short row, or one along the common mean, would win every new frame. Frames
    that repeat (a held note, silence) are drawn once: a row would tie with its copy.
    """
    lengths_n = points_nd.norm(dim=1)
    louder_nd = points_nd[lengths_n >= lengths_n.median()] - points_nd.mean(0)
    unit_nd = louder_nd / louder_nd.norm(dim=1, keepdim=True)
    _, places_n = torch.unique((unit_nd * 50).round(), dim=0, return_inverse=True)
    first_n = torch.full((int(places_n.max()) + 1,), len(unit_nd)).scatter_reduce_(
        0, places_n, torch.arange(len(unit_nd)), "amin"
    )
    unit_nd = unit_nd[first_n[torch.randperm(len(first_n))]][:size]
    mixed_nd = torch.randn(size - len(unit_nd), len(unit_nd), dtype=unit_nd.dtype) @ unit_nd
    return torch.cat([unit_nd, mixed_nd / mixed_nd.norm(dim=1, keepdim=True)])
