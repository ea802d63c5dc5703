"""Where published weights live: one card per tokenizer. `checkpoints.md` is generated from this table."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CARDS", "Card", "RemoteFile"]


@dataclass(frozen=True)
class RemoteFile:
    """One published file. `repo` is a hub repository, `url` a plain address; one of them is set."""

    name: str  # the file's published name, which is also its name in a local folder
    holds: str
    size: str
    repo: str = ""
    path: str = ""  # inside the repository, where it is not `name`
    url: str = ""
    sha256: str = ""  # where it is publicly known
    optional: bool = False


@dataclass(frozen=True)
class Card:
    """What to fetch for one tokenizer, under which licence, and what to do where a repository has moved."""

    tokenizer: str
    files: tuple[RemoteFile, ...]
    licence: str
    note: str = ""
    mirrors: dict[str, tuple[str, ...]] = field(default_factory=dict)  # repository -> others to try in order
    activation: str = ""  # where it tells two tokenizers of the same sizes apart


_SEED = "AILab-CVC/seed-tokenizer-2"
_SPEECH = "fnlp/SpeechTokenizer"
_ANYGPT_SPEECH = "fnlp/AnyGPT-speech-modules"
_USLM = "fnlp/USLM"
_UNCLIP = "sd2-community/stable-diffusion-2-1-unclip"


def _encodec(name: str, licence: str, size: str, note: str = "") -> Card:
    repo = f"facebook/{name.replace('-', '_')}"
    return Card(
        name,
        (
            RemoteFile("config.json", "sizes, rates, bandwidths", "1 kB", repo),
            RemoteFile("model.safetensors", "encoder, RVQ codebooks, decoder", size, repo),
        ),
        licence,
        note,
    )


CARDS: dict[str, Card] = {
    card.tokenizer: card
    for card in (
        Card(
            "seed-2",
            (
                RemoteFile(
                    "seed_quantizer.pt",
                    "Q-Former, codebook, encode and decode heads (not the ViT)",
                    "1.23 GB",
                    _SEED,
                ),
                RemoteFile(
                    "eva_vit_g.pth",
                    "the EVA ViT-g/14 that encoding needs; decoding does without",
                    "about 2 GB",
                    url="https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/eva_vit_g.pth",
                ),
                RemoteFile(
                    "unclip",
                    "a folder: the unCLIP pipeline that turns embeddings into pictures; encoding does without",
                    "about 3.9 GB in half precision",
                    _UNCLIP,
                    optional=True,
                ),
            ),
            "SEED: Apache-2.0; unCLIP: CreativeML OpenRAIL++-M",
            "The SEED-2 tokenizer of SEED-LLaMA and AnyGPT. Stable Diffusion 2.x left its first home in November 2025; "
            "the mirror above is a copy. The variants ending in -small or -l expect another embedding and are refused.",
            {
                _SEED: ("AILab-CVC/SEED",),
                _UNCLIP: ("stabilityai/stable-diffusion-2-1-unclip", "diffusers/stable-diffusion-2-1-unclip-i2i-h"),
            },
        ),
        Card(
            "speechtokenizer",
            (
                RemoteFile(
                    "config.json",
                    "sizes",
                    "1 kB",
                    _SPEECH,
                    "speechtokenizer_hubert_avg/config.json",
                    sha256="ea343ad69ca7e70c8febf8fc4cda683b1c4b1c36709e5e577936ffb05d62e6eb",
                ),
                RemoteFile(
                    "SpeechTokenizer.pt",
                    "encoder, RVQ codebooks, decoder",
                    "about 480 MB",
                    _SPEECH,
                    "speechtokenizer_hubert_avg/SpeechTokenizer.pt",
                    sha256="d04593b6c9a4b475f91ca481141a6ef5b23e6ac112f347dd2b2717f193c1c728",
                ),
            ),
            "Apache-2.0",
            "The hubert_avg model (LibriSpeech). Its codes mean nothing to AnyGPT, which uses the snake model.",
            activation="elu",
        ),
        Card(
            "speechtokenizer-snake",
            (
                RemoteFile("config.json", "sizes", "1 kB", _ANYGPT_SPEECH, "speechtokenizer/config.json"),
                RemoteFile(
                    "ckpt.dev",
                    "encoder, RVQ codebooks, decoder",
                    "about 480 MB",
                    _ANYGPT_SPEECH,
                    "speechtokenizer/ckpt.dev",
                ),
            ),
            "none stated: the repository has no model card",
            "The model AnyGPT speaks (LibriSpeech and Common Voice). SpeechTokenizer's code is Apache-2.0.",
            activation="snake",
            mirrors={_ANYGPT_SPEECH: ("OpenMOSS-Team/AnyGPT-speech-modules",)},
        ),
        Card(
            "soundstorm",
            (
                RemoteFile(
                    "speechtokenizer_soundstorm_mls.pt",
                    "SoundStorm: layers 2 to 8 of speechtokenizer-snake from layer 1 and a voice prompt",
                    "1.41 GB",
                    _ANYGPT_SPEECH,
                    "soundstorm/speechtokenizer_soundstorm_mls.pt",
                ),
            ),
            "none stated: the repository has no model card",
            "The voice of AnyGPT's speech.",
            {_ANYGPT_SPEECH: ("OpenMOSS-Team/AnyGPT-speech-modules",)},
        ),
        Card(
            "soundstorm-librispeech",
            (
                RemoteFile(
                    "SoundStorm_best_dev.pt",
                    "SoundStorm: layers 2 to 8 of speechtokenizer from layer 1 and a voice prompt",
                    "1.41 GB",
                    _USLM,
                    "SoundStorm_LibriSpeech/SoundStorm_best_dev.pt",
                    sha256="09b9874b45c8f011807baec2bd5ad2228d9e07f502e3194fd9dde2bd12ab6398",
                ),
            ),
            "none stated: the model card is without metadata",
            "USLM's, by SpeechTokenizer's authors (LibriSpeech). That it belongs to the hubert_avg model is inferred "
            "from its date: the file does not say.",
            {_USLM: ("OpenMOSS-Team/USLM",)},
        ),
        _encodec(
            "encodec-32khz",
            "CC-BY-NC-4.0: not for commercial use",
            "about 235 MB",
            "MusicGen's codec. audiocraft's own compression_state_dict.bin loads too.",
        ),
        _encodec("encodec-24khz", "MIT (code); see the repository for the weights", "about 93 MB"),
        _encodec("encodec-48khz", "MIT (code); see the repository for the weights", "about 76 MB"),
    )
}
