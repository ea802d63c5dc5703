"""Training the painter: it stands on two finished runs and on pairs made from them, and says which is amiss."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors.torch import load_file

from anytok.checkpoints.seed import SeedSizes
from anytok.errors import CheckpointError, UsageError
from anytok.training import train
from anytok.training.config import RunConfig, TrainConfig
from anytok.training.export import export_seed, export_unclip, export_vae
from anytok.training.image import ImageConfig, ImageRecipe
from anytok.training.unclip import UnclipConfig, UnclipRecipe, UnetSizes
from anytok.training.vae import VaeConfig, VaeRecipe, VaeSizes

SEED = SeedSizes(
    image_size=28, patch_size=14, vision_width=16, vision_layers=1, vision_heads=2, vision_mlp_ratio=2.0,
    qformer_width=16, qformer_layers=2, qformer_heads=2, cross_attention_frequency=2, queries=32, codebook_size=8,
    codebook_dim=4, decoder_layers=1, decoder_heads=2,
)  # fmt: skip
VAE = VaeSizes(16, 4, (8, 8), ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2, norm_num_groups=2)
UNET = UnetSizes(
    8, (8, 16), ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=8,
    layers_per_block=1, attention_head_dim=4, norm_num_groups=4,
)  # fmt: skip
RUN = RunConfig(steps=2, batch_size=2, warmup=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, and both finished runs that a painter needs."""
    folder = tmp_path_factory.mktemp("finished")
    data = folder / "data"
    data.mkdir()
    for i in range(4):
        levels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(levels).resize((32, 32)).save(data / f"{i}.png")
    seed = ImageRecipe(TrainConfig("seed", "image", str(data), "", RUN, ImageConfig(SEED)))
    seed.prepare(np.random.default_rng(0))
    seed._start_quantizer(np.random.default_rng(0))
    export_seed(seed, folder / "seed")
    export_vae(VaeRecipe(TrainConfig("vae", "vae", str(data), "", RUN, VaeConfig(VAE))), folder / "vae")
    return folder


