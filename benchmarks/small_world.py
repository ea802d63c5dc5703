"""What of a scene comes back through an image tokenizer's codes: which object, where, how large, which colours.

    python benchmarks/small_world.py --images data/images [--name seed-mini] [--checkpoint FOLDER] [--sheet sheet.png] \
        [--font FILE] [--out FILE] [--check]

adds a row to the results, with the aims and which of them are missed; with --check missed aims end it with status 1.
Nothing here was used in training: originals are 200 scenes of pairs (kind, background) that no training sees, 100 of
kinds that no training sees, and the photographs held out. All is compared at 96 x 96 pixels. It takes some minutes.

- `nearest`: the share of decoded pictures whose nearest of the 200 originals is their own, by 8 x 8 Lab thumbnails, as
  in quality.py: where which colours are, which is much of what the codes are taught;
- `nearest_by_gradients`: the same by histograms of oriented gradients (Dalal and Triggs, CVPR 2005) of luma, which know
  edges and no colours. The aim is 95 of the 200;
- `kind`, `background`: shares that a classifier fitted to originals alone recognises (small_world_classifier.py), and
  `group_of_aside`: of objects of kinds kept aside, the share that it takes for a kind of their group;
  `original_*`: the same of the originals, which is the most that can be had;
- `place`, `size`: how far the object has moved (shares of the picture's side), and how much it has grown or shrunk;
- `object_colour`, `background_colour`: CIE76 differences of mean Lab colours, under the object's mask and outside it in
  each of 3 x 3 fields;
- `gradient_energy`: the sum of squared luma gradients of the decoded pictures over that of the originals;
- `photographs`: as `nearest`, among photographs;
- `probe_*`: what ridge regression on the codes' embeddings tells, fitted to 2000 scenes that training may see.
"""

from __future__ import annotations

import argparse
import json
import operator
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, rows_before
from PIL import Image
from small_world_classifier import Classifier
from small_world_measures import SIDE, colour_errors, displacement, gradient_energy, hog, linear_probe

import anytok
from anytok.metrics import codes as statistics
from anytok.metrics.image import retrieved
from anytok.training.pictures import held_out
from anytok.training.world import KINDS, Scene, World

RESULT = Path(__file__).parent / "results" / "small_world.json"
NUM_SCENES, NUM_ASIDE, NUM_PHOTOGRAPHS, NUM_PROBE, NUM_FITTED = 200, 100, 100, 2000, 4000
# Measure → (at least or at most, how much).
AIMS: dict[str, tuple[str, float]] = {
    "nearest": (">=", 0.95),
    "nearest_by_gradients": (">=", 0.475),
    "kind": (">=", 0.8),
    "group_of_aside": (">=", 0.5),
    "place": ("<=", 0.05),
    "size": ("<=", 0.1),
    "object_colour": ("<=", 12),
    "background_colour": ("<=", 12),
    "gradient_energy": (">=", 0.6),
    "photographs": (">=", 0.9),
}


def measure(
    tokenizer: Any, world: World, classifier: Classifier, photographs: Path
) -> tuple[dict[str, Any], Image.Image]:
    """A row of results, and a contact sheet of 24 pairs: originals above, what came back below."""
    rng = np.random.default_rng(20_000)
    scenes = [world.scene(rng, aside=True) for _ in range(NUM_SCENES)]
    unseen = [world.scene(rng, aside=True, kinds=world.kinds_aside) for _ in range(NUM_ASIDE)]
    originals, made, codes, seconds = round_trip(tokenizer, world, scenes)
    aside, painted, _, _ = round_trip(tokenizer, world, unseen)
    real = [Image.open(path).convert("RGB") for path in held_out(photographs)[:NUM_PHOTOGRAPHS]]
    back = tokenizer.decode_batch(tokenizer.encode_batch(real))
    row = {"scenes": len(scenes), "aside": len(unseen), "side": made[0].width}
    row["nearest"] = share(retrieved(made, originals), np.arange(len(scenes)))
    row |= of_scenes(*map(small, (made, originals)), scenes, world)
    for before, pictures, others in (("", made, painted), ("original_", originals, aside)):
        found = classifier.kinds(small(pictures), scenes), classifier.backgrounds(small(pictures))
        row[f"{before}kind"] = share(found[0], [scene.kind for scene in scenes])
        row[f"{before}background"] = share(found[1], [scene.background for scene in scenes])
        groups = [[KINDS[kind].group for kind in kinds] for kinds in (
            classifier.kinds(small(others), unseen), (scene.kind for scene in unseen))]  # fmt: skip
        row[f"{before}group_of_aside"] = share(*groups)
    row["photographs"] = share(retrieved(back, real), np.arange(len(real)))
    row |= probe(tokenizer, world, scenes, codes) | seconds
    row["perplexity"] = round(float(statistics.perplexity(codes)[0]))
    pairs = [*zip(originals, made, strict=True)][:12] + [*zip(aside, painted, strict=True)][:4]
    return row, sheet(pairs + [*zip(real, back, strict=True)][:8])


