"""What `voice-mini` makes of layer 1: on speakers kept aside, beside layer 1 alone, and with another speaker's prompt.

    python benchmarks/voice_quality.py data/speech [--checkpoint FOLDER] [--embedder pretrained.pt]

DATA is what `anytok.training.data_speech` wrote, for the recordings kept aside in it; synthetic voices kept aside read
new sentences. Of each speaker there is a prompt of up to three seconds and another clip, of which layer 1 is given.
Measured: the log-mel distance to the recording itself, and to what all its own layers decode to, which no voice can
better; STOI to the recording; how near the long-term spectrum, and the speaker embedding (speaker_embedding.py), are to
the prompt's recording. Writes benchmarks/results/voice_quality.json.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "voice_quality.json"
PROMPT = 3 * 16000
SEED = 20261128  # of sentences and voices: none of training's
Pair = tuple[str, np.ndarray, np.ndarray]  # source, prompt, clip


def pairs(data: Path, per_voice: int) -> Iterator[Pair]:
    """Two recordings of each speaker kept aside."""
    from anytok.training import data_speech
    from anytok.training.espeak import speak
    from anytok.training.sentences import sentence

    rng = random.Random(SEED)
    for variant in data_speech._HELD_VARIANTS * per_voice:
        voice = f"{rng.choice(data_speech._ACCENTS)}+{variant}"
        manner = (rng.randint(130, 210), rng.randint(25, 75), rng.randint(30, 80))
        said = [speak(sentence(rng), voice, *manner) for _ in range(2)]
        prompt, clip = (data_speech._resample(wave, rate) for wave, rate, _ in said)
        yield "espeak", prompt, clip
    for _ in range(2 * per_voice):
        yield "flite", *(data_speech._flite_clip(rng, "rms").wave for _ in range(2))
    yield from _recorded(data, "digits", 8)
    yield from _recorded(data, "ljspeech", 1)


def _recorded(data: Path, source: str, joined: int) -> Iterator[Pair]:
    """Pairs of recordings kept aside, each of so many clips, one after the other."""
    from anytok.training.clips import Clips

    clips = Clips(data / "held")
    waves = [clips.clip(place)[0] for place, item in enumerate(clips.items) if item["source"] == source]
    long = [np.concatenate(waves[first : first + joined]) for first in range(0, len(waves) - joined + 1, joined)]
    for first in range(0, min(len(long), 12) - 1, 2):
        yield source, long[first], long[first + 1]


def measured(clip: np.ndarray, best: np.ndarray, made: np.ndarray, prompt: np.ndarray, embed: Any) -> dict[str, float]:
    """Of one decoded clip; `best` is what all layers of the recording decode to."""
    from anytok.metrics.audio import _log_mel, log_mel_distance, stoi

    spectra = [_log_mel(wave.astype(np.float64), 16000).mean(1) for wave in (made, prompt)]
    row = {
        "log_mel": log_mel_distance(made, clip, 16000),
        "log_mel_to_all_layers": log_mel_distance(made, best, 16000),
        "stoi": stoi(made, clip, 16000),
        "spectrum_to_prompt": float(np.abs(spectra[0] - spectra[1]).mean()),
    }
    return row | ({"likeness_to_prompt": float(embed(made) @ embed(prompt))} if embed else {})


def measure(voice: Any, speech: Any, found: list[Pair], embed: Any, steps: int) -> list[dict[str, Any]]:
    """A row for each pair: layer 1 alone, all layers, filled in with the right prompt, without, and with another's, the
    next speaker's."""
    from anytok import Audio

    codes = speech.encode_batch([Audio(wave, 16000) for _, _, wave in found])
    prompts = [speech.encode(Audio(prompt[:PROMPT], 16000)) for _, prompt, _ in found]
    content = [item.layers(0, 1) for item in codes]
    others = [_another(found, place) for place in range(len(found))]
    ways = {
        "layer 1 alone": content,
        f"layers 1 to {voice.num_layers}, the recording's own": [item.layers(0, voice.num_layers) for item in codes],
        "all layers, the recording's own": codes,
        "filled in, the speaker's prompt": voice.fill_batch(content, prompts=prompts, steps=steps),
        "filled in, no prompt": voice.fill_batch(content, steps=steps),
        "filled in, another's prompt": voice.fill_batch(content, prompts=[prompts[o] for o in others], steps=steps),
    }
    best = [decoded.wave[0] for decoded in speech.decode_batch(codes)]
    rows: list[dict[str, Any]] = []
    for way, items in ways.items():
        for place, (made, (source, prompt, clip)) in enumerate(zip(speech.decode_batch(items), found, strict=True)):
            row = {"way": way, "pair": place, "source": source}
            row |= measured(clip, best[place], made.wave[0], prompt[:PROMPT], embed)
            if way == "filled in, another's prompt":
                theirs = measured(clip, best[place], made.wave[0], found[others[place]][1][:PROMPT], embed)
                row |= {f"{key}_they_gave": value for key, value in theirs.items() if key.endswith("prompt")}
            rows.append(row)
    return rows


def _another(found: list[Pair], place: int) -> int:
    """The next pair of another speaker; the recordings of one source are of one speaker, but for eSpeak's."""
    for step in range(1, len(found)):
        other = (place + step) % len(found)
        if found[other][0] == "espeak" or found[other][0] != found[place][0]:
            return other
    raise ValueError("one speaker alone")


def summary(rows: list[dict[str, Any]], sources: list[str]) -> dict[str, dict[str, float]]:
    """Means over the pairs of these sources, by way."""
    table: dict[str, dict[str, float]] = {}
    for way in dict.fromkeys(row["way"] for row in rows):
        chosen = [row for row in rows if row["way"] == way and row["source"] in sources]
        keys = [key for key, value in chosen[0].items() if isinstance(value, float)]
        table[way] = {key: round(float(np.mean([row[key] for row in chosen])), 4) for key in keys}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--embedder", type=Path, default=None)
    parser.add_argument("--per-voice", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()

    from machine import machine
    from speaker_embedding import SpeakerEncoder

    import anytok

    speech = anytok.load_tokenizer("speech-mini")
    voice = anytok.load_voice("voice-mini", speech=speech, checkpoint=options.checkpoint)
    embed = SpeakerEncoder(options.embedder).embed if options.embedder else None
    found = list(pairs(options.data, options.per_voice))
    rows = measure(voice, speech, found, embed, options.steps)
    sources = list(dict.fromkeys(source for source, _, _ in found))
    unheard = [source for source in sources if source != "ljspeech"]  # whose reader was trained on
    tables = {"speakers kept aside": summary(rows, unheard)} | {one: summary(rows, [one]) for one in sources}
    counts = {source: sum(pair[0] == source for pair in found) for source in sources}
    record = {"voice": voice.id, "speech": speech.spec.id, "steps": options.steps, "pairs": counts, "means": tables}
    options.out.write_text(json.dumps(record | {"machine": machine()}, indent=1) + "\n", "utf-8")
    print(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
