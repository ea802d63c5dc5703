"""A voice for what a language model writes: layer 1 of one sentence in the voice of another speaker's three seconds."""

from __future__ import annotations

import dataclasses

from ..multimodal import Multimodal
from ..registry import load_voice
from ..spec import Codes
from .exhibit import Exhibit
from .mix import compare
from .panel import Figure, Panel

__all__ = ["fill_in"]

_PROMPT_SECONDS = 3


def fill_in(suite: Multimodal, said: Exhibit, speaker: Exhibit) -> Panel:
    """`said`, of which layer 1 alone is kept, in the voice of the first three seconds of `speaker`."""
    tokenizer = suite.tokenizer("speech")
    voice = load_voice("voice-mini", speech=tokenizer)
    content, prompt = said.codes.layers(0, 1), _start(speaker.codes)
    filled = voice.fill(content, prompt)
    alone, asked, spoken = tokenizer.decode_batch([content, prompt, filled])
    sounds = [
        Figure(f"layer 1 of {said.title}, alone", alone, codes=content.values),
        Figure(f"the voice prompt, the start of {speaker.title}", asked, codes=prompt.values),
        Figure(f"layer 1 of {said.title}, filled in after the prompt", spoken, codes=filled.values),
    ]
    return Panel(
        "a voice for what a language model says",
        "AnyGPT writes speech as its first layer alone: what is said, in nobody's voice. A second model, SoundStorm, "
        f"fills the others in, after some seconds of somebody. Here voice-mini fills in layers 2 to {voice.num_layers} "
        f"of {said.codes.num_codebooks}, after three seconds. It is small: the sound goes a little towards the "
        "speaker's, or not at all, as the numbers tell, and nobody would be taken for the speaker.",
        [sounds],
        [compare(sounds, [said, speaker])],
    )


def _start(codes: Codes) -> Codes:
    """The first seconds of a recording's codes, or all."""
    spec = codes.spec
    frames = round(_PROMPT_SECONDS * (spec.frame_rate or 0))
    if codes.num_frames <= frames:
        return codes
    return dataclasses.replace(codes, values=codes.values[:, :frames], num_samples=frames * spec.hop_length)
