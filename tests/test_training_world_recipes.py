"""The recipes on scenes of the small world: a few steps of each, resumed, exported and read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import anytok
from anytok import Codes
from anytok.checkpoints.seed import read_seed
from anytok.checkpoints.unclip import Sampling
from anytok.errors import UsageError
from anytok.training import train
from anytok.training.config import RunConfig, TrainConfig, read_config
from anytok.training.export import rounded
from anytok.training.finished import load_seed, load_unet, load_vae
from anytok.training.image import ImageConfig, ImageRecipe
from anytok.training.truth import Truth
from anytok.training.unclip import UnclipConfig, UnclipRecipe
from anytok.training.vae import VaeConfig, VaeRecipe, VaeSizes

CONFIGS = Path(__file__).parent.parent / "configs" / "train"
SMALL = {
    "image": {
        "steps": 4, "batch_size": 4, "warmup": 1, "threads": 1, "quantize_from": 2, "image_size": 28,
        "vision_width": 16, "vision_layers": 1, "qformer_width": 12, "qformer_layers": 2, "codebook_size": 16,
        "codebook_dim": 4, "decoder_layers": 1, "num_luma": 20, "num_colour": 5,
    },
    "vae": {
        "steps": 4, "batch_size": 2, "warmup": 1, "threads": 1, "sample_size": 32, "block_out_channels": "[6, 8, 8, 8]",
    },
    "unclip": {
        "steps": 4, "batch_size": 2, "warmup": 1, "threads": 1, "num_pairs": 16, "sample_size": 4,
        "block_out_channels": "[8, 16, 16]", "time_embedding_dim": 24,
    },
}  # fmt: skip


def small_config(folder: Path, kind: str, **changes: object) -> Path:
    """The shipped recipe of the small world at a size that a test can wait for, on shapes, which need no font."""
    lines, sizes = [], SMALL[kind] | {
        "data": f'"{folder / "data"}"', "out": f'"{folder / kind}"', "tokenizer": f'"{folder / "image" / "weights"}"',
        "vae": f'"{folder / "vae" / "weights"}"', "share": '0.5\ngroups = ["shapes"]', **changes,
    }  # fmt: skip
    for line in (CONFIGS / f"{kind}_world.toml").read_text("utf-8").splitlines():
        key = line.partition(" =")[0]
        lines.append(f"{key} = {sizes[key]}" if key in sizes and " = " in line else line)
    path = folder / f"{kind}.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three runs, each stopped after two steps and resumed, and beside them one that was not."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "data").mkdir()
    for i in range(4):
        levels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(levels).resize((40, 40)).save(folder / "data" / f"{i}.png")
    for kind in ("image", "vae", "unclip"):
        train(small_config(folder, kind, steps=3, anneal=0.0))
        train(small_config(folder, kind, anneal=0.0))
        train(small_config(folder, kind, anneal=0.0, out=f'"{folder / "whole" / kind}"'))
    return folder


@pytest.mark.parametrize("kind", ["image", "vae", "unclip"])
def test_a_run_that_was_resumed_is_the_run_that_was_not(trained: Path, kind: str) -> None:
    paths = [folder / kind / "checkpoint.pt" for folder in (trained, trained / "whole")]
    resumed, whole = (torch.load(path, weights_only=True)["state"] for path in paths)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_a_painter_paints_as_its_recipe_says(trained: Path) -> None:
    """By the sampler and in the steps that its config.json has, which must be those of the recipe."""
    folder = trained / "unclip" / "weights"
    files = read_seed("seed-mini", folder)
    assert files.sampling == Sampling(guidance_scale=2.0, scheduler="ddim", num_inference_steps=4)
    codes = Codes(np.zeros((1, 32), int), anytok.load_tokenizer("seed-mini", checkpoint=folder).spec)
    said = {"scheduler": "ddim", "num_inference_steps": 4, "guidance_scale": 2.0}
    others = ({}, said, {"preset": "fast"}, said | {"num_inference_steps": 5}, said | {"scheduler": "pndm"})
    usual, same, fast, *different = (
        np.asarray(anytok.load_tokenizer("seed-mini", checkpoint=folder, **options).decode(codes)) for options in others
    )
    assert (usual == same).all() and (usual == fast).all()  # which has no fewer steps
    assert all((usual != picture).any() for picture in different)


def test_what_was_trained_encodes_and_paints(trained: Path) -> None:
    tokenizer = anytok.load_tokenizer("seed-mini", checkpoint=trained / "unclip" / "weights", num_inference_steps=2)
    codes = tokenizer.encode(Image.open(trained / "data" / "1.png"))
    assert codes.values.shape == (1, 32) and tokenizer.decode(codes).size == (32, 32)
    assert tokenizer.embed([codes]).shape == (1, 20 + 2 * 5 + Truth().width)  # type: ignore[attr-defined]


def test_the_half_of_the_vae_that_painting_does_without_is_exported_as_zeros(trained: Path) -> None:
    """In the painter's folder, not in the VAE's own."""
    name = "diffusion_pytorch_model.safetensors"
    folders = (trained / "vae" / "weights", trained / "unclip" / "weights" / "unclip" / "vae")
    own, painters = (load_file(folder / name) for folder in folders)
    unused = {key for key in painters if key.startswith(("encoder.", "quant_conv."))}
    assert unused and all(not painters[key].any() for key in unused)
    kept = rounded({key: own[key] for key in own.keys() - unused}, 8)
    assert all(torch.equal(painters[key], tensor.half()) for key, tensor in kept.items())
    assert own["encoder.conv_in.weight"].any() and own.keys() == painters.keys()


def test_matrices_are_exported_with_the_bits_that_the_recipe_gives_them(trained: Path) -> None:
    """Eight significant ones: of float16's fraction of ten bits the last three are zeros."""
    for name in ("seed_quantizer", "unclip/unet/diffusion_pytorch_model"):
        tensors = load_file(trained / "unclip" / "weights" / f"{name}.safetensors")
        matrices = [tensor for tensor in tensors.values() if tensor.dim() > 1 and tensor.dtype == torch.float16]
        normal = [tensor[tensor.abs() > 1e-4].view(torch.int16) for tensor in matrices]
        assert matrices and not any((bits & 7).any() for bits in normal), name
        assert any((bits & 8).any() for bits in normal), name


