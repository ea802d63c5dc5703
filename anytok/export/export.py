"""`export_onnx`: a tokenizer's published files → encoder.onnx, decoder.onnx and a card, tried out at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..arguments import check_folder, choice
from ..atomic import aside_name, sweep
from ..checkpoints import published
from ..checkpoints.report import load_state
from ..checkpoints.seanet import model_state, read_codec
from ..checkpoints.seed import read_seed
from ..errors import UsageError
from ..media import Media, prepare
from ..models.codec import Codec
from ..registry import find, load_tokenizer
from ..spec import Spec
from ..torch_settings import skeleton
from .card import card, facts_of
from .codec import decoder_model, encoder_model
from .graph import require_onnx
from .runtime import Agreement, agreement
from .seed import write_seed

__all__ = ["ExportResult", "export_onnx"]

_DTYPES = {"float32": (np.float32, torch.float32), "float16": (np.float16, torch.float16)}


@dataclass(frozen=True)
class ExportResult:
    """What was written into `folder`, and how it did on the samples, an Agreement each."""

    folder: Path
    files: tuple[str, ...]
    samples: tuple[Agreement, ...]


def export_onnx(
    name: str,
    folder: str | Path,
    samples: Sequence[Media],
    *,
    checkpoint: str | Path | None = None,
    dtype: str = "float32",
    num_codebooks: int | None = None,
) -> ExportResult:
    """Write a built-in tokenizer as ONNX files into a new folder, and try them on `samples` with ONNX Runtime.

    `encoder.onnx` takes media that are prepared already (resampled, mixed, resized: `card.json` says how), of any
    number and length: sound [batch, channels, samples] in float32, pictures [batch, height, width, 3] in uint8.
    `decoder.onnx` gives sound, or the image embedding that an unCLIP pipeline paints from. EnCodec at 48 kHz works on
    segments; the card has their length and step. `dtype` "float16" halves the files: weights and layers are in float16,
    the search for the nearest codebook vector stays in float32. `num_codebooks` keeps the first n.

    Raises MissingExtraError without the extra `export`, UsageError for another package's tokenizer, a folder that holds
    anything, or no samples, DiskError for one that cannot be made, and CheckpointError for weights that cannot be used.
    """
    require_onnx()
    choice("dtype", dtype, tuple(_DTYPES))
    place = _empty(Path(folder))
    if not samples:
        raise UsageError("no samples: give at least one picture or recording to try the export on")
    if find(name).package:
        raise UsageError(f"{name} comes from another package: only anytok's own tokenizers can be exported")
    options: dict[str, Any] = {} if num_codebooks is None else {"num_codebooks": num_codebooks}
    tokenizer = load_tokenizer(name, checkpoint=checkpoint, **options)
    prepared = [prepare(one, tokenizer.spec) for one in samples]
    with _written_whole(place) as aside:
        with torch.inference_mode():
            _write(tokenizer.spec, checkpoint, dtype, aside)
        found = tuple(agreement(tokenizer, aside, one) for one in prepared)
        record = card(tokenizer.spec, dtype, found)
        (aside / "card.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return ExportResult(place, tuple(sorted(path.name for path in place.iterdir())), found)


def _write(spec: Spec, checkpoint: str | Path | None, dtype: str, folder: Path) -> None:
    facts, (numpy_dtype, torch_dtype) = facts_of(spec, dtype), _DTYPES[dtype]
    if spec.image_size is not None:
        write_seed(read_seed(spec.name, checkpoint), spec.image_size, torch_dtype, folder, facts)
        return
    import onnx

    files = read_codec(published(spec.name, checkpoint))
    with skeleton():
        codec = Codec(**files.sizes.architecture())
    load_state(codec, model_state(files.state), str(files.source), files.ignored)
    for part, model_of in (("encoder", encoder_model), ("decoder", decoder_model)):
        model = model_of(codec, files.sizes, spec.num_codebooks, numpy_dtype, facts)
        onnx.save(model, folder / f"{part}.onnx")


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write in; its files get their names in `folder` when all are there. What a killed export leaves, the
    next one deletes."""
    aside = aside_name(folder)
    aside.mkdir(parents=True)
    try:
        yield aside
        for path in aside.iterdir():
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _empty(folder: Path) -> Path:
    check_folder(folder)
    sweep(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: holds files already; choose a new folder for the export")
    return folder
