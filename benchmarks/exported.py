"""Tokenizers as `anytok export` writes them, run by ONNX Runtime; what parity.py and others compare."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import anytok

if TYPE_CHECKING:
    from anytok.export.runtime import Exported

EXTRA = ("onnx", "onnxscript", "onnxruntime")  # `export`
KINDS = {"float32": "onnx", "float16": "onnx float16"}  # dtype → what rows call the codes of such an export


@contextmanager
def exported(spec: anytok.Spec, checkpoint: Path, dtype: str) -> Iterator[Exported | None]:
    """The files of one tokenizer, for as long as they are needed; None without the extra `export`."""
    if absent(EXTRA):
        yield None
        return
    from anytok.export import export_onnx
    from anytok.export.runtime import Exported
    from anytok.export.samples import samples_for

    with tempfile.TemporaryDirectory() as place:
        export_onnx(spec.name, place, samples_for(spec.name)[-1:], checkpoint=checkpoint, dtype=dtype)
        yield Exported(Path(place), spec)


def absent(packages: tuple[str, ...]) -> list[str]:
    """Those that are not installed."""
    return [package for package in packages if find_spec(package) is None]
