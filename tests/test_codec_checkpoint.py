"""Every published form of a codec loads; everything else is refused with a reason."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file

import anytok
from anytok.checkpoints import read
from anytok.checkpoints.report import load_state
from anytok.checkpoints.seanet import model_state, read_codec
from anytok.errors import CheckpointError, CodesError, UsageError
from anytok.models.codec import Codec
from anytok.models.seanet import fold_weight_norm

GOLDEN = Path(__file__).parent / "golden"
SPEECH, MUSIC = GOLDEN / "speechtokenizer", GOLDEN / "encodec_32khz"


@pytest.fixture
def speech(tmp_path) -> Path:
    return Path(shutil.copytree(SPEECH, tmp_path / "speech"))


@pytest.fixture
def music(tmp_path) -> Path:
    return Path(shutil.copytree(MUSIC, tmp_path / "music"))


def music_codes(folder: Path, **options: object) -> anytok.Codes:
    arrays = load_arrays(MUSIC / "golden.safetensors")
    tokenizer = anytok.load_tokenizer("encodec-32khz", checkpoint=folder, **options)
    return tokenizer.encode(anytok.Audio(arrays["music.12801.waveform"], 32000))


def write_audiocraft(folder: Path, pad_mode: str) -> Path:
    """The golden music codec as audiocraft's compression_state_dict.bin."""
    files = read_codec(MUSIC)
    sizes, state = files.sizes, {}
    for name, tensor in files.state.items():
        part, index, *rest = name.split(".")
        if part == "quantizer":
            state[f"quantizer.vq.layers.{index}._codebook.embed"] = tensor
            continue
        nesting = "" if rest[0] == "lstm" else "convtr.convtr." if _is_up(part, index, sizes.ratios) else "conv.conv."
        state[".".join([part, "model", index, *rest[:-1], nesting + rest[-1]])] = tensor
    config = f"""
encodec: {{sample_rate: 32000, channels: 1, causal: false, renormalize: false, autoencoder: seanet}}
seanet: {{n_filters: {sizes.num_filters}, dimension: {sizes.dimension}, ratios: [8, 5, 4, 4], kernel_size: 7,
  last_kernel_size: 7, residual_kernel_size: 3, n_residual_layers: 1, dilation_base: 2, compress: 2, lstm: 2,
  true_skip: true, pad_mode: {pad_mode}, norm: weight_norm}}
rvq: {{n_q: {sizes.num_codebooks}, bins: {sizes.codebook_size}}}
"""
    folder.mkdir()
    package = {"best_state": state, "xp.cfg": config, "version": "1", "exported": True}
    torch.save(package, folder / "compression_state_dict.bin")
    return folder


def _is_up(part: str, index: str, ratios: tuple[int, ...]) -> bool:
    return part == "decoder" and int(index) in range(3, 3 + 3 * len(ratios), 3)


class TestForms:
    def test_both_generations_of_weight_norm_and_folded_weights_are_one_codec(self, music):
        codes = music_codes(MUSIC)
        state = load_file(music / "model.safetensors")
        older = {
            key.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): tensor
            for key, tensor in state.items()
        }
        assert set(older) != set(state)
        save_file(older, music / "model.safetensors")
        assert music_codes(music) == codes, "the older names give the same codes under the same identity"

        files = read_codec(MUSIC)
        codec = Codec(**files.sizes.architecture())
        load_state(codec, model_state(files.state), "golden")
        fold_weight_norm(codec)
        nested = {f"{key.rpartition('.')[0]}.conv.{key.rpartition('.')[2]}" if key.endswith("weight") else key: tensor
                  for key, tensor in codec.state_dict().items() if "quantizer" not in key}  # fmt: skip
        books = {key: tensor for key, tensor in state.items() if "quantizer" in key}
        save_file({**nested, **books}, music / "model.safetensors")
        np.testing.assert_array_equal(music_codes(music).values, codes.values)

    @pytest.mark.reference
    @pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
    def test_audiocraft_obeys_its_recorded_pad_mode(self, tmp_path, pad_mode):
        folder = write_audiocraft(tmp_path / "craft", pad_mode)
        ours, original = music_codes(folder), music_codes(folder, engine="reference")
        assert ours == original
        same_as_reflected = np.array_equal(ours.values, music_codes(MUSIC).values)
        assert same_as_reflected == (pad_mode == "reflect")

    def test_the_trainers_wrapper_is_taken_off(self, speech):
        state = torch.load(speech / "SpeechTokenizer.pt", weights_only=True)
        torch.save({"generator": state, "discriminators": {}}, speech / "SpeechTokenizer.pt")
        tokenizer = anytok.load_tokenizer("speechtokenizer", checkpoint=speech)
        assert tokenizer.spec == anytok.load_tokenizer("speechtokenizer", checkpoint=SPEECH).spec

    def test_the_report_says_what_was_used_and_what_was_not(self):
        report = str(anytok.load_tokenizer("speechtokenizer", checkpoint=SPEECH).load_report)
        assert "133 tensors used" in report and "quantizer (24)" in report and "transform (2)" in report

    def test_another_weight_is_another_identity(self, speech):
        state = torch.load(speech / "SpeechTokenizer.pt", weights_only=True)
        before = anytok.load_tokenizer("speechtokenizer", checkpoint=speech)
        codes = before.encode(anytok.Audio(np.zeros((1, 3200), np.float32), 16000))
        state["decoder.model.0.conv.conv.bias"][0] += 1e-6
        torch.save(state, speech / "SpeechTokenizer.pt")
        after = anytok.load_tokenizer("speechtokenizer", checkpoint=speech)
        assert after.spec.id != before.spec.id
        with pytest.raises(CodesError, match="load the tokenizer that made them"):
            after.decode(codes)


