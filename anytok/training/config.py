"""Training configs: TOML → frozen dataclasses. Unknown keys and wild values are errors; defaults are the recipe."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from ..errors import UsageError
from ..records import AT_LEAST_ONE, Count, Positive, Share, Size, Text, Within, build, read_toml

__all__ = ["Bits", "CodecConfig", "RunConfig", "TrainConfig", "VoiceConfig", "Weight", "read_config"]

Weight = Annotated[float, Within(0, 10**6)]
Bits = Annotated[int, Within(2, 11)]  # significant ones of exported matrices; float16 has 11


@dataclass(frozen=True)
class RunConfig:
    """How long and how fast, for every kind of model."""

    steps: Annotated[int, Within(1, 10**9)]
    batch_size: Size = 8
    learning_rate: Annotated[float, Within(0, 1, above=True)] = 1e-3
    warmup: Count = 100
    anneal: Share = 0.3  # the last part of the steps, over which the learning rate falls to nothing
    clip_gradient: Positive = 1.0
    seed: Count = 0
    threads: Annotated[int, Within(1, 1024)] = 1
    save_every: Annotated[int, Within(1, 10**9)] = 100


@dataclass(frozen=True)
class CodecConfig:
    """A SEANet codec: its sizes under EnCodec's names, its data, and the weights of its losses. `start` is the folder
    of a finished run of the same sizes, with whose weights this one begins ("": with random ones); without
    `learn_codes`, which needs it, the decoder alone learns, and every sound keeps its codes."""

    num_filters: Annotated[int, Within(2, 4096)]  # residual blocks halve it
    dimension: Size
    ratios: Annotated[tuple[Size, ...], AT_LEAST_ONE]
    num_codebooks: Annotated[int, Within(1, 128)]  # as many as can be read back
    codebook_size: Annotated[int, Within(2, 1 << 20)]  # one code would carry no bits
    num_lstm_layers: Annotated[int, Within(1, 64)] = 1
    bidirectional: bool = False
    shortcut: bool = True  # a convolution beside each residual block, not the identity
    frames: Size = 50  # of one training stretch
    windows: Annotated[tuple[Annotated[int, Within(8, 1 << 16)], ...], AT_LEAST_ONE] = (128, 256, 512, 1024, 2048)
    quantize_from: Count = 600  # steps of plain autoencoding, mostly of the wave, before the quantizer comes in
    start: str = ""
    learn_codes: bool = True
    shallow: Share = 0.2  # share of stretches decoded from fewer layers, chosen evenly
    sources: dict[str, Weight] = field(default_factory=dict)  # how often each is drawn; {}: all clips, by length
    time_weight: Weight = 0.1  # from then on, beside a weight of 1 for the spectra
    commitment_weight: Weight = 0.25
    semantic_weight: Weight = 0.0


@dataclass(frozen=True)
class VoiceConfig:
    """A SoundStorm: the tokenizer whose layers it fills in, its sizes, and its stretches of speech."""

    tokenizer: Text = "speech-mini"
    num_levels: Annotated[int, Within(1, 127)] = 3  # layers that it fills in, from the second on
    kept_levels: Annotated[int, Within(1, 127)] | None = None  # of these, so many are exported; None: all
    width: Size = 128
    depth: Annotated[int, Within(1, 64)] = 4
    heads: Annotated[int, Within(1, 64)] = 4
    frames: Annotated[int, Within(2, 4096)] = 150  # of a stretch at most, its prompt inside
    bits: Bits = 11
    without_prompt: Share = 0.1  # of stretches
    above_weight: Weight = 0.3  # of the loss of all levels above the one that a step is for
    sources: dict[str, Weight] = field(default_factory=dict)  # how often each is drawn; {}: all clips, by length


@dataclass(frozen=True)
class TrainConfig:
    """One training run: `kind` names the recipe; `data` and `out` are folders."""

    name: Text
    kind: Text  # "speech" | "music" | "image" | "vae" | "unclip" | "voice"
    data: Text
    out: Text
    run: RunConfig
    model: Any


def read_config(path: str | Path, kinds: dict[str, type]) -> TrainConfig:
    """Read a training config. Its tables are [run] and [model]; `kinds` gives the model's dataclass per kind.

    Raises UsageError naming unknown or missing keys, values that are none, or what could not be trained or read back.
    """
    table = read_toml(path, "a training config, such as those in configs/train")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UsageError(f"{path}: kind is {kind!r}; expected one of {', '.join(kinds)}")
    model: Any = build(kinds[kind], table.get("model", {}), str(path), key="model")
    config = replace(build(TrainConfig, {"run": {}} | table | {"model": {}}, str(path)), model=model)
    _refuse_unworkable(config, str(path))
    return config


def _refuse_unworkable(config: TrainConfig, where: str) -> None:
    """What shows only after hours, or never: weights whose published form has no word for their shape, codes that are
    not learned, a plot of losses among the pictures."""
    model, steps = config.model, config.run.steps
    if config.kind == "speech" and not model.shortcut:
        raise UsageError(f"{where}: shortcut = false: SpeechTokenizer's weights always have shortcuts; leave it out")
    if config.kind == "music" and model.bidirectional:
        raise UsageError(f"{where}: bidirectional = true: EnCodec's LSTMs only look back; leave it out")
    if config.kind == "voice" and (model.width % model.heads or model.width // model.heads % 2):
        raise UsageError(f"{where}: heads = {model.heads} of width = {model.width}: expected heads of an even width")
    if config.kind == "image" and config.run.batch_size < 2:
        raise UsageError(f"{where}: batch_size = 1: it begins by how pictures of a batch differ; expected 2 or more")
    if os.path.realpath(config.out) == os.path.realpath(config.data):
        raise UsageError(f"{where}: out is the folder of the data, which it would spoil: give it another one")
    start = getattr(model, "start", "")  # codes come with it
    if not getattr(model, "learn_codes", True) and not start:
        raise UsageError(f"{where}: learn_codes = false: there are no codes without `start`; give it a finished run")
    first = getattr(model, "quantize_from", None)
    if first is not None and first >= steps and not start:
        raise UsageError(
            f"{where}: quantize_from = {first} of {steps} steps: codes would never be learned; expected 0 to "
            f"{steps - 1}; lower it, or raise steps"
        )