def test_a_painter_learns_no_times_below_the_lowest(trained: Path) -> None:
    config = read_config(trained / "unclip.toml", {"unclip": UnclipConfig})
    recipe = UnclipRecipe(replace(config, model=replace(config.model, lowest_time=200)))
    times: list[int] = []
    add_noise = recipe.schedule.add_noise
    recipe.schedule.add_noise = lambda latents, noise, t: (times.extend(t.tolist()), add_noise(latents, noise, t))[1]
    for step in range(20):
        recipe.losses(step, np.random.default_rng(step))
    assert 200 <= min(times) < 300 and 950 < max(times) < 1000


@pytest.mark.parametrize(("scheduler", "lowest"), [("ddim", 250), ("pndm", 1)])
def test_times_that_a_painter_needs_cannot_be_left_out(trained: Path, scheduler: str, lowest: int) -> None:
    model = read_config(trained / "unclip.toml", {"unclip": UnclipConfig}).model
    sampling = replace(model.sampling, scheduler=scheduler)
    replace(model, sampling=sampling, lowest_time=lowest - 1)
    with pytest.raises(UsageError, match=rf"lowest_time={lowest}: {scheduler} in 4 steps goes down to {lowest - 1}"):
        replace(model, sampling=sampling, lowest_time=lowest)


def image_recipe(trained: Path) -> ImageRecipe:
    config = read_config(small_config(trained, "image"), {"image": ImageConfig})
    return ImageRecipe(config)


