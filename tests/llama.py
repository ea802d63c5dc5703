"""Stand-ins for LLaMA, made on the spot: a fast tokenizer with LLaMA's 32,000 ids and way of writing spaces."""

from __future__ import annotations

import string
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from anytok.checkpoints.around_torchaudio import around_torchaudio


def llama_tokenizer(size: int = 32000) -> PreTrainedTokenizerFast:
    """`<unk> <s> </s>`, 256 bytes, some characters, and fillers up to `size`. It spells any text."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    words += list(string.ascii_letters + string.digits + string.punctuation)
    words += [f"filler{number}" for number in range(size - len(words))]
    core = Tokenizer(
        models.BPE(
            vocab={word: number for number, word in enumerate(words)}, merges=[], byte_fallback=True, unk_token="<unk>"
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in words[:3]])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def tiny_llama(num_ids: int, hidden: int = 32, layers: int = 1, seed: int = 0) -> Any:
    """A LlamaForCausalLM with random weights."""
    import torch

    with around_torchaudio():
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=num_ids,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=2048,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        return LlamaForCausalLM(config).eval()
