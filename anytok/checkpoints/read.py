"""Checkpoint files → tensors, without ever running what is in them.

Accepted are safetensors and torch's zip files, told apart by content. torch files go through the weights-only
unpickler, which builds tensors and plain containers and nothing else.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from xxhash import xxh3_128

from ..errors import CheckpointError, first_line

__all__ = ["MAX_HEADER_BYTES", "MAX_TENSORS", "fingerprint", "read_config", "read_package", "read_tensors"]

State = dict[str, Tensor]

MAX_HEADER_BYTES = 4 << 20  # a safetensors header of a million empty tensors is legal and takes minutes
MAX_TENSORS = 20_000
MAX_CONFIG_BYTES = 1 << 20

# Trainers wrap the state dict under one of these keys.
_WRAPPERS = ("best_state", "generator", "model", "state_dict")


def read_tensors(path: Path) -> State:
    """The flat state dict in a safetensors or torch file; a trainer's wrapper around it is taken off."""
    package = read_package(path)
    for wrapper in _WRAPPERS:
        if isinstance(package.get(wrapper), Mapping):
            package = dict(package[wrapper])
            break
    strangers = [key for key, value in package.items() if not isinstance(value, Tensor)]
    if strangers or not package:
        found = f"entries that are no tensors, such as {strangers[0]!r}" if strangers else "no tensors"
        raise CheckpointError(f"{path}: holds {found}; expected a flat state dict of the published form")
    if len(package) > MAX_TENSORS:
        raise CheckpointError(f"{path}: holds {len(package)} tensors; more than {MAX_TENSORS} are refused")
    return package


def read_package(path: Path) -> dict[str, Any]:
    """Whatever mapping a checkpoint file holds at its top, tensors and plain values alike."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a .safetensors, .pt or .bin checkpoint")
    with path.open("rb") as file:
        head = file.read(9)
    if head[:2] == b"PK":
        return _read_torch(path)
    if len(head) == 9 and head[8:] == b"{":
        return _read_safetensors(path, struct.unpack("<Q", head[:8])[0])
    raise CheckpointError(
        f"{path}: neither safetensors nor a torch zip file (it begins with {head[:8]!r}). Old-style pickles can run "
        "code and are refused: load the file in a place you trust and save it with safetensors"
    )


def read_config(path: Path) -> dict[str, Any]:
    """A config.json as a dict."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; the config that belongs to the weights gives their sizes")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes is no model config (limit {MAX_CONFIG_BYTES})")
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: holds a JSON {type(config).__name__}; expected an object of model sizes")
    return config


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Twelve hex digits over names, shapes, types and bytes of all tensors; refuses non-finite weights.

    Equal tensors give equal fingerprints, whichever file format or key generation they came in (names are
    the canonical ones by then). Twelve digits tell weights apart by mistake, not by malice, so XXH3 serves,
    several times faster than SHA-256.
    """
    digests = []
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        # extremes are infinite or NaN where any number is, and are found ten times faster than by asking each
        if tensor.is_floating_point() and tensor.numel() and not all(map(math.isfinite, tensor.aminmax())):
            raise CheckpointError(f"weight {key} holds NaN or infinity: the file is damaged, fetch it again")
        digest = xxh3_128(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(memoryview(tensor.flatten().view(torch.uint8).numpy()))  # type: ignore[arg-type]
        digests.append(digest.digest())
    return xxh3_128(b"".join(digests)).hexdigest()[:12]


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        package = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the loader raises half a dozen types on damaged files
        raise CheckpointError(
            f"{path}: cannot be read as plain weights ({first_line(error)}). It is damaged, or holds objects that "
            "would run code when loaded; fetch it again from where it was published"
        ) from error
    if not isinstance(package, Mapping):
        raise CheckpointError(f"{path}: holds a {type(package).__name__}; expected a state dict")
    return dict(package)


def _read_safetensors(path: Path, header_bytes: int) -> dict[str, Any]:
    if header_bytes > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: a header of {header_bytes} bytes is refused (limit {MAX_HEADER_BYTES})")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: damaged safetensors ({error}); fetch it again") from error
