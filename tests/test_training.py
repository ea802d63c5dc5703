"""Training: codebooks learn, data and model must fit, and what is exported computes what was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import anytok
from anytok.checkpoints.codec_sizes import encodec_sizes
from anytok.errors import UsageError
from anytok.models.quantize import nearest
from anytok.training.calibrate import unit_outputs
from anytok.training.clips import Clip, write_clips
from anytok.training.codec import CodecRecipe
from anytok.training.config import CodecConfig, RunConfig, TrainConfig
from anytok.training.export import _encodec_config, export_encodec, export_seed, export_speech
from anytok.training.image import ImageConfig, ImageRecipe, SeedSizes
from anytok.training.loop import optimize
from anytok.training.losses import MelSpectra, relative_error
from anytok.training.quantizer import LearnedCodebook, LearnedQuantizer


def four_corners(count: int = 400) -> Tensor:
    torch.manual_seed(1)
    corners = torch.tensor([[0.0, 0], [0, 10], [10, 0], [10, 10]])
    return corners[torch.arange(count) % 4] + 0.1 * torch.randn(count, 2)


def test_revival_finds_every_cluster_and_leaves_no_code_idle() -> None:
    points = four_corners()
    book = LearnedCodebook(32, 2, decay=0.5)
    book.start(points[:1].repeat(50, 1))  # the worst start: every code on one corner
    for _ in range(60):
        book.follow(points, nearest(points[None], book.codes_nd)[0])
    used = set(nearest(points[None], book.codes_nd)[0].tolist())
    distances = torch.cdist(points[:4], book.codes_nd).min(dim=1).values
    assert len(used) == 32 and float(distances.max()) < 1


def test_codes_move_to_the_mean_of_their_points() -> None:
    book = LearnedCodebook(1, 2, decay=0.9)
    for _ in range(200):
        book.follow(torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([0, 0]))
    assert book.codes_nd[0].tolist() == pytest.approx([2, 3], abs=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_batch_leaves_the_codebooks_as_they_are(bad: float) -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 6, 50)
    quantizer = LearnedQuantizer(2, 8, 6).train()
    quantizer.start(latents)
    before = {key: tensor.clone() for key, tensor in quantizer.state_dict().items()}
    latents[0, 0, 0] = bad
    quantizer(latents)
    assert all(torch.equal(tensor, before[key]) for key, tensor in quantizer.state_dict().items())


def test_more_layers_leave_less_and_gradients_pass_straight_through() -> None:
    torch.manual_seed(0)
    latents = torch.randn(4, 6, 50, requires_grad=True)
    quantizer = LearnedQuantizer(3, 16, 6).eval()
    quantizer.start(latents.detach())
    errors = [
        float((quantizer(latents, torch.full((4,), depth)).latents_bdt - latents).square().mean())
        for depth in (1, 2, 3)
    ]
    assert errors[0] > errors[1] > errors[2] > 0
    quantizer(latents).latents_bdt.sum().backward()
    assert latents.grad is not None and torch.isfinite(latents.grad).all() and float(latents.grad.abs().sum()) > 0


def test_a_calibrated_network_speaks_up() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(1, 8, 7), nn.ELU(), nn.Conv1d(8, 8, 7), nn.ELU(), nn.Conv1d(8, 4, 7))
    wave = 0.01 * torch.randn(2, 1, 500)
    assert float(network(wave).std(dim=2).mean()) < 0.1
    unit_outputs(network, lambda: network(wave))
    assert float(network(wave).std(dim=2).mean()) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("wave", [torch.zeros(2, 1, 500), torch.ones(2, 1, 500), torch.randn(1, 1, 1)])
def test_a_network_that_hears_no_difference_is_not_calibrated(wave: Tensor) -> None:
    network = nn.Sequential(nn.Conv1d(1, 8, 1), nn.ELU(), nn.Conv1d(8, 4, 1))
    with pytest.raises(UsageError, match="the same for all of the first batch"):
        unit_outputs(network, lambda: network(wave))


def test_the_mel_loss_is_zero_for_equal_waves_and_grows_with_the_difference() -> None:
    spectra, wave = MelSpectra(16000, (256, 1024)), torch.randn(1, 4000)
    losses = [float(spectra(wave + scale * torch.randn(1, 4000), wave)) for scale in (0.0, 0.1, 1.0)]
    assert losses[0] < 1e-4 < losses[1] < losses[2]


def test_the_relative_error_does_not_know_loudness() -> None:
    torch.manual_seed(0)
    wave, noise = torch.randn(2, 4000), torch.randn(2, 4000)
    assert float(relative_error(wave, wave)) == 0
    assert float(relative_error(0 * wave, wave)) == pytest.approx(1, abs=1e-3)
    errors = [float(relative_error(gain * (wave + 0.5 * noise), gain * wave)) for gain in (0.1, 1.0, 10.0)]
    assert errors == pytest.approx([0.25] * 3, abs=0.02)
    assert float(relative_error(wave, 0 * wave)) < float("inf")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chirps with labels at the rates that each kind of weights is read at, and eight pictures."""
    folder = tmp_path_factory.mktemp("data")
    time = np.arange(16000) / 16000
    clips = [Clip(0.5 * np.sin(2 * np.pi * (200 + 300 * i) * time**2), "a", str(i), np.full(50, i)) for i in range(4)]
    write_clips(folder / "speech" / "train", clips, 16000, 320)
    write_clips(folder / "music" / "train", clips, 24000, 320)
    for i in range(8):
        levels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(levels).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def codec_recipe(data: Path, kind: str, **changes: object) -> CodecRecipe:
    sizes: dict = {
        "num_filters": 4, "dimension": 8, "ratios": (8, 5, 4, 2), "num_codebooks": 3, "codebook_size": 16,
        "frames": 10, "windows": (128, 512), "quantize_from": 3, "sources": {"a": 1.0}, "shallow": 0.5,
    }  # fmt: skip
    run = RunConfig(steps=6, batch_size=2, warmup=1)
    return CodecRecipe(TrainConfig("tiny", kind, str(data / kind), "", run, CodecConfig(**(sizes | changes))))


