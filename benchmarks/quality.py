"""How good the small trained tokenizers are, on media they never saw.

    python benchmarks/quality.py --speech data/speech/held --music data/music/held --images data/images \
        [--wild FOLDER] [--threads 2]

`--speech` and `--music` are held-out sets of anytok.training; of `--images` the pictures that training leaves out
are taken. `--wild` is any folder of other recordings and pictures, measured as well and reported apart.
Takes a few minutes. The audio baseline is the same network fresh from its initialisation, codebooks drawn at random.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from PIL import Image

import anytok
from anytok.checkpoints import fetch
from anytok.checkpoints.seanet import read_codec
from anytok.metrics import audio as sound
from anytok.metrics import codes as statistics
from anytok.metrics.image import psnr, retrieved
from anytok.models.codec import Codec
from anytok.training.clips import Clips
from anytok.training.descriptor import Descriptor
from anytok.training.phones import PHONES
from anytok.training.pictures import held_out

RESULT = Path(__file__).parent / "results" / "quality.json"
NUM_PICTURES = 100


def codec_quality(name: str, held: Path, seconds: float, per_source: int) -> dict[str, Any]:
    """Means over held-out clips, apart by source, and statistics of the codes over all of them."""
    clips, tokenizer, untrained = Clips(held), anytok.load_tokenizer(name), fresh_codec(name)
    chosen = _some_of_each(clips, per_source)
    waves = [clips.clip(i)[0][: int(seconds * clips.sample_rate)] for i in chosen]
    speed = times_real_time(tokenizer, waves, clips.sample_rate)
    rows, codes = defaultdict(list), []
    for i, wave in zip(chosen, waves, strict=True):
        row, coded = compare(tokenizer, untrained, wave, clips.sample_rate)
        rows[clips.items[i]["source"]].append(row)
        codes.append(coded)
    everything = [row for group in rows.values() for row in group]
    return {
        "clips": len(chosen),
        "all": means(everything),
        "by_source": {source: means(group) for source, group in rows.items()},
        "mel_of_untrained": round(_mean(everything, "log_mel") / _mean(everything, "untrained_log_mel"), 3),
        "times_real_time": speed,
    } | code_statistics(codes)


def times_real_time(tokenizer: Any, waves: list[np.ndarray], rate: int) -> dict[str, float]:
    """One clip after the other, each way; apart from all else, since numpy's threads spin on after each product."""
    sounds = [anytok.Audio(wave[None], rate) for wave in waves]
    tokenizer.decode(tokenizer.encode(sounds[0]))
    started = time.perf_counter()
    codes = [tokenizer.encode(audio) for audio in sounds]
    encoded = time.perf_counter()
    for item in codes:
        tokenizer.decode(item)
    decoded = time.perf_counter()
    seconds = sum(audio.duration for audio in sounds)
    return {"encode": round(seconds / (encoded - started), 1), "decode": round(seconds / (decoded - encoded), 1)}


def compare(tokenizer: Any, untrained: Codec, wave: np.ndarray, rate: int) -> tuple[dict[str, float], anytok.Codes]:
    """One clip there and back."""
    codes = tokenizer.encode(anytok.Audio(wave[None], rate))
    made = tokenizer.decode(codes).wave[0]
    with torch.inference_mode():
        raw = untrained.decode(untrained.encode(torch.from_numpy(wave)[None, None]))[0, 0, : len(wave)].numpy()
    row = {
        "log_mel": sound.log_mel_distance(made, wave, rate),
        "untrained_log_mel": sound.log_mel_distance(raw, wave, rate),
        "si_sdr": sound.si_sdr(made, wave),
    }
    if tokenizer.spec.modality == "speech":
        first = tokenizer.decode(codes.layers(0, 1)).wave[0]
        row |= {"stoi": sound.stoi(made, wave, rate), "stoi_untrained": sound.stoi(raw, wave, rate)}
        row["stoi_layer_1_alone"] = sound.stoi(first, wave, rate)
    return row, codes


def fresh_codec(name: str) -> Codec:
    """The same architecture at the same sizes, never trained."""
    torch.manual_seed(0)
    codec = Codec(**{**read_codec(fetch(name)).sizes.architecture(), "weight_norm": False})
    codec.quantizer.codebooks_knd.normal_()
    return codec.eval()


def phone_accuracy(name: str, train: Path, held: Path, num_clips: int = 150) -> dict[str, Any]:
    """How well each layer's code alone tells the phone of its frame (0.02 s), on voices that training never had.

    Every code stands for the phone it met most often in training clips. Chance: always the commonest phone.
    """
    tokenizer = anytok.load_tokenizer(name)
    (codes, labels), (held_codes, held_labels) = (_labelled(tokenizer, Clips(f), num_clips) for f in (train, held))
    size = tokenizer.spec.codebook_size
    accuracies = [
        round(statistics.label_accuracy(codes[k], labels, held_codes[k], held_labels, size), 3)
        for k in range(len(codes))
    ]
    nothing = np.zeros_like(labels), np.zeros_like(held_labels)
    chance = statistics.label_accuracy(nothing[0], labels, nothing[1], held_labels, 1)
    frames = int((held_labels >= 0).sum())
    return {"phones": len(PHONES), "frames": frames, "by_layer": accuracies, "chance": round(chance, 3)}


