"""Codes to pictures: bit for bit what diffusers' stock pipeline paints, alone and in batches."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_unclip import tiny_pipeline

from anytok.checkpoints.around_torchaudio import around_torchaudio
from anytok.checkpoints.unclip import read_unclip
from anytok.errors import CheckpointError, CodesError, UsageError
from anytok.models.unclip import Unclip
from anytok.registry import load_tokenizer
from anytok.spec import Codes

with around_torchaudio():
    import diffusers

GOLDEN = Path(__file__).parent / "golden" / "seed"
EXPECTED = load_file(GOLDEN / "golden.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden model's files with a tiny unCLIP beside them."""
    folder = tmp_path_factory.mktemp("seed")
    for name in ("seed_quantizer.pt", "config.json"):
        shutil.copy(GOLDEN / name, folder)
    tiny_pipeline(folder / "unclip")
    return folder


@pytest.fixture(scope="module")
def codes(folder: Path) -> list[Codes]:
    spec = load_tokenizer("seed-2", checkpoint=folder).spec
    return [Codes(EXPECTED[f"image.{i}.codes"].numpy()[None], spec) for i in range(4)]


@pytest.fixture(scope="module")
def embeddings_be() -> torch.Tensor:
    return torch.stack([EXPECTED[f"image.{i}.embedding"] for i in range(4)])


def stock(folder: Path, scheduler: str) -> Any:
    from anytok.engines.reference.stock_unclip import load_stock

    pipeline = load_stock(folder / "unclip", torch.device("cpu"), torch.float32)
    pipeline.scheduler = {
        "pndm": diffusers.PNDMScheduler.from_config,
        "ddim": partial(diffusers.DDIMScheduler.from_config, clip_sample=False),
        "dpm++": diffusers.DPMSolverMultistepScheduler.from_config,
    }[scheduler](pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + i) for i in range(count)]


@pytest.mark.parametrize("preset", ["faithful", "fast"])
def test_threads_paint_what_one_paints(folder: Path, codes: list[Codes], preset: str) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=folder, preset=preset)
    alone = list(map(tokenizer.decode, codes))
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(tokenizer.decode, codes * 3))
    assert all(np.array_equal(one, other) for one, other in zip(alone * 3, together, strict=True))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("negative", [False, True], ids=["plain", "negative"])
@pytest.mark.parametrize("scheduler", ["pndm", "ddim", "dpm++"])
def test_pictures_are_the_stock_pipelines(
    folder: Path, embeddings_be: torch.Tensor, scheduler: str, negative: bool, count: int
) -> None:
    negatives_be = embeddings_be[-count:].flip(0) if negative else None
    pipeline = stock(folder, scheduler)
    pipeline.negative_image_embeds = negatives_be
    expected = pipeline(
        prompt=[""] * count, image_embeds=embeddings_be[:count], generator=generators(count), output_type="pil"
    ).images
    unclip = Unclip(**read_unclip(folder / "unclip", 64, scheduler, "cpu", torch.float32))
    found = unclip(embeddings_be[:count], generators(count), negatives_be=negatives_be)
    np.testing.assert_array_equal(found.numpy(), np.stack([np.asarray(picture) for picture in expected]))
    assert len(np.unique(found.numpy())) > 50  # a picture, not a flat field


@pytest.mark.parametrize("options", [{"guidance_scale": 1.0}, {"noise_level": 300}, {"num_inference_steps": 5}])
def test_sampling_options_are_the_stock_pipelines(
    folder: Path, embeddings_be: torch.Tensor, options: dict[str, Any]
) -> None:
    expected = stock(folder, "pndm")(
        prompt=[""], image_embeds=embeddings_be[:1], generator=generators(1), **options
    ).images[0]
    unclip = Unclip(**read_unclip(folder / "unclip", 64, "pndm", "cpu", torch.float32))
    found = unclip(embeddings_be[:1], generators(1), **options)[0]
    np.testing.assert_array_equal(found.numpy(), np.asarray(expected))


def test_engines_paint_the_same_pictures(folder: Path, codes: list[Codes]) -> None:
    native = load_tokenizer("seed-2", checkpoint=folder)
    reference = load_tokenizer("seed-2", checkpoint=folder, engine="reference")
    for negative in (None, codes[3]):
        ours = native.decode_batch(codes[:2], seeds=[7, 8], negative=negative)
        theirs = reference.decode_batch(codes[:2], seeds=[7, 8], negative=negative)
        for our, their in zip(ours, theirs, strict=True):
            # The heads differ in the order of their sums, by less than a level.
            assert np.abs(np.asarray(our, int) - np.asarray(their, int)).max() <= 1