def test_scenes_teach_the_vit_and_the_codes_what_is_in_them(trained: Path) -> None:
    recipe = image_recipe(trained)
    recipe.prepare(np.random.default_rng(0))
    losses = recipe.losses(0, np.random.default_rng(3))
    assert set(losses) == {"embedding", "background", "kind", "pose", "auxiliary"}
    losses["kind"].backward(retain_graph=True)
    last = recipe.seed.distill_image_proj.weight.grad
    assert last is not None and not last[: recipe.descriptor.width].any() and last[-100:].any()
    assert recipe.auxiliary.weight.grad is None
    losses["auxiliary"].backward()
    assert recipe.auxiliary.weight.grad is not None


def test_truth_is_learned(trained: Path) -> None:
    """Told of the same few scenes again and again, the codes come to say what is in them."""
    recipe = image_recipe(trained)
    recipe.prepare(np.random.default_rng(0))
    optimizer = torch.optim.Adam(recipe.state.parameters(), 3e-3)
    first: dict[str, Tensor] = {}
    for _ in range(60):
        losses = recipe.losses(0, np.random.default_rng(3))
        first = first or {name: loss.detach() for name, loss in losses.items()}
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    for name in ("kind", "pose", "background"):
        assert losses[name].detach() < 0.5 * first[name], name


def test_a_vae_learns_its_encoder_only_where_it_is_told_to(trained: Path) -> None:
    sizes = VaeSizes(16, 4, (8, 8), ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2, norm_num_groups=2)
    for learn in (False, True):
        model = VaeConfig(sizes, learn_encoder=learn, kl_weight=1e-3)
        recipe = VaeRecipe(TrainConfig("v", "vae", str(trained / "data"), "", RunConfig(2, 2), model))
        losses = recipe.losses(0, np.random.default_rng(0))
        torch.stack(list(losses.values())).sum().backward()
        grads = [parameter.grad for parameter in recipe.vae.encoder.parameters()]
        assert all((grad is not None) == learn for grad in grads) and ("kl" in losses) == learn


STARTING = {
    "image": (ImageConfig, ImageRecipe, {"codebook_dim": 6}),
    "vae": (VaeConfig, VaeRecipe, {"latent_channels": 4}),
    "unclip": (UnclipConfig, UnclipRecipe, {"time_embedding_dim": 16}),
}


@pytest.mark.parametrize("kind", list(STARTING))
def test_a_run_begins_with_a_finished_ones_weights(trained: Path, kind: str) -> None:
    model, recipe_class, _ = STARTING[kind]
    config = read_config(trained / f"{kind}.toml", {kind: model})
    weights = str(trained / kind / "weights")
    recipe: Any = recipe_class(replace(config, model=replace(config.model, start=weights)))
    recipe.prepare(np.random.default_rng(0))
    finished, made = {
        "image": lambda: (load_seed(weights)[0], recipe.seed),
        "vae": lambda: (load_vae(weights), recipe.vae),
        "unclip": lambda: (load_unet(weights), recipe.unet),
    }[kind]()
    states = finished.state_dict(), made.state_dict()
    assert all(torch.equal(tensor.float(), states[1][key]) for key, tensor in states[0].items())
    if kind == "image":
        recipe.state.eval()  # where codes do not follow
        for step in (0, config.model.quantize_from):  # others begin without codes, and fit a codebook then
            assert "commitment" in recipe.losses(step, np.random.default_rng(0))
        assert torch.equal(recipe.quantizer.books[0].codes_nd, states[0]["codebook_nd"])


@pytest.mark.parametrize("kind", list(STARTING))
def test_what_a_run_cannot_begin_with_is_refused(trained: Path, kind: str, tmp_path: Path) -> None:
    model, recipe_class, other = STARTING[kind]
    config = read_config(trained / f"{kind}.toml", {kind: model})
    weights = str(trained / kind / "weights")
    changed = replace(config.model, start=weights, sizes=replace(config.model.sizes, **other))
    with pytest.raises(UsageError, match=r"start=.*of other sizes.*or leave `start` out"):
        recipe_class(replace(config, model=changed)).prepare(np.random.default_rng(0))
    nowhere = replace(config, model=replace(config.model, start=str(tmp_path)))
    with pytest.raises(UsageError, match=f"{tmp_path}: no .*anytok train configs/train"):
        recipe_class(nowhere)
