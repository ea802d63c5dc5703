"""A tokenizer that encodes nothing twice."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arguments import whole
from ..errors import UsageError
from ..media import Decoded
from ..spec import Codes
from ..tokenizer import Tokenizer
from .entry import Damaged, identity, key_of, pack, unpack
from .store import open_store

__all__ = ["CachedTokenizer", "Counts", "cached"]

_POLL = 0.005  # seconds between two looks for what another process or thread encodes


def cached(tokenizer: Tokenizer, folder: str | Path, *, limit: int | None = None) -> CachedTokenizer:
    """`tokenizer`, with its codes kept in `folder`: what was encoded before, by any process, is looked up.

    The key of an entry is the SHA-256 of the prepared medium, `Spec.id` and whatever else decides codes, so that a
    folder may serve any tokenizers, and none gets codes of other weights, another precision, number of codebooks or
    preprocessing. `limit` is the most bytes that the folder keeps, for all that use it, until it is set anew (10 GiB at
    first); what was used least recently goes. Takes what `load_tokenizer` has loaded.

    Raises UsageError where it is not known what decides the tokenizer's codes, and CacheError, also when it is used, on
    a folder that holds something else, is damaged, may not be written, or has no room.
    """
    if not isinstance(tokenizer, Tokenizer):
        raise UsageError(f"cached got a {type(tokenizer).__name__}: expected a tokenizer, as load_tokenizer returns it")
    if isinstance(tokenizer, CachedTokenizer):
        raise UsageError(f"{tokenizer!r} has a cache already: give what load_tokenizer returned")
    return CachedTokenizer(tokenizer, Path(folder).expanduser().absolute(), limit)


@dataclass(frozen=True)
class Counts:
    """Items of a CachedTokenizer in this process, since it was made."""

    found: int = 0  # in the folder, or equal to another of their batch
    encoded: int = 0
    damaged: int = 0  # found, but not as they were written: encoded anew
    too_large: int = 0  # encoded, but larger than the folder's limit: not kept


class CachedTokenizer(Tokenizer):
    """What `cached` returns. It has what its tokenizer has; `counts` says how often it was spared."""

    def __init__(self, tokenizer: Tokenizer, folder: Path, limit: int | None) -> None:
        self._inner, self.spec, self.folder = tokenizer, tokenizer.spec, folder
        for name in ("total_codebooks", "normalizes_loudness", "float32_precision", "_loaded_as"):
            if hasattr(tokenizer, name):
                setattr(self, name, getattr(tokenizer, name))
        self._identity = identity(tokenizer)
        self._store = open_store(folder)
        if limit is not None:
            self._store.set_limit(whole("limit", limit, 1 << 16, 1 << 50))
        self.counts, self._counting = Counts(), threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return cached, (self._inner, self.folder)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.id} in {self.folder}>"

    def options(self, way: str) -> list[str]:
        """Those of its tokenizer to decode; none to encode, since the folder keeps codes alone, no margins."""
        return self._inner.options(way) if way == "decode" else []

    def check(self, codes: Codes) -> None:
        self._inner.check(codes)

    def decode_batch(self, codes: Sequence[Codes], **options: Any) -> list[Decoded]:
        return self._inner.decode_batch(codes, **options)

    def _decode(self, codes: Sequence[Codes]) -> list[Decoded]:
        return self._inner._decode(codes)

    def _encode(self, prepared: Iterable[Decoded]) -> list[Codes]:
        keys: list[bytes] = []
        done: dict[bytes, Codes] = {}
        wanted: dict[bytes, Decoded] = {}  # what was found is not held
        for medium in prepared:
            key = key_of(medium, self._identity)
            keys.append(key)
            if key in done or key in wanted:
                continue
            if codes := self._look_up(key):
                done[key] = codes
            else:
                wanted[key] = medium
        encoded = 0
        while wanted:
            encoded += self._encode_some(wanted, done)
        self._count(found=len(keys) - encoded, encoded=encoded)
        return [done[key] for key in keys]

    def _encode_some(self, wanted: dict[bytes, Decoded], done: dict[bytes, Codes]) -> int:
        """Move items from `wanted` to `done`: encode those that nobody else encodes, and look for the others, after a
        while if there are no others. Returns how many were encoded. Holds no claim while it waits, so that two batches
        cannot wait for each other."""
        mine = self._store.claims.take(wanted)
        try:
            if not mine:
                time.sleep(_POLL)
            self._find(wanted, done)  # also of mine: another may have stored them just before they were claimed
            rest = [key for key in mine if key in wanted]
            if rest:
                encoded = self._inner.encode_prepared([wanted[key] for key in rest])
                for key, codes in zip(rest, encoded, strict=True):
                    if codes.spec != self.spec:
                        raise RuntimeError(f"{self._inner!r} gave codes of {codes.spec}: a fault of its own")
                    done[key] = codes
                    del wanted[key]
                too_large = self._store.put({key: pack(key, done[key]) for key in rest})
                self._count(too_large=too_large)
            return len(rest)
        finally:
            self._store.claims.release(mine)

    def _find(self, wanted: dict[bytes, Decoded], done: dict[bytes, Codes]) -> None:
        for key in list(wanted):
            if codes := self._look_up(key):
                done[key] = codes
                del wanted[key]

    def _look_up(self, key: bytes) -> Codes | None:
        stored = self._store.get(key)
        if stored is None:
            return None
        try:
            return unpack(key, stored, self.spec)
        except Damaged as error:
            self._store.drop(key, stored)
            self._count(damaged=1)
            warnings.warn(
                f"the cache {self.folder}: entry {key.hex()[:12]} is damaged ({error}), and is encoded anew; check the "
                "disk",
                stacklevel=2,
            )
            return None

    def _count(self, **more: int) -> None:
        with self._counting:
            self.counts = replace(self.counts, **{name: getattr(self.counts, name) + n for name, n in more.items()})
