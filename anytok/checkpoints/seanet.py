"""SpeechTokenizer and EnCodec files, in each of their published forms → sizes and tensors under one set of names.

A folder holds one of
- `config.json` + `SpeechTokenizer.pt` or `ckpt.dev` (SpeechTokenizer),
- `config.json` + `model.safetensors` (EnCodec as transformers writes it, both generations of key names),
- `compression_state_dict.bin` (EnCodec as audiocraft writes it; the config is inside).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from .codec_sizes import CodecSizes, audiocraft_sizes, encodec_sizes, speech_sizes
from .read import read_config, read_package, read_tensors

__all__ = ["CodecFiles", "canonical", "canonical_name", "model_state", "read_codec"]

_SPEECH_WEIGHTS = ("SpeechTokenizer.pt", "ckpt.dev", "model.safetensors", "SpeechTokenizer_best_dev.pt")
_AUDIOCRAFT = "compression_state_dict.bin"

# Words of the published key names that only say how the original code nests its modules.
_NESTING = {"model", "layers", "vq", "conv", "convtr", "_codebook", "codebook", "parametrizations"}


@dataclass(frozen=True)
class CodecFiles:
    """What a folder holds: sizes, tensors under canonical names, and where from."""

    sizes: CodecSizes
    state: dict[str, Tensor]
    ignored: tuple[str, ...]
    source: Path
    form: str  # "speechtokenizer" | "transformers" | "audiocraft"


def read_codec(place: Path) -> CodecFiles:
    """Read whichever published form the folder `place` holds, or the weights `place` in the form of the folder they are
    in; raises CheckpointError naming what is missing."""
    folder = place if place.is_dir() else place.parent
    named = None if place in (folder, folder / "config.json") else place
    audiocraft = named or folder / _AUDIOCRAFT
    if audiocraft.name == _AUDIOCRAFT and audiocraft.is_file():
        return _read_audiocraft(audiocraft)
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: holds neither config.json nor {_AUDIOCRAFT}; expected the published files of "
            "SpeechTokenizer or EnCodec (see checkpoints.md)"
        )
    config = read_config(folder / "config.json")
    if config.get("model_type") == "encodec":
        source, form = named or _first_of(folder, ("model.safetensors",)), "transformers"
        sizes = encodec_sizes(config, folder)
    elif "n_q" in config and "strides" in config:
        source, form = named or _first_of(folder, _SPEECH_WEIGHTS), "speechtokenizer"
        sizes = speech_sizes(config, folder)
    else:
        raise CheckpointError(
            f"{folder}/config.json: neither EnCodec (model_type 'encodec') nor SpeechTokenizer (n_q, strides); "
            f"it has the keys {', '.join(sorted(config)[:8])}"
        )
    return _read_weights(sizes, source, form)


def canonical(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors that inference needs, under canonical names, and the published names of those it does not."""
    names = {key: canonical_name(key) for key in state}
    kept = {name: state[key] for key, name in names.items() if name is not None}
    return kept, tuple(key for key, name in names.items() if name is None)


def canonical_name(key: str) -> str | None:
    """A published key without the original code's nesting; None for training state and other models' parts.

    >>> canonical_name("encoder.model.3.conv.conv.weight_g")
    'encoder.3.weight_g'
    >>> canonical_name("encoder.layers.3.conv.parametrizations.weight.original0")
    'encoder.3.weight_g'
    >>> canonical_name("quantizer.vq.layers.0._codebook.embed")
    'quantizer.0.embed'
    """
    words = key.removeprefix("audio_encoder.").split(".")
    if words[0] not in ("encoder", "decoder") and (words[0], words[-1]) != ("quantizer", "embed"):
        return None
    name = ".".join(word for word in words if word not in _NESTING)
    return name.replace("weight.original0", "weight_g").replace("weight.original1", "weight_v")


def model_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as `anytok.models.codec.Codec` names them: its codebooks are one."""
    named = {key: tensor for key, tensor in state.items() if not key.startswith("quantizer.")}
    layers = sorted((int(key.split(".")[1]), key) for key in state if key.startswith("quantizer."))
    books = [state[key] for _, key in layers]
    if books and all(book.shape == books[0].shape for book in books):
        named["quantizer.codebooks_knd"] = torch.stack(books)
    return named


def _read_weights(sizes: CodecSizes, source: Path, form: str) -> CodecFiles:
    state, ignored = canonical(read_tensors(source))
    _check_activation(state, sizes, source)
    weight_norm = any(key.endswith(".weight_g") for key in state)
    return CodecFiles(replace(sizes, weight_norm=weight_norm), state, ignored, source, form)


def _first_of(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder}: no weights beside config.json; expected {' or '.join(names[:3])}")


def _check_activation(state: Mapping[str, Tensor], sizes: CodecSizes, source: Path) -> None:
    has_snake = any(key.endswith(".alpha") for key in state)
    if has_snake != (sizes.activation.lower() == "snake"):
        found = "Snake's alphas" if has_snake else "no Snake alphas"
        raise CheckpointError(
            f"{source}: holds {found}, but its config.json says activation {sizes.activation!r}: "
            "the two files belong to different models"
        )


def _read_audiocraft(path: Path) -> CodecFiles:
    package = read_package(path)
    if "best_state" not in package or "xp.cfg" not in package:
        pointer = package.get("pretrained")
        hint = f"it points to {pointer!r}; fetch that model instead" if pointer else "expected best_state and xp.cfg"
        raise CheckpointError(f"{path}: not a compression model of audiocraft: {hint}")
    return _read_weights(audiocraft_sizes(package["xp.cfg"], path), path, "audiocraft")
