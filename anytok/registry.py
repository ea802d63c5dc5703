"""Names → tokenizers, ours and other packages', and voices. Engines are named by strings and imported on loading.

Another package adds a tokenizer by an entry point in the group `anytok.tokenizers`: its name is the tokenizer's, its
value "module:Class", and the class is a `Tokenizer` with a `spec` and a classmethod `load`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from .arguments import did_you_mean
from .catalogue import BUILT_IN, DECODE_ONLY, VOICES
from .checkpoints import published
from .errors import CheckpointError, MissingExtraError, UsageError, first_line
from .spec import Spec
from .tokenizer import Tokenizer
from .voice import Voice

__all__ = [
    "ENTRY_POINT_GROUP", "Entry", "find", "list_tokenizers", "list_voices", "load_tokenizer", "load_voice",
    "option_names", "speech_of",
]  # fmt: skip

ENTRY_POINT_GROUP = "anytok.tokenizers"


@dataclass(frozen=True)
class Entry:
    """What is known of a tokenizer before it is loaded: by engine, the class that loads it as "module:Class"; the
    package that adds it, "" for ours; and its published Spec, which another package's has only once it is imported."""

    name: str
    engines: Mapping[str, str]
    package: str = ""
    published: Spec | None = None

    @property
    def spec(self) -> Spec:
        """The published Spec; imports another package's tokenizer. Raises UsageError where that fails."""
        return self.published or self.tokenizer_class("native").spec

    def tokenizer_class(self, engine: str) -> type[Tokenizer]:
        """The class of an engine, imported. What another package adds is its only engine, whichever is asked for by
        "native". Raises UsageError on engines that are not there, and where another package's fails to import."""
        if self.package and engine == "native":
            (engine,) = self.engines
        if engine not in self.engines:
            near = did_you_mean(engine, self.engines)
            raise UsageError(f"{self.name} has no engine {engine!r}; it has {', '.join(self.engines)}{near}")
        module_name, _, class_name = self.engines[engine].partition(":")
        if self.package:
            return self._imported(module_name, class_name)
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if engine != "reference" or (error.name or "").startswith("anytok"):
                raise
            raise MissingExtraError(error.name or "?", "reference", f"engine='reference' of {self.name}") from error
        return getattr(module, class_name)

    def _imported(self, module_name: str, class_name: str) -> type[Tokenizer]:
        fault = f"the package {self.package} adds the tokenizer {self.name!r}, but"
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except Exception as error:  # anyone's code
            raise UsageError(f"{fault} fails: {error!r}") from error
        if not (isinstance(found, type) and issubclass(found, Tokenizer)):
            raise UsageError(f"{fault} {module_name}:{class_name} is no class derived from anytok.Tokenizer")
        if not isinstance(getattr(found, "spec", None), Spec) or found.spec.name != self.name:
            raise UsageError(f"{fault} its class has no `spec`: expected an anytok.Spec of the name {self.name!r}")
        return found


def list_tokenizers() -> list[str]:
    """Names that `load_tokenizer` knows: ours, and those other installed packages add by entry point."""
    _added_on.cache_clear()
    return sorted({*BUILT_IN, *_added_on(tuple(sys.path))})


def find(name: str) -> Entry:
    """The Entry of a tokenizer, without importing anything; raises UsageError listing the known names."""
    if not isinstance(name, str):
        raise UsageError(f"a tokenizer's name that is a {type(name).__name__}: expected text, such as 'seed-2'")
    if name in BUILT_IN:
        spec, engines = BUILT_IN[name]
        return Entry(name, engines, published=spec)
    if point := _added_on(tuple(sys.path)).get(name):
        return _added(point)
    known = list_tokenizers()
    if name in known:  # its package was installed a moment ago
        return find(name)
    raise UsageError(f"no tokenizer is called {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")


