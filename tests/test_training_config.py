"""Training configs: whatever a key holds that cannot be trained with is refused at once, by file, key and value."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from anytok.cli import main
from anytok.errors import UsageError
from anytok.training.config import CodecConfig, RunConfig, TrainConfig, VoiceConfig, read_config
from anytok.training.image import ImageConfig
from anytok.training.unclip import UnclipConfig
from anytok.training.vae import VaeConfig

CONFIGS = Path(__file__).parent.parent / "configs" / "train"
KINDS = {
    "speech": CodecConfig,
    "music": CodecConfig,
    "image": ImageConfig,
    "vae": VaeConfig,
    "unclip": UnclipConfig,
    "voice": VoiceConfig,
}


def edited(tmp_path: Path, name: str, table: str, key: str, text: str) -> Path:
    """The shipped config `name` with one value replaced, or added, by the TOML `text`."""
    lines = (CONFIGS / f"{name}_mini.toml").read_text("utf-8").splitlines()
    start = lines.index(f"[{table}]") + 1 if table else 0
    end = next((i for i in range(start, len(lines)) if lines[i].startswith("[")), len(lines))
    section = [line for line in lines[start:end] if not line.startswith(f"{key} =")]
    path = tmp_path / f"{name}.toml"
    path.write_text("\n".join([*lines[:start], f"{key} = {text}", *section, *lines[end:]]), "utf-8")
    return path


def test_every_shipped_config_is_read() -> None:
    assert {read_config(path, KINDS).kind for path in CONFIGS.glob("*.toml")} == set(KINDS)


def test_unknown_and_missing_keys_are_named(tmp_path: Path) -> None:
    text = (CONFIGS / "music_mini.toml").read_text()
    (tmp_path / "a.toml").write_text(text.replace("batch_size", "batchsize"))
    with pytest.raises(UsageError, match="run: unknown key 'batchsize'; did you mean 'batch_size'\\?; known: "):
        read_config(tmp_path / "a.toml", {"music": CodecConfig})
    (tmp_path / "b.toml").write_text(text.replace("num_filters = 16\n", ""))
    with pytest.raises(UsageError, match="missing 'num_filters'"):
        read_config(tmp_path / "b.toml", {"music": CodecConfig})
    with pytest.raises(UsageError, match="kind"):
        read_config(CONFIGS / "music_mini.toml", {"speech": CodecConfig})


@pytest.mark.parametrize(
    ("name", "old", "new", "error"),
    [
        ("speech", "bidirectional = true", "shortcut = false", "shortcut"),
        ("music", "shortcut = false", "bidirectional = true", "bidirectional"),
        ("music", "shortcut = false", "quantize_from = 15000", "quantize_from = 15000 of 15000 steps"),
        ("music", "shortcut = false", "learn_codes = false", "learn_codes = false: .*without `start`"),
        ("image", "quantize_from = 400", "quantize_from = 1001", "quantize_from = 1001 of 1000 steps"),
        ("image", "quantize_from = 400", "quantize_from = -1", "quantize_from=-1: expected a whole number"),
    ],
)
def test_a_config_whose_weights_could_not_be_used_is_refused(
    tmp_path: Path, name: str, old: str, new: str, error: str
) -> None:
    text = (CONFIGS / f"{name}_mini.toml").read_text()
    assert old in text
    (tmp_path / "a.toml").write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=error):
        read_config(tmp_path / "a.toml", KINDS)


@pytest.mark.parametrize(
    ("name", "table", "key", "text", "expected"),
    [
        ("music", "run", "steps", "0", "1 to"),
        ("music", "run", "steps", "10.0", "whole number"),
        ("music", "run", "steps", "true", "whole number"),
        ("music", "run", "steps", "1000000000000000000000000000000", "1 to"),
        ("music", "run", "save_every", "0", "1 to"),
        ("music", "run", "batch_size", "0", "1 to"),
        ("music", "run", "threads", "0", "1 to"),
        ("music", "run", "seed", "-1", "0 to"),
        ("music", "run", "learning_rate", "-1e-3", "above 0"),
        ("music", "run", "learning_rate", "0.0", "above 0"),
        ("music", "run", "learning_rate", "nan", "above 0"),
        ("music", "run", "clip_gradient", "inf", "above 0"),
        ("music", "run", "clip_gradient", "true", "a number"),
        ("music", "run", "anneal", "1.5", "0 to 1"),
        ("music", "run", "learning_rate", '"1e-3"', "a number"),
        ("music", "model", "ratios", "[]", "at least one"),
        ("music", "model", "ratios", "8", "a list"),
        ("music", "model", "ratios", "[8, 0]", "1 to"),
        ("music", "model", "ratios", "[8, 2.0]", "whole number"),
        ("music", "model", "windows", "[]", "at least one"),
        ("music", "model", "windows", "[4]", "8 to"),
        ("music", "model", "frames", "0", "1 to"),
        ("music", "model", "num_codebooks", "0", "1 to 128"),
        ("music", "model", "codebook_size", "1", "2 to"),
        ("music", "model", "num_filters", "1", "2 to"),
        ("music", "model", "num_lstm_layers", "0", "1 to"),
        ("music", "model", "shortcut", "0", "true or false"),
        ("music", "model", "sources", "{ midi = -1.0 }", "0 to"),
        ("music", "model", "sources", '["midi"]', "a table"),
        ("music", "model", "time_weight", "nan", "0 to"),
        ("music", "", "data", '""', "text in quotes"),
        ("music", "", "out", "7", "text in quotes"),
        ("image", "model.sizes", "queries", "-1", "1 to"),
        ("image", "model.sizes", "vision_mlp_ratio", "0", "above 0"),
        ("image", "model", "drawn", "-0.1", "0 to 1"),
        ("image", "model", "num_luma", "1025", "1 to 1024"),
        ("vae", "model.sizes", "sample_size", '"48"', "whole number"),
        ("vae", "model.sizes", "latent_channels", "2", "3 to"),
        ("vae", "model.sizes", "down_block_types", '["DownBlock", "DownBlock", "DownBlock"]', "'DownEncoderBlock2D'"),
        ("unclip", "model", "num_pairs", "1", "2 to"),
        ("unclip", "model", "vae", "3", "text in quotes"),
        ("unclip", "model.sizes", "resnet_time_scale_shift", '"scaleshift"', "'scale_shift'"),
        ("unclip", "model.sizes", "use_linear_projection", "1", "true or false"),
    ],
)
def test_a_value_that_cannot_be_is_refused(
    tmp_path: Path, name: str, table: str, key: str, text: str, expected: str
) -> None:
    path = edited(tmp_path, name, table, key, text)
    with pytest.raises(UsageError) as caught:
        read_config(path, KINDS)
    message = str(caught.value)
    assert message.startswith(str(path)) and f"{key}" in message and expected in message


@pytest.mark.parametrize(
    ("name", "table", "key", "text", "error"),
    [
        ("image", "model.sizes", "patch_size", "15", "image_size=224: expected a multiple of patch_size, 15"),
        ("image", "model.sizes", "decoder_heads", "7", "qformer_width=96: expected a multiple of decoder_heads, 7"),
        ("image", "model.sizes", "vision_mlp_ratio", "0.01", "vision_mlp_ratio=0.01: leaves nothing"),
        ("image", "model", "num_luma", "143", "num_luma=143"),
        ("image", "run", "batch_size", "1", "batch_size = 1"),
        ("vae", "model.sizes", "block_out_channels", "[24, 48]", "block_out_channels has 2, down_block_types has 3"),
        ("vae", "model.sizes", "norm_num_groups", "5", "block_out_channels=24: expected a multiple of"),
        ("vae", "model.sizes", "sample_size", "50", "sample_size=50: expected a multiple of its halvings, 4"),
        ("unclip", "model.sizes", "attention_head_dim", "7", "a multiple of attention_head_dim, 7"),
        ("unclip", "model.sizes", "sample_size", "13", "sample_size=13"),
        ("vae", "", "out", '"data/../data/images/"', "the folder of the data"),
    ],
)
def test_values_that_do_not_go_together_are_refused(
    tmp_path: Path, name: str, table: str, key: str, text: str, error: str
) -> None:
    with pytest.raises(UsageError, match=error):
        read_config(edited(tmp_path, name, table, key, text), KINDS)


@pytest.mark.parametrize("name", ["image", "vae", "unclip"])
def test_unknown_and_missing_sizes_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"model\.sizes: unknown key 'chanels'"):
        read_config(edited(tmp_path, name, "model.sizes", "chanels", "3"), KINDS)
    key = "queries" if name == "image" else "sample_size"
    path = edited(tmp_path, name, "model.sizes", key, "0")
    path.write_text(path.read_text("utf-8").replace(f"{key} = 0\n", ""), "utf-8")
    with pytest.raises(UsageError, match=rf"model\.sizes: missing '{key}'"):
        read_config(path, KINDS)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'kind = "m\xfcsic"', "utf-8"),
        (b"kind = [", "training config"),
        (b"kind = " + b"[" * 100_000, "training config"),
        (b'kind = ["music"]', "kind is"),
        (b'kind = "music"\nrun = 3\nmodel = 4', r"a\.toml: model=4: expected a table"),
        (b'kind = "music"', "missing 'num_filters'"),
    ],
)
def test_a_file_that_is_no_config_is_refused(
    tmp_path: Path, text: bytes, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=error):
        read_config(path, KINDS)
    assert main(["train", str(path)]) == 2 and str(path) in capsys.readouterr().err


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="NoneType: expected the path"):
        read_config(None, KINDS)  # type: ignore[arg-type]


def test_every_number_of_every_config_has_bounds() -> None:
    """A field of a plain `int` or `float` would be read without them."""
    plain: list[str] = []

    def look(kind: Any) -> None:
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            hint = hints[field.name]
            if is_dataclass(hint):
                look(hint)
            elif any(bare in (hint, *getattr(hint, "__args__", ())) for bare in (int, float)) and not hasattr(
                hint, "__metadata__"
            ):
                plain.append(f"{kind.__name__}.{field.name}")

    for kind in (RunConfig, TrainConfig, *KINDS.values()):
        look(kind)
    assert not plain


@pytest.mark.parametrize("name", ["music", "image", "unclip"])
def test_what_is_not_given_lies_within_bounds_too(tmp_path: Path, name: str) -> None:
    """Written out, it is read as what it is."""
    config = read_config(CONFIGS / f"{name}_mini.toml", KINDS)
    for table, part in (("run", config.run), ("model", config.model)):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, int | float | tuple):
                text = str(list(value) if isinstance(value, tuple) else value).lower()
                assert read_config(edited(tmp_path, name, table, field.name, text), KINDS) == config
