"""Training configs: TOML → frozen dataclasses. Unknown keys are errors; defaults are the recipe."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UsageError

__all__ = ["CodecConfig", "RunConfig", "TrainConfig", "read_config"]


@dataclass(frozen=True)
class RunConfig:
    """How long and how fast, for every kind of model."""

    steps: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup: int = 100
    anneal: float = 0.3  # the last part of the steps, over which the learning rate falls to nothing
    clip_gradient: float = 1.0
    seed: int = 0
    threads: int = 1
    save_every: int = 100


@dataclass(frozen=True)
class CodecConfig:
    """A SEANet codec: its sizes under EnCodec's names, its data, and the weights of its losses."""

    num_filters: int
    dimension: int
    ratios: tuple[int, ...]
    num_codebooks: int
    codebook_size: int
    num_lstm_layers: int = 1
    bidirectional: bool = False
    shortcut: bool = True  # a convolution beside each residual block, not the identity
    frames: int = 50  # of one training stretch
    windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    quantize_from: int = 600  # steps of plain autoencoding, mostly of the wave, before the quantizer comes in
    shallow: float = 0.2  # share of stretches decoded from fewer layers, chosen evenly
    sources: dict[str, float] = field(default_factory=dict)  # how often each is drawn; {}: all clips, by length
    time_weight: float = 0.1  # from then on, beside a weight of 1 for the spectra
    commitment_weight: float = 0.25
    semantic_weight: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """One training run: `kind` names the recipe; `data` and `out` are folders."""

    name: str
    kind: str  # "speech" | "music" | "image" | "unclip"
    data: str
    out: str
    run: RunConfig
    model: Any


T = TypeVar("T")


def read_config(path: str | Path, kinds: dict[str, type]) -> TrainConfig:
    """Read a training config. Its tables are [run] and [model]; `kinds` gives the model's dataclass per kind.

    Raises UsageError naming unknown or missing keys, or what of it could not be trained or read back.
    """
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}; expected a training config, such as those in configs/train") from error
    kind = table.get("kind")
    if kind not in kinds:
        raise UsageError(f"{path}: kind is {kind!r}; expected one of {', '.join(kinds)}")
    table["run"] = _build(RunConfig, table.get("run", {}), f"{path}: [run]")
    table["model"] = _build(kinds[kind], table.get("model", {}), f"{path}: [model]")
    config = _build(TrainConfig, table, str(path))
    _refuse_unworkable(config, str(path))
    return config


def _refuse_unworkable(config: TrainConfig, where: str) -> None:
    """What shows only after hours: weights whose published form has no word for their shape, codes never learned."""
    model, steps = config.model, config.run.steps
    if config.kind == "speech" and not model.shortcut:
        raise UsageError(f"{where}: shortcut = false: SpeechTokenizer's weights always have shortcuts; leave it out")
    if config.kind == "music" and model.bidirectional:
        raise UsageError(f"{where}: bidirectional = true: EnCodec's LSTMs only look back; leave it out")
    start = getattr(model, "quantize_from", None)
    if start is not None and not 0 <= start < steps:
        raise UsageError(
            f"{where}: quantize_from = {start} of {steps} steps: codes would never be learned; expected 0 to "
            f"{steps - 1}; lower it, or raise steps"
        )


def _build(kind: type[T], table: dict[str, Any], where: str) -> T:
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    required = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    missing = sorted(required - set(table))
    if unknown or missing:
        raise UsageError(
            f"{where}: unknown keys {unknown or 'none'}, missing keys {missing or 'none'}; known: {', '.join(fields)}"
        )
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
