"""What an entry is found by, and how it is stored: codes as bytes, behind a checksum.

A key is the SHA-256 of the prepared medium and of the identity of the tokenizer. Media come from strangers, so that a
hash is needed of which nobody can make two equal ones. Entries are damaged by accident alone, for which XXH3 serves.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128_digest

from .. import __version__
from ..errors import CodesError, UsageError
from ..media import Audio, Decoded
from ..spec import Codes, Spec
from ..tokenizer import Tokenizer

__all__ = ["Damaged", "identity", "key_of", "pack", "unpack"]

_SUM = 16  # bytes of XXH3 in front of an entry, over the key and all that follows
# Codebooks, frames, first codebook, num_samples (0: None), scales (-1: None); little-endian, as the arrays behind it.
_HEAD = struct.Struct("<IQIQq")


class Damaged(Exception):
    """Bytes that are not what was written under this key."""


def identity(tokenizer: Tokenizer) -> bytes:
    """32 bytes that stand for everything that decides a tokenizer's codes, but the medium.

    These are its Spec (with the hash of the weights and the precision, the number of codebooks, the preprocessing), its
    class and release, the kind of device, and the options that it was loaded with, without those which are for decoding
    alone (`catalogue.DECODE_ONLY`). Raises UsageError where that is not known.
    """
    spec = tokenizer.spec
    loaded = None if tokenizer._loaded_as is None else dict(tokenizer._loaded_as)
    if "@" not in spec.id:
        raise UsageError(f"the id {spec.id!r} does not say which weights: Tokenizer.identified makes one that does")
    if loaded is None:
        raise UsageError(
            f"{spec.id} was not loaded by load_tokenizer, so that its options, which may decide codes, are not known: "
            "add it by an entry point (anytok/engines/README.md), and load it by its name"
        )
    kind = loaded["device"].partition(":")[0]  # cuda:1 gives the codes of cuda:0
    record = {
        "anytok": __version__,
        "class": f"{type(tokenizer).__module__}:{type(tokenizer).__qualname__}",
        "spec": spec.to_dict(),
        "loaded": {name: value for name, value in (loaded | {"device": kind}).items() if value is not None},
        "float32_precision": tokenizer.float32_precision,
    }
    text = json.dumps(record, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).digest()


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise UsageError(
        f"an option that is a {type(value).__name__}: a cache cannot tell it from others; give text or numbers, or "
        "encode without a cache"
    )


def key_of(medium: Decoded, whose: bytes) -> bytes:
    """32 bytes for a prepared medium under the `identity` of a tokenizer."""
    if isinstance(medium, Audio):
        head, data = f"sound {medium.sample_rate} {medium.wave.shape}", medium.wave
    else:
        data = np.asarray(medium)
        head = f"picture {medium.mode} {data.shape} {data.dtype.str}"
    digest = hashlib.sha256(whose + head.encode() + b"\0")
    digest.update(np.ascontiguousarray(data).data)
    return digest.digest()


def pack(key: bytes, codes: Codes) -> bytes:
    """Codes as bytes: a checksum, a header, values of the narrowest type, scales."""
    values = codes.values.astype(_type_of(codes.spec))
    scales = b"" if codes.scales is None else codes.scales.astype("<f4").tobytes()
    count = -1 if codes.scales is None else len(codes.scales)
    body = _HEAD.pack(*values.shape, codes.first_codebook, codes.num_samples or 0, count) + values.tobytes() + scales
    return xxh3_128_digest(key + body) + body


def unpack(key: bytes, stored: bytes, spec: Spec) -> Codes:
    """The codes that `pack` made bytes of under this key; raises Damaged on any others."""
    total, body = stored[:_SUM], stored[_SUM:]
    if xxh3_128_digest(key + body) != total:
        raise Damaged("its checksum does not hold")
    try:
        num_codebooks, num_frames, first, num_samples, count = _HEAD.unpack_from(body)
        values = np.frombuffer(body, _type_of(spec), num_codebooks * num_frames, _HEAD.size)
        scales = None if count < 0 else np.frombuffer(body, "<f4", count, _HEAD.size + values.nbytes)
        return Codes(values.reshape(num_codebooks, num_frames), spec, num_samples or None, first, scales)
    except (struct.error, ValueError, CodesError) as error:  # of a checksum that holds: another format
        raise Damaged(str(error)) from error


def _type_of(spec: Spec) -> np.dtype:
    """The narrowest type of a codebook's numbers, little-endian."""
    return np.min_scalar_type(spec.codebook_size - 1).newbyteorder("<")
