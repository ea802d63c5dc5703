"""SEED's files: what is required, what is tolerated, what is refused, and what the identity depends on."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from anytok.checkpoints.seed import SIZES
from anytok.engines.native.seed import SeedTokenizer
from anytok.errors import CheckpointError
from anytok.models.seed import Seed
from anytok.registry import load_tokenizer

GOLDEN = Path(__file__).parent / "golden" / "seed"
EXPECTED = load_file(GOLDEN / "golden.safetensors")
State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> State:
    return torch.load(GOLDEN / "seed_quantizer.pt", weights_only=True)


def write(folder: Path, state: State, vision: State | None = None) -> Path:
    shutil.copy(GOLDEN / "config.json", folder)
    torch.save(state, folder / "seed_quantizer.pt")
    if vision is not None:
        torch.save(vision, folder / "eva_vit_g.pth")
    return folder


def split(state: State) -> tuple[State, State]:
    """As published: the ViT in a file of its own, without its prefix."""
    prefix = "visual_encoder."
    vision = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return {key: value for key, value in state.items() if not key.startswith(prefix)}, vision


def load(folder: Path) -> SeedTokenizer:
    loaded = load_tokenizer("seed-2", checkpoint=folder)
    assert isinstance(loaded, SeedTokenizer)
    return loaded


def first_codes(folder: Path, engine: str = "native") -> np.ndarray:
    picture = Image.fromarray(EXPECTED["image.0.rgb224"].permute(1, 2, 0).numpy())
    return load_tokenizer("seed-2", checkpoint=folder, engine=engine).encode(picture).values[0]


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.reference)])
def test_the_vit_may_lie_beside_with_its_spare_parts(tmp_path: Path, state: State, engine: str) -> None:
    quantizer, vision = split(state)
    spare = {key.replace("blocks.1.", "blocks.2."): value for key, value in vision.items() if "blocks.1." in key}
    folder = write(tmp_path, quantizer, {**vision, **spare, "head.weight": torch.zeros(3)})
    np.testing.assert_array_equal(first_codes(folder, engine), EXPECTED["image.0.codes"].numpy())


def test_safetensors_give_the_same_codes_under_the_same_id(tmp_path: Path, state: State) -> None:
    shutil.copy(GOLDEN / "config.json", tmp_path)
    save_file(state, tmp_path / "seed_quantizer.safetensors")
    np.testing.assert_array_equal(first_codes(tmp_path), EXPECTED["image.0.codes"].numpy())
    assert load_tokenizer("seed-2", checkpoint=tmp_path).spec == load_tokenizer("seed-2", checkpoint=GOLDEN).spec


def test_a_file_in_the_folder_names_the_folder(tmp_path: Path, state: State) -> None:
    folder = write(tmp_path, state)
    assert load_tokenizer("seed-2", checkpoint=folder / "seed_quantizer.pt").spec.codebook_size == 512


def test_the_report_counts_what_was_used_and_what_was_not(tmp_path: Path, state: State) -> None:
    quantizer, vision = split(state)
    quantizer["Qformer.bert.encoder.layer.0.output.dense.weight"] = torch.zeros(2)
    folder = write(tmp_path, quantizer, {**vision, "head.weight": torch.zeros(3)})
    report = load(folder).load_report
    # 118 in the file: 2 x 2 biases were joined into 2, position_ids, pos_embed and blocks (12) are not needed.
    assert report.used == 118 - 2 - 14
    assert "head.weight" in report.ignored[-1]
    assert str(report).endswith(
        "16 not needed and ignored: Qformer (2), blocks (12), pos_embed (1), visual_encoder (1)"
    )


def test_without_the_vit_codes_still_decode(tmp_path: Path, state: State) -> None:
    whole = load(GOLDEN)
    picture = Image.fromarray(EXPECTED["image.0.rgb224"].permute(1, 2, 0).numpy())
    codes = whole.encode(picture)
    decoder = load(write(tmp_path, split(state)[0]))
    np.testing.assert_array_equal(decoder.embed([codes]), whole.embed([codes]))
    with pytest.raises(CheckpointError, match=r"needs the ViT, eva_vit_g\.pth"):
        decoder.encode(picture)


def test_the_id_follows_what_codes_mean(tmp_path: Path, state: State) -> None:
    def id_of(changed: State) -> str:
        return load_tokenizer("seed-2", checkpoint=write(tmp_path, changed)).spec.id

    same = id_of(state)
    assert same == id_of({**state, "pos_embed": state["pos_embed"] + 1, "more": torch.zeros(1)})
    for key in ("quantize.embedding.weight", "image_down.4.weight", "Qformer.bert.embeddings.LayerNorm.bias"):
        assert id_of({**state, key: state[key] + 1}) != same
    # Values count, not the type they are stored in.
    assert same == id_of({key: value.float() for key, value in state.items()})


def required(state: State) -> list[str]:
    return [
        key
        for key in state
        if key not in ("pos_embed", "Qformer.bert.embeddings.position_ids") and not key.startswith("blocks.")
    ]


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.reference)])
def test_no_required_tensor_may_be_missing(tmp_path: Path, state: State, engine: str) -> None:
    keys = required(state)
    assert len(keys) == 104
    of_each_kind = {re.sub(r"\d+", "N", key): key for key in keys}.values()  # a layer stands for all of its kind
    for key in of_each_kind if engine == "native" else keys[::9]:
        with pytest.raises(CheckpointError, match=r"missing|incomplete"):
            load_tokenizer(
                "seed-2", engine=engine, checkpoint=write(tmp_path, {k: v for k, v in state.items() if k != key})
            )


def test_a_missing_tensor_is_named_as_published(tmp_path: Path, state: State) -> None:
    del state["Qformer.bert.encoder.layer.1.output_query.dense.weight"]
    with pytest.raises(
        CheckpointError, match=r"1 of 102 .* Qformer\.bert\.encoder\.layer\.1\.output_query\.dense\.weight"
    ):
        load_tokenizer("seed-2", checkpoint=write(tmp_path, state))


def test_wrong_shapes_are_named(tmp_path: Path, state: State) -> None:
    state["image_down.2.weight"] = torch.zeros(128, 255)
    with pytest.raises(CheckpointError, match=r"image_down\.2\.weight has shape \[128, 255\], expected \[128, 256\]"):
        load_tokenizer("seed-2", checkpoint=write(tmp_path, state))


def test_without_config_the_sizes_are_the_published_ones(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "seed_quantizer.pt", tmp_path)
    with pytest.raises(CheckpointError, match=r"missing|expected"):
        load_tokenizer("seed-2", checkpoint=tmp_path)


def test_published_sizes_are_said_twice_and_alike() -> None:
    defaults = {name: each.default for name, each in inspect.signature(Seed).parameters.items() if name in SIZES}
    assert defaults == dict(SIZES)


CONFIGS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda config: config.pop("queries"), "missing 'queries'"),
    (lambda config: config.clear(), "missing 'image_size', 'patch_size'"),
    (lambda config: config.update(vision_layers=0), "vision_layers=0: expected a whole number, 1 to 999"),
    (lambda config: config.update(vision_layers="2"), "vision_layers='2'"),
    (lambda config: config.update(vision_layers=True), "vision_layers=True"),
    (lambda config: config.update(vision_width=1 << 30), "vision_width=1073741824"),
    (lambda config: config.update(vision_heads=3), "vision_width=88: expected a multiple of vision_heads, 3"),
    (lambda config: config.update(image_size=225), "image_size=225: expected a multiple of patch_size, 14"),
]


@pytest.mark.parametrize(("change", "message"), CONFIGS)
def test_configs_that_cannot_be_are_refused(tmp_path: Path, state: State, change: Any, message: str) -> None:
    config = json.loads((GOLDEN / "config.json").read_text())
    change(config)
    folder = write(tmp_path, state)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer("seed-2", checkpoint=folder)


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.reference)])
@pytest.mark.parametrize("damage", ["absent", "empty folder", "truncated", "text", "list", "nan"])
def test_damaged_files_are_refused(tmp_path: Path, state: State, damage: str, engine: str) -> None:
    folder = write(tmp_path, state)
    file = folder / "seed_quantizer.pt"
    if damage == "absent":
        folder = tmp_path / "nowhere"
    elif damage == "empty folder":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:100_000])
    elif damage == "text":
        file.write_text("version https://git-lfs.github.com/spec/v1")
    elif damage == "list":
        torch.save([1, 2], file)
    else:
        state["distill_image_proj.bias"][0] = float("nan")
        torch.save(state, file)
    with pytest.raises(CheckpointError):
        load_tokenizer("seed-2", checkpoint=folder, engine=engine)


def test_a_vit_that_gives_nan_is_found_out(tmp_path: Path, state: State) -> None:
    state["visual_encoder.blocks.0.norm1.weight"][3] = float("nan")
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        first_codes(write(tmp_path, state))


@pytest.mark.parametrize("name", ["config.json", "seed_quantizer.pt", "eva_vit_g.pth"])
def test_each_of_the_files_names_the_folder(tmp_path: Path, state: State, name: str) -> None:
    folder = write(tmp_path, *split(state))
    np.testing.assert_array_equal(first_codes(folder / name), EXPECTED["image.0.codes"].numpy())


def test_a_file_that_would_not_be_read_is_refused(tmp_path: Path, state: State) -> None:
    folder = write(tmp_path, state)
    torch.save(state, folder / "mine.pt")
    with pytest.raises(CheckpointError, match=r"mine.pt: of this folder, seed_quantizer.pt would be read"):
        load(folder / "mine.pt")