@pytest.mark.parametrize(
    ("kind", "rate", "changes", "error"),
    [
        ("speech", 24000, {}, "is of 24000 Hz, .* read at 16000 Hz"),
        ("music", 16000, {}, "is of 16000 Hz, .* read at 24000 Hz .* or 32000 Hz"),
        ("speech", 16000, {"ratios": (8, 5, 4, 4)}, "frames of 320 samples, and .* multiply to 640"),
        (
            "speech",
            16000,
            {"ratios": (8, 5, 4), "semantic_weight": 1.0},
            "frames of 320 samples, and .* multiply to 160",
        ),
        ("speech", 16000, {"frames": 2, "windows": (128, 1280)}, "too few for windows=.*below 1280"),
        ("speech", 16000, {"semantic_weight": 1.0, "foreign": 100}, "labels from 100 to 100"),
        ("speech", 16000, {"semantic_weight": 1.0, "foreign": -1}, "labels from -1 to -1"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, kind: str, rate: int, changes: dict, error: str
) -> None:
    """At the start: what training would end in, nothing loads."""
    changes = dict(changes)
    labels = np.full(50, changes.pop("foreign", 0))
    clips = [Clip(np.zeros(16000), "a", "0", labels), Clip(np.zeros(16000), "not drawn", "1", np.zeros(50))]
    write_clips(tmp_path / kind / "train", clips, rate, 320)
    with pytest.raises(UsageError, match=f"{tmp_path}.*{error}"):
        codec_recipe(tmp_path, kind, **changes)


def test_training_begins_as_loud_as_the_waves_and_with_the_wave(data: Path) -> None:
    recipe = codec_recipe(data, "music", shortcut=False)
    recipe.prepare(np.random.default_rng(0))
    waves, _ = recipe._batch(np.random.default_rng(0))
    made = recipe.decoder(recipe.encoder(waves[:, None]))
    assert float(made.std(dim=2).mean() / waves.std()) == pytest.approx(1, abs=0.5)
    first, later = (recipe.losses(step, np.random.default_rng(1)) for step in (2, 3))
    assert float(first["time"] / first["mel"]) > 10 * float(later["time"] / later["mel"])
    assert "commitment" in later and "commitment" not in first


@pytest.mark.parametrize("kind", ["speech", "music"])
def test_an_exported_codec_computes_what_was_trained(kind: str, data: Path, tmp_path: Path) -> None:
    """The native engine reads the exported folder and gives the recipe's own codes (of its rounded weights)."""
    changes = {"bidirectional": True, "semantic_weight": 1.0} if kind == "speech" else {"shortcut": False}
    recipe = codec_recipe(data, kind, **changes)
    optimize(recipe, RunConfig(steps=6, batch_size=2, warmup=1), tmp_path / "run")
    recipe.state.half().float().eval()
    (export_speech if kind == "speech" else export_encodec)(recipe, tmp_path / "weights")
    name = {"speech": "speechtokenizer", "music": "encodec-24khz"}[kind]
    wave = np.random.default_rng(0).normal(0, 0.2, 1600).astype(np.float32)
    tokenizer = anytok.load_tokenizer(name, checkpoint=tmp_path / "weights")
    values = tokenizer.encode(anytok.Audio(wave[None], recipe.clips.sample_rate)).values
    with torch.inference_mode():
        latents = recipe.encoder(torch.from_numpy(wave)[None, None])
        wanted = recipe.quantizer(latents).codes_bkt[0].numpy()
    assert values.shape == (3, 5) and (values == wanted).all()


@pytest.mark.parametrize("kind", ["speech", "music"])
def test_a_decoder_learns_on_and_every_sound_keeps_its_codes(kind: str, data: Path, tmp_path: Path) -> None:
    """Down to the bits of the encoder, the codebooks and the phone head in the exported file."""
    changes = {"bidirectional": True, "semantic_weight": 1.0} if kind == "speech" else {"shortcut": False}
    export, run = (export_speech if kind == "speech" else export_encodec), RunConfig(steps=4, batch_size=2, warmup=1)
    first = codec_recipe(data, kind, **changes)
    optimize(first, run, tmp_path / "run")
    export(first, tmp_path / "weights")
    more = codec_recipe(data, kind, **changes, start=str(tmp_path / "weights"), learn_codes=False)
    optimize(more, run, tmp_path / "more")
    export(more, tmp_path / "more" / "weights")
    before, after = (load_file(folder / "weights" / "model.safetensors") for folder in (tmp_path, tmp_path / "more"))
    training = ("cluster_size", "embed_avg")  # what nothing reads
    changed = {key for key in before if not torch.equal(before[key], after[key]) and not key.endswith(training)}
    assert changed and all(key.startswith("decoder.") for key in changed)
    assert {file.name for file in more.data_files} >= {"model.safetensors", "config.json"}


def test_a_codec_that_begins_with_a_finished_one_quantizes_from_the_first_step(data: Path, tmp_path: Path) -> None:
    export_encodec(codec_recipe(data, "music"), tmp_path)
    recipe = codec_recipe(data, "music", start=str(tmp_path))
    recipe.prepare(np.random.default_rng(0))
    assert "commitment" in recipe.losses(0, np.random.default_rng(0))


@pytest.mark.parametrize("other", [{"num_filters": 8}, {"dimension": 6}, {"num_codebooks": 2}, {"codebook_size": 8}])
def test_a_finished_codec_of_other_sizes_is_refused(data: Path, tmp_path: Path, other: dict[str, int]) -> None:
    export_encodec(codec_recipe(data, "music"), tmp_path)
    with pytest.raises(UsageError, match=r"of other sizes.*\(.*\d.*expected (none|\(\d).*or leave `start` out"):
        codec_recipe(data, "music", start=str(tmp_path), **other).prepare(np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"no model\.safetensors here; make it: anytok train configs/train/music_mini"):
        codec_recipe(data, "music", start=str(tmp_path / "nowhere"))


def test_a_codec_that_learns_phones_cannot_begin_with_one_that_has_not(data: Path, tmp_path: Path) -> None:
    export_speech(codec_recipe(data, "speech"), tmp_path)
    with pytest.raises(UsageError, match=r"start=.*has learned no phones: set semantic_weight = 0\.0"):
        codec_recipe(data, "speech", start=str(tmp_path), semantic_weight=1.0).prepare(np.random.default_rng(0))


@pytest.mark.parametrize("wild", [1e9, float("nan")])
def test_weights_that_nothing_would_load_are_not_exported(data: Path, tmp_path: Path, wild: float) -> None:
    recipe = codec_recipe(data, "music")
    recipe.encoder[0].bias.data[0] = wild  # type: ignore[index, union-attr]
    with pytest.raises(UsageError, match=r"encoder\.layers\.0\..* beyond what float16 holds"):
        export_encodec(recipe, tmp_path / "run" / "weights")
    assert not (tmp_path / "run").exists()


def test_an_exported_image_tokenizer_computes_what_was_trained(data: Path, tmp_path: Path) -> None:
    sizes = {
        "image_size": 28, "patch_size": 14, "vision_width": 16, "vision_layers": 1, "vision_heads": 2,
        "vision_mlp_ratio": 2.0, "qformer_width": 16, "qformer_layers": 2, "qformer_heads": 2,
        "cross_attention_frequency": 2, "queries": 32, "codebook_size": 8, "codebook_dim": 4, "decoder_layers": 1,
        "decoder_heads": 2,
    }  # fmt: skip
    run = RunConfig(steps=5, batch_size=4, warmup=1)
    recipe = ImageRecipe(
        TrainConfig("tiny", "image", str(data), "", run, ImageConfig(SeedSizes(**sizes), quantize_from=2))
    )
    optimize(recipe, run, tmp_path / "run")
    recipe.state.half().float().eval()
    with torch.no_grad():  # what training may do to latents: nothing of it is left where distances are compared
        recipe.seed.encode_task_layer[2].bias.add_(7)
        recipe.quantizer.books[0].codes_nd.add_(7)
    export_seed(recipe, tmp_path / "weights")
    tokenizer = anytok.load_tokenizer("seed-2", checkpoint=tmp_path / "weights")
    stored = load_file(tmp_path / "weights" / "seed_quantizer.safetensors")
    assert stored["quantize.embedding.weight"].mean(0).abs().max() < 1e-6
    picture = Image.open(data / "1.png")
    codes = tokenizer.encode(picture)
    levels = torch.tensor(np.asarray(picture.resize((28, 28), Image.Resampling.BICUBIC)))[None]
    from anytok.models.seed import normalize

    with torch.inference_mode():
        latents_btd = recipe.seed.latents(normalize(levels))
        quantized = recipe.quantizer(latents_btd.transpose(1, 2))
        embedding = recipe._embed(quantized.latents_bdt.transpose(1, 2))
    assert (codes.values == quantized.codes_bkt[0].numpy()).all()
    assert tokenizer.embed([codes]) == pytest.approx(embedding.numpy(), abs=1e-4)  # type: ignore[attr-defined]


def test_the_bandwidth_that_is_written_means_all_codebooks():
    """31 codebooks of 7 bits at 75 Hz are 16.275 kbit/s, of which 1000 times are less than 16,275 in floats."""
    assert 1000 * (31 * 7 * 75 / 1000) < 31 * 7 * 75
    model = CodecConfig(num_filters=4, dimension=8, ratios=(8, 5, 4, 2), num_codebooks=31, codebook_size=128)
    assert encodec_sizes(_encodec_config(model, 24000), Path()).num_codebooks == 31
