"""The tokenizers and voices that come with anytok: published Specs, what loads them, and which belong together."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .recipes import ANYGPT_MUSIC, ANYGPT_SPEECH, ENCODEC_MONO, ENCODEC_STEREO
from .spec import Spec

__all__ = ["BUILT_IN", "DECODE_ONLY", "SUITES", "VOICES"]


def _audio(name: str, modality: str, books: int, size: int, frames: int, rate: int, recipe: str, **more: Any) -> Spec:
    sizes: dict[str, Any] = {"num_codebooks": books, "codebook_size": size, "frame_rate": frames, "sample_rate": rate}
    return Spec(name, modality, **sizes, **{"channels": 1, "preprocessing": recipe, **more})


def _image(name: str, side: int) -> Spec:
    return Spec(name, "image", 1, 8192, num_frames=32, image_size=side, preprocessing="bicubic")


def _engines(native: str, reference: str) -> Mapping[str, str]:
    places = {"native": native, "reference": reference}
    return MappingProxyType({engine: f"anytok.engines.{engine}.{place}" for engine, place in places.items()})


_SEED = _engines("seed:SeedTokenizer", "seed:ReferenceSeed")
_SPEECH = _engines("seanet:SeanetCodec", "speech:ReferenceSpeechTokenizer")
_ENCODEC = _engines("seanet:SeanetCodec", "encodec:ReferenceEncodec")
_STEREO: dict[str, Any] = {"channels": 2, "segment_samples": 48000, "segment_stride": 47520}

# Name → Spec, and by engine the class that loads it as "module:Class".
BUILT_IN: Mapping[str, tuple[Spec, Mapping[str, str]]] = MappingProxyType(
    {
        spec.name: (spec, engines)
        for spec, engines in (
            (_image("seed-2", 224), _SEED),
            (_audio("speechtokenizer", "speech", 8, 1024, 50, 16000, ANYGPT_SPEECH), _SPEECH),
            (_audio("speechtokenizer-snake", "speech", 8, 1024, 50, 16000, ANYGPT_SPEECH), _SPEECH),
            (_audio("encodec-32khz", "music", 4, 2048, 50, 32000, ANYGPT_MUSIC), _ENCODEC),
            (_audio("encodec-24khz", "music", 32, 1024, 75, 24000, ENCODEC_MONO), _ENCODEC),
            (_audio("encodec-48khz", "music", 16, 1024, 150, 48000, ENCODEC_STEREO, **_STEREO), _ENCODEC),
            # small ones, whose weights are in the package (anytok/weights), with the same architectures
            (_image("seed-mini", 112), _SEED),
            (_audio("speech-mini", "speech", 8, 512, 50, 16000, ANYGPT_SPEECH), _SPEECH),
            (_audio("music-mini", "music", 4, 1024, 50, 32000, ANYGPT_MUSIC), _ENCODEC),
        )
    }
)

# Options of loading that decide how pictures are painted, and no code: a cache of codes takes no notice of them.
_PAINTING = (
    "compile", "decode_batch_size", "guidance_scale", "noise_level", "num_inference_steps", "preset", "scheduler",
    "unclip",
)  # fmt: skip
DECODE_ONLY: Mapping[str, tuple[str, ...]] = MappingProxyType(dict.fromkeys(["seed-2", "seed-mini"], _PAINTING))

# Voices → the tokenizers whose layers they fill in.
VOICES: Mapping[str, str] = MappingProxyType(
    {
        "soundstorm": "speechtokenizer-snake",
        "soundstorm-librispeech": "speechtokenizer",
        "voice-mini": "speech-mini",
    }
)

# Suites: the tokenizers that one shared vocabulary speaks.
SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "anygpt": ("seed-2", "speechtokenizer-snake", "encodec-32khz"),
        "seed-llama": ("seed-2",),
        "mini": ("seed-mini", "speech-mini", "music-mini"),
    }
)
