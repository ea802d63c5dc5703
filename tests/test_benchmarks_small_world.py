"""benchmarks/small_world.py: a tokenizer that loses nothing reaches every aim, one that blurs misses those it must."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

import anytok
from anytok.spec import Spec
from anytok.training.world import World

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))


@dataclass
class Lossless:
    """Codes are numbers of pictures that it has kept; `blur` pixels of 96, and colours, are what it loses."""

    blur: float = 0.0
    grey: bool = False

    def __post_init__(self) -> None:
        self.kept: list[Image.Image] = []

    def encode(self, picture: Image.Image) -> anytok.Codes:
        self.kept.append(picture.resize((96, 96), Image.Resampling.BICUBIC))
        values = np.array([[len(self.kept) - 1]], np.int64)
        return anytok.Codes(values, Spec("kept", "image", 1, 1 << 20, num_frames=1))

    def decode(self, codes: anytok.Codes) -> Image.Image:
        picture = self.kept[int(codes.values[0, 0])].filter(ImageFilter.GaussianBlur(self.blur))
        return picture.convert("L").convert("RGB") if self.grey else picture

    def encode_batch(self, pictures: list[Image.Image]) -> list[anytok.Codes]:
        return [self.encode(picture) for picture in pictures]

    def decode_batch(self, codes: list[anytok.Codes]) -> list[Image.Image]:
        return [self.decode(item) for item in codes]

    def embed(self, codes: list[anytok.Codes]) -> np.ndarray:
        small = [np.asarray(self.decode(item).resize((8, 8))).ravel() / 255 for item in codes]
        return np.stack(small)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(30):
        levels = np.random.default_rng(i).integers(0, 256, (3, 3, 3), np.uint8)
        Image.fromarray(levels).resize((64, 64)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def rows(photographs: Path) -> dict[str, dict[str, Any]]:
    import small_world
    from small_world_classifier import Classifier

    world = World(groups=["shapes"])
    classifier = Classifier(world, 200)
    tokenizers = {"lossless": Lossless(), "blurred": Lossless(blur=6), "grey": Lossless(grey=True)}
    with pytest.MonkeyPatch.context() as patch:
        for name, count in (("NUM_SCENES", 20), ("NUM_ASIDE", 4), ("NUM_PHOTOGRAPHS", 4), ("NUM_PROBE", 60)):
            patch.setattr(small_world, name, count)
        found = {name: small_world.measure(each, world, classifier, photographs) for name, each in tokenizers.items()}
    assert {picture.size for _, picture in found.values()} == {(1600, 1224)}
    return {name: row for name, (row, _) in found.items()}


def test_what_loses_nothing_is_found_to_lose_nothing(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["lossless"]
    assert row["nearest"] == row["nearest_by_gradients"] == row["photographs"] == row["gradient_energy"] == 1
    assert row["object_colour"] == row["background_colour"] == row["place"] == row["size"] == 0
    assert all(row[key.removeprefix("original_")] == row[key] for key in row if key.startswith("original_"))
    # of backgrounds chance is a ninth: few scenes are fitted to here, and objects leave little of what is behind them
    assert row["kind"] > 0.8 and row["background"] > 0.25


def test_what_is_lost_is_measured(rows: dict[str, dict[str, Any]]) -> None:
    from small_world import missed

    assert rows["blurred"]["gradient_energy"] < 0.2 and rows["blurred"]["nearest_by_gradients"] < 0.9
    assert rows["grey"]["nearest"] < 0.9 < rows["grey"]["nearest_by_gradients"]
    assert rows["grey"]["object_colour"] > 20 and rows["grey"]["gradient_energy"] > 0.9
    assert rows["blurred"]["kind"] < rows["lossless"]["kind"] - 0.1
    assert {"gradient_energy"} <= {line.split()[0] for line in missed(rows["blurred"])}
    assert {"object_colour", "background_colour"} <= {line.split()[0] for line in missed(rows["grey"])}


def test_the_aims_that_are_missed_are_named() -> None:
    from small_world import AIMS, missed

    exactly = {key: number for key, (_, number) in AIMS.items()}
    assert missed(exactly) == []
    assert missed(exactly | {"nearest": 0.94}) == ["nearest 0.94, not >= 0.95"]
    assert missed(exactly | {"place": 0.2}) == ["place 0.2, not <= 0.05"]


def test_an_object_that_has_moved_or_grown_is_measured() -> None:
    from small_world_measures import displacement

    world, rng = World(groups=["shapes"]), np.random.default_rng(1)
    for _ in range(4):
        scene = replace(world.scene(rng), x=0.5, y=0.5, size=0.5)
        picture, mask = world.draw(scene, 96)
        moved = world.draw(replace(scene, x=0.5 + 8 / 96, y=0.5 - 6 / 96), 96)[0]
        assert displacement(moved, picture, mask, scene) == (pytest.approx(10 / 96, abs=0.03), 0)
        assert displacement(world.draw(replace(scene, size=0.55), 96)[0], picture, mask, scene)[1] == pytest.approx(0.1)


def test_a_linear_probe_tells_what_an_embedding_says() -> None:
    from small_world_measures import linear_probe

    from anytok.training.truth import pose

    world, rng = World(groups=["shapes"]), np.random.default_rng(0)
    scenes = [world.scene(rng) for _ in range(400)]
    says = np.array([[*pose(scene), *np.eye(9)[scene.background], *np.eye(120)[scene.kind]] for scene in scenes])
    mixed = says @ rng.normal(size=(says.shape[1], 160))
    poses, backgrounds, kinds = linear_probe(mixed[:300], scenes[:300], mixed[300:])
    assert (kinds == [scene.kind for scene in scenes[300:]]).mean() > 0.95
    assert (backgrounds == [scene.background for scene in scenes[300:]]).mean() > 0.95
    wanted = np.array([(scene.x, scene.y, scene.size, scene.turn) for scene in scenes[300:]])
    assert np.abs(poses - wanted).max(0) == pytest.approx([0, 0, 0, 0], abs=0.7)
    _, _, kinds = linear_probe(rng.normal(size=(300, 160)), scenes[:300], rng.normal(size=(100, 160)))
    assert (kinds == [scene.kind for scene in scenes[300:]]).mean() < 0.4
