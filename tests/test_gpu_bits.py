"""On a real GPU, at the published sizes: a clip gets the same bits alone and in a batch, after every stage.

cuDNN chooses kernels by shape, so small models prove nothing here; and codes would hide a difference in the last bit.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anytok.checkpoints.codec_sizes import CodecSizes, encodec_sizes, speech_sizes
from anytok.engines.native.gpu.codec import TiledCodec
from anytok.engines.native.precision import products_of, torch_dtype
from anytok.models.codec import Codec
from anytok.torch_settings import products

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

SECONDS = [9.0, 0.7, 3.1, 5.0, 12.3, 1.9, 4.4, 7.7] * 6


def published(name: str) -> CodecSizes:
    from seeded import ENCODEC_CONFIGS, SPEECH_CONFIG

    if name == "speechtokenizer":
        return speech_sizes(SPEECH_CONFIG, Path("config.json"))
    return encodec_sizes(ENCODEC_CONFIGS[name], Path("config.json"))


def drawn(sizes: CodecSizes, device: str) -> Codec:
    """A codec of random weights that keep the scale of its signals."""
    torch.manual_seed(0)
    with torch.device("meta"):
        codec = Codec(**sizes.architecture()).requires_grad_(False)
    codec = codec.to_empty(device=device)
    for name, part in codec.named_parameters():
        part.normal_(0, 1 / math.sqrt(part[0].numel()) if part.ndim > 1 else 0.01)
        if name.endswith("weight_g"):
            part.fill_(1)
    codec.quantizer.codebooks_knd.normal_()
    return codec.eval()


def differing_stages(codec: TiledCodec, clips: list[Tensor]) -> list[str]:
    """The stages in which some clip does not get the same bits alone as among all of them."""
    found = []
    stages = [("encoder", stage) for stage in codec._encoder] + [("decoder", stage) for stage in codec._decoder]
    for place, (part, stage) in enumerate(stages):
        name = f"{part}, stage {place % 3}"
        if place == 3:
            clips = [torch.randn(clip_dt.shape, device=clip_dt.device) for clip_dt in clips]
        made = stage(clips)
        assert all(bool(one.isfinite().all()) for one in made), name
        alone = {i: stage([clips[i]])[0] for i in (0, 1, 6, 7, len(clips) - 1)}
        found += [name] if any(not torch.equal(made[i], one) for i, one in alone.items()) else []
        clips = made
    return found


@pytest.mark.gpu
@pytest.mark.reference  # whose sizes are needed
@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["speechtokenizer", "encodec-32khz", "encodec-24khz"])
@torch.inference_mode()
def test_a_clip_has_the_same_bits_alone(name: str, dtype: str, batch_size: int) -> None:
    sizes, kind = published(name), torch_dtype(dtype, "cuda")
    codec, channels_last = drawn(sizes, "cuda"), dtype != "float32"
    tiled = TiledCodec(codec, sizes.hop_length, kind, kind, channels_last=channels_last, batch_size=batch_size)
    clips = [torch.randn(1, int(seconds * sizes.sample_rate), device="cuda") / 3 for seconds in SECONDS]
    with products(products_of(dtype)):
        assert differing_stages(tiled, clips) == []
