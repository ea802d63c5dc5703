"""Recipes for one's own tokenizers, and for the small ones that ship: one config, one command.

anytok train configs/train/speech_mini.toml
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UsageError
from .config import CodecConfig, VoiceConfig, read_config

__all__ = ["train"]


def train(config_path: str | Path) -> Path:
    """Train the model that a TOML config describes, or go on where an earlier run stopped.

    Returns the folder with the weights, in the published form of its kind; beside it lie the checkpoint, the
    losses and their plot.

    Raises UsageError for a config that does not hold together or data that are not there, MediaError for a picture
    that cannot be read.
    """
    from .codec import CodecRecipe
    from .export import export_encodec, export_seed, export_speech, export_unclip, export_vae, export_voice
    from .image import ImageConfig, ImageRecipe
    from .loop import optimize
    from .unclip import UnclipConfig, UnclipRecipe
    from .vae import VaeConfig, VaeRecipe
    from .voice import VoiceRecipe

    kinds: dict[str, tuple[Any, Any, Any]] = {
        "speech": (CodecConfig, CodecRecipe, export_speech),
        "music": (CodecConfig, CodecRecipe, export_encodec),
        "image": (ImageConfig, ImageRecipe, export_seed),
        "vae": (VaeConfig, VaeRecipe, export_vae),
        "unclip": (UnclipConfig, UnclipRecipe, export_unclip),
        "voice": (VoiceConfig, VoiceRecipe, export_voice),
    }
    config = read_config(config_path, {kind: parts[0] for kind, parts in kinds.items()})
    _, recipe_class, export = kinds[config.kind]
    folder = Path(config.out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{config_path}: out={config.out!r} is a file: expected a folder, or a name that is free")
    recipe = recipe_class(config)
    optimize(recipe, config.run, folder)
    export(recipe, folder / "weights")
    return folder / "weights"
