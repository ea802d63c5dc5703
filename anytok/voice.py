"""A voice: what a language model says in content codes → codes of all layers, which sound like somebody.

AnyGPT writes speech as layer 1 of SpeechTokenizer. SoundStorm (arXiv 2305.09636) fills the other layers in from it,
and from a voice prompt, if there is one: a stretch of speech of whom it is to sound like.

Legend: l layers, t frames of a clip, p of its prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from .arguments import several, whole
from .errors import CodesError, UsageError
from .media import Audio, Media, prepare
from .spec import Codes, Spec
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Clip", "Prompt", "Voice"]

# A voice prompt: codes of all layers, or a recording.
Prompt: TypeAlias = Codes | Media

_PROMPT_MIX = "mean-after"  # AnyGPT, infer/voice_clone.py: resampled, then the mean of the channels


@dataclasses.dataclass(frozen=True)
class Clip:
    """What an engine is to fill in: content codes [t], a voice prompt [l, p], p may be 0, and a seed; int64."""

    content_t: Tensor
    prompt_lp: Tensor
    seed: int

    @property
    def num_frames(self) -> int:
        return len(self.content_t) + self.prompt_lp.shape[1]


class Filler(Protocol):
    """What an engine brings: a network of `num_layers` layers, the first of which is given."""

    num_layers: int
    codebook_size: int
    weights: str  # a hash of them, and "+dtype" behind it where that changes codes
    float32_precision: str

    def fill(self, clips: Sequence[Clip], *, steps: int, greedy: bool) -> list[Tensor]:
        """Codes [l, t] of each clip, in order."""


class Voice:
    """Content codes → codes of all layers that the model knows; made by `anytok.load_voice`.

    `name` and `id` (name, hash of the weights, precision) say which it is, `num_layers` how many layers come out, and
    `speech_name` whose layers they are.
    """

    def __init__(
        self, name: str, speech_name: str, engine: Filler, speech: Tokenizer | Callable[[], Tokenizer]
    ) -> None:
        self.name, self.speech_name, self.id = name, speech_name, f"{name}@{engine.weights}"
        self.num_layers = engine.num_layers
        self._engine, self._speech = engine, speech
        self._load_again: Callable[[], Voice] | None = None

    @property
    def speech(self) -> Tokenizer:
        """The tokenizer that prompts are encoded by, loaded if it was not."""
        if not isinstance(self._speech, Tokenizer):
            self._speech = self._speech()
        return self._speech

    def fill(
        self, codes: Codes, prompt: Prompt | None = None, *, steps: int = 3, greedy: bool = True, seed: int = 0
    ) -> Codes:
        """Codes of one clip; see `fill_batch`."""
        return self.fill_batch([codes], prompts=[prompt], steps=steps, greedy=greedy, seeds=seed)[0]

    def fill_batch(
        self,
        codes: Sequence[Codes],
        *,
        prompts: Prompt | Sequence[Prompt | None] | None = None,
        steps: int = 3,
        greedy: bool = True,
        seeds: int | Sequence[int] | None = None,
    ) -> list[Codes]:
        """Codes [num_layers, t] of each clip of content codes [1, t], in order; the same, clip by clip, as alone.

        `prompts`: one for all or one each (None: nobody in particular): Codes of layers 1 to `num_layers` or more, or
        recordings, resampled and then mixed to one channel. The whole of it is used; three to fifteen seconds are
        what such models were trained on, prompt and clip together. `steps`: passes over the first of the layers, 1 or
        more; the others take one each. `greedy` False draws the upper layers, too, instead of taking the likeliest
        codes. `seeds` (0 if None), one for all or one each: the same codes, prompt and seed give the same layers, in
        any company and on any number of threads. Defaults are AnyGPT's.

        Raises CodesError on codes of another tokenizer, on others than layer 1 alone, and on prompts without all
        layers; MediaError on recordings that cannot be used; UsageError on other arguments.
        """
        items = several(codes, "fill")
        for item in items:
            self._check(item, "codes")
            if item.first_codebook or item.num_codebooks > 1:
                last = item.first_codebook + item.num_codebooks
                raise CodesError(
                    f"codes of layers {item.first_codebook + 1} to {last}: expected layer 1 alone, the content, as "
                    "codes.layers(0, 1); the others are filled in"
                )
        steps = whole("steps", steps, 1, 1000)
        if not isinstance(greedy, bool):
            raise UsageError(f"greedy={greedy!r}: expected True or False")
        each_prompt = self._prompts(prompts, len(items))
        return self._filled(items, each_prompt, _seeds(seeds, len(items)), steps, greedy)

    def encode_prompt(self, recording: Media) -> Codes:
        """The codes of a recording as a voice prompt: resampled, then mixed to one channel, as AnyGPT does it, where of
        other speech it takes the first channel. Raises MediaError."""
        spec = self.speech.spec
        resampler = spec.preprocessing.partition(":")[2]
        sound = prepare(recording, dataclasses.replace(spec, preprocessing=f"{_PROMPT_MIX}:{resampler}"))
        assert isinstance(sound, Audio)
        return self.speech.encode_prepared([sound])[0]

    def _filled(
        self, items: list[Codes], prompts: list[np.ndarray], seeds: list[int], steps: int, greedy: bool
    ) -> list[Codes]:
        import torch

        from .torch_settings import products

        with torch.inference_mode(), products(self._engine.float32_precision):
            clips = [
                Clip(torch.tensor(item.values[0]), torch.tensor(prompt_lp), seed)
                for item, prompt_lp, seed in zip(items, prompts, seeds, strict=True)
            ]
            filled = self._engine.fill(clips, steps=steps, greedy=greedy) if clips else []
        return [
            Codes(layers_lt.numpy(), _at_least(item.spec, self.num_layers), item.num_samples)
            for item, layers_lt in zip(items, filled, strict=True)
        ]

    def _check(self, codes: Codes, what: str) -> None:
        if not isinstance(codes, Codes):
            raise CodesError(f"fill got {what} that are a {type(codes).__name__}: expected anytok.Codes")
        ours = self._speech.spec if isinstance(self._speech, Tokenizer) else None
        name = codes.spec.id.partition("@")[0]
        if name != self.speech_name or (ours is not None and not ours.accepts(codes.spec)):
            raise CodesError(
                f"{what} of {codes.spec.id}: {self.id} fills in layers of {ours.id if ours else self.speech_name}"
            )
        if codes.spec.codebook_size != self._engine.codebook_size:
            raise CodesError(
                f"{what} of a tokenizer with {codes.spec.codebook_size} codes: {self.id} has "
                f"{self._engine.codebook_size}"
            )

    def _prompts(self, prompts: Any, count: int) -> list[np.ndarray]:
        """All layers [l, p] of each clip's prompt; p is 0 where there is none."""
        if not isinstance(prompts, (list, tuple)):
            return [self._prompt(prompts)] * count
        if len(prompts) != count:
            raise UsageError(f"{len(prompts)} prompts for {count} clips: expected one for all, or one each")
        return [self._prompt(prompt) for prompt in prompts]

    def _prompt(self, prompt: Any) -> np.ndarray:
        if prompt is None:
            return np.zeros((self.num_layers, 0), np.int64)
        codes = prompt if isinstance(prompt, Codes) else self.encode_prompt(prompt)
        self._check(codes, "a prompt")
        if codes.first_codebook or codes.num_codebooks < self.num_layers:
            last = codes.first_codebook + codes.num_codebooks
            raise CodesError(
                f"a prompt of layers {codes.first_codebook + 1} to {last}: expected layers 1 to {self.num_layers}, or "
                "a recording; a tokenizer that was loaded with fewer codebooks gives fewer"
            )
        return codes.values[: self.num_layers]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled, it is what it was loaded with; there it is loaded again."""
        return (self._load_again, ()) if self._load_again else super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"<Voice {self.id}, layers 2 to {self.num_layers} of {self.speech_name}>"


def _at_least(spec: Spec, layers: int) -> Spec:
    """The Spec of codes that may have so many layers: a vocabulary's knows of the first alone."""
    return spec if spec.num_codebooks >= layers else dataclasses.replace(spec, num_codebooks=layers)


def _seeds(seeds: Any, count: int) -> list[int]:
    each = [0 if seeds is None else seeds] * count if np.ndim(seeds) == 0 else list(seeds)
    if len(each) != count:
        raise UsageError(f"{len(each)} seeds for {count} clips: expected one for all, or one each")
    return [whole("seed", seed, -(1 << 63), (1 << 64) - 1) for seed in each]  # torch's own limits
