"""Finished runs that another one needs, or begins with: their files, read as the published ones are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..checkpoints.around_torchaudio import around_torchaudio
from ..checkpoints.read import read_tensors
from ..checkpoints.report import load_state
from ..checkpoints.seanet import model_state, read_codec
from ..checkpoints.seed import fuse, published_name, read_seed
from ..errors import CheckpointError, UsageError, first_line
from ..models.codec import Codec
from ..models.seanet import fold_weight_norm
from ..models.seed import Seed

__all__ = ["begin_with", "finished_files", "load_codec", "load_seed", "load_unet", "load_vae"]

_CODEC = ("model.safetensors", "config.json")
_DIFFUSERS = ("diffusion_pytorch_model.safetensors", "config.json")
# What it is → the recipe that makes it, its files in the folder of weights.
_FINISHED = {
    "tokenizer": ("image_mini.toml", ("seed_quantizer.safetensors", "config.json")),
    "vae": ("vae_mini.toml", _DIFFUSERS),
    "speech": ("speech_mini.toml", _CODEC),
    "music": ("music_mini.toml", _CODEC),
    "painter": ("unclip_mini.toml", tuple(f"unclip/unet/{name}" for name in _DIFFUSERS)),
}


def finished_files(kind: str, folder: str) -> list[Path]:
    """The files of a finished "tokenizer", "vae", "painter", "speech" or "music"; raises UsageError for one that is
    not there."""
    names = _FINISHED[kind][1]
    missing = [name for name in names if not (Path(folder) / name).is_file()]
    if missing:
        raise UsageError(f"{folder}: no {missing[0]} here; {_how_to_make(kind)}")
    return [Path(folder) / name for name in names]


def load_codec(folder: str) -> tuple[Codec, dict[str, Tensor]]:
    """A codec without weight norm, and what its file holds beside: SpeechTokenizer's `transform`. Raises
    CheckpointError where it is not whole."""
    files = read_codec(Path(folder))
    codec = Codec(**files.sizes.architecture())
    load_state(codec, model_state(files.state), str(files.source))
    fold_weight_norm(codec)
    stored = read_tensors(files.source)
    return codec, {key: stored[key].float() for key in files.ignored}


def load_seed(folder: str) -> tuple[Seed, dict[str, Any]]:
    """The image tokenizer, and its sizes; raises CheckpointError where it is not whole."""
    files = read_seed("seed-mini", folder)
    seed = Seed(**files.sizes)
    load_state(seed, fuse(files.state), files.source, published_name=published_name)
    return seed, files.sizes


def load_vae(folder: str) -> Any:
    """diffusers' AutoencoderKL; never asks the hub. Raises CheckpointError where it is not whole."""
    return _load("AutoencoderKL", Path(folder), "vae").eval()


def load_unet(folder: str) -> Any:
    """A painter's UNet; never asks the hub. Raises CheckpointError where it is not whole."""
    return _load("UNet2DConditionModel", Path(folder) / "unclip" / "unet", "painter")


def begin_with(start: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put the weights of the finished run `start` into a module; raises UsageError where their shapes differ."""
    shapes = [{key: tuple(tensor.shape) for key, tensor in each.items()} for each in (state, module.state_dict())]
    found, expected = shapes
    for key in {**expected, **found}:
        if found.get(key) != expected.get(key):
            raise UsageError(
                f"[model] start={start}: a model of other sizes than this one ({key}: {found.get(key, 'not there')}, "
                f"expected {expected.get(key, 'none')}): give [model] and [model.sizes] its sizes, or leave `start` out"
            )
    module.load_state_dict(state)


def _load(name: str, folder: Path, kind: str) -> Any:
    with around_torchaudio():
        import diffusers
    try:
        return getattr(diffusers, name).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except Exception as error:  # diffusers raises half a dozen types on damaged files
        raise CheckpointError(f"{folder}: not a whole {name} ({first_line(error)}); {_how_to_make(kind)}") from error


def _how_to_make(kind: str) -> str:
    return f"make it: anytok train configs/train/{_FINISHED[kind][0]}, or give the folder of weights of such a run"
