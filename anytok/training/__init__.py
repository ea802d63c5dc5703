"""Recipes for one's own tokenizers, and for the small ones that ship: one config, one command.

anytok train configs/train/speech_mini.toml
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..arguments import check_folder
from .config import CodecConfig, VoiceConfig, read_config
from .stopping import Stopped

__all__ = ["Stopped", "train"]


def train(config_path: str | Path, *, allow_changes: bool = False) -> Path:
    """Train the model that a TOML config describes, or go on where an earlier run stopped.

    Returns the folder with the weights, in the published form of its kind; beside it lie the checkpoint, the
    losses and their plot. A run goes on only with the settings and the data it began with, but for `steps`, `threads`
    and `save_every`; with `allow_changes` with any. A logged warning names those that differ.

    Raises UsageError for a config that does not hold together, changed settings or data, or none there, MediaError
    for a picture that cannot be read, DiskError for an output folder that cannot be written, and Stopped, a
    KeyboardInterrupt, after Ctrl-C or SIGTERM, when all is saved.
    """
    from .codec import CodecRecipe
    from .data import hash_files
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
    check_folder(folder)
    recipe = recipe_class(config)
    settings = {key: value for key, value in asdict(config).items() if key not in ("name", "out")}
    data = hash_files(recipe.data_files)
    optimize(recipe, config.run, folder, settings=settings, data=data, allow_changes=allow_changes)
    export(recipe, folder / "weights")
    return folder / "weights"
