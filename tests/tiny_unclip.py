"""A complete unCLIP pipeline with tiny random parts: the same classes and wiring as the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from anytok.checkpoints.around_torchaudio import around_torchaudio

with around_torchaudio():
    import diffusers
    import transformers
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer

WORDS = ["<|startoftext|>", "<|endoftext|>", "a", "b", "c", "</w>", "a</w>", "b</w>", "c</w>"]


def tiny_pipeline(folder: Path, embedding_dim: int = 64, seed: int = 0) -> Any:
    """A `StableUnCLIPImg2ImgPipeline` painting 64 x 64 pictures, float32; saved in `folder`."""
    torch.manual_seed(seed)
    (folder / "words").mkdir(parents=True)
    (folder / "words" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "words", model_max_length=8)
    text = transformers.CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=len(WORDS),
        max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32,
        patch_size=16, projection_dim=embedding_dim,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=(2, 4), norm_num_groups=8, use_linear_projection=True,
        class_embed_type="projection", projection_class_embeddings_input_dim=2 * embedding_dim,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8, 8, 8), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64,
    )  # fmt: skip
    normalizer = StableUnCLIPImageNormalizer(embedding_dim)
    normalizer.mean.data.normal_()
    normalizer.std.data.uniform_(0.5, 2.0)
    pipeline = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=transformers.CLIPImageProcessor(),
        image_encoder=transformers.CLIPVisionModelWithProjection(vision).eval(),
        image_normalizer=normalizer,
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizer,
        text_encoder=transformers.CLIPTextModel(text).eval(),
        unet=unet.eval(),
        scheduler=diffusers.PNDMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
            skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False,
        ),
        vae=vae.eval(),
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