def test_a_batch_paints_the_same_pictures_as_singles(folder: Path, codes: list[Codes]) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=folder, num_inference_steps=3)
    batch = tokenizer.decode_batch(codes, seeds=[3, 1, 4, 1])
    singles = [tokenizer.decode(item, seeds=seed) for item, seed in zip(codes, [3, 1, 4, 1], strict=True)]
    for one, other in zip(batch, singles, strict=True):
        assert isinstance(one, Image.Image)
        assert one.size == (64, 64)
        assert one.tobytes() == other.tobytes()


def test_seeds_and_negatives_matter(folder: Path, codes: list[Codes]) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=folder, num_inference_steps=3)
    first = tokenizer.decode(codes[0])
    assert tokenizer.decode(codes[0]).tobytes() == first.tobytes()
    assert tokenizer.decode(codes[0], seeds=1).tobytes() != first.tobytes()
    assert tokenizer.decode(codes[0], negative=codes[1]).tobytes() != first.tobytes()
    assert tokenizer.decode_batch([]) == []


def test_the_fast_preset_is_fewer_steps_of_another_scheduler(folder: Path, codes: list[Codes]) -> None:
    fast = load_tokenizer("seed-2", checkpoint=folder, preset="fast").decode(codes[0])
    spelled_out = load_tokenizer("seed-2", checkpoint=folder, scheduler="dpm++", num_inference_steps=10)
    assert fast.tobytes() == spelled_out.decode(codes[0]).tobytes()


def test_batches_of_pictures_stay_within_a_level_of_singles(folder: Path, codes: list[Codes]) -> None:
    batch = load_tokenizer("seed-2", checkpoint=folder, decode_batch_size=3).decode_batch(codes)
    singles = load_tokenizer("seed-2", checkpoint=folder).decode_batch(codes)
    for one, other in zip(batch, singles, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1


def test_the_empty_prompt_is_encoded_once(folder: Path, tmp_path: Path, codes: list[Codes]) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "unclip" / "empty_prompt.safetensors").unlink(missing_ok=True)
    expected = load_tokenizer("seed-2", checkpoint=copy, num_inference_steps=2).decode(codes[0])
    for part in ("text_encoder", "tokenizer", "image_encoder", "feature_extractor"):
        shutil.rmtree(copy / "unclip" / part)
    again = load_tokenizer("seed-2", checkpoint=copy, num_inference_steps=2).decode(codes[0])
    assert again.tobytes() == expected.tobytes()
    (copy / "unclip" / "empty_prompt.safetensors").unlink()
    with pytest.raises(CheckpointError, match="text encoder"):
        load_tokenizer("seed-2", checkpoint=copy).decode(codes[0])


def test_decoding_without_an_unclip_pipeline_says_what_is_missing(codes: list[Codes]) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=GOLDEN)
    with pytest.raises(CheckpointError, match=r"no unCLIP pipeline here.*unclip="):
        tokenizer.decode(codes[0])
    assert tokenizer.embed(codes).shape == (4, 64)


def test_a_painter_for_other_embeddings_is_refused(folder: Path, tmp_path: Path, codes: list[Codes]) -> None:
    tiny_pipeline(tmp_path / "small", embedding_dim=48)
    with pytest.raises(CheckpointError, match=r"width 48.*SEED's have 64.*-small or -l"):
        load_tokenizer("seed-2", checkpoint=folder, unclip=tmp_path / "small").decode(codes[0])


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_painter_is_refused(folder: Path, tmp_path: Path, codes: list[Codes], damage: str) -> None:
    copy = shutil.copytree(folder / "unclip", tmp_path / "copy")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    if damage == "missing":
        weights.unlink()
    with pytest.raises(CheckpointError, match="not a complete unCLIP pipeline"):
        load_tokenizer("seed-2", checkpoint=folder, unclip=copy).decode(codes[0])


