"""What shapes a codec of the SEANet family, and the configs of its published forms that say so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from ..arguments import choice
from ..errors import CheckpointError, UsageError
from ..records import AT_LEAST_ONE, Within, build

__all__ = ["CodecSizes", "audiocraft_sizes", "encodec_sizes", "speech_sizes"]

_PADDINGS = ("reflect", "constant")
_Number = Annotated[int, Within(1, 1 << 20)]  # configs may come from anywhere: what no model has is refused
_NORMS = ("weight_norm", "time_group_norm", "none")


@dataclass(frozen=True)
class CodecSizes:
    """Everything that shapes a SEANet codec; the names follow EnCodec's config."""

    sample_rate: _Number
    channels: _Number
    num_filters: Annotated[int, Within(1, 4096)]
    dimension: Annotated[int, Within(1, 1 << 16)]
    ratios: Annotated[tuple[_Number, ...], AT_LEAST_ONE]
    num_codebooks: Annotated[int, Within(1, 128)]
    codebook_size: _Number
    kernel: _Number = 7
    last_kernel: _Number = 7
    residual_kernel: _Number = 3
    num_residual_layers: _Number = 1
    dilation_base: _Number = 2
    compress: _Number = 2
    num_lstm_layers: _Number = 2
    bidirectional: bool = False
    activation: str = "ELU"
    shortcut: bool = True
    causal: bool = False
    pad_mode: Literal["reflect", "constant"] = "reflect"
    norm: bool = False  # GroupNorm over channels and time behind every convolution
    weight_norm: bool = False  # convolutions are stored as direction and gain
    normalize: bool = False  # divide each segment by its loudness first
    segment_samples: Annotated[int, Within(1, 1 << 40)] | None = None
    segment_stride: Annotated[int, Within(1, 1 << 40)] | None = None
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


def _sizes(where: str, **values: Any) -> CodecSizes:
    return build(CodecSizes, values, where, CheckpointError)


def _check_known(where: str, config: Mapping[str, Any], **known: tuple[Any, ...]) -> None:
    """Raise CheckpointError if a setting, where it is given, is none of those that our model can follow."""
    for name, values in known.items():
        choice(f"{where}: {name}", config.get(name, values[0]), values, CheckpointError)


def speech_sizes(config: Mapping[str, Any], folder: Path) -> CodecSizes:
    try:
        return _sizes(
            f"{folder}/config.json",
            sample_rate=config.get("sample_rate") or config["sampling_rate"],
            channels=1,
            num_filters=config["n_filters"],
            dimension=config["dimension"],
            ratios=config["strides"],
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


def encodec_sizes(config: Mapping[str, Any], folder: Path) -> CodecSizes:
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


def audiocraft_sizes(text: str, path: Path) -> CodecSizes:
    """From the config inside audiocraft's file."""
    import yaml  # huggingface_hub brings it

    try:
        config = yaml.safe_load(text)
        codec, seanet, rvq = config["encodec"], config["seanet"], config["rvq"]
        where = f"{path}: xp.cfg"
        _check_known(
            where, seanet, pad_mode=_PADDINGS, norm=_NORMS, activation=("ELU",), disable_norm_outer_blocks=(0,)
        )
        _check_known(where, seanet.get("decoder") or {}, trim_right_ratio=(1.0,), final_activation=(None,))
        return _sizes(
            where,
            sample_rate=codec["sample_rate"],
            channels=codec["channels"],
            num_filters=seanet["n_filters"],
            dimension=seanet["dimension"],
            ratios=seanet["ratios"],
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