@cache
def _added_on(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """By name, what the packages on this path add: reading what they all declare takes 20 ms, and a job asks often."""
    return {point.name: point for point in reversed(entry_points(group=ENTRY_POINT_GROUP))}


def _added(point: EntryPoint) -> Entry:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    return Entry(point.name, {package.partition(" ")[0]: point.value}, package)


def load_tokenizer(
    name: str,
    *,
    engine: str = "native",
    checkpoint: str | Path | None = None,
    device: Any = "cpu",
    dtype: Any = "float32",
    **options: Any,
) -> Tokenizer:
    """Load a tokenizer by name.

    `checkpoint` is a folder with the published files under their published names (or one of those files);
    without it they are fetched from the hub once. `engine` is "native" (ours, or the one that another package adds) or
    "reference" (the original package). `device` is a torch.device or its name. `dtype` is "float32" (the codes of the
    originals), "float64" (the same codes on every machine), "bfloat16" or "float16" (faster; some codes differ), or
    another that the engine knows; torch.float32 and the like will do. Further options are the engine's own; see its
    class.

    Raises UsageError on unknown names and options, CheckpointError on weights that cannot be used.
    """
    entry, device, dtype = find(name), str(device), _name_of(dtype)
    found = entry.tokenizer_class(engine)
    known = option_names(name, engine)
    if (unknown := [key for key in options if key not in known]) and not _takes_any(found.load):
        near = did_you_mean(unknown[0], known)
        raise UsageError(f"{name} ({engine}) has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}{near}")
    if dtype not in found.dtypes:
        near = did_you_mean(dtype, found.dtypes)
        raise UsageError(f"{name} ({engine}) has no dtype {dtype!r}; expected one of {', '.join(found.dtypes)}{near}")
    _check_device(device)
    with _shielded():
        tokenizer = found.load(entry.spec, checkpoint, device=device, dtype=dtype, **options)
    deciding = {key: value for key, value in options.items() if key not in DECODE_ONLY.get(name, ())}
    tokenizer._loaded_as = {"engine": engine, "package": entry.package, "device": device, "dtype": dtype, **deciding}
    if not entry.package:  # others' are pickled as others say
        place = None if checkpoint is None else os.path.abspath(os.path.expanduser(checkpoint))
        given: dict[str, Any] = {"engine": engine, "checkpoint": place, "device": device, "dtype": dtype, **options}
        tokenizer._load_again = partial(_load_again, tokenizer.spec.id, name, **given)
    return tokenizer


def list_voices() -> list[str]:
    """Names that `load_voice` knows."""
    return sorted(VOICES)


def speech_of(voice: str) -> str:
    """The name of the tokenizer whose layers a voice fills in; raises UsageError listing the known voices."""
    if not isinstance(voice, str) or voice not in VOICES:
        raise UsageError(
            f"no voice is called {voice!r}; known: {', '.join(list_voices())}{did_you_mean(voice, VOICES)}"
        )
    return VOICES[voice]


def load_voice(
    name: str,
    *,
    speech: Tokenizer | None = None,
    checkpoint: str | Path | None = None,
    device: Any = "cpu",
    dtype: Any = "float32",
) -> Voice:
    """Load the model that fills in the layers of speech of which a language model writes the first alone.

    "soundstorm" is AnyGPT's, for the tokenizer "speechtokenizer-snake"; "soundstorm-librispeech" USLM's, for
    "speechtokenizer"; "voice-mini" a small one of our own, for "speech-mini". `speech` is that tokenizer, loaded, with
    all layers; without it, it is loaded once a recording is to be a voice prompt. `checkpoint` is the published file,
    or the folder that it is in; without it it is fetched once. `dtype` is "float32" (the codes of the original),
    "bfloat16", or on GPUs "tf32" or "float16", for the network alone; codes are chosen in float32.

    At the published size ten seconds of speech with a prompt of three take 4.7 TFLOP: some ten seconds to a minute on a
    CPU, whatever is done. Raises UsageError on unknown names, CheckpointError on weights that cannot be used.
    """
    speech_name, device, dtype = speech_of(name), str(device), _name_of(dtype)
    if speech is not None and (not isinstance(speech, Tokenizer) or speech.spec.name != speech_name):
        found = speech.spec.id if isinstance(speech, Tokenizer) else type(speech).__name__
        raise UsageError(f"speech is {found}: {name} fills in layers of {speech_name}")
    engine_class = importlib.import_module("anytok.engines.native.soundstorm").FastSoundStorm
    if dtype not in engine_class.dtypes:
        raise UsageError(f"{name} has no dtype {dtype!r}; expected one of {', '.join(engine_class.dtypes)}")
    _check_device(device)
    with _shielded():
        engine = engine_class.load(published(name, checkpoint), device=device, dtype=dtype)
    if speech is not None and speech.spec.codebook_size != engine.codebook_size:
        raise CheckpointError(
            f"{checkpoint or name}: fills in layers of {engine.codebook_size} codes, and {speech.spec.id} has "
            f"{speech.spec.codebook_size}: they do not belong together"
        )
    voice = Voice(name, speech_name, engine, speech or partial(load_tokenizer, speech_name, device=device))
    place = None if checkpoint is None else os.path.abspath(os.path.expanduser(checkpoint))
    given = {"speech": speech, "checkpoint": place, "device": device, "dtype": dtype}
    voice._load_again = partial(_load_voice_again, voice.id, name, **given)
    return voice


def _load_voice_again(identity: str, name: str, **given: Any) -> Voice:
    voice = load_voice(name, **given)
    if voice.id != identity:
        raise CheckpointError(f"{given['checkpoint'] or name}: holds {voice.id}, but {identity} was sent here")
    return voice


def _shielded() -> AbstractContextManager[None]:
    """What torch is told while weights are loaded and packed; nothing where an engine does without it."""
    if "torch" not in sys.modules:
        return nullcontext()
    from .torch_settings import full_float32

    return full_float32()


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
    parameters = inspect.signature(find(name).tokenizer_class(engine).load).parameters.values()
    own = (one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD)
    return [one for one in own if one not in ("spec", "checkpoint", "device", "dtype")]


def _takes_any(load: Callable[..., Tokenizer]) -> bool:
    """Whether further options are accepted, whatever they are called."""
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in inspect.signature(load).parameters.values())


def _name_of(dtype: Any) -> Any:
    """torch.float32 → "float32"; anything else as it is."""
    return str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype


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
