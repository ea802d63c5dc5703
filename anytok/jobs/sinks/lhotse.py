"""Lhotse Shar: cuts in JSON lines, and beside them, in the same order, a tar with the codes as their custom array."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import JobError
from ...spec import Codes
from ..items import valid_text
from ..shard import Row, Shard
from ..stored import specs_of
from ..values import to_json
from .archives import add_member, npy
from .tables import meta_json

__all__ = ["codes_lhotse", "keys_lhotse", "name_lhotse", "write_lhotse"]


def write_lhotse(stem: Path, shard: Shard) -> None:
    """`.cuts.jsonl`: a MonoCut a row, without a recording; its text is a supervision, and `custom` has key, modality,
    tokenizer (its id), num_samples, sampling_rate, scales and meta (JSON). Cuts are numbered, as samples of WebDataset
    are. `.codes.tar`: `codes` [T, K], since lhotse slices arrays along their first dimension, whatever `temporal_dim`
    says. They are a TemporalArray, so that a cut that is shortened loads its own frames; an Array where frames have no
    time of their own: of pictures, and of segments that overlap.

    A cut is as long as its frames are, up to one frame longer than the sound; lhotse would round a last frame that is
    not full away. Of segments that overlap it is as long as the sound, and a picture's is one second, since there is no
    cut without a length.
    """
    head = {"anytok": shard.provenance} if shard.rows else {}
    with (
        open(stem.with_suffix(".cuts.jsonl"), "w", encoding="utf-8", newline="\n") as cuts,
        tarfile.open(stem.with_suffix(".codes.tar"), "w", format=tarfile.PAX_FORMAT, pax_headers=head) as tar,
    ):
        for number, row in enumerate(shard.rows):
            name = f"{shard.number:06d}{number:06d}"
            cuts.write(to_json(_cut(name, row)) + "\n")
            add_member(tar, f"{name}.npy", npy(np.ascontiguousarray(row.values.T, shard.code_dtype)))
            add_member(tar, f"{name}.json", to_json(_array(row.codes)).encode())


def keys_lhotse(stem: Path) -> list[str]:
    """Keys of the cuts. Raises JobError where the tar holds the codes of others."""
    with open(stem.with_suffix(".cuts.jsonl"), encoding="utf-8") as stream:
        cuts = [json.loads(line) for line in stream]
    wanted = [f"{cut['id']}{suffix}" for cut in cuts for suffix in (".npy", ".json")]
    if cuts:
        with tarfile.open(stem.with_suffix(".codes.tar")) as tar:
            if tar.getnames() != wanted:
                raise JobError("the tar does not hold the codes of the cuts")
    return [cut["custom"]["key"] for cut in cuts]


def codes_lhotse(stem: Path) -> list[Codes]:
    """The codes of the cuts."""
    with open(stem.with_suffix(".cuts.jsonl"), encoding="utf-8") as stream:
        customs = [json.loads(line)["custom"] for line in stream]
    if not customs:
        return []
    path = stem.with_suffix(".codes.tar")
    with tarfile.open(path) as tar:
        specs = specs_of(tar.pax_headers.get("anytok"), str(path))
        streams = [tar.extractfile(member) for member in tar if member.name.endswith(".npy")]
        arrays = [np.load(io.BytesIO(stream.read()), allow_pickle=False) for stream in streams if stream]
    return [
        Codes(values.T, specs[custom["tokenizer"]], custom["num_samples"], 0, custom.get("scales"))
        for values, custom in zip(arrays, customs, strict=True)
    ]


def name_lhotse(shard: int, suffix: str) -> str:
    """What a shard's file is called: lhotse finds the fields of its cuts by the first part of the name."""
    _, field, kind = suffix.split(".")
    return f"{field}.{shard:06d}.{kind}"


def _cut(name: str, row: Row) -> dict[str, Any]:
    item, codes = row.item, row.codes
    duration = _seconds(codes)
    custom: dict[str, Any] = {"key": item.key, "modality": item.modality, "tokenizer": codes.spec.id}
    custom |= {"num_samples": codes.num_samples, "meta": meta_json(item)}
    if codes.spec.sample_rate is not None:
        custom["sampling_rate"] = codes.spec.sample_rate  # where lhotse looks for it in a cut without a recording
    if codes.scales is not None:
        custom["scales"] = [float(scale) for scale in codes.scales]
    cut = {"id": name, "start": 0.0, "duration": duration, "channel": 0, "supervisions": [], "custom": custom}
    if item.text is not None:
        segment = {"id": name, "recording_id": item.key, "start": 0.0, "duration": duration, "channel": 0}
        cut["supervisions"] = [{**segment, "text": valid_text(item.text)}]
    return {**cut, "type": "MonoCut"}


def _array(codes: Codes) -> dict[str, Any]:
    array = {"storage_type": "shar", "storage_path": "", "storage_key": "", "shape": list(codes.values.T.shape)}
    if not _is_timed(codes):
        return array
    return {"array": array, "temporal_dim": 0, "frame_shift": 1 / float(codes.spec.frame_rate or 1), "start": 0}


def _seconds(codes: Codes) -> float:
    spec = codes.spec
    if _is_timed(codes):
        return codes.num_frames / float(spec.frame_rate or 1)
    return codes.num_samples / spec.sample_rate if codes.num_samples and spec.sample_rate else 1.0


def _is_timed(codes: Codes) -> bool:
    """Whether each frame stands for a stretch of its own."""
    return codes.spec.frame_rate is not None and codes.spec.segment_samples is None
