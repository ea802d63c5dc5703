"""All tensors are on the GPU that was asked for: seen on a fake one, since most machines have none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_gpu import fake_gpu
from PIL import Image
from tiny_unclip import tiny_pipeline
from torch import nn

import anytok
from anytok import Audio, Codes, Tokenizer, UsageError
from anytok.engines.native.gpu.lstm import flatten_weights

GOLDEN = Path(__file__).parent / "golden"
CODECS = {
    "speechtokenizer": GOLDEN / "speechtokenizer",
    "speechtokenizer-snake": GOLDEN / "speechtokenizer-snake",
    "encodec-24khz": GOLDEN / "encodec_24khz",
    "encodec-48khz": GOLDEN / "encodec_48khz",
}


def load(name: str, **options: Any) -> Tokenizer:
    return anytok.load_tokenizer(name, checkpoint=CODECS.get(name), device="cuda", **options)


def sounds(tokenizer: Tokenizer) -> list[Audio]:
    rate, channels = tokenizer.spec.sample_rate, tokenizer.spec.channels
    assert rate and channels
    longest = rate * 3 // 2 if tokenizer.spec.segment_samples else rate // 2  # of more than one segment
    return [Audio(np.full((channels, length), 0.1, np.float32), rate) for length in (1, 2000, longest)]


def places(owner: Any, seen: set[int] | None = None) -> set[str]:
    """The devices of all tensors that an object holds, however deep."""
    seen = set() if seen is None else seen
    if id(owner) in seen or isinstance(owner, (str, bytes, type, np.ndarray)):
        return set()
    seen.add(id(owner))
    if isinstance(owner, torch.Tensor):
        return {owner.device.type}
    if isinstance(owner, nn.Module):
        return {one.device.type for one in [*owner.parameters(), *owner.buffers()]}
    below = owner.values() if isinstance(owner, dict) else owner if isinstance(owner, (list, tuple)) else ()
    return set().union(*(places(one, seen) for one in [*below, *getattr(owner, "__dict__", {}).values()]))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("speechtokenizer-snake", "float32"),
        ("encodec-24khz", "mixed"),
        ("encodec-24khz", "float16"),
        ("encodec-48khz", "float32"),
    ],
)
def test_codecs(name: str, dtype: str) -> None:
    with fake_gpu():
        tokenizer = load(name, dtype=dtype)
        assert places(tokenizer) == {"cuda"}
        clips = sounds(tokenizer)
        codes = tokenizer.encode_batch(clips)
        assert [item.num_samples for item in codes] == [clip.num_samples for clip in clips]
        assert [one.num_samples for one in tokenizer.decode_batch(codes)] == [clip.num_samples for clip in clips]
        assert tokenizer.latents(clips[2]).shape[1] == codes[2].num_frames  # type: ignore[attr-defined]
        if hasattr(tokenizer, "decoder_stream"):
            stream = tokenizer.decoder_stream()
            pieces = [stream.push(codes[2].values[:, :3]), stream.push(codes[2].values[:, 3:]), stream.finish()]
            hop = tokenizer.spec.hop_length
            assert sum(piece.num_samples for piece in pieces) == codes[2].num_frames * hop


def test_codecs_have_the_batch_size_that_is_asked_for() -> None:
    with fake_gpu():
        codec = load("encodec-24khz", batch_size=3)._codec  # type: ignore[attr-defined]
        assert [stage.batch_size for stage in codec._encoder] == [3, 6, 3] and codec._search_frames == 768
        with pytest.raises(UsageError, match="batch_size"):
            load("encodec-24khz", batch_size=0)
        assert load("encodec-48khz", batch_size=3)._codec._batch_size == 3  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match="no compile"):
            load("encodec-48khz", compile=True)


def test_norms_over_clips_of_any_length_are_no_segments(tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "encodec_48khz", tmp_path / "whole")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"chunk_length_s": None, "overlap": None}))
    with fake_gpu():
        tokenizer = anytok.load_tokenizer("encodec-48khz", checkpoint=folder, device="cuda")
        clip = sounds(tokenizer)[1]
        assert tokenizer.decode(tokenizer.encode(clip)).num_samples == clip.num_samples
        with pytest.raises(UsageError, match="no batch_size"):
            anytok.load_tokenizer("encodec-48khz", checkpoint=folder, device="cuda", batch_size=2)


@pytest.mark.parametrize("name", ["speechtokenizer", "encodec-48khz"])
def test_the_original_codecs(name: str) -> None:
    """Not transformers', whose padding goes by numbers that lie on the GPU; nor the snake's, which torch.jit makes."""
    package = {} if name.startswith("speech") else {"package": "encodec"}
    with fake_gpu():
        tokenizer = load(name, engine="reference", **package)
        clips = sounds(tokenizer)[1:]
        codes = tokenizer.encode_batch(clips)
        assert [one.num_samples for one in tokenizer.decode_batch(codes)] == [clip.num_samples for clip in clips]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "float16", "preset": "fast", "batch_size": 2, "decode_batch_size": 2},
        {"dtype": "bfloat16", "scheduler": "ddim", "noise_level": 30, "guidance_scale": 1.0},
    ],
    ids=str,
)
def test_pictures(options: dict[str, Any]) -> None:
    with fake_gpu():
        tokenizer = load("seed-mini", num_inference_steps=3, **options)
        codes = tokenizer.encode_batch([Image.new("RGB", (30, 20))] * 3)
        assert len(tokenizer.decode_batch(codes, seeds=[1, 2, 3])) == 3
        assert len(tokenizer.decode_batch(codes, negative=codes[0])) == 3
        assert tokenizer.embed(codes).shape[0] == 3  # type: ignore[attr-defined]
        assert places(tokenizer._model) == {"cuda"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("has_cudnn", [True, False])
def test_weights_of_an_lstm_are_flattened_by_cudnn_alone(has_cudnn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """AMD's GPUs are "cuda", too, and have MIOpen in its place; the call fails there."""
    calls = MagicMock()
    monkeypatch.setattr(torch, "_cudnn_rnn_flatten_weight", calls)
    monkeypatch.setattr(torch, "_use_cudnn_rnn_flatten_weight", lambda: has_cudnn)
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn.rnn, "get_cudnn_mode", lambda mode: 2)
    flatten_weights(MagicMock(parameters=lambda: [MagicMock(is_cuda=True)], mode="LSTM"))
    assert calls.called == has_cudnn