def image_quality(folder: Path) -> dict[str, Any]:
    """Pictures never trained on: is the decoded one's nearest original its own?"""
    tokenizer = anytok.load_tokenizer("seed-mini")
    originals = [Image.open(path).convert("RGB") for path in held_out(folder)[:NUM_PICTURES]]
    started = time.perf_counter()
    codes = tokenizer.encode_batch(originals)
    encoded = time.perf_counter()
    made = tokenizer.decode_batch(codes)
    painted = time.perf_counter()
    right = retrieved(made, originals) == np.arange(len(originals))
    scores = [
        psnr(np.asarray(picture), np.asarray(original.resize(picture.size, Image.Resampling.BICUBIC)))
        for picture, original in zip(made, originals, strict=True)
    ]
    return {
        "pictures": len(originals),
        "retrieved": int(right.sum()),
        "retrieved_unpainted": int((retrieved(drawn(tokenizer, codes), originals) == np.arange(len(originals))).sum()),
        "by_chance": 1,
        "psnr": round(float(np.mean(scores)), 2),
        "seconds_encode": round((encoded - started) / len(originals), 3),
        "seconds_decode": round((painted - encoded) / len(originals), 3),
    } | code_statistics(codes)


def drawn(tokenizer: Any, codes: list[anytok.Codes]) -> list[Image.Image]:
    """The blurred pictures that the codes' embeddings stand for, without the painter: what the codes know."""
    describe = Descriptor(num_luma=192, num_colour=32)  # of configs/train/image_world.toml; the truth comes behind
    rgb = describe.draw(torch.from_numpy(tokenizer.embed(codes))[:, : describe.width]).clamp(0, 1)
    return [Image.fromarray(levels) for levels in (rgb * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()]


def wild_quality(folder: Path) -> list[dict[str, Any]]:
    """Any recordings: each through the tokenizer of the subfolder it lies in (`speech` or `music`)."""
    rows = []
    for modality, name in (("speech", "speech-mini"), ("music", "music-mini")):
        tokenizer, untrained = anytok.load_tokenizer(name), fresh_codec(name)
        for path in sorted(folder.glob(f"{modality}/*")):
            wave = anytok.media.prepare(path, tokenizer.spec).wave[0]
            row, _ = compare(tokenizer, untrained, wave, tokenizer.spec.sample_rate or 0)
            rows.append({"file": path.name, "tokenizer": name} | means([row]))
    return rows


def code_statistics(codes: list[anytok.Codes]) -> dict[str, Any]:
    """Share of each codebook in use, and its perplexity."""
    return {
        "codebook_size": codes[0].spec.codebook_size,
        "codes_per_book": sum(item.num_frames for item in codes),
        "usage": [round(float(share), 3) for share in statistics.usage(codes)],
        "perplexity": [round(float(number), 1) for number in statistics.perplexity(codes)],
    }


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every column."""
    return {key: round(_mean(rows, key), 3) for key in rows[0]}


def _mean(rows: list[dict[str, float]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _some_of_each(clips: Clips, count: int) -> list[int]:
    """The first `count` clips of every source that last two seconds or more."""
    chosen: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(clips.items):
        if item["frames"] * clips.hop >= 2 * clips.sample_rate and len(chosen[item["source"]]) < count:
            chosen[item["source"]].append(i)
    return [i for group in chosen.values() for i in group]


def _labelled(tokenizer: Any, clips: Clips, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes [K, T] and labels [T] of clips with phone labels, end to end, spread over the set."""
    known = [i for i, item in enumerate(clips.items) if item["source"] in ("espeak", "flite")]
    codes, labels = [], []
    for i in known[:: max(1, len(known) // count)]:
        wave, label = clips.clip(i)
        codes.append(tokenizer.encode(anytok.Audio(wave[None], clips.sample_rate)).values)
        labels.append(label)
    return np.concatenate(codes, axis=1), np.concatenate(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("speech", "music", "images", "wild"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {}
    if arguments.speech:
        result["speech-mini"] = codec_quality("speech-mini", arguments.speech, seconds=8, per_source=20)
        train = arguments.speech.parent / "train"
        result["speech-mini"]["phone_accuracy"] = phone_accuracy("speech-mini", train, arguments.speech)
    if arguments.music:
        result["music-mini"] = codec_quality("music-mini", arguments.music, seconds=20, per_source=50)
    if arguments.images:
        result["seed-mini"] = image_quality(arguments.images)
    if arguments.wild:
        result["wild"] = {"files": wild_quality(arguments.wild)}
    for part in result.values():
        part |= {"threads": arguments.threads, "machine": machine()}
    RESULT.parent.mkdir(exist_ok=True)
    if RESULT.is_file():  # what is not measured now stays as it was
        result = json.loads(RESULT.read_text("utf-8")) | result
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
