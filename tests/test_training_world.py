"""The small world: scenes repeat by seed, the truth about them is true, and what is kept aside is never trained on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anytok.errors import UsageError
from anytok.training.pictures import Pictures, WorldConfig
from anytok.training.truth import Truth, pose
from anytok.training.world import KINDS, Glyphs, Scene, World, find_font, is_aside, kinds_of
from anytok.training.world.backgrounds import BACKGROUNDS

SHAPES = {kind.name: index for index, kind in enumerate(KINDS) if kind.drawn}
GREY, RED = ((90, 90, 90), (200, 200, 200)), ((220, 20, 20), (20, 220, 20), (20, 20, 220))
PLAIN = Scene(SHAPES["square"], 0.4, 0.55, 0.5, 0.0, BACKGROUNDS.index("plain"), GREY, RED, 7)


@pytest.fixture(scope="module")
def shapes() -> World:
    return World(groups=["shapes"])


@pytest.fixture(scope="module")
def font() -> Path:
    try:
        return find_font()
    except UsageError as error:
        pytest.skip(f"no emoji to look at: {error}")


def test_scenes_repeat_by_seed_at_any_size(shapes: World) -> None:
    first, again, other = (shapes.scene(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert (shapes.draw(first, 48)[0] == shapes.draw(again, 48)[0]).all()
    for seed in range(20):
        scene = shapes.scene(np.random.default_rng(seed))
        small, large = (shapes.draw(scene, side)[0].astype(float) for side in (48, 96))
        assert np.abs(large.reshape(48, 2, 48, 2, 3).mean((1, 3)) - small).mean() < 4


def test_training_never_draws_what_is_kept_aside(shapes: World) -> None:
    rng = np.random.default_rng(0)
    pairs = {(scene.kind, scene.background) for scene in (shapes.scene(rng) for _ in range(3000))}
    everything = {(kind, background) for kind in SHAPES.values() for background in range(len(BACKGROUNDS))}
    assert pairs == {pair for pair in everything if not is_aside(*pair)}
    aside = [shapes.scene(rng, aside=True) for _ in range(100)]
    assert all(is_aside(scene.kind, scene.background) and not KINDS[scene.kind].aside for scene in aside)
    assert len(kinds_of(aside=True)) == 20 and len(kinds_of(aside=False)) == 60 and len(KINDS) == 80
    assert {KINDS[kind].group for kind in kinds_of(aside=True)} == {kind.group for kind in KINDS}


def test_an_object_is_where_the_truth_says(shapes: World) -> None:
    for x, y, size in ((0.3, 0.6, 0.45), (0.55, 0.45, 0.7)):
        disc = replace(PLAIN, kind=SHAPES["circle"], x=x, y=y, size=size)
        mask = shapes.draw(disc, 96)[1] / 255
        rows, columns = np.indices(mask.shape) + 0.5
        assert (mask * columns).sum() / mask.sum() == pytest.approx(96 * x, abs=0.3)
        assert (mask * rows).sum() / mask.sum() == pytest.approx(96 * y, abs=0.3)
        assert mask.sum() == pytest.approx(math.pi * (48 * size) ** 2, rel=0.03)


def test_turns_are_clockwise(shapes: World) -> None:
    triangle = replace(PLAIN, kind=SHAPES["triangle"], x=0.5, y=0.5)
    tops = [np.argwhere(shapes.draw(replace(triangle, turn=turn), 96)[1] > 128)[0][1] for turn in (-20.0, 0.0, 20.0)]
    assert tops[0] < 42 < 45 < tops[1] < 51 < 53 < tops[2]


def test_colours_are_what_the_truth_says(shapes: World) -> None:
    picture, mask = shapes.draw(PLAIN, 96)
    assert picture[53, 38].tolist() == [220, 20, 20] and mask[53, 38] == 255
    assert picture[2, 2].tolist() == [90, 90, 90] and mask[2, 2] == 0
    striped = shapes.draw(replace(PLAIN, background=BACKGROUNDS.index("stripes")), 96)[0][:8].reshape(-1, 3)
    assert {90, 200} <= set(striped.ravel().tolist())


def test_every_background_looks_like_no_other(shapes: World) -> None:
    colours = ((200, 40, 40), (40, 40, 200), (40, 160, 40), (120, 100, 20))
    drawn = [shapes.draw(replace(PLAIN, background=i, colours=colours), 48)[0] for i in range(len(BACKGROUNDS))]
    distances = [np.abs(a.astype(float) - b).mean() for i, a in enumerate(drawn) for b in drawn[:i]]
    assert len(distances) == 36 and min(distances) > 8


def test_every_emoji_is_drawn_and_looks_like_no_other(font: Path) -> None:
    glyphs, seen = Glyphs(font), []
    for kind in (index for index, kind in enumerate(KINDS) if not kind.drawn):
        picture = glyphs.glyph(kind, 40, ())
        assert picture.size == (48, 48) and picture.mode == "RGBA"
        seen.append(np.asarray(picture.convert("RGBa"), float))
        assert (seen[-1][..., 3] > 128).mean() > 0.1, KINDS[kind].name
    distances = [np.abs(a - b).mean() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 3


def test_edges_of_emoji_are_not_darker_than_both_sides(font: Path) -> None:
    """As they were where transparency counted as black. The moon's red is 255 everywhere."""
    moon = next(index for index, kind in enumerate(KINDS) if kind.name == "🌙")
    scene = replace(PLAIN, kind=moon, x=0.5, y=0.5, size=0.8, turn=10.0, colours=((250, 200, 200), (250, 90, 90)))
    assert World(str(font)).draw(scene, 224)[0][..., 0].min() > 240


