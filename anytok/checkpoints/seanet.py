"""SpeechTokenizer and EnCodec files, in each of their published forms → sizes and tensors under one set of names.

A folder holds one of
- `config.json` + `SpeechTokenizer.pt` or `ckpt.dev` (SpeechTokenizer),
- `config.json` + `model.safetensors` (EnCodec as transformers writes it, both generations of key names),
- `compression_state_dict.bin` (EnCodec as audiocraft writes it; the config is inside).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, UsageError
from .read import read_config, read_package, read_tensors

__all__ = ["CodecFiles", "CodecSizes", "canonical", "canonical_name", "model_state", "read_codec"]

_SPEECH_WEIGHTS = ("SpeechTokenizer.pt", "ckpt.dev", "model.safetensors", "SpeechTokenizer_best_dev.pt")
_AUDIOCRAFT = "compression_state_dict.bin"

# Words of the published key names that only say how the original code nests its modules.
_NESTING = {"model", "layers", "vq", "conv", "convtr", "_codebook", "codebook", "parametrizations"}


@dataclass(frozen=True)
class CodecSizes:
    """Everything that shapes a SEANet codec; the names follow EnCodec's config."""

    sample_rate: int
    channels: int
    num_filters: int
    dimension: int
    ratios: tuple[int, ...]
    num_codebooks: int
    codebook_size: int
    kernel: int = 7
    last_kernel: int = 7
    residual_kernel: int = 3
    num_residual_layers: int = 1
    dilation_base: int = 2
    compress: int = 2
    num_lstm_layers: int = 2
    bidirectional: bool = False
    activation: str = "ELU"
    shortcut: bool = True
    causal: bool = False
    pad_mode: str = "reflect"
    norm: bool = False  # GroupNorm over channels and time behind every convolution
    weight_norm: bool = False  # convolutions are stored as direction and gain
    normalize: bool = False  # divide each segment by its loudness first
    segment_samples: int | None = None
    segment_stride: int | None = None
    bandwidths: tuple[float, ...] = ()  # kbit/s

    @property
    def hop_length(self) -> int:
        return math.prod(self.ratios)

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop_length

    def architecture(self) -> dict[str, Any]:
        """The fields that shape the network, as keywords for `anytok.models.codec.Codec`."""
        others = {"sample_rate", "normalize", "segment_samples", "segment_stride", "bandwidths"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}

    def codebooks_at(self, bandwidth: float) -> int:
        """Codebooks that fit into a bandwidth in kbit/s; raises UsageError for one the model does not offer."""
        if bandwidth not in self.bandwidths:
            raise UsageError(
                f"bandwidth {bandwidth} kbit/s: this model offers {', '.join(map(str, self.bandwidths)) or 'none'}"
            )
        return max(1, int(1000 * bandwidth // (math.ceil(self.frame_rate) * math.log2(self.codebook_size))))


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
        sizes = _encodec_sizes(config, folder)
    elif "n_q" in config and "strides" in config:
        source, form = named or _first_of(folder, _SPEECH_WEIGHTS), "speechtokenizer"
        sizes = _speech_sizes(config, folder)
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


def _sizes(where: str, **values: Any) -> CodecSizes:
    """CodecSizes after a check that every number is of a sane kind and size (configs may come from anywhere)."""
    limits = {"num_codebooks": 128, "codebook_size": 1 << 20, "num_filters": 4096, "dimension": 65536}
    switches = [field.name for field in fields(CodecSizes) if field.type == "bool"]
    for name, value in values.items():
        numbers = value if name == "ratios" else (value,) if type(value) is int else ()
        if any(type(n) is not int or not 0 < n <= limits.get(name, 1 << 20) for n in numbers):
            raise CheckpointError(f"{where}: {name} is {value!r}; expected positive whole numbers of a usual size")
        if name in (*limits, "sample_rate") and type(value) is not int:
            raise CheckpointError(f"{where}: {name} is {value!r}; expected a whole number")
        if name in switches and type(value) is not bool:
            raise CheckpointError(f"{where}: {name} is {value!r}; expected true or false")
    return CodecSizes(**values)


def _check_known(where: str, config: Mapping[str, Any], **known: tuple[Any, ...]) -> None:
    """Raise CheckpointError if a setting, where it is given, is none of those that our model can follow."""
    for name, values in known.items():
        if config.get(name, values[0]) not in values:
            raise CheckpointError(f"{where}: {name} is {config[name]!r}; {' and '.join(map(repr, values))} can be run")


_PADDINGS = ("reflect", "constant")
_NORMS = ("weight_norm", "time_group_norm", "none")


def _speech_sizes(config: Mapping[str, Any], folder: Path) -> CodecSizes:
    try:
        return _sizes(
            f"{folder}/config.json",
            sample_rate=config.get("sample_rate") or config["sampling_rate"],
            channels=1,
            num_filters=config["n_filters"],
            dimension=config["dimension"],
            ratios=tuple(config["strides"]),
            num_codebooks=config["n_q"],
            codebook_size=config["codebook_size"],
            residual_kernel=config["residual_kernel_size"],
            num_residual_layers=config["n_residual_layers"],
            dilation_base=config["dilation_base"],
            num_lstm_layers=config["lstm_layers"],
            bidirectional=config["bidirectional"],
            activation=config["activation"],
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/config.json: {error} is missing or wrong for SpeechTokenizer") from error


def _encodec_sizes(config: Mapping[str, Any], folder: Path) -> CodecSizes:
    _check_known(f"{folder}/config.json", config, pad_mode=_PADDINGS, norm_type=_NORMS[:2], trim_right_ratio=(1.0,))
    try:
        ratios, rate = tuple(config["upsampling_ratios"]), config["sampling_rate"]
        bits = math.ceil(math.log2(config["codebook_size"]))
        bandwidths = tuple(config["target_bandwidths"])
        segment = config["chunk_length_s"] and int(config["chunk_length_s"] * rate)
        return _sizes(
            f"{folder}/config.json",
            sample_rate=rate,
            channels=config["audio_channels"],
            num_filters=config["num_filters"],
            dimension=config["hidden_size"],
            ratios=ratios,
            num_codebooks=int(1000 * bandwidths[-1] // (math.ceil(rate / math.prod(ratios)) * bits)),
            codebook_size=config["codebook_size"],
            kernel=config["kernel_size"],
            last_kernel=config["last_kernel_size"],
            residual_kernel=config["residual_kernel_size"],
            num_residual_layers=config["num_residual_layers"],
            dilation_base=config["dilation_growth_rate"],
            compress=config["compress"],
            num_lstm_layers=config["num_lstm_layers"],
            shortcut=config["use_conv_shortcut"],
            causal=config["use_causal_conv"],
            pad_mode=config["pad_mode"],
            norm=config["norm_type"] == "time_group_norm",
            normalize=config["normalize"],
            segment_samples=segment or None,
            segment_stride=max(1, int((1.0 - config["overlap"]) * segment)) if segment else None,
            bandwidths=bandwidths,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"{folder}/config.json: {error} is missing or wrong for EnCodec") from error


def _read_audiocraft(path: Path) -> CodecFiles:
    import yaml  # huggingface_hub brings it

    package = read_package(path)
    if "best_state" not in package or "xp.cfg" not in package:
        pointer = package.get("pretrained")
        hint = f"it points to {pointer!r}; fetch that model instead" if pointer else "expected best_state and xp.cfg"
        raise CheckpointError(f"{path}: not a compression model of audiocraft: {hint}")
    try:
        config = yaml.safe_load(package["xp.cfg"])
        codec, seanet, rvq = config["encodec"], config["seanet"], config["rvq"]
        where = f"{path}: xp.cfg"
        _check_known(
            where, seanet, pad_mode=_PADDINGS, norm=_NORMS, activation=("ELU",), disable_norm_outer_blocks=(0,)
        )
        _check_known(where, seanet.get("decoder") or {}, trim_right_ratio=(1.0,), final_activation=(None,))
        sizes = _sizes(
            where,
            sample_rate=codec["sample_rate"],
            channels=codec["channels"],
            num_filters=seanet["n_filters"],
            dimension=seanet["dimension"],
            ratios=tuple(seanet["ratios"]),
            num_codebooks=rvq["n_q"],
            codebook_size=rvq["bins"],
            kernel=seanet["kernel_size"],
            last_kernel=seanet["last_kernel_size"],
            residual_kernel=seanet["residual_kernel_size"],
            num_residual_layers=seanet["n_residual_layers"],
            dilation_base=seanet["dilation_base"],
            compress=seanet["compress"],
            num_lstm_layers=seanet["lstm"],
            shortcut=not seanet["true_skip"],
            causal=codec["causal"],
            pad_mode=seanet["pad_mode"],
            norm=seanet["norm"] == "time_group_norm",
            normalize=codec["renormalize"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: xp.cfg lacks or spoils {error}; expected audiocraft's own config") from error
    return _read_weights(sizes, path, "audiocraft")
