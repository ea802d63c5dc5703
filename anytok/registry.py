"""Names → tokenizers. Engines are named by strings and imported when one is loaded."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import CheckpointError, MissingExtraError, UsageError, first_line
from .spec import Spec
from .tokenizer import Tokenizer

__all__ = ["ENTRY_POINT_GROUP", "SUITES", "Entry", "find", "list_tokenizers", "load_tokenizer", "option_names"]

ENTRY_POINT_GROUP = "anytok.tokenizers"


@dataclass(frozen=True)
class Entry:
    """A tokenizer's published Spec and, per engine, the class that loads it as "module:Class"."""

    spec: Spec
    engines: Mapping[str, str]


def _audio(name: str, modality: str, books: int, size: int, frames: int, rate: int, how: str, **more: Any) -> Spec:
    sizes: dict[str, Any] = {"num_codebooks": books, "codebook_size": size, "frame_rate": frames, "sample_rate": rate}
    return Spec(name, modality, **sizes, **{"channels": 1, "preprocessing": how, **more})


def _entry(spec: Spec, native: str, reference: str) -> Entry:
    engines = {"native": native, "reference": reference}
    return Entry(spec, {engine: f"anytok.engines.{engine}.{place}" for engine, place in engines.items()})


_SEED = "seed:SeedTokenizer"
_CODEC = "seanet_codec:SeanetCodec"
_SPEECH = "speech:ReferenceSpeechTokenizer"
_ENCODEC = "encodec:ReferenceEncodec"
_STEREO: dict[str, Any] = {"channels": 2, "segment_samples": 48000, "segment_stride": 47520}

_BUILT_IN = {
    entry.spec.name: entry
    for entry in (
        _entry(
            Spec("seed-2", "image", 1, 8192, num_frames=32, image_size=224, preprocessing="bicubic"),
            _SEED,
            "seed:ReferenceSeed",
        ),
        _entry(_audio("speechtokenizer", "speech", 8, 1024, 50, 16000, "first:functional"), _CODEC, _SPEECH),
        _entry(_audio("speechtokenizer-snake", "speech", 8, 1024, 50, 16000, "first:functional"), _CODEC, _SPEECH),
        _entry(_audio("encodec-32khz", "music", 4, 2048, 50, 32000, "mean-after:transform"), _CODEC, _ENCODEC),
        _entry(_audio("encodec-24khz", "music", 32, 1024, 75, 24000, "mean-before:transform"), _CODEC, _ENCODEC),
        _entry(_audio("encodec-48khz", "music", 16, 1024, 150, 48000, "stereo:transform", **_STEREO), _CODEC, _ENCODEC),
        # small ones that ship inside the package (anytok/weights), with the same architectures
        _entry(
            Spec("seed-mini", "image", 1, 512, num_frames=32, image_size=224, preprocessing="bicubic"),
            _SEED,
            "seed:ReferenceSeed",
        ),
        _entry(_audio("speech-mini", "speech", 8, 512, 50, 16000, "first:functional"), _CODEC, _SPEECH),
        _entry(_audio("music-mini", "music", 4, 1024, 50, 32000, "mean-after:transform"), _CODEC, _ENCODEC),
    )
}

# Suites: the tokenizers that one shared vocabulary speaks.
SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "anygpt": ("seed-2", "speechtokenizer-snake", "encodec-32khz"),
        "seed-llama": ("seed-2",),
        "mini": ("seed-mini", "speech-mini", "music-mini"),
    }
)