class Payload:
    """Unpickled by a careless loader, it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def refuse(folder: Path, match: str, name: str = "speechtokenizer", **options: object) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        anytok.load_tokenizer(name, checkpoint=folder, **options)
    assert str(folder) in str(caught.value), "the message names the place"


class TestRefusals:
    def test_missing_folder_and_files(self, speech, tmp_path):
        refuse(tmp_path / "nowhere", "no such file or folder")
        (tmp_path / "empty").mkdir()
        refuse(tmp_path / "empty", "neither config.json nor")
        (speech / "SpeechTokenizer.pt").unlink()
        refuse(speech, "no weights beside config.json")

    @pytest.mark.parametrize("keep", [0, 1, 100, 5000, 0.5, 0.999])
    def test_truncated_weights(self, speech, music, keep):
        for folder, file, name in (
            (speech, "SpeechTokenizer.pt", "speechtokenizer"),
            (music, "model.safetensors", "encodec-32khz"),
        ):
            data = (folder / file).read_bytes()
            (folder / file).write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
            refuse(folder, "damaged|neither safetensors nor|cannot be read", name)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_pickle_that_runs_code_does_not(self, speech, tmp_path, zipped):
        canary = tmp_path / "canary"
        if zipped:
            torch.save({"encoder": Payload(canary)}, speech / "SpeechTokenizer.pt")
        else:
            (speech / "SpeechTokenizer.pt").write_bytes(pickle.dumps(Payload(canary)))
        refuse(speech, "run code")
        assert not canary.exists()

    def test_missing_and_misshapen_tensors_are_named(self, speech):
        state = torch.load(speech / "SpeechTokenizer.pt", weights_only=True)
        short = {key: tensor for key, tensor in state.items() if key != "decoder.model.0.conv.conv.bias"}
        torch.save(short, speech / "SpeechTokenizer.pt")
        refuse(speech, "decoder.0.bias")
        state["decoder.model.0.conv.conv.bias"] = torch.zeros(3)
        torch.save(state, speech / "SpeechTokenizer.pt")
        refuse(speech, r"shape \[3\], expected \[64\]")

    def test_weight_norm_without_its_gain(self, speech):
        state = torch.load(speech / "SpeechTokenizer.pt", weights_only=True)
        del state["encoder.model.0.conv.conv.weight_g"]
        torch.save(state, speech / "SpeechTokenizer.pt")
        refuse(speech, r"encoder\.0\.weight")

    def test_codebooks_of_different_sizes_and_of_too_few_layers(self, speech):
        state = torch.load(speech / "SpeechTokenizer.pt", weights_only=True)
        last = "quantizer.vq.layers.7._codebook.embed"
        torch.save(state | {last: state[last][:9]}, speech / "SpeechTokenizer.pt")
        refuse(speech, "codebooks")
        torch.save({key: tensor for key, tensor in state.items() if key != last}, speech / "SpeechTokenizer.pt")
        refuse(speech, r"\[7, 64, 32\], expected \[8, 64, 32\]")

    @pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
    @pytest.mark.parametrize("place", [0, 2, -1])
    def test_weights_that_are_not_numbers(self, speech, number, place):
        state = torch.load(speech / "SpeechTokenizer.pt", weights_only=True)
        state["encoder.model.0.conv.conv.bias"][place] = float(number)
        torch.save(state, speech / "SpeechTokenizer.pt")
        with pytest.raises(CheckpointError, match=r"encoder\.0\.bias holds NaN or infinity"):
            anytok.load_tokenizer("speechtokenizer", checkpoint=speech)

    def test_other_tokenizers_folders(self):
        refuse(MUSIC, "sample rate of 32000 Hz, but speechtokenizer has a sample rate of 16000 Hz")
        refuse(SPEECH, "sample rate", "encodec-32khz")
        refuse(SPEECH, "activation elu", "speechtokenizer-snake")
        refuse(GOLDEN / "seed", "neither EnCodec")

    def test_config_and_weights_of_different_models(self, speech):
        config = json.loads((speech / "config.json").read_text())
        (speech / "config.json").write_text(json.dumps(config | {"activation": "Snake"}))
        refuse(speech, "different models", "speechtokenizer-snake")

    @pytest.mark.parametrize("change", [{"n_q": 10**9}, {"n_filters": -4}, {"strides": [8, 0]}, {"dimension": "32"}])
    def test_configs_with_absurd_sizes(self, speech, change):
        config = json.loads((speech / "config.json").read_text())
        (speech / "config.json").write_text(json.dumps(config | change))
        refuse(speech, "expected")

    @pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
    def test_configs_that_are_none(self, speech, text):
        (speech / "config.json").write_text(text)
        refuse(speech, "config.json")

    def test_a_million_empty_tensors(self, music):
        header = b"{" + b" " * (read.MAX_HEADER_BYTES + 1)
        (music / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        refuse(music, "header of", "encodec-32khz")

    def test_options_that_cannot_be(self):
        for options, match in (
            ({"num_codebooks": 9}, "1 to 8"),
            ({"num_codebooks": 0}, "1 to 8"),
            ({"resampler": "linear"}, "soxr"),
            ({"dtype": "int8"}, "float32"),
            ({"bandwidth": 6.0}, "offers none"),
        ):
            with pytest.raises(UsageError, match=match):
                anytok.load_tokenizer("speechtokenizer", checkpoint=SPEECH, **options)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"pad_mode": "replicate"}, "pad_mode='replicate': expected 'reflect', 'constant'"),
            ({"trim_right_ratio": 0.5}, "trim_right_ratio=0.5: expected 1.0"),
            ({"norm_type": "layer_norm"}, "norm_type='layer_norm': expected 'weight_norm', 'time_group_norm'"),
            ({"use_causal_conv": "false"}, "causal='false': expected true or false"),
            ({"normalize": 0.0}, "normalize=0.0: expected true or false"),
            ({"use_conv_shortcut": None}, "shortcut=None: expected true or false"),
        ],
    )
    def test_settings_that_our_model_does_not_follow(self, music, change, match):
        config = json.loads((music / "config.json").read_text())
        (music / "config.json").write_text(json.dumps(config | change))
        refuse(music, match, "encodec-32khz")

    def test_a_speech_config_with_text_for_a_switch(self, speech):
        config = json.loads((speech / "config.json").read_text())
        (speech / "config.json").write_text(json.dumps(config | {"bidirectional": "true"}))
        refuse(speech, "bidirectional='true': expected true or false")

    @pytest.mark.parametrize("more", ["pad_mode: replicate", "activation: GELU", "decoder: {final_activation: Tanh}"])
    def test_audiocraft_settings_that_our_model_does_not_follow(self, tmp_path, more):
        folder = write_audiocraft(tmp_path / "craft", "reflect")
        package = torch.load(folder / "compression_state_dict.bin", weights_only=True)
        package["xp.cfg"] = (
            package["xp.cfg"]
            .replace("seanet: {", "seanet: {" + more + ", ")
            .replace("pad_mode: reflect, ", "" if "pad_mode" in more else "pad_mode: reflect, ")
        )
        torch.save(package, folder / "compression_state_dict.bin")
        refuse(folder, "expected", "encodec-32khz")


class TestFiles:
    """`checkpoint` may also name a file."""

    @pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.reference)])
    def test_the_file_that_is_named_is_the_one_that_is_read(self, speech, engine):
        state = torch.load(speech / "SpeechTokenizer.pt", weights_only=True)
        torch.save({key: 0.5 * tensor for key, tensor in state.items()}, speech / "step-2000.pt")
        one, other, folder, config = (
            anytok.load_tokenizer("speechtokenizer", checkpoint=place, engine=engine).spec.id
            for place in (speech / "SpeechTokenizer.pt", speech / "step-2000.pt", speech, speech / "config.json")
        )
        assert one == folder == config != other

    def test_a_file_that_is_named_must_be_there(self, speech):
        refuse(speech / "ckpt.dev", "no such file or folder")

    def test_nothing_is_no_folder(self):
        with pytest.raises(CheckpointError, match="'': no such file or folder"):
            anytok.load_tokenizer("speechtokenizer", checkpoint="")

    def test_audiocrafts_file_can_be_named(self, tmp_path):
        folder = write_audiocraft(tmp_path / "craft", "reflect")
        assert music_codes(folder / "compression_state_dict.bin") == music_codes(folder)


@pytest.mark.reference
@pytest.mark.parametrize(("ratios", "rate"), [([8, 8, 8, 5], 12.5), ([8, 8, 8, 4], 15.625)])
def test_a_codec_of_a_broken_frame_rate(tmp_path, ratios, rate):
    from transformers import EncodecConfig, EncodecModel

    config = json.loads((MUSIC / "config.json").read_text()) | {"upsampling_ratios": ratios}
    torch.manual_seed(0)
    EncodecModel(EncodecConfig(**config)).save_pretrained(tmp_path)
    for engine in ("native", "reference"):
        tokenizer = anytok.load_tokenizer("encodec-32khz", checkpoint=tmp_path, engine=engine)
        codes = tokenizer.encode(anytok.Audio(np.random.default_rng(0).normal(0, 0.1, 30_001), 32000))
        assert tokenizer.spec.frame_rate == rate and codes.num_frames == -(-30_001 // tokenizer.spec.hop_length)
        assert tokenizer.decode(codes).num_samples == 30_001
