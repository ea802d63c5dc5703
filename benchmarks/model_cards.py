"""The model cards of the small tokenizers (anytok/weights/NAME/README.md), from what `quality.py` measured.

`make docs` writes them (benchmarks/report.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "anytok" / "weights"
RESULT = Path(__file__).parent / "results" / "quality.json"

_LICENCE = """## Licence
Apache-2.0, as the package. The weights were made from scratch by the configs named above; no published weights went
into them."""

_SPEECH = """# speech-mini
SpeechTokenizer's architecture at a quarter of its width: 16 kHz speech to {num_codebooks} layers of 50 codes a second,
{codebook_size} codes each. It is small, and there to try things with: voices keep a buzz that the published model
does not have. Its codes mean nothing to AnyGPT.

## Made by
`configs/train/speech_mini.toml` with `anytok.training`: multi-scale mel and time losses, no adversary, and phone labels
of the synthesisers on the first layer where SpeechTokenizer has HuBERT.

## Trained on
Sentences of a small grammar of our own, read by eSpeak NG (15 accents and languages, 17 voice variants) and three flite
voices; 18 LJSpeech clips (public domain) at three speeds; the spoken digits of four speakers (Free Spoken Digit
Dataset, CC BY-SA 4.0). About 2.3 hours.

## Quality
On voices kept aside: six eSpeak variants, the flite voice rms, four LJSpeech clips of the same reader.

| | |
|---|---|
| STOI (1 is perfect; an untrained model {stoi_untrained}) | **{stoi}** |
| by source | {by_source} |
| from layer 1 alone | {stoi_layer_1_alone} |
| log-mel distance, as a share of an untrained model's | **{mel_of_untrained}** |
| phone told by the code of one layer, 1 to {num_codebooks} (chance {chance}) | {by_layer} |
| share of each codebook in use | {usage} |
| perplexity of each codebook | {perplexity} |
| encode, decode, times real time, {threads} threads | {times} |
"""

_MUSIC = """# music-mini
The architecture of EnCodec 32 kHz at a quarter of its width: music to {num_codebooks} layers of 50 codes a second,
{codebook_size} codes each. It is small: tune, rhythm and loudness come back, timbre is blurred.

## Made by
`configs/train/music_mini.toml` with `anytok.training`: multi-scale mel and time losses, no adversary.

## Trained on
450 pieces of about half a minute that `anytok.training.compose` wrote, played by FluidSynth with the sound font
FluidR3 GM (MIT).

## Quality
On {clips} pieces kept aside.

| | |
|---|---|
| log-mel distance, in nepers (an untrained model {untrained_log_mel}) | {log_mel} |
| the same, as a share of the untrained model's | **{mel_of_untrained}** |
| share of each codebook in use | {usage} |
| perplexity of each codebook | {perplexity} |
| encode, decode, times real time, {threads} threads | {times} |
"""

_IMAGE = """# seed-mini
SEED-2's architecture at a fraction of its width: a picture to 32 codes of {codebook_size}, and back to 48 x 48 pixels
through a small unCLIP. It is small: colours and layout come back, what is in the picture mostly does not.

## Made by
`configs/train/image_mini.toml`, `vae_mini.toml` and `unclip_mini.toml` with `anytok.training`. Where SEED learns CLIP's
image embedding, this one learns a picture's lowest frequencies (`anytok.training.descriptor`): its codes say how a
picture looks, not what it means.

## Trained on
771 small photographs, cut and coloured anew each time, and drawn shapes.

## Quality
On {pictures} photographs kept aside.

| | |
|---|---|
| decoded pictures whose nearest original (8 x 8 Lab thumbnails) is their own (chance {by_chance}) | **{retrieved}** |
| the same for the blur that the codes' embedding stands for, drawn without the painter | {retrieved_unpainted} |
| PSNR | {psnr} dB |
| share of the codebook in use | {usage} |
| perplexity | {perplexity} |
| seconds to encode, to decode a picture, {threads} threads | {seconds_encode}, {seconds_decode} |
"""


def card(name: str, result: dict[str, Any]) -> str:
    """One model card."""
    measured = result[name]
    values = dict(measured) | measured.get("all", {})
    for key in ("usage", "perplexity"):
        values[key] = ", ".join(f"{number:.0%}" if key == "usage" else f"{number:.0f}" for number in measured[key])
    values["num_codebooks"] = len(measured["usage"])
    if "times_real_time" in measured:
        values["times"] = "{encode}, {decode}".format(**measured["times_real_time"])
    if name == "speech-mini":
        phones = measured["phone_accuracy"]
        values |= {"chance": phones["chance"], "by_layer": ", ".join(map(str, phones["by_layer"]))}
        values["by_source"] = ", ".join(f"{key} {row['stoi']}" for key, row in measured["by_source"].items())
    template = {"speech-mini": _SPEECH, "music-mini": _MUSIC, "seed-mini": _IMAGE}[name]
    return template.format(**values) + "\n" + _LICENCE + "\n"


def cards() -> dict[Path, str]:
    """Every card, by the file it belongs into."""
    result = json.loads(RESULT.read_text("utf-8"))
    return {WEIGHTS / name / "README.md": card(name, result) for name in ("speech-mini", "music-mini", "seed-mini")}