def list_tokenizers() -> list[str]:
    """Names that `load_tokenizer` knows: ours, and those other installed packages add by entry point."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def find(name: str) -> Entry:
    """The Entry of a tokenizer; raises UsageError listing the known names.

    Another package adds one by an entry point in the group `anytok.tokenizers`: its name is the tokenizer's,
    its value "module:Class", and the class has a `spec` and a `load` like our engines.
    """
    if not isinstance(name, str):
        raise UsageError(f"a tokenizer's name that is a {type(name).__name__}: expected text, such as 'seed-2'")
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name:
            return _plugged_in(point)
    raise UsageError(f"no tokenizer is called {name!r}; known: {', '.join(list_tokenizers())}")


def _plugged_in(point: EntryPoint) -> Entry:
    owner = point.dist.name if point.dist else point.value
    try:
        spec = point.load().spec
    except Exception as error:  # anyone's code
        raise UsageError(f"the package {owner} adds the tokenizer {point.name!r}, but fails: {error!r}") from error
    if not isinstance(spec, Spec):
        raise UsageError(f"the package {owner} adds the tokenizer {point.name!r}, but its class has no `spec`")
    return Entry(spec, {"native": point.value})


def load_tokenizer(
    name: str,
    *,
    engine: str = "native",
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    **options: Any,
) -> Tokenizer:
    """Load a tokenizer by name.

    `checkpoint` is a folder with the published files under their published names (or one of those files);
    without it they are fetched from the hub once. `engine` is "native" (ours) or "reference" (the original
    package). `device` is a torch device. `dtype` is "float32" (the codes of the originals), "bfloat16" or
    "float16" (faster; some codes differ), or another that the engine knows. Further options are the engine's
    own; see its class.

    Raises UsageError on unknown names and options, CheckpointError on weights that cannot be used.
    """
    entry, load = find(name), _loader(name, engine)
    known = option_names(name, engine)
    if (unknown := [key for key in options if key not in known]) and not _takes_any(load):
        raise UsageError(f"{name} ({engine}) has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    _check_device(device)
    tokenizer = load(entry.spec, checkpoint, device=device, dtype=dtype, **options)
    if load.__module__.startswith("anytok."):  # others' are pickled as others say
        place = None if checkpoint is None else os.path.abspath(os.path.expanduser(checkpoint))
        given: dict[str, Any] = {"engine": engine, "checkpoint": place, "device": device, "dtype": dtype, **options}
        tokenizer._load_again = partial(_load_again, tokenizer.spec.id, name, **given)
    return tokenizer


def _load_again(identity: str, name: str, **given: Any) -> Tokenizer:
    tokenizer = load_tokenizer(name, **given)
    if tokenizer.spec.id != identity:
        raise CheckpointError(
            f"{given['checkpoint'] or name}: holds {tokenizer.spec.id}, but {identity} was sent here: the weights were "
            "replaced meanwhile"
        )
    return tokenizer


def option_names(name: str, engine: str = "native") -> list[str]:
    """The options that an engine names as its own, besides those which all have."""
    parameters = inspect.signature(_loader(name, engine)).parameters.values()
    own = (one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD)
    return [one for one in own if one not in ("spec", "checkpoint", "device", "dtype")]


def _takes_any(load: Callable[..., Tokenizer]) -> bool:
    """Whether further options are accepted, whatever they are called."""
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in inspect.signature(load).parameters.values())


def _loader(name: str, engine: str) -> Callable[..., Tokenizer]:
    """The function that loads a tokenizer into an engine, imported."""
    engines = find(name).engines
    if engine not in engines:
        raise UsageError(f"{name} has no engine {engine!r}; it has {', '.join(engines)}")
    module_name, _, class_name = engines[engine].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if engine != "reference" or (error.name or "").startswith("anytok"):
            raise
        raise MissingExtraError(error.name or "?", "reference", f"engine='reference' of {name}") from error
    return getattr(module, class_name).load


def _check_device(device: str) -> None:
    if device == "cpu":
        return  # known without torch, which someone else's tokenizer may not need
    import torch

    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device {device!r} is none that torch knows; expected cpu, cuda, cuda:1, mps, …") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {device!r}: torch sees {torch.cuda.device_count()} CUDA devices; use device='cpu', or check the "
            "driver and that this torch was built for CUDA"
        )
    try:
        torch.zeros(1, dtype=torch.float32, device=wanted).tolist()  # "meta" holds no numbers
    except Exception as error:  # each backend has its own
        raise UsageError(f"device {device!r} does not work here ({first_line(error)}); use device='cpu'") from error