def test_the_original_pictures(tmp_path: Path) -> None:
    for name in ("seed_quantizer.pt", "config.json"):
        shutil.copy(GOLDEN / "seed" / name, tmp_path)
    tiny_pipeline(tmp_path / "unclip")
    with fake_gpu():
        tokenizer = anytok.load_tokenizer("seed-2", checkpoint=tmp_path, device="cuda", engine="reference")
        codes = Codes(np.zeros((1, 32), int), tokenizer.spec)
        assert tokenizer.decode(codes, num_inference_steps=3, negative=codes)


def watched(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str) -> set[str]:
    """What float32 products are made of while a method is called."""
    real, seen = getattr(owner, method), set()

    def watch(*args: Any, **kwargs: Any) -> Any:
        seen.update((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, method, watch)
    return seen


@pytest.mark.parametrize(
    ("name", "dtype", "products"),
    [("encodec-24khz", "float32", "ieee"), *((name, "tf32", "tf32") for name in ("encodec-24khz", "encodec-48khz")),
     ("seed-mini", "tf32", "tf32")],
)  # fmt: skip
def test_tf32_is_where_it_is_asked_for(name: str, dtype: str, products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not even there in the search for the nearest code."""
    with fake_gpu():
        tokenizer: Any = load(name, dtype=dtype, **({"num_inference_steps": 1} if name == "seed-mini" else {}))
        assert tokenizer.spec.id.endswith("+tf32") == (dtype == "tf32")
        if name == "seed-mini":
            media, search = Image.new("RGB", (8, 8)), watched(monkeypatch, tokenizer._model, "quantize")
            encoder, decoder = watched(monkeypatch, F, "layer_norm"), watched(monkeypatch, F, "conv2d")
        else:
            media, codec = sounds(tokenizer)[1], tokenizer._codec
            encoder = watched(monkeypatch, F, "conv2d" if name == "encodec-24khz" else "linear")
            search = watched(monkeypatch, codec._quantizer, "encode")
        codes = tokenizer.encode(media)
        assert encoder == {products} and search == {"ieee"}
        if name == "seed-mini":
            tokenizer.decode(codes)
            assert decoder == {products}


def test_what_was_left_behind_is_seen() -> None:
    before = torch.cuda.device_count()
    with fake_gpu():
        tokenizer = load("encodec-24khz")
        quantizer = tokenizer._codec._quantizer  # type: ignore[attr-defined]
        quantizer.codebooks_knd = torch.zeros(quantizer.codebooks_knd.shape)
        assert places(tokenizer) == {"cpu", "cuda"}
        with pytest.raises(AssertionError, match="FakeTensor"):
            tokenizer.encode_batch(sounds(tokenizer))
    assert torch.cuda.device_count() == before
