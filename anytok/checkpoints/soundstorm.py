"""SoundStorm's published files → sizes and tensors under our names.

A folder holds `speechtokenizer_soundstorm_mls.pt` (AnyGPT's), `SoundStorm_best_dev.pt` (USLM's; its convolutions have
older names) or `model.safetensors`, each a flat state dict, and may hold a `config.json` with the arguments of the
original classes. Without one there are 8 heads, the only size that no shape tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .read import read_config, read_tensors

__all__ = ["SoundStormFiles", "SoundStormSizes", "published_state", "read_soundstorm"]

State = dict[str, Tensor]

_WEIGHTS = ("speechtokenizer_soundstorm_mls.pt", "SoundStorm_best_dev.pt", "model.safetensors")
_HEADS = 8
_BLOCK = "net.conformer.layers."

# Our name of a module in a block → the published one; then the published name → the older one.
_IN_BLOCK = {
    "before.norm": "ff1.fn.norm", "before.fc1": "ff1.fn.fn.net.0", "before.fc2": "ff1.fn.fn.net.3",
    "after.norm": "ff2.fn.norm", "after.fc1": "ff2.fn.fn.net.0", "after.fc2": "ff2.fn.fn.net.3",
    "attention.norm": "attn.norm", "attention.proj": "attn.fn.to_out", "norm": "post_norm",
    "convolution.norm": "conv.net1.0", "convolution.fc1": "conv.net1.2", "convolution.depthwise": "conv.ds_conv.conv",
    "convolution.fc2": "conv.net2.2",
}  # fmt: skip
_GAMMA, _QUERY, _KEY_VALUE = "conv.net2.1.gamma", "attn.fn.to_q.weight", "attn.fn.to_kv.weight"
_OLDER = {
    "conv.net.0.": "conv.net1.0.", "conv.net.2.": "conv.net1.2.", "conv.net.4.conv.": "conv.ds_conv.conv.",
    "conv.net.6.": "conv.net2.1.", "conv.net.7.": "conv.net2.2.",
}  # fmt: skip
_OUTSIDE = {
    "code_embedding": "net.code_embeds", "content_embedding": "semantic_token_emb", "heads": "net.heads.0",
    "norm": "net.to_logits.0",
}  # fmt: skip
_TO_LOGITS = "net.to_logits.2."


@dataclass(frozen=True)
class SoundStormSizes:
    """What shapes the network, as keywords for `anytok.models.soundstorm.SoundStorm`."""

    width: int
    depth: int
    heads: int
    head_width: int
    codebook_size: int
    num_levels: int
    mlp_ratio: int
    expansion: int
    kernel: int

    def architecture(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class SoundStormFiles:
    """What a folder holds: sizes, tensors under the names of our modules, what was not needed, and where from."""

    sizes: SoundStormSizes
    state: State
    ignored: tuple[str, ...]
    source: Path


def read_soundstorm(place: Path) -> SoundStormFiles:
    """Read the weights in the folder `place`, or in the file `place`, under either generation of names; raises
    CheckpointError naming what is missing or does not fit."""
    folder = place if place.is_dir() else place.parent
    source = _first_of(folder) if place in (folder, folder / "config.json") else place
    state = _newer(read_tensors(source), source)
    config = read_config(folder / "config.json") if (folder / "config.json").is_file() else {}
    sizes = _sizes(state, config, source)
    ours, used = _ours(state, sizes)
    return SoundStormFiles(sizes, ours, tuple(sorted(set(state) - used)), source)


def published_state(state: Mapping[str, Tensor]) -> State:
    """Tensors of our module under the published names, in the published shapes; what `read_soundstorm` undoes."""
    published: State = {}
    levels = {"weight": [], "bias": []}  # type: dict[str, list[Tensor]]
    for key, tensor in state.items():
        module, _, kind = key.rpartition(".")
        if module.startswith("to_logits."):
            levels[kind].append(tensor.T if kind == "weight" else tensor)
        elif not module.startswith("blocks."):
            published[f"{_OUTSIDE[module]}.{kind}"] = tensor
        else:
            stem, inner = _BLOCK + module.split(".")[1] + ".", module.split(".", 2)[2]
            if inner == "attention.qkv":
                query, key_value = tensor.split([len(tensor) // 3, len(tensor) // 3 * 2])
                published |= {stem + _QUERY: query, stem + _KEY_VALUE: key_value}
            elif kind == "gain_c":
                published[stem + _GAMMA] = tensor[None, :, None]
            else:
                is_pointwise = inner in ("convolution.fc1", "convolution.fc2") and kind == "weight"
                published[f"{stem}{_IN_BLOCK[inner]}.{kind}"] = tensor[..., None] if is_pointwise else tensor
    return published | {
        f"{_TO_LOGITS}weight": torch.stack(levels["weight"]),
        f"{_TO_LOGITS}bias": torch.stack(levels["bias"])[None, None],
    }


def _first_of(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder}: no weights of SoundStorm; expected {', '.join(_WEIGHTS[:-1])} or {_WEIGHTS[-1]}")


def _newer(state: State, source: Path) -> State:
    """The state under the newer names; raises CheckpointError where both generations give one tensor."""
    renamed: State = {}
    for key, tensor in state.items():
        name = key
        for older, newer in _OLDER.items():
            name = name.replace(f".{older}", f".{newer}", 1) if key.startswith(_BLOCK) else name
        if name in renamed:
            raise CheckpointError(f"{source}: {key} is there under its older and its newer name: which one counts?")
        renamed[name] = tensor
    return renamed


def _sizes(state: State, config: Mapping[str, Any], source: Path) -> SoundStormSizes:
    first = f"{_BLOCK}0."
    needed = {
        "logits": f"{_TO_LOGITS}weight", "query": first + _QUERY, "hidden": f"{first}ff1.fn.fn.net.0.weight",
        "depthwise": f"{first}conv.ds_conv.conv.weight",
    }  # fmt: skip
    if missing := [key for key in needed.values() if key not in state]:
        raise CheckpointError(f"{source}: {missing[0]} is missing: expected SoundStorm's published file")
    shapes = {name: list(state[key].shape) for name, key in needed.items()}
    if [len(shapes[name]) for name in needed] != [3, 2, 2, 3] or not all(map(all, shapes.values())):
        raise CheckpointError(f"{source}: {shapes} are no shapes of SoundStorm's tensors")
    (levels, width, codes), inner = shapes["logits"], shapes["query"][0]
    blocks = {int(found[1]) for key in state if (found := re.match(re.escape(_BLOCK) + r"(\d{1,4})\.", key))}
    heads = _heads(config, inner, source)
    expected = {"net.code_embeds.weight": levels * (codes + 1), "semantic_token_emb.weight": codes}
    for key, rows in expected.items():
        if key in state and len(state[key]) != rows:
            raise CheckpointError(
                f"{source}: {key} has {len(state[key])} rows, and {levels} levels of {codes} codes need {rows}: "
                "grouped quantizers, or ids for padding, cannot be run"
            )
    hidden, channels, kernel = shapes["hidden"][0], shapes["depthwise"][0], shapes["depthwise"][2]
    if hidden % width or channels % width or kernel % 2 == 0:
        raise CheckpointError(f"{source}: {hidden} and {channels} channels of {width}, kernel {kernel}: unknown form")
    ratios = {"mlp_ratio": hidden // width, "expansion": channels // width, "kernel": kernel}
    return SoundStormSizes(width, max(blocks) + 1, heads, inner // heads, codes, levels, **ratios)


def _heads(config: Mapping[str, Any], inner: int, source: Path) -> int:
    """The number of attention heads, by the config or as published."""
    conformer = config.get("conformer", {})
    heads = conformer.get("heads", _HEADS) if isinstance(conformer, Mapping) else None
    if type(heads) is not int or heads < 1 or inner % heads or inner // heads % 2:
        raise CheckpointError(
            f"{source}: heads {heads!r}: expected a whole number that cuts {inner} into even widths, under conformer "
            f"in config.json beside it; without one there are {_HEADS}, as published"
        )
    return heads


def _ours(state: State, sizes: SoundStormSizes) -> tuple[State, set[str]]:
    """The tensors under our names, and which of the published names they came from; what is missing is left out."""
    ours: State = {}
    used: set[str] = set()

    def take(name: str, *keys: str) -> None:
        """One of ours, of the published ones joined; those of 1 x 1 convolutions are matrices."""
        if all(key in state for key in keys):
            tensor = state[keys[0]] if len(keys) == 1 else torch.cat([state[key] for key in keys])
            is_matrix = name.endswith(("fc1.weight", "fc2.weight"))
            ours[name] = tensor[..., 0] if is_matrix and tensor.dim() == 3 and tensor.shape[2] == 1 else tensor
            used.update(keys)

    for name, published in _OUTSIDE.items():
        for kind in ("weight", "bias"):
            take(f"{name}.{kind}", f"{published}.{kind}")
    for number in range(sizes.depth):
        stem, block = f"{_BLOCK}{number}.", f"blocks.{number}."
        for name, published in _IN_BLOCK.items():
            for kind in ("weight", "bias"):
                take(f"{block}{name}.{kind}", f"{stem}{published}.{kind}")
        take(f"{block}attention.qkv.weight", stem + _QUERY, stem + _KEY_VALUE)
        take(f"{block}convolution.gain_c", stem + _GAMMA)
        if f"{block}convolution.gain_c" in ours:
            ours[f"{block}convolution.gain_c"] = ours[f"{block}convolution.gain_c"].flatten()
    for kind in ("weight", "bias"):
        take(kind, _TO_LOGITS + kind)
        if kind in ours:
            levels = ours.pop(kind).reshape(sizes.num_levels, -1, sizes.codebook_size)
            for level, tensor in enumerate(levels):
                ours[f"to_logits.{level}.{kind}"] = tensor.T.contiguous() if kind == "weight" else tensor[0]
    return ours, used