@pytest.fixture
def config(finished: Path, tmp_path: Path) -> TrainConfig:
    """A painter's, with copies of these, which a test may spoil."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    model = UnclipConfig(str(tmp_path / "seed"), str(tmp_path / "vae"), UNET, num_pairs=16)
    return TrainConfig("tiny", "unclip", str(tmp_path / "data"), str(tmp_path / "run"), RUN, model)


def changed(config: TrainConfig, **changes: object) -> TrainConfig:
    return replace(config, model=replace(config.model, **changes))


def pairs_of(config: TrainConfig) -> bytes:
    UnclipRecipe(config)
    return (Path(config.out) / "pairs.safetensors").read_bytes()


def test_a_painter_is_trained_from_its_config_and_again_from_the_same_pairs(
    config: TrainConfig, tmp_path: Path
) -> None:
    text = (Path(__file__).parent.parent / "configs" / "train" / "unclip_mini.toml").read_text("utf-8")
    head = f"name = 'tiny'\nkind = 'unclip'\ndata = '{config.data}'\nout = '{config.out}'\n"
    model = f"[model]\ntokenizer = '{config.model.tokenizer}'\nvae = '{config.model.vae}'\nnum_pairs = 16\n"
    sizes = text[text.index("[model.sizes]") :].replace("sample_size = 12", "sample_size = 8")
    (tmp_path / "a.toml").write_text(f"{head}[run]\nsteps = 1\nbatch_size = 2\n{model}{sizes}", "utf-8")
    assert sorted(path.name for path in (train(tmp_path / "a.toml") / "unclip").iterdir())[-1] == "vae"
    made = (tmp_path / "run" / "pairs.safetensors").stat().st_mtime_ns
    train(tmp_path / "a.toml")
    assert (tmp_path / "run" / "pairs.safetensors").stat().st_mtime_ns == made
    assert not list((tmp_path / "run").glob(".*"))
    configs = list((tmp_path / "run" / "weights").rglob("config.json"))
    assert len(configs) >= 3 and not any(str(tmp_path) in path.read_text("utf-8") for path in configs)


@pytest.mark.parametrize("key", ["tokenizer", "vae"])
def test_a_run_that_is_not_finished_is_named_with_its_command(config: TrainConfig, key: str, tmp_path: Path) -> None:
    for folder in ("nowhere", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=f"{folder}: no .*anytok train configs/train/(image|vae)_mini.toml"):
            UnclipRecipe(changed(config, **{key: str(tmp_path / folder)}))


@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_a_damaged_vae_is_named(config: TrainConfig, name: str) -> None:
    path = Path(config.model.vae) / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=rf"{config.model.vae}: not a whole AutoencoderKL .*vae_mini\.toml"):
        UnclipRecipe(config)


def spoil(config: TrainConfig, what: str) -> TrainConfig:
    """The config after one of the things that pairs are made from has become another."""
    if what == "picture":
        Image.new("RGB", (32, 32), "red").save(Path(config.data) / "1.png")
    elif what == "vae":
        path = Path(config.model.vae) / "diffusion_pytorch_model.safetensors"
        safetensors.torch.save_file({key: tensor * 0.9 for key, tensor in load_file(path).items()}, path)
    elif what == "tokenizer":
        path = Path(config.model.tokenizer) / "seed_quantizer.safetensors"
        safetensors.torch.save_file({key: tensor * 0.9 for key, tensor in load_file(path).items()}, path)
    elif what == "seed":
        return replace(config, run=replace(RUN, seed=1))
    else:
        return changed(config, **{what: {"num_pairs": 32, "drawn": 0.5}[what]})
    return config


@pytest.mark.parametrize("what", ["picture", "vae", "tokenizer", "seed", "num_pairs", "drawn"])
def test_pairs_of_something_else_are_made_again_unless_they_were_learned_from(config: TrainConfig, what: str) -> None:
    before = pairs_of(config)
    assert pairs_of(config) == before
    config = spoil(config, what)
    (Path(config.out) / "checkpoint.pt").touch()
    with pytest.raises(CheckpointError, match=r"pairs\.safetensors: .*Delete both to begin anew"):
        UnclipRecipe(config)
    (Path(config.out) / "checkpoint.pt").unlink()
    assert pairs_of(config) != before


def test_pairs_are_the_same_however_many_threads_make_them(config: TrainConfig, tmp_path: Path) -> None:
    config = changed(config, num_pairs=64)  # four blocks
    runs = [replace(config, out=str(tmp_path / f"run{n}"), run=replace(RUN, threads=n)) for n in (1, 3)]
    alone, together = (pairs_of(run) for run in runs)
    assert alone == together


def test_damaged_pairs_are_made_again(config: TrainConfig) -> None:
    before, path = pairs_of(config), Path(config.out) / "pairs.safetensors"
    path.write_bytes(before[:-100])
    assert pairs_of(config) == before


def test_pairs_that_are_written_half_are_not_there(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(tensors: object, path: Path, metadata: object = None) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no room")

    monkeypatch.setattr(safetensors.torch, "save_file", torn)
    with pytest.raises(OSError, match="no room"):
        UnclipRecipe(config)
    assert not (Path(config.out) / "pairs.safetensors").exists()


@pytest.mark.parametrize("sizes", [{"sample_size": 16}, {"in_channels": 3}, {"out_channels": 8}])
def test_a_unet_of_another_shape_than_the_latents_is_refused(config: TrainConfig, sizes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="have 4 channels and a side of 8"):
        UnclipRecipe(changed(config, sizes=replace(UNET, **sizes)))


def test_a_tokenizer_that_takes_all_pictures_for_one_is_refused(config: TrainConfig) -> None:
    path = Path(config.model.tokenizer) / "seed_quantizer.safetensors"
    state = load_file(path)
    state["quantize.embedding.weight"].zero_()
    safetensors.torch.save_file(state, path)
    with pytest.raises(UsageError, match="the same embedding"):
        UnclipRecipe(config)


def test_a_unet_that_nothing_would_load_is_not_exported(config: TrainConfig, tmp_path: Path) -> None:
    recipe = UnclipRecipe(config)
    recipe.unet.conv_in.bias.data[0] = 1e9
    with pytest.raises(UsageError, match=r"conv_in\.bias has grown beyond what float16 holds"):
        export_unclip(recipe, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_the_first_layer_sees_what_tells_about_the_picture(config: TrainConfig) -> None:
    """Of embeddings with one entry that tells about latents and many that do not, it sees the one before all others,
    whatever their sizes and however they are mixed."""
    recipe = UnclipRecipe(config)
    rng = np.random.default_rng(0)
    width = recipe.embeddings_ne.shape[1]
    hidden = torch.from_numpy(rng.normal(size=(600, width)).astype(np.float32))
    mixed = torch.from_numpy(rng.normal(size=(width, width)).astype(np.float32))
    recipe.embeddings_ne = hidden @ mixed + 3
    recipe.mean_e, recipe.std_e = recipe.embeddings_ne.mean(0), recipe.embeddings_ne.std(0)
    template = torch.from_numpy(rng.normal(size=recipe.latents_nchw.shape[1:]).astype(np.float32))
    recipe.latents_nchw = hidden[:, 0, None, None, None] * template
    recipe.prepare(rng)
    layer = recipe.unet.class_embedding.linear_1
    labels = torch.nn.functional.pad(recipe.embeddings_ne, (0, width))
    seen = (layer(labels) - layer(labels).mean(0)).detach()
    told = hidden[:, :1] * (hidden[:, :1] * seen).sum(0) / hidden[:, 0].square().sum()
    assert (seen - told).square().mean() < 0.25 * seen.square().mean()
    assert 1 < seen.std() < 4 and layer(labels).mean(0).abs().max() < 1
