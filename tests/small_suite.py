"""AnyGPT's form in small: the golden tokenizers and a tiny painter, behind a text base of 400 ids."""

from __future__ import annotations

from pathlib import Path

from llama import llama_tokenizer
from tiny_unclip import tiny_pipeline

from anytok import Vocabulary, load_multimodal, load_tokenizer
from anytok.multimodal import Multimodal
from anytok.vocab import build_layout, segment_of

GOLDEN = Path(__file__).parent / "golden"


def small_suite(folder: Path) -> Multimodal:
    """`folder` takes the painter's files; it must not exist."""
    tiny_pipeline(folder)
    seed = load_tokenizer("seed-2", checkpoint=GOLDEN / "seed", unclip=folder)
    speech = load_tokenizer("speechtokenizer-snake", checkpoint=GOLDEN / "speechtokenizer-snake")
    music = load_tokenizer("encodec-32khz", checkpoint=GOLDEN / "encodec_32khz")
    segments = [segment_of(seed.spec), segment_of(speech.spec, num_codebooks=1), segment_of(music.spec)]
    vocab = Vocabulary(build_layout("small", 400, ["[Human]", "[MMGPT]", "<eoh>", "<eos>", *segments]))
    vocab.extend(llama_tokenizer(400))
    names = {tokenizer.spec.name: tokenizer for tokenizer in (seed, speech, music)}
    return load_multimodal(vocab, tokenizers=names)