def test_foreign_codes_are_refused(folder: Path, codes: list[Codes]) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=folder)
    foreign = dataclasses.replace(codes[0].spec, id="seed-2@000000000000")
    with pytest.raises(CodesError, match="seed-2@000000000000"):
        tokenizer.decode(Codes(codes[0].values, foreign))
    with pytest.raises(CodesError, match=r"expected anytok\.Codes"):
        tokenizer.decode(codes[0].values)


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "quick"},
        {"scheduler": "euler"},
        {"interpolation": "nearest"},
        {"dtype": "int8"},
        {"batch_size": -1},
        {"decode_batch_size": -1},
        {"num_inference_steps": -1},
        {"noise_level": 1000},
        {"noise_level": 0.5},
        {"batch_size": 0},
        {"batch_size": 2.0},
        {"decode_batch_size": 0},
        {"num_inference_steps": 0},
        {"num_inference_steps": 1001},
        {"num_inference_steps": "20"},
        {"guidance_scale": float("nan")},
        {"guidance_scale": "10"},
    ],
)
def test_unknown_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        load_tokenizer("seed-2", checkpoint=GOLDEN, **options)


def test_seeds_and_negatives_are_counted(folder: Path, codes: list[Codes]) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=folder)
    with pytest.raises(UsageError, match="2 codes, 3 seeds"):
        tokenizer.decode_batch(codes[:2], seeds=[1, 2, 3])
    with pytest.raises(UsageError, match="got int: expected a list; for one item there is `negative=codes`"):
        tokenizer.decode_batch(codes[:2], negative=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="1 negatives"):
        tokenizer.decode_batch(codes[:2], negative=[codes[0]])


def test_a_relative_folder_is_the_one_it_was_when_loaded(folder, tmp_path, codes, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent)
    tokenizers = [
        load_tokenizer("seed-2", checkpoint=folder.name, num_inference_steps=2),
        load_tokenizer("seed-2", checkpoint=folder.name, unclip=f"{folder.name}/unclip", num_inference_steps=2),
    ]
    monkeypatch.chdir(tmp_path)
    pictures = [tokenizer.decode(codes[0]) for tokenizer in tokenizers]
    assert pictures[0].tobytes() == pictures[1].tobytes()


@pytest.mark.parametrize("seeds", ["12", 1.0, [1, 2.5], True, [1 << 64, 0], None])
def test_seeds_are_whole_numbers(folder: Path, codes: list[Codes], seeds: Any) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=folder)
    with pytest.raises(UsageError, match=r"seed=.*expected a whole number"):
        tokenizer.decode_batch(codes[:2], seeds=seeds)


def test_seeds_may_be_an_array(folder: Path, codes: list[Codes]) -> None:
    tokenizer = load_tokenizer("seed-2", checkpoint=folder, num_inference_steps=2)
    wanted = tokenizer.decode_batch(codes[:2], seeds=[5, 6])
    for seeds in (np.array([5, 6]), torch.tensor([5, 6])):
        found = tokenizer.decode_batch(codes[:2], seeds=seeds)
        assert [one.tobytes() for one in found] == [one.tobytes() for one in wanted]


def test_what_paints_is_fetched_with_the_first_picture(folder, tmp_path, codes, monkeypatch) -> None:
    """Not before: it is most of SEED's bytes, and encoding does without."""
    fetching = importlib.import_module("anytok.checkpoints.fetch")
    cache = tmp_path / "seed-2"
    fetched = []

    def download(card: Any, file: Any, path: Path) -> None:
        fetched.append(file.name)
        if file.name == "unclip":
            shutil.copytree(folder / "unclip", path)
        elif file.name == "seed_quantizer.pt":
            shutil.copy(GOLDEN / "config.json", path.parent)
            shutil.copy(GOLDEN / file.name, path)
        else:
            shutil.copy(GOLDEN / "golden.safetensors", path)  # the ViT is in the other file here

    monkeypatch.setattr(fetching, "_cache", lambda: tmp_path)
    monkeypatch.setattr(fetching, "_download", download)
    tokenizer = load_tokenizer("seed-2", num_inference_steps=2)
    picture = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    tokenizer.encode(Image.fromarray(picture))
    assert fetched == ["seed_quantizer.pt", "eva_vit_g.pth"] and not (cache / "unclip").exists()
    first = tokenizer.decode(codes[0])
    assert fetched[2:] == ["unclip"]
    again = load_tokenizer("seed-2", checkpoint=folder, num_inference_steps=2).decode(codes[0])
    assert first.tobytes() == again.tobytes() and tokenizer.decode(codes[1]) and len(fetched) == 3
