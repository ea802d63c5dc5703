"""What the painter learns from: embeddings of pictures and the latents to draw of them, made once and kept beside the
checkpoint, with a note of what they were made from.

Legend: n pairs, b batch, c channels, h height, w width, e embedding width.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..atomic import replacing
from ..errors import CheckpointError
from ..models.seed import Seed, normalize
from .config import TrainConfig
from .finished import finished_files, load_seed, load_vae
from .pictures import Pictures, photographs

__all__ = ["files_of", "read_or_make_pairs"]

_BLOCK = 16  # pictures that share a generator of random numbers


def read_or_make_pairs(config: TrainConfig) -> dict[str, Tensor]:
    """`embeddings` [n, e] and unscaled `latents` [n, c, h, w], from the run's folder; made now where they are not
    there, not whole, or of other pictures, weights or settings than the config says.

    Raises UsageError for folders of runs that are not finished, CheckpointError where a painter has already learned
    from other pairs.
    """
    from safetensors.torch import save_file

    path = Path(config.out) / "pairs.safetensors"
    origin = _origin(config)
    pairs = _read(path, origin)
    if pairs is not None:
        return pairs
    if path.exists() and (path.parent / "checkpoint.pt").exists():
        raise CheckpointError(
            f"{path}: damaged, or made from other pictures, weights or settings than the config names now, and "
            "checkpoint.pt beside it has learned from it. Delete both to begin anew, or give `out` another folder"
        )
    pairs = _make(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        save_file(pairs, aside, metadata={"made_from": origin})
    return pairs


def files_of(config: TrainConfig) -> list[Path]:
    """The files that pairs are made from; raises UsageError for a finished run's that is not there."""
    files = photographs(config.data)
    if config.model.world and (font := config.model.world.make().font):
        files.append(font)
    for key in ("tokenizer", "vae"):
        files += finished_files(key, getattr(config.model, key))
    return files


def _origin(config: TrainConfig) -> str:
    """A hash of all that pairs depend on."""
    model, files = config.model, files_of(config)
    digest = hashlib.sha256(repr((model.num_pairs, model.drawn, model.world, config.run.seed)).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
    return digest.hexdigest()


def _read(path: Path, origin: str) -> dict[str, Tensor] | None:
    """The pairs in a file; None where it is not there, not whole, or not of this origin."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            same = (file.metadata() or {}).get("made_from") == origin
            return {key: file.get_tensor(key) for key in ("embeddings", "latents")} if same else None
    except (OSError, SafetensorError):
        return None


def _make(config: TrainConfig) -> dict[str, Tensor]:
    from tqdm import tqdm

    seed, sizes = load_seed(config.model.tokenizer)
    vae = load_vae(config.model.vae)
    side, small = sizes["image_size"], vae.config.sample_size
    pictures = Pictures(config.data, max(side, 2 * small), config.model.drawn, config.model.world)

    @torch.no_grad()
    def pairs_of(block: int) -> tuple[Tensor, Tensor]:
        levels_bhwc = pictures.batch(np.random.default_rng((config.run.seed, block)), _BLOCK)
        return _told(seed, levels_bhwc, side), vae.encode(_wanted(levels_bhwc, small)).latent_dist.mode()

    # Threads on blocks, not within operations: much of the time is Pillow's, which draws a picture in one thread.
    with ThreadPoolExecutor(config.run.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        blocks = range(-(-config.model.num_pairs // _BLOCK))
        made = list(tqdm(pool.map(pairs_of, blocks), total=len(blocks), desc="pairs", mininterval=10))
    embeddings, latents = zip(*made, strict=True)
    return {"embeddings": torch.cat(embeddings), "latents": torch.cat(latents).contiguous()}


def _told(seed: Seed, levels_bhwc: np.ndarray, side: int) -> Tensor:
    """Embeddings [b, e] of the codes of pictures, resized to `side` as the tokenizer prepares them: what a painter is
    told."""
    seen_bhwc = torch.from_numpy(np.stack([_resized(levels_hwc, side) for levels_hwc in levels_bhwc]))
    return seed.embed(seed.quantize(seed.latents(normalize(seen_bhwc))))


def _wanted(levels_bhwc: np.ndarray, side: int) -> Tensor:
    """The pictures [b, 3, side, side], from -1 to 1, that should come of it."""
    levels_bchw = torch.from_numpy(levels_bhwc).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(levels_bchw, (side, side), mode="bilinear", antialias=True)


def _resized(levels_hwc: np.ndarray, side: int) -> np.ndarray:
    """As a tokenizer prepares a picture."""
    from PIL import Image

    return np.asarray(Image.fromarray(levels_hwc).resize((side, side), Image.Resampling.BICUBIC))