def of_scenes(
    made: list[np.ndarray], originals: list[np.ndarray], scenes: list[Scene], world: World
) -> dict[str, float]:
    """What needs no classifier."""
    features = [np.stack([hog(picture) for picture in pictures]) for pictures in (made, originals)]
    distances = ((features[0][:, None] - features[1][None]) ** 2).sum(-1)
    masks = [world.draw(scene, SIDE)[1] for scene in scenes]
    moved = np.array([displacement(*each) for each in zip(made, originals, masks, scenes, strict=True)])
    energies = [sum(gradient_energy(picture) for picture in pictures) for pictures in (made, originals)]
    return {
        "nearest_by_gradients": share(distances.argmin(1), np.arange(len(scenes))),
        "place": round(float(moved[:, 0].mean()), 3),
        "size": round(float(moved[:, 1].mean()), 3),
        "gradient_energy": round(energies[0] / energies[1], 3),
    } | colour_errors(made, originals, masks)


def round_trip(tokenizer: Any, world: World, scenes: list[Scene]) -> tuple[list, list, list, dict[str, float]]:
    """Originals of 224 pixels a side, decoded pictures, codes, and seconds a picture each way."""
    originals = [Image.fromarray(world.draw(scene, 224)[0]) for scene in scenes]
    started = time.perf_counter()
    codes = [tokenizer.encode(picture) for picture in originals]
    encoded = time.perf_counter()
    made = [tokenizer.decode(item) for item in codes]
    times = {"seconds_encode": encoded - started, "seconds_decode": time.perf_counter() - encoded}
    return originals, made, codes, {name: round(seconds / len(scenes), 3) for name, seconds in times.items()}


def probe(tokenizer: Any, world: World, scenes: list[Scene], codes: list[anytok.Codes]) -> dict[str, float]:
    """What a linear probe tells from the embeddings of codes: shares of kinds and backgrounds that are right, mean
    errors of place (of the picture's side), size (of the object's) and turn (degrees)."""
    rng = np.random.default_rng(30_000)
    known = [world.scene(rng) for _ in range(NUM_PROBE)]
    coded = tokenizer.encode_batch([Image.fromarray(world.draw(scene, 224)[0]) for scene in known])
    poses, backgrounds, kinds = linear_probe(tokenizer.embed(coded), known, tokenizer.embed(codes))
    wanted = np.array([(scene.x, scene.y, scene.size, scene.turn) for scene in scenes])
    return {
        "probe_kind": share(kinds, [scene.kind for scene in scenes]),
        "probe_background": share(backgrounds, [scene.background for scene in scenes]),
        "probe_place": round(float(np.linalg.norm(poses[:, :2] - wanted[:, :2], axis=1).mean()), 3),
        "probe_size": round(float((np.abs(poses[:, 2] - wanted[:, 2]) / wanted[:, 2]).mean()), 3),
        "probe_turn": round(float(np.abs(poses[:, 3] - wanted[:, 3]).mean()), 1),
    }


def small(pictures: list[Image.Image]) -> list[np.ndarray]:
    """uint8 [96, 96, 3] each."""
    side = (SIDE, SIDE)
    return [np.asarray(picture.convert("RGB").resize(side, Image.Resampling.BICUBIC)) for picture in pictures]


def share(found: Any, wanted: Any) -> float:
    return round(float(np.mean(np.asarray(found) == np.asarray(wanted))), 3)


def sheet(pairs: list[tuple[Image.Image, Image.Image]], columns: int = 8) -> Image.Image:
    """Originals above what came back, at twice 96 pixels a side."""
    side, gap = 2 * SIDE, 8
    rows = -(-len(pairs) // columns)
    whole = Image.new("RGB", (columns * (side + gap), rows * (2 * side + 3 * gap)), "white")
    for place, pair in enumerate(pairs):
        left, top = place % columns * (side + gap), place // columns * (2 * side + 3 * gap)
        for below, levels in enumerate(small(list(pair))):
            whole.paste(Image.fromarray(levels).resize((side, side), 0), (left, top + below * (side + 2)))
    return whole


def missed(row: dict[str, Any]) -> list[str]:
    """The aims that a row does not reach, in words."""
    signs = {">=": operator.ge, "<=": operator.le}
    missing = {key: aim for key, aim in AIMS.items() if not signs[aim[0]](row[key], aim[1])}
    return [f"{key} {row[key]}, not {sign} {number}" for key, (sign, number) in missing.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--name", default="seed-mini", help="of the row")
    parser.add_argument("--checkpoint", type=Path, help="default: the shipped seed-mini")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--font", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    others = rows_before(arguments.out, lambda row: row["name"] != arguments.name)
    tokenizer = anytok.load_tokenizer("seed-mini", checkpoint=arguments.checkpoint)
    world = World(arguments.font)
    row, picture = measure(tokenizer, world, Classifier(world, NUM_FITTED), arguments.images)
    row = {"name": arguments.name, "missed": missed(row)} | row | {"threads": arguments.threads}
    record = {"machine": machine(), "aims": AIMS, "rows": [*others, row]}
    arguments.out.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    if arguments.sheet:
        picture.save(arguments.sheet)
    print(json.dumps(row, indent=2))
    if arguments.check and row["missed"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