def test_a_font_that_is_not_there_or_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.ttf").write_text("no font")
    for name, error in (("a.ttf", "no such font here"), ("b.ttf", "not a font with emoji")):
        with pytest.raises(UsageError, match=f"{name}: {error}.*apt-get install fonts-noto-color-emoji"):
            World(str(tmp_path / name))
    with pytest.raises(UsageError, match="groups='shaped'"):
        World(groups=["shaped"])


def test_an_emoji_in_a_world_of_shapes_is_refused(shapes: World) -> None:
    with pytest.raises(UsageError, match="shapes alone"):
        shapes.draw(replace(PLAIN, kind=0), 32)


def test_pictures_come_with_the_truth_about_scenes(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(3):
        Image.new("RGB", (40, 40), (i, i, i)).save(tmp_path / f"{i}.png")
    pictures = Pictures(tmp_path, 24, 0.0, WorldConfig(0.5, groups=("shapes",)))
    levels, scenes = pictures.labelled(np.random.default_rng(5), 400)
    there = [scene for scene in scenes if scene is not None]
    assert levels.shape == (400, 24, 24, 3) and 150 < len(there) < 250
    assert pictures.world is not None
    place = scenes.index(there[3])
    assert (levels[place] == pictures.world.draw(there[3], 24)[0]).all()
    assert not any(is_aside(scene.kind, scene.background) for scene in there)


def told(truth: Truth, scenes: list[Scene | None]) -> torch.Tensor:
    """An embedding that is sure of the truth."""
    rows = torch.zeros(len(scenes), truth.width)
    for row, scene in zip(rows, scenes, strict=True):
        row[4 + (len(BACKGROUNDS) if scene is None else scene.background)] = 50
        if scene is not None:
            row[:4] = torch.tensor(pose(scene))
            row[4 + len(BACKGROUNDS) + 1 + truth.kinds.index(scene.kind)] = 50
    return rows


def test_the_truth_is_read_as_it_was_told_and_costs_nothing(shapes: World) -> None:
    truth, rng = Truth(), np.random.default_rng(0)
    scenes = [shapes.scene(rng) for _ in range(8)]
    rows = told(truth, [*scenes, None])
    poses, backgrounds, kinds = truth.read(rows)
    assert kinds[:8].tolist() == [scene.kind for scene in scenes]
    assert backgrounds.tolist() == [*(scene.background for scene in scenes), len(BACKGROUNDS)]
    wanted = [(scene.x, scene.y, scene.size, scene.turn) for scene in scenes]
    assert poses[:8].numpy() == pytest.approx(np.array(wanted), abs=1e-4)
    assert all(float(loss) < 1e-6 for loss in truth.losses(rows, [*scenes, None]).values())
    wrong = truth.losses(rows.roll(1, 0), [*scenes, None])
    assert all(float(loss) > 0.01 for loss in wrong.values()) and set(wrong) == {"background", "kind", "pose"}
    assert truth.width % 2 == 0  # as the painter's embeddings must be


def test_of_a_photograph_only_that_it_is_no_scene_is_taught(shapes: World) -> None:
    rows = torch.zeros(2, Truth().width, requires_grad=True)
    assert set(Truth().losses(rows, [None, None])) == {"background"}
    scene = shapes.scene(np.random.default_rng(0))
    torch.stack(list(Truth().losses(rows, [scene, None]).values())).sum().backward()
    assert rows.grad is not None
    taught = rows.grad != 0
    assert taught[0].all() and taught[1].nonzero().flatten().tolist() == list(range(4, 4 + len(BACKGROUNDS) + 1))
